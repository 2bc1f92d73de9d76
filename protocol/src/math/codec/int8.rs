//! `int8`: signed bytes with one scale for [`BLOCK`] elements.
//!
//! A block is its scale (f32), then one byte `q` an element: `n + 4` bytes, 8.0625 bits an element in whole blocks.
//! `scale = max |x| / 127` and `q = x * (1 / scale)`, rounded to nearest, ties to even; an element decodes as
//! `q * scale` (symmetric block quantisation: Dettmers et al., arXiv 2110.02861, with a linear code). So does -128, which
//! no encoder writes: a liar's number may be a 127th beyond the limit.

use super::{BLOCK, Blocks, Fault, LIMIT, SCALE_BYTES, TINY, limited, scaled};
use crate::math::vector;

const INT8_MAX: f32 = 127.0;
/// Largest scale that is written or read.
const SCALE_MAX: f32 = LIMIT / INT8_MAX;
const BLOCK_BYTES: usize = SCALE_BYTES + BLOCK;
/// 1.5 * 2^23: adding it to a float of small magnitude leaves the nearest integer, ties to even, in the low bits.
const ROUNDER: f32 = 12_582_912.0;

pub(super) const SCHEME: Blocks = Blocks {
    name: "int8",
    block: BLOCK,
    block_bytes: |n| n + if n == 0 { 0 } else { SCALE_BYTES },
    encode,
    sound: |bytes, _| sound(bytes),
    fault: |block, _| (!sound(block)).then_some(Fault::Scale),
    decode,
    accumulate,
};

wide! {
    fn encode(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [0; BLOCK_BYTES]);
        for block in input.chunks(BLOCK) {
            let block = limited(block, &mut copy);
            let (scale, inverse) = scale(block);
            let (head, tail) = bytes.split_at_mut(SCALE_BYTES);
            head.copy_from_slice(&scale.to_le_bytes());
            for (b, x) in tail.iter_mut().zip(block) {
                // At most 127 * (1 + 2^-22), so that it rounds to 127 at most.
                *b = (x * inverse + ROUNDER).to_bits() as u8;
            }
            out.extend_from_slice(&bytes[..SCALE_BYTES + block.len()]);
        }
    }
}

wide! {
    fn sound(bytes: &[u8]) -> bool {
        // Compared as integers, a set sign and a NaN are both larger than the largest scale.
        let scales = bytes.chunks(BLOCK_BYTES).map(|block| scaled(block).0.to_bits());
        scales.fold(0, u32::max) <= SCALE_MAX.to_bits()
    }
}

wide! {
    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks(BLOCK_BYTES).zip(out.chunks_mut(BLOCK)) {
            let (scale, elems) = scaled(block);
            for (o, q) in out.iter_mut().zip(elems) {
                *o = f32::from(*q as i8) * scale;
            }
        }
    }
}

wide! {
    fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (block, acc) in bytes.chunks(BLOCK_BYTES).zip(acc.chunks_mut(BLOCK)) {
            let (scale, elems) = scaled(block);
            for (acc, q) in acc.iter_mut().zip(elems) {
                *acc += weight * (f32::from(*q as i8) * scale);
            }
        }
    }
}

/// The block's scale and the scale's inverse; both 0 for a block too small to be told from zeros.
#[inline(always)]
fn scale(block: &[f32]) -> (f32, f32) {
    let largest = f32::from_bits(vector::max_abs_bits(block));
    if largest < TINY {
        return (0.0, 0.0);
    }
    let scale = largest / INT8_MAX;
    (scale, 1.0 / scale)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError};
    use super::*;

    #[test]
    fn it_rounds_to_nearest_even() {
        let input = [127.0, -127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -0.0];
        let quanta = [127_i8, -127, 0, 2, 2, 0, -2, 0, 0];
        let mut bytes = 1.0_f32.to_le_bytes().to_vec();
        bytes.extend(quanta.map(|q| q as u8));
        check(Codec::Int8, &input, &bytes, &quanta.map(f32::from));
        check(Codec::Int8, &[], &[], &[]);
        check(Codec::Int8, &[0.0; 2], &[0; 6], &[0.0; 2]);
    }

    #[test]
    fn each_block_has_a_scale_and_a_short_one_too() {
        let mut input = vec![127.0; BLOCK];
        input.push(-254.0);
        let mut bytes = 1.0_f32.to_le_bytes().to_vec();
        bytes.extend([127; BLOCK]);
        bytes.extend(2.0_f32.to_le_bytes());
        bytes.push(-127_i8 as u8);
        check(Codec::Int8, &input, &bytes, &input);
        assert_eq!(Codec::Int8.byte_range(BLOCK..BLOCK + 1), BLOCK + 4..BLOCK + 9);
    }

    #[test]
    fn tiny_blocks_are_zeros() {
        check(Codec::Int8, &[f32::from_bits(1), -1e-38], &[0; 6], &[0.0; 2]);
        let mut bytes = (TINY / 127.0).to_le_bytes().to_vec();
        bytes.push(127);
        check(Codec::Int8, &[TINY], &bytes, &[127.0 * (TINY / 127.0)]);
    }

    #[test]
    fn what_cannot_travel_becomes_zero_or_the_limit() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, 1.0];
        let mut bytes = SCALE_MAX.to_le_bytes().to_vec();
        bytes.extend([0_i8, 127, -127, 127, -127, 0].map(|q| q as u8));
        let top = 127.0 * SCALE_MAX;
        check(Codec::Int8, &odd, &bytes, &[0.0, top, -top, top, -top, 0.0]);
    }

    #[test]
    fn a_liars_scale_is_refused() {
        let above = f32::from_bits(SCALE_MAX.to_bits() + 1);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, above] {
            let mut bytes = vec![0; BLOCK_BYTES];
            bytes.extend(bad.to_le_bytes());
            bytes.push(1);
            let want = CodecError::Scale { codec: Codec::Int8, block: 1 };
            check_refused(Codec::Int8, &bytes, BLOCK + 1, want);
        }
    }
}
