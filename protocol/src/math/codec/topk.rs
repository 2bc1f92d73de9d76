//! `topk`: of each block of 4096 elements the 64 largest magnitudes, two bits and a place of 12 bits each.
//!
//! Of a short last block of `n` elements `k = ceil(n / 64)` are kept, among equal magnitudes the first ones. The block is
//!
//! | bytes | hold |
//! |---|---|
//! | 2 | the codebook |
//! | `ceil(3 k / 2)` | the places, ascending, 12 bits each, low bits first |
//! | `ceil(k / 4)` | the values, 2 bits each, low bits first |
//!
//! and bits left over are 0: 114 bytes for a whole block, 0.22266 bits an element.
//!
//! **Values.** The upper bit of a value is the sign, the lower one chooses one of two magnitudes, so the codebook of
//! four is `low, high, -low, -high`. It is written in 16 bits: the upper 12 are those of `high` as an f32 without its
//! sign (8 bits of exponent, 4 of mantissa), the lower 4 are `r` in `low = high * r / 16`. `high` is the mean of those
//! kept magnitudes that reach their mean, `low` the mean of the others, both rounded to nearest; each element takes the
//! nearer of the two, half way the lower. If fewer than `k` elements differ from 0, `low` is 0 and `high` the mean of
//! those that do, so that zeros stay zeros.
//!
//! SparseLoCo (arXiv 2508.15706) sends this much of a pseudo-gradient: 64 of 4096 at 2 bits, with error feedback. Its code
//! lays four bins over six standard deviations and makes the bins' means the codebook; the values kept lie in two
//! clusters about ±the threshold, for which two magnitudes and a sign are the better four. The decay of its residual is
//! the strategy's.
//!
//! The share that is kept is a parameter here, `ONE_OF`: this codec keeps one of 64, and [`topk_tight`](super::topk_tight) has
//! sisters that keep one of 32 and one of 16.

use super::{BLOCK_MAX, Blocks, Fault, LIMIT, LIMIT_BITS, TINY, blocks, select};

/// Elements of which this codec keeps one.
const ONE_OF: usize = 64;
/// Most that any such codec keeps of a block: one of 16.
pub(super) const KEPT_MAX: usize = BLOCK_MAX / 16;
const CODEBOOK_BYTES: usize = 2;
/// Bits of an f32 that `high` does without.
const HIGH_SHIFT: u32 = 19;
const LOW_STEPS: f64 = 16.0;

pub(super) const SCHEME: Blocks = Blocks {
    name: "topk",
    block: BLOCK_MAX,
    block_bytes: |n| block_bytes::<ONE_OF>(n, listed_bytes(kept::<ONE_OF>(n))),
    encode,
    sound,
    fault,
    decode,
    accumulate,
};

/// How many of `n` elements are kept.
pub(super) const fn kept<const ONE_OF: usize>(n: usize) -> usize {
    n.div_ceil(ONE_OF)
}

/// Bytes of a block of `n` elements whose places take `places` bytes.
pub(super) const fn block_bytes<const ONE_OF: usize>(n: usize, places: usize) -> usize {
    if n == 0 { 0 } else { CODEBOOK_BYTES + places + kept::<ONE_OF>(n).div_ceil(4) }
}

/// Bytes of `k` places of 12 bits.
const fn listed_bytes(k: usize) -> usize {
    (3 * k).div_ceil(2)
}

/// What is kept of one block.
pub(super) struct Kept {
    places: [u16; KEPT_MAX],
    k: usize,
    codebook: u16,
    values: [u8; KEPT_MAX / 4],
}

impl Kept {
    /// Chooses from a block of at most [`BLOCK_MAX`] elements.
    pub(super) fn of<const ONE_OF: usize>(block: &[f32]) -> Kept {
        let (k, mut bits) = (kept::<ONE_OF>(block.len()), [0; BLOCK_MAX]);
        let (mut places, mut magnitudes) = ([0; KEPT_MAX], [0.0; KEPT_MAX]);
        select::largest(block, &mut bits, &mut places[..k]);
        for (magnitude, place) in magnitudes.iter_mut().zip(&places[..k]) {
            *magnitude = f32::from_bits(bits[usize::from(*place)] as u32);
        }
        let magnitudes = &magnitudes[..k];
        let codebook = codebook(magnitudes);
        let [low, high, ..] = levels(codebook);
        let between = (low + high) / 2.0;
        let mut values = [0; KEPT_MAX / 4];
        for (i, (magnitude, place)) in magnitudes.iter().zip(&places).enumerate() {
            let sign = block[usize::from(*place)].is_sign_negative();
            let value = u8::from(sign) << 1 | u8::from(*magnitude > between);
            values[i / 4] |= value << (i % 4 * 2);
        }
        Kept { places, k, codebook, values }
    }

    pub(super) fn places(&self) -> &[u16] {
        &self.places[..self.k]
    }

    pub(super) fn codebook_bytes(&self) -> [u8; CODEBOOK_BYTES] {
        self.codebook.to_le_bytes()
    }

    pub(super) fn values(&self) -> &[u8] {
        &self.values[..self.k.div_ceil(4)]
    }
}

/// Both magnitudes for the kept ones, as they are written.
fn codebook(magnitudes: &[f32]) -> u16 {
    let mean = |least: f64, end: f64| {
        let within = magnitudes.iter().map(|x| f64::from(*x)).filter(|x| (least..end).contains(x));
        let (sum, n) = within.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
        if n == 0 { None } else { Some(sum / f64::from(n)) }
    };
    let some = f64::from(f32::from_bits(1));
    let between = match mean(0.0, some) {
        Some(_) => some,
        None => mean(0.0, f64::INFINITY).unwrap_or(0.0),
    };
    let Some(high) = mean(between, f64::INFINITY) else { return 0 };
    let high_code = ((high as f32).to_bits() + (1 << (HIGH_SHIFT - 1))) >> HIGH_SHIFT;
    let rounded = f32::from_bits(high_code << HIGH_SHIFT);
    if rounded < TINY {
        return 0;
    }
    let low = mean(0.0, between).unwrap_or(high) / f64::from(rounded);
    let r = (low * LOW_STEPS + 0.5).min(LOW_STEPS - 1.0) as u16;
    (high_code << 4) as u16 | r
}

/// The codebook of four.
#[inline(always)]
fn levels(codebook: u16) -> [f32; 4] {
    let high = f32::from_bits(u32::from(codebook >> 4) << HIGH_SHIFT);
    let low = high * f32::from(codebook & 15) / LOW_STEPS as f32;
    [low, high, -low, -high]
}

/// Cuts a block of which `k` elements are kept into codebook, places and values.
#[inline(always)]
pub(super) fn parts(block: &[u8], k: usize) -> (u16, &[u8], &[u8]) {
    let (codebook, rest) = block.split_at(CODEBOOK_BYTES);
    let (places, values) = rest.split_at(rest.len() - k.div_ceil(4));
    (u16::from_le_bytes([codebook[0], codebook[1]]), places, values)
}

/// What is wrong with codebook and values of a block of which `k` elements are kept.
pub(super) fn value_fault(codebook: u16, values: &[u8], k: usize) -> Option<Fault> {
    let high = levels(codebook)[1];
    let usable = codebook == 0 || (TINY..=LIMIT).contains(&high);
    let unused = k % 4;
    let padded = unused == 0 || values.last().is_none_or(|last| last >> (2 * unused) == 0);
    match (usable, padded) {
        (false, _) => Some(Fault::Scale),
        (_, false) => Some(Fault::Places),
        _ => None,
    }
}

/// The numbers of the `k` kept elements in the order of their places.
#[inline(always)]
pub(super) fn numbers(codebook: u16, values: &[u8], k: usize) -> impl Iterator<Item = f32> {
    let levels = levels(codebook);
    (0..k).map(move |i| levels[usize::from(values[i / 4] >> (i % 4 * 2) & 3)])
}

fn encode(input: &[f32], out: &mut Vec<u8>) {
    for block in input.chunks(BLOCK_MAX) {
        let kept = Kept::of::<ONE_OF>(block);
        out.extend_from_slice(&kept.codebook_bytes());
        list(kept.places(), out);
        out.extend_from_slice(kept.values());
    }
}

fn list(places: &[u16], out: &mut Vec<u8>) {
    for pair in places.chunks(2) {
        let second = pair.get(1).map_or(0, |place| u32::from(*place) << 12);
        let bytes = (u32::from(pair[0]) | second).to_le_bytes();
        out.extend_from_slice(&bytes[..listed_bytes(pair.len())]);
    }
}

/// The places in `bytes`; of an odd number of them, the last comes with a 0 or what stands in its stead.
#[inline(always)]
fn listed(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(3).flat_map(|pair| {
        let byte = |i: usize| u16::from(*pair.get(i).unwrap_or(&0));
        [byte(0) | (byte(1) & 15) << 8, byte(1) >> 4 | byte(2) << 4]
    })
}

fn sound(bytes: &[u8], elems: usize) -> bool {
    blocks(&SCHEME, bytes, elems).all(|(block, n)| fault(block, n).is_none())
}

fn fault(block: &[u8], n: usize) -> Option<Fault> {
    let k = kept::<ONE_OF>(n);
    let (codebook, places, values) = parts(block, k);
    let ascending = listed(places).take(k).try_fold(0, |least, place| {
        (place >= least && usize::from(place) < n).then_some(place + 1)
    });
    let padded = listed(places).skip(k).all(|rest| rest == 0);
    let sound = ascending.is_some() && padded;
    value_fault(codebook, values, k).or_else(|| (!sound).then_some(Fault::Places))
}

fn decode(bytes: &[u8], out: &mut [f32]) {
    let blocks = bytes.chunks((SCHEME.block_bytes)(BLOCK_MAX));
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK_MAX)) {
        let k = kept::<ONE_OF>(out.len());
        let (codebook, places, values) = parts(block, k);
        let numbers = numbers(codebook, values, k);
        out.fill(0.0);
        for (place, x) in listed(places).zip(numbers) {
            out[usize::from(place)] = x;
        }
    }
}

fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
    let blocks = bytes.chunks((SCHEME.block_bytes)(BLOCK_MAX));
    for (block, acc) in blocks.zip(acc.chunks_mut(BLOCK_MAX)) {
        let k = kept::<ONE_OF>(acc.len());
        let (codebook, places, values) = parts(block, k);
        let numbers = numbers(codebook, values, k);
        for (place, x) in listed(places).zip(numbers) {
            acc[usize::from(place)] += weight * x;
        }
    }
}

const _: () = assert!(LIMIT_BITS.trailing_zeros() >= HIGH_SHIFT, "the limit can be written");

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError};
    use super::*;

    /// 1.0 as `high`, and `r`.
    fn one(r: u16) -> [u8; 2] {
        (0x7f0 << 4 | r).to_le_bytes()
    }

    #[test]
    fn one_of_few_is_kept() {
        let [a, b] = one(15);
        check(Codec::Topk, &[0.5, -1.0, 0.25], &[a, b, 1, 0, 0b11], &[0.0, -1.0, 0.0]);
        check(Codec::Topk, &[], &[], &[]);
        check(Codec::Topk, &[0.0, -0.0], &[0; 5], &[0.0; 2]);
        check(Codec::Topk, &[f32::NAN, TINY / 2.0], &[0, 0, 1, 0, 1], &[0.0; 2]);
    }

    #[test]
    fn two_magnitudes_and_signs() {
        let mut input = vec![0.0; 129];
        (input[3], input[70], input[128]) = (0.5, -1.0, 0.5);
        let mut back = input.clone();
        let [a, b] = one(8);
        // Places 3, 70 and 128; values +low, -high, +low.
        check(Codec::Topk, &input, &[a, b, 3, 0x60, 4, 128, 0, 0b00_11_00], &back);
        (input[3], back[3]) = (0.0, 0.0);
        (input[128], back[128]) = (1.0, 1.0);
        // The third is a zero and stays one.
        let [a, b] = one(0);
        check(Codec::Topk, &input, &[a, b, 0, 0x60, 4, 128, 0, 0b01_11_00], &back);
    }

    #[test]
    fn the_codebook_holds_two_rounded_means() {
        let levels = |magnitudes: &[f32]| levels(codebook(magnitudes));
        assert_eq!(levels(&[1.0, 3.0, 5.0, 7.0]), [1.875, 6.0, -1.875, -6.0]);
        assert_eq!(levels(&[1.0, 1.0]), [0.9375, 1.0, -0.9375, -1.0]);
        assert_eq!(levels(&[0.0, 3.0, 1.0]), [0.0, 2.0, 0.0, -2.0]);
        assert_eq!(levels(&[LIMIT; KEPT_MAX])[1], LIMIT);
        assert_eq!(levels(&[TINY / 2.0]), [0.0, 0.0, 0.0, 0.0]);
        assert_eq!(levels(&[1.0 + 1.0 / 32.0])[1], 1.0625);
        assert_eq!(levels(&[]), [0.0; 4]);
    }

    #[test]
    fn a_liars_block_is_refused() {
        let scale = CodecError::Scale { codec: Codec::Topk, block: 0 };
        let places = CodecError::Places { codec: Codec::Topk, block: 0 };
        let [a, b] = one(8);
        let above = ((LIMIT_BITS >> HIGH_SHIFT) + 1) << 4;
        let [c, d, ..] = above.to_le_bytes();
        for (bytes, elems, want) in [
            (&[c, d, 0, 0, 0][..], 64, scale),
            (&[0xff, 0xff, 0, 0, 0], 64, scale),
            (&[1, 0, 0, 0, 0], 64, scale),
            (&[a, b, 5, 0, 0], 5, places),
            (&[a, b, 0, 0x10, 0], 5, places),
            (&[a, b, 0, 0, 0b100], 5, places),
            (&[a, b, 5, 0x40, 0, 0], 65, places),
            (&[a, b, 5, 0x50, 0, 0], 65, places),
            (&[a, b, 5, 0x10, 4, 0], 65, places),
        ] {
            check_refused(Codec::Topk, bytes, elems, want);
        }
    }
}
