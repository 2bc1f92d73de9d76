//! Which `k` of `n` elements are kept, as a number of fixed length.
//!
//! There are `C(n, k)` ways to keep `k` of `n` elements, so `log2 C(n, k)` bits name one of them (enumerative coding:
//! Cover, IEEE Trans. Inf. Theory 19, 1973). A range coder (Martin, 1979; Schindler's carry) gets there without big
//! numbers: asked element by element whether it is kept, under the model `P(kept) = left to keep / elements left`, the
//! probabilities of *every* pattern multiply to exactly `1 / C(n, k)`, wherever its elements lie.
//!
//! **Why the bytes are always enough.** The interval of a pattern has the width `W`, the product of the shares that the
//! coder gave it, and the one number that is written must lie inside. A half-open interval no narrower than `2^-8b` holds a
//! multiple of `2^-8b`, so `b` bytes do if `W >= 2^-8b`. [`Split`] rounds the share of "kept" down, by at most `2^-19` of
//! itself, and never that of "not kept"; the first interval lacks `2^-64`. Hence `log2 1/W <= log2 C(n, k) + k * 2^-18`, for
//! any pattern. For `k = 64` and `n <= 4096` that is at most 471.292, and 59 bytes have 472 bits. For any `k <= 64` and
//! `n <= 64 k`, `log2 C(n, k) < 7.44 k` (`64 H(1 / 64) = 7.4313`) with room for the rest in `7.5 k` bits, which are
//! `15 k / 16` bytes. Of one in 32 or 16 (`k` to 128 or 256) it is 816.946 bits of 824 and 1376.262 of 1384, and `6.42 k` of `6.5 k` or
//! `5.4 k` of `5.5 k`. The tests check every `n` and `k` that a codec uses.
//!
//! **What is read.** Every string of bytes within the first interval leads to `k` places in ascending order, in one step
//! an element. The encoder writes the smallest number inside its interval, so that one comparison at the end tells whether
//! the bytes are what the encoder would have written for these places: to each set of places belongs one string.

use super::BLOCK_MAX;

/// The interval is widened by a byte whenever it is narrower than this.
const NARROW: u64 = 1 << 56;
/// Bytes of the coder's register.
const REGISTER_BYTES: usize = 8;

/// `2^32 / left`, rounded down, for `left >= 2`.
static RECIPROCALS: [u32; BLOCK_MAX + 1] = reciprocals();

const fn reciprocals() -> [u32; BLOCK_MAX + 1] {
    let mut table = [0; BLOCK_MAX + 1];
    let mut left = 2;
    while left <= BLOCK_MAX {
        table[left] = ((1 << 32) / left as u64) as u32;
        left += 1;
    }
    table
}

/// The elements that are still to come, and how many of them are kept.
#[derive(Clone, Copy)]
struct Split {
    keep: usize,
    left: usize,
}

impl Split {
    /// Whether the rest follows from what is left.
    #[inline(always)]
    fn is_settled(self) -> bool {
        self.keep == 0 || self.keep == self.left
    }

    /// The part of `range`, at least [`NARROW`], in which the next element is kept: its upper end. Not settled, that is
    /// above 0 and below `range`. Rounding down takes less than `2^-20` of it for the reciprocal and `2^-24` for the range.
    #[inline(always)]
    fn kept_share(self, range: u64) -> u64 {
        (range >> 32) * (self.keep as u64 * u64::from(RECIPROCALS[self.left]))
    }
}

/// Appends `places` (ascending, below `n <= 4096`) to `out` in `len` bytes, which must be as many as the module's page asks.
pub(super) fn pack(places: &[u16], n: usize, len: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    let (mut low, mut range) = (0_u64, u64::MAX);
    let mut split = Split { keep: places.len(), left: n };
    for place in places {
        while split.left > n - usize::from(*place) {
            range -= split.kept_share(range);
            split.left -= 1;
            widen(&mut low, &mut range, out);
        }
        if split.is_settled() {
            break;
        }
        let share = split.kept_share(range);
        raise(&mut low, range - share, &mut out[begin..]);
        range = share;
        split = Split { keep: split.keep - 1, left: split.left - 1 };
        widen(&mut low, &mut range, out);
    }
    finish(low, begin + len, begin, out);
}

#[inline(always)]
fn widen(low: &mut u64, range: &mut u64, out: &mut Vec<u8>) {
    while *range < NARROW {
        out.push((*low >> 56) as u8);
        *low <<= 8;
        *range <<= 8;
    }
}

/// `low += by`; what runs over is carried into the bytes that are written already. They cannot all be 255, since the whole
/// stays below 1.
#[inline(always)]
fn raise(low: &mut u64, by: u64, written: &mut [u8]) {
    let (sum, over) = low.overflowing_add(by);
    *low = sum;
    if over {
        for byte in written.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
}

/// Writes the smallest number from `low` up that `end - out.len()` bytes can hold, and zeros after it.
fn finish(mut low: u64, end: usize, begin: usize, out: &mut Vec<u8>) {
    let unit = unit(end - out.len());
    raise(&mut low, unit - 1, &mut out[begin..]);
    low &= !(unit - 1);
    let bytes = low.to_be_bytes();
    let used = REGISTER_BYTES.min(end - out.len());
    out.extend_from_slice(&bytes[..used]);
    out.resize(end, 0);
}

/// The last of `bytes` bytes, counted in the register's units.
fn unit(bytes: usize) -> u64 {
    1 << (8 * (REGISTER_BYTES - bytes.clamp(1, REGISTER_BYTES)))
}

/// Reads as many places below `n` as `places` holds. Whether `bytes` are what [`pack`] writes for them; if not, `places`
/// holds ascending places below `n` all the same, or is as it was.
pub(super) fn unpack(bytes: &[u8], n: usize, places: &mut [u16]) -> bool {
    let mut rest = bytes.iter();
    let mut next = || u64::from(*rest.next().unwrap_or(&0));
    let mut above = (0..REGISTER_BYTES).fold(0, |number, _| number << 8 | next());
    let (mut range, mut read) = (u64::MAX, 0);
    if above == range {
        return false;
    }
    let mut split = Split { keep: places.len(), left: n };
    let mut free = places.iter_mut();
    while !split.is_settled() {
        let share = split.kept_share(range);
        let below = range - share;
        if above < below {
            range = below;
        } else {
            (above, range) = (above - below, share);
            *free.next().expect("as many as are kept") = (n - split.left) as u16;
            split.keep -= 1;
        }
        split.left -= 1;
        while range < NARROW {
            (above, range, read) = (above << 8 | next(), range << 8, read + 1);
        }
    }
    for (i, place) in free.enumerate() {
        *place = (n - split.left + i) as u16;
    }
    // How far the number lies above the interval's lower end, less than the last byte's unit where it is the smallest.
    let untouched = bytes.get(read + REGISTER_BYTES..).unwrap_or(&[]);
    above < unit(bytes.len().saturating_sub(read)) && untouched.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::super::topk_tight::packed_bytes;
    use super::*;

    /// Of which one is kept, by the codecs.
    const ONE_OF: [usize; 3] = [64, 32, 16];

    /// Packs, compares the length, unpacks, and sees any other string refused that differs in one bit.
    fn check(places: &[u16], n: usize, one_of: usize) {
        let (mut bytes, len) = (vec![0xff, 0xff], packed_bytes(one_of, places.len()));
        pack(places, n, len, &mut bytes);
        assert_eq!(
            (bytes.len(), bytes[..2].to_vec()),
            (2 + len, vec![0xff, 0xff]),
            "{n} {places:?}"
        );
        let bytes = &mut bytes[2..];
        let mut back = vec![0; places.len()];
        assert!(unpack(bytes, n, &mut back), "{n} {places:?}");
        assert_eq!(back, places);
        for bit in [0, 1, 7, 8 * len / 2, (8 * len).saturating_sub(1)]
            .map(|bit| bit.min((8 * len).saturating_sub(1)))
        {
            let Some(byte) = bytes.get_mut(bit / 8) else { continue };
            *byte ^= 1 << (bit % 8);
            let read = unpack(bytes, n, &mut back);
            assert!(!read || back != places, "{n}: two strings for {places:?}");
            assert!(back.is_sorted_by(|a, b| a < b) && back.iter().all(|p| usize::from(*p) < n));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn patterns(n: usize, k: usize) -> [Vec<u16>; 6] {
        let end = n as u16;
        let first = end - k as u16;
        let mut state = (n * 65 + k) as u64;
        let mut drawn: Vec<u16> = (0..end).collect();
        for i in 0..k {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            drawn.swap(i, i + (state >> 33) as usize % (n - i));
        }
        drawn.truncate(k);
        drawn.sort();
        let ends = (0..end).filter(|p| usize::from(*p) < k / 2 || *p >= first + (k / 2) as u16);
        [
            (0..k as u16).collect(),
            (first..end).collect(),
            ends.collect(),
            (0..k).map(|i| (i * n / k) as u16).collect(),
            (1..=k).map(|i| (i * n / k - 1) as u16).collect(),
            drawn,
        ]
    }

    #[test]
    fn the_worst_patterns_fit() {
        for one_of in ONE_OF {
            for n in (1..200).chain((200..4000).step_by(37)).chain(4000..=BLOCK_MAX) {
                let all = patterns(n, n.div_ceil(one_of));
                all.iter().for_each(|places| check(places, n, one_of));
            }
            check(&[], 0, one_of);
        }
    }

    #[test]
    fn the_bound_holds_for_every_length() {
        for (one_of, n) in
            ONE_OF.into_iter().flat_map(|one_of| (1..=BLOCK_MAX).map(move |n| (one_of, n)))
        {
            let k = n.div_ceil(one_of);
            let ways = (0..k).map(|i| ((n - i) as f64 / (k - i) as f64).log2()).sum::<f64>();
            let slack = k as f64 / f64::from(1 << 18);
            assert!(ways + slack + 1e-9 < (8 * packed_bytes(one_of, k)) as f64, "{n}: {ways}");
        }
    }

    #[test]
    fn every_string_for_few_elements_is_one_pattern_or_refused() {
        for (n, ways) in [(1, 1), (2, 2), (63, 63), (64, 64)] {
            let mut seen = vec![false; n];
            for byte in 0..=255 {
                let mut place = [0];
                if unpack(&[byte], n, &mut place) {
                    assert!(!seen[usize::from(place[0])], "{n}: {byte}");
                    seen[usize::from(place[0])] = true;
                }
            }
            assert_eq!(seen.iter().filter(|seen| **seen).count(), ways);
        }
    }
}
