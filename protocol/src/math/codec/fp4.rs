//! `fp4`: a sign and three bits of exponent (E3M0) with one scale for [`BLOCK`] elements.
//!
//! A block of `n` elements is its scale (f32, `max |x|`), then `ceil(n / 2)` bytes: 4.0625 bits an element in whole
//! blocks. A code `s eee` stands for 0 if `eee` is 0, else for `scale * 2^(eee - 7)`, negative if `s` is set: zero and
//! seven powers of two. The nearest is taken of `|x| * (1 / scale)`, of two as near the larger. With `h = ceil(n / 2)`
//! byte `j` holds element `j` in its low half and element `h + j` in its high half, which is 0 where there is none.
//!
//! Format and use: Streaming DiLoCo (Douillard et al., arXiv 2501.18512, section 2.4) sends pseudo-gradients in E3M0 and
//! adds them up in f32, as [`accumulate`](super::Codec::accumulate) does. The scale by block is ours.

use super::{BLOCK, Blocks, Fault, LIMIT_BITS, SCALE_BYTES, TINY, limited, scaled};
use crate::math::vector;

const BLOCK_BYTES: usize = SCALE_BYTES + BLOCK / 2;
/// Exponent field of `2^-7`: the code is what a number's exponent has above it.
const EXPONENT_0: i32 = 127 - 7;

pub(super) const SCHEME: Blocks = Blocks {
    name: "fp4",
    block: BLOCK,
    block_bytes: |n| if n == 0 { 0 } else { SCALE_BYTES + n.div_ceil(2) },
    encode,
    sound,
    fault,
    decode,
    accumulate,
};

wide! {
    fn encode(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [0; BLOCK / 2]);
        for block in input.chunks(BLOCK) {
            let block = limited(block, &mut copy);
            let largest = f32::from_bits(vector::max_abs_bits(block));
            let (scale, inverse) = if largest < TINY { (0.0, 0.0) } else { (largest, 1.0 / largest) };
            let (low, high) = block.split_at(block.len().div_ceil(2));
            let bytes = &mut bytes[..low.len()];
            // Where the high half is one short, the last byte keeps a high half of 0.
            for (b, x) in bytes.iter_mut().zip(low) {
                *b = code(x * inverse);
            }
            for (b, x) in bytes.iter_mut().zip(high) {
                *b |= code(x * inverse) << 4;
            }
            out.extend_from_slice(&scale.to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

fn sound(bytes: &[u8], elems: usize) -> bool {
    let scales = bytes.chunks(BLOCK_BYTES).map(|block| scaled(block).0.to_bits());
    // Compared as integers, a set sign and a NaN are both larger than the largest scale.
    scales.fold(0, u32::max) <= LIMIT_BITS && padded(bytes, elems)
}

/// Whether the half byte that no element has is 0.
fn padded(bytes: &[u8], elems: usize) -> bool {
    elems.is_multiple_of(2) || bytes.last().is_none_or(|last| last >> 4 == 0)
}

fn fault(block: &[u8], elems: usize) -> Option<Fault> {
    let odd = if padded(block, elems) { Fault::Scale } else { Fault::Places };
    (!sound(block, elems)).then_some(odd)
}

wide! {
    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks(BLOCK_BYTES).zip(out.chunks_mut(BLOCK)) {
            let (scale, codes) = scaled(block);
            let (low, high) = out.split_at_mut(codes.len());
            for (o, b) in low.iter_mut().zip(codes) {
                *o = value(*b) * scale;
            }
            for (o, b) in high.iter_mut().zip(codes) {
                *o = value(*b >> 4) * scale;
            }
        }
    }
}

wide! {
    fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (block, acc) in bytes.chunks(BLOCK_BYTES).zip(acc.chunks_mut(BLOCK)) {
            let (scale, codes) = scaled(block);
            let (low, high) = acc.split_at_mut(codes.len());
            for (acc, b) in low.iter_mut().zip(codes) {
                *acc += weight * (value(*b) * scale);
            }
            for (acc, b) in high.iter_mut().zip(codes) {
                *acc += weight * (value(*b >> 4) * scale);
            }
        }
    }
}

/// The code of a number whose magnitude is 1 at most, but for rounding.
#[inline(always)]
fn code(x: f32) -> u8 {
    let magnitude = x.to_bits() as i32 & i32::MAX;
    // From half way between two powers of two, the exponent rounds up.
    let exponent = (magnitude.wrapping_add(0x0040_0000) >> 23).wrapping_sub(EXPONENT_0);
    // Half way between 0 and the smallest power is not half way between two powers.
    let least = i32::from(magnitude >= EXPONENT_0 << 23);
    let exponent = i32::max(exponent, least);
    (exponent | (x.to_bits() >> 28 & 8) as i32) as u8
}

/// What the low four bits stand for, before scaling.
#[inline(always)]
fn value(code: u8) -> f32 {
    let code = u32::from(code);
    let exponent = code & 7;
    let power = exponent.wrapping_add(EXPONENT_0 as u32) << 23;
    // All ones for any exponent but 0.
    let some = (exponent as i32).wrapping_neg() >> 31;
    f32::from_bits((power & some as u32) | (code & 8) << 28)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError, LIMIT};
    use super::*;

    #[test]
    fn the_nearest_power_of_two_or_zero() {
        let step = 1.0 / 64.0;
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        let rows = [
            (1.0, 7, 1.0),
            (0.75, 7, 1.0),
            (below(0.75), 6, 0.5),
            (-0.5, 14, -0.5),
            (1.5 * step, 2, 2.0 * step),
            (below(1.5 * step), 1, step),
            (step / 2.0, 1, step),
            (below(step / 2.0), 0, 0.0),
            (-0.0, 8, -0.0),
            (-f32::MIN_POSITIVE, 8, -0.0),
        ];
        for (x, code, back) in rows {
            let mut bytes = 8.0_f32.to_le_bytes().to_vec();
            bytes.push(7 | code << 4);
            check(Codec::Fp4, &[8.0, 8.0 * x], &bytes, &[8.0, 8.0 * back]);
        }
    }

    #[test]
    fn halves_of_a_block_share_bytes() {
        let bytes = [0, 0, 0x80, 0x3f, 0x67, 0xdf, 0x05];
        check(Codec::Fp4, &[1.0, -1.0, 0.25, 0.5, -0.25], &bytes, &[1.0, -1.0, 0.25, 0.5, -0.25]);
        check(Codec::Fp4, &[], &[], &[]);
        check(Codec::Fp4, &[f32::NAN; 3], &[0; 6], &[0.0; 3]);
        assert_eq!(Codec::Fp4.byte_range(BLOCK..BLOCK + 1), 260..265);
    }

    #[test]
    fn extremes_travel_as_the_limit_and_zeros() {
        let mut bytes = LIMIT.to_le_bytes().to_vec();
        bytes.extend([0xf7, 0]);
        let input = [f32::INFINITY, 1.0, -f32::MAX];
        check(Codec::Fp4, &input, &bytes, &[LIMIT, 0.0, -LIMIT]);
        check(Codec::Fp4, &[TINY / 2.0, 0.0], &[0; 5], &[0.0; 2]);
    }

    #[test]
    fn a_liars_block_is_refused() {
        let above = f32::from_bits(LIMIT_BITS + 1);
        for bad in [f32::NAN, f32::INFINITY, -1.0, -0.0, above] {
            let mut bytes = vec![0; BLOCK_BYTES];
            bytes.extend(bad.to_le_bytes());
            bytes.push(1);
            let want = CodecError::Scale { codec: Codec::Fp4, block: 1 };
            check_refused(Codec::Fp4, &bytes, BLOCK + 1, want);
        }
        let want = CodecError::Places { codec: Codec::Fp4, block: 0 };
        check_refused(Codec::Fp4, &[0, 0, 0, 0, 0x10], 1, want);
    }
}
