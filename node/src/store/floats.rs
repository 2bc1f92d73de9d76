//! f32 as little-endian bytes and back, without a copy where that is possible; 16-bit floats to f32.

#[cfg(target_endian = "big")]
compile_error!(
    "stored and exchanged floats are little-endian; this machine would need to swap them"
);

/// The bytes of floats, in place.
pub fn bytes_of(floats: &[f32]) -> &[u8] {
    // SAFETY: every f32 is four initialised bytes, and u8 asks for no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}

/// The bytes of floats, in place and writable.
pub(crate) fn bytes_of_mut(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`, and every four bytes are some f32.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

/// The floats of bytes, copied; bytes that make no whole one at the end are left out.
pub fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// A bfloat16 is the upper half of an f32.
pub(super) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// An IEEE half; exact, as every half is an f32.
pub(super) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        // Zero and subnormals: fraction * 2^-24.
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_exactly() {
        let rows = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x7c00, f32::INFINITY),
        ];
        for (bits, expected) in rows {
            assert_eq!(from_f16(bits).to_bits(), f32::to_bits(expected), "{bits:04x}");
        }
        assert!(from_f16(0x7e00).is_nan());
        assert_eq!(from_bf16(0xbfc0), -1.5);
    }

    #[test]
    fn bytes_are_little_endian() {
        let mut floats = [1.0, -2.0];
        assert_eq!(bytes_of(&floats), [0, 0, 128, 63, 0, 0, 0, 192]);
        bytes_of_mut(&mut floats)[3] = 64;
        assert_eq!(floats, [4.0, -2.0]);
    }
}
