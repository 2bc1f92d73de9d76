//! `bf16`: the upper half of each number, rounded to nearest, ties to even; 2 bytes each.

use super::{BLOCK, Blocks, Fault, LIMIT_BITS, limited};

pub(super) const SCHEME: Blocks = Blocks {
    name: "bf16",
    block: BLOCK,
    block_bytes: |n| 2 * n,
    encode,
    sound: |bytes, _| sound(bytes),
    fault: |block, _| block.chunks(2).position(|b| !sound(b)).map(Fault::Value),
    decode,
    accumulate,
};

wide! {
    fn encode(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [[0; 2]; BLOCK]);
        for block in input.chunks(BLOCK) {
            for (b, x) in bytes.iter_mut().zip(limited(block, &mut copy)) {
                *b = to_bf16(*x).to_le_bytes();
            }
            out.extend_from_slice(bytes[..block.len()].as_flattened());
        }
    }
}

wide! {
    fn sound(bytes: &[u8]) -> bool {
        // As `within_limit`, on halves.
        let most = (LIMIT_BITS >> 16) as i16;
        let room = |b: &[u8; 2]| most.wrapping_sub(i16::from_le_bytes(*b) & i16::MAX);
        bytes.as_chunks::<2>().0.iter().fold(0, |signs, b| signs | room(b)) >= 0
    }
}

wide! {
    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *o = from_bf16(*b);
        }
    }
}

wide! {
    fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (acc, b) in acc.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *acc += weight * from_bf16(*b);
        }
    }
}

/// The nearest bfloat16 of a number within the limit.
#[inline(always)]
pub(super) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    // Half of what is cut off, less one where the kept part is even. It cannot overflow: the limit has room above.
    (bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1) >> 16) as u16
}

#[inline(always)]
pub(super) fn from_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes_of, check, check_refused};
    use super::super::{Codec, CodecError};

    #[test]
    fn it_rounds_to_nearest_even() {
        let rows: [(u32, u16); 8] = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_8000, 0x3f80), // a tie goes down to even
            (0x3f81_8000, 0x3f82), // a tie goes up to even
            (0x3f80_8001, 0x3f81), // just above a tie
            (0x3f80_7fff, 0x3f80), // just below one
            (0xbfff_ffff, 0xc000), // carries into the exponent
            (0x0000_0001, 0x0000), // the smallest denormal
            (0x8000_0000, 0x8000), // -0
        ];
        for (input, want) in rows {
            let decoded = f32::from_bits(u32::from(want) << 16);
            check(Codec::Bf16, &[f32::from_bits(input)], &want.to_le_bytes(), &[decoded]);
        }
    }

    #[test]
    fn a_liars_numbers_are_refused() {
        for bad in [0x7fc0_u16, 0xffff, 0x7f80, 0xff80, 0x7181] {
            let bytes = bytes_of(&[0, bad].map(u16::to_le_bytes));
            let want = CodecError::Value { codec: Codec::Bf16, index: 1 };
            check_refused(Codec::Bf16, &bytes, 2, want);
        }
    }
}
