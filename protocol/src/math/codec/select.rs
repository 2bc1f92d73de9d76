//! Which elements of a block are the largest, without sorting.
//!
//! Positive floats order as their bits do, so the smallest magnitude that is kept is found bit by bit from the top: a bit
//! stays set if enough elements reach the number that it makes. Each bit costs one pass of comparisons, which runs over
//! whole registers in the first cache, and the search ends early once exactly as many are left as are wanted.

use super::{BLOCK_MAX, LIMIT_BITS};

/// Elements that are looked at together when few of them are kept.
const GROUP: usize = 16;

wide! {
    /// Writes the places of the largest elements of `block` to `places`, as many as it holds, in ascending order; among
    /// equal magnitudes the first ones are kept. `bits` receives the magnitude of each element as bits: NaN is 0, others
    /// are held within the limit. `block` has at most [`BLOCK_MAX`] elements, `places` no more than `block`.
    pub(super) fn largest(block: &[f32], bits: &mut [i32; BLOCK_MAX], places: &mut [u16]) {
        let bits = &mut bits[..block.len()];
        for (bits, x) in bits.iter_mut().zip(block) {
            let magnitude = x.to_bits() as i32 & i32::MAX;
            let number = if magnitude > f32::INFINITY.to_bits() as i32 { 0 } else { magnitude };
            *bits = i32::min(number, LIMIT_BITS as i32);
        }
        let least = threshold(bits, places.len());
        // Room for elements of the threshold's own magnitude.
        let mut ties = places.len() - reaching(bits, least + 1);
        let mut places = places.iter_mut();
        for (group, bits) in bits.chunks(GROUP).enumerate() {
            if bits.iter().fold(0, |max, bits| i32::max(max, *bits)) < least {
                continue;
            }
            for (i, bits) in bits.iter().enumerate() {
                if *bits > least || *bits == least && ties > 0 {
                    ties -= usize::from(*bits == least);
                    let place = places.next().expect("as many as are wanted");
                    *place = (group * GROUP + i) as u16;
                }
            }
        }
    }
}

/// The largest threshold that at least `wanted` elements reach, or one that exactly `wanted` reach.
#[inline(always)]
fn threshold(bits: &[i32], wanted: usize) -> i32 {
    let largest = bits.iter().fold(0, |max, bits| i32::max(max, *bits));
    let mut least = 0;
    for bit in (0..31).rev() {
        let higher = least | 1 << bit;
        if higher > largest {
            continue;
        }
        let count = reaching(bits, higher);
        if count >= wanted {
            least = higher;
        }
        if count == wanted {
            break;
        }
    }
    least
}

/// How many elements are `least` or more.
#[inline(always)]
fn reaching(bits: &[i32], least: i32) -> usize {
    let count = |sum: i32, bits: &i32| sum.wrapping_add(i32::from(*bits >= least));
    bits.iter().fold(0, count) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &[f32], want: &[u16]) {
        let (mut bits, mut places) = ([0; BLOCK_MAX], vec![9; want.len()]);
        largest(block, &mut bits, &mut places);
        assert_eq!(places, want, "{block:?}");
    }

    #[test]
    fn the_largest_in_order() {
        check(&[1.0, -3.0, 2.0, -0.5], &[1, 2]);
        check(&[1.0], &[0]);
        check(&[], &[]);
        check(&[0.0, f32::from_bits(1), 0.0], &[1]);
    }

    #[test]
    fn of_equals_the_first() {
        check(&[2.0, 1.0, -2.0, 2.0], &[0, 2]);
        check(&[0.0; 5], &[0, 1, 2]);
        check(&[0.0, 0.0, 1.0, 0.0], &[0, 2]);
        check(&[f32::INFINITY, 1.0, f32::MAX, -1.0], &[0, 1, 2]);
        check(&[f32::NAN, 1e-40, f32::NAN], &[0, 1]);
    }

    #[test]
    fn it_is_what_a_stable_sort_finds() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Few distinct magnitudes, so that there are ties.
            (state >> 24) as f32 - 128.0
        };
        for n in [1_usize, 15, 16, 17, 100, 4095, 4096] {
            let block: Vec<f32> = (0..n).map(|_| next()).collect();
            for k in [1, n.div_ceil(64), n] {
                let mut want: Vec<u16> = (0..n as u16).collect();
                want.sort_by(|a, b| block[*b as usize].abs().total_cmp(&block[*a as usize].abs()));
                want.truncate(k);
                want.sort();
                check(&block, &want);
            }
        }
    }
}
