//! `sign`: one bit an element and the mean magnitude of [`BLOCK`] elements.
//!
//! A block of `n` elements is its scale (f32), then `w = ceil(n / 32)` words of 32 bits: 1.0625 bits an element in
//! whole blocks. Bit `i / w` of word `i % w` is the sign of element `i`; bits that no element has are 0. An element
//! decodes as `±scale`, `scale` the mean of the magnitudes: the best that one magnitude can do.
//!
//! 1-bit SGD (Seide et al., Interspeech 2014) and 1-bit Adam (Tang et al., arXiv 2102.02888, section 4) compress like
//! this and lean on error feedback. The mean is taken in a fixed order: element `i` goes to sum `i % 16`, and the sums
//! are added pairwise.

use super::{BLOCK, Blocks, Fault, LIMIT_BITS, SCALE_BYTES, TINY, limited, scaled};

/// Sums that run side by side: two registers of AVX2.
const LANES: usize = 16;
const WORD_BITS: usize = 32;
const WORDS: usize = BLOCK / WORD_BITS;
const BLOCK_BYTES: usize = SCALE_BYTES + 4 * WORDS;
const SIGN: u32 = 1 << 31;

pub(super) const SCHEME: Blocks = Blocks {
    name: "sign",
    block: BLOCK,
    block_bytes: |n| if n == 0 { 0 } else { SCALE_BYTES + 4 * n.div_ceil(WORD_BITS) },
    encode,
    sound,
    fault,
    decode,
    accumulate,
};

wide! {
    fn encode(input: &[f32], out: &mut Vec<u8>) {
        let mut copy = [0.0; BLOCK];
        for block in input.chunks(BLOCK) {
            let block = limited(block, &mut copy);
            let mean = mean_magnitude(block);
            let scale = if mean < TINY { 0.0 } else { mean };
            let words = if block.len() == BLOCK { whole_signs(block) } else { signs(block) };
            out.extend_from_slice(&scale.to_le_bytes());
            let bytes = words.map(u32::to_le_bytes);
            out.extend_from_slice(bytes[..block.len().div_ceil(WORD_BITS)].as_flattened());
        }
    }
}

fn sound(bytes: &[u8], elems: usize) -> bool {
    let scales = bytes.chunks(BLOCK_BYTES).map(|block| scaled(block).0.to_bits());
    // Compared as integers, a set sign and a NaN are both larger than the largest scale.
    scales.fold(0, u32::max) <= LIMIT_BITS && padded(bytes, elems)
}

/// Whether the bits of the last block that no element has are 0.
fn padded(bytes: &[u8], elems: usize) -> bool {
    let n = elems % BLOCK;
    let (_, words) = scaled(bytes.chunks(BLOCK_BYTES).next_back().unwrap_or(&[]));
    let words = words.as_chunks::<4>().0;
    let none = |i: usize| u32::from_le_bytes(words[i % words.len()]) >> (i / words.len()) & 1 == 0;
    n == 0 || (n..words.len() * WORD_BITS).all(none)
}

fn fault(block: &[u8], elems: usize) -> Option<Fault> {
    let odd = if padded(block, elems) { Fault::Scale } else { Fault::Places };
    (!sound(block, elems)).then_some(odd)
}

wide! {
    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks(BLOCK_BYTES).zip(out.chunks_mut(BLOCK)) {
            let (scale, words) = scaled(block);
            let words = words.as_chunks::<4>().0;
            match <&[[u8; 4]; WORDS]>::try_from(words) {
                Ok(words) => decode_rows(scale, words, out),
                Err(_) => decode_rows(scale, words, out),
            }
        }
    }
}

/// Rows of as many elements as there are words, one bit of each word a row. Inlined for a number that is known, too.
#[inline(always)]
fn decode_rows(scale: f32, words: &[[u8; 4]], out: &mut [f32]) {
    for (bit, row) in out.chunks_mut(words.len()).enumerate() {
        for (o, word) in row.iter_mut().zip(words) {
            *o = signed(scale, *word, bit);
        }
    }
}

wide! {
    fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (block, acc) in bytes.chunks(BLOCK_BYTES).zip(acc.chunks_mut(BLOCK)) {
            let (scale, words) = scaled(block);
            // The product is the same for all but its sign.
            let product = weight * scale;
            let words = words.as_chunks::<4>().0;
            match <&[[u8; 4]; WORDS]>::try_from(words) {
                Ok(words) => accumulate_rows(product, words, acc),
                Err(_) => accumulate_rows(product, words, acc),
            }
        }
    }
}

#[inline(always)]
fn accumulate_rows(product: f32, words: &[[u8; 4]], acc: &mut [f32]) {
    for (bit, row) in acc.chunks_mut(words.len()).enumerate() {
        for (acc, word) in row.iter_mut().zip(words) {
            *acc += signed(product, *word, bit);
        }
    }
}

/// `x`, with its sign turned if the bit is set.
#[inline(always)]
fn signed(x: f32, word: [u8; 4], bit: usize) -> f32 {
    let bits = u32::from_le_bytes(word) << (WORD_BITS - 1 - bit);
    f32::from_bits(x.to_bits() ^ (bits & SIGN))
}

#[inline(always)]
fn whole_signs(block: &[f32]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for row in block.as_chunks::<WORDS>().0 {
        for (word, x) in words.iter_mut().zip(row) {
            *word = *word >> 1 | x.to_bits() & SIGN;
        }
    }
    words
}

fn signs(block: &[f32]) -> [u32; WORDS] {
    let (mut words, w) = ([0; WORDS], block.len().div_ceil(WORD_BITS));
    for (bit, row) in block.chunks(w).enumerate() {
        for (word, x) in words.iter_mut().zip(row) {
            *word |= x.to_bits() >> 31 << bit;
        }
    }
    words
}

#[inline(always)]
fn mean_magnitude(block: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (rows, rest) = block.as_chunks::<LANES>();
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x.abs();
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x.abs();
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0] / block.len() as f32
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError, LIMIT};
    use super::*;

    #[test]
    fn signs_and_their_mean_magnitude() {
        let bytes = [0, 0, 0, 0x40, 0b1010, 0, 0, 0];
        check(Codec::Sign, &[1.0, -2.0, 3.0, -2.0], &bytes, &[2.0, -2.0, 2.0, -2.0]);
        check(Codec::Sign, &[], &[], &[]);
        check(Codec::Sign, &[0.0, -TINY], &[0, 0, 0, 0, 2, 0, 0, 0], &[0.0, -0.0]);
        let odd = [f32::INFINITY, f32::NEG_INFINITY];
        let mut bytes = LIMIT.to_le_bytes().to_vec();
        bytes.extend([2, 0, 0, 0]);
        check(Codec::Sign, &odd, &bytes, &[LIMIT, -LIMIT]);
    }

    #[test]
    fn a_short_block_spreads_over_its_own_words() {
        let mut input = [1.0; 33];
        (input[1], input[32]) = (-1.0, -1.0);
        // Two words: element 1 is bit 0 of the second, element 32 is bit 16 of the first.
        let bytes = [0, 0, 0x80, 0x3f, 0, 0, 1, 0, 1, 0, 0, 0];
        check(Codec::Sign, &input, &bytes, &input);
        assert_eq!(Codec::Sign.byte_range(BLOCK..BLOCK + 33), 68..80);
    }

    #[test]
    fn a_liars_block_is_refused() {
        let above = f32::from_bits(LIMIT_BITS + 1);
        for bad in [f32::NAN, f32::INFINITY, -1.0, -0.0, above] {
            let mut bytes = vec![0; BLOCK_BYTES];
            bytes.extend(bad.to_le_bytes());
            bytes.extend([1, 0, 0, 0]);
            let want = CodecError::Scale { codec: Codec::Sign, block: 1 };
            check_refused(Codec::Sign, &bytes, BLOCK + 1, want);
        }
        let want = CodecError::Places { codec: Codec::Sign, block: 0 };
        check_refused(Codec::Sign, &[0, 0, 0, 0, 0b1000, 0, 0, 0], 3, want);
    }
}
