//! `mask`: of every 256 elements (`one_of`, a power of two) one, exactly. Which one follows from the run's seed, the chunk and the round,
//! so that no place is sent and all members of a round send the same ones: their mean is exact on these.
//!
//! A block of `one_of` elements is that element as an f32: 4 bytes, 0.125 bits an element at 1 of 256; in `mask-bf16` it is a bfloat16,
//! 2 bytes and 0.0625. A short last block is one of its own elements.
//!
//! SPARTA (Beton et al. 2025, sparse parameter averaging: 0.05 to 0.5 % of the weights) draws a mask anew each time, by which an element
//! waits for 256 turns on average and a few for thousands. Here each block goes through all its places once in `one_of` turns, in an order
//! drawn for each block anew: what was never sent is never older than two of these cycles. One element of each block, rather than so many
//! of the whole chunk, makes the count of bytes exact and leaves nothing to sort.
//!
//! What is not selected stays in the residual. SPARTA lets it be, as drift between the peers' parameters, which they train on. Peers of
//! one committed state begin each round at the same parameters and have no drift: what they did not keep would be lost.

use super::bf16::{from_bf16, to_bf16};
use super::coder::Context;
use super::{Chunks, Fault, LIMIT, LIMIT_BITS};
use crate::data::rng::{finalise, mix};

pub(super) const SCHEME: Chunks = Chunks {
    name: "mask",
    block: |context| Some(context.one_of as usize),
    bytes: |context, elems| bytes(context, elems, F32_BYTES),
    encode: |context, input, out| {
        each(context, input.len(), |at| out.extend_from_slice(&limited(input[at]).to_le_bytes()));
    },
    fault: |_, bytes, _| {
        let bits = |b: &[u8; F32_BYTES]| u32::from_le_bytes(*b);
        let beyond = |b: &[u8; F32_BYTES]| bits(b) & !SIGN > LIMIT_BITS;
        bytes.as_chunks().0.iter().position(beyond).map(|block| (block, Fault::Scale))
    },
    decode: |context, bytes, out| {
        out.fill(0.0);
        let mut numbers = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        each(context, out.len(), |at| out[at] = numbers.next().unwrap_or(0.0));
    },
    accumulate: |context, bytes, weight, acc| {
        let mut numbers = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        each(context, acc.len(), |at| acc[at] += weight * numbers.next().unwrap_or(0.0));
    },
};

/// The same in half the bytes.
pub(super) const SCHEME_BF16: Chunks = Chunks {
    name: "mask-bf16",
    block: SCHEME.block,
    bytes: |context, elems| bytes(context, elems, BF16_BYTES),
    encode: |context, input, out| {
        let write = |at: usize| to_bf16(limited(input[at])).to_le_bytes();
        each(context, input.len(), |at| out.extend_from_slice(&write(at)));
    },
    fault: |_, bytes, _| {
        let beyond = |b: &[u8; BF16_BYTES]| from_bf16(*b).to_bits() & !SIGN > LIMIT_BITS;
        bytes.as_chunks().0.iter().position(beyond).map(|block| (block, Fault::Scale))
    },
    decode: |context, bytes, out| {
        out.fill(0.0);
        let mut numbers = bytes.as_chunks().0.iter().map(|b| from_bf16(*b));
        each(context, out.len(), |at| out[at] = numbers.next().unwrap_or(0.0));
    },
    accumulate: |context, bytes, weight, acc| {
        let mut numbers = bytes.as_chunks().0.iter().map(|b| from_bf16(*b));
        each(context, acc.len(), |at| acc[at] += weight * numbers.next().unwrap_or(0.0));
    },
};

const F32_BYTES: usize = 4;
const BF16_BYTES: usize = 2;
const SIGN: u32 = 1 << 31;

fn bytes(context: &Context, elems: usize, value: usize) -> usize {
    elems.div_ceil(context.one_of as usize).saturating_mul(value)
}

fn limited(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) }
}

/// Calls `then` with the place of each selected element among `elems`, in ascending order.
fn each(context: &Context, elems: usize, mut then: impl FnMut(usize)) {
    let one_of = context.one_of as usize;
    let before = context.first / one_of;
    for (i, start) in (0..elems).step_by(one_of).enumerate() {
        then(start + place(context, (before + i) as u64, one_of.min(elems - start)));
    }
}

/// Which of the `len` elements of a block has its turn.
fn place(context: &Context, block: u64, len: usize) -> usize {
    let one_of = u64::from(context.one_of);
    let (cycle, turn) = (context.turn / one_of, context.turn % one_of);
    // Counted, not drawn in sequence: run, chunk, block and cycle are mixed in one after the other.
    let run = mix(mix(context.seed ^ 0x6d61_736b) ^ context.chunk);
    if len < context.one_of as usize {
        let shift = mix(run ^ block) % len as u64;
        return ((context.turn % len as u64 + shift) % len as u64) as usize;
    }
    let order = mix(mix(run ^ block) ^ cycle);
    // An odd factor and a shift order the places of a power of two anew; the low bits, which a product mixes least, are mixed by
    // a second one of the reversed number.
    let mask = one_of - 1;
    let width = one_of.trailing_zeros();
    if width == 0 {
        return 0;
    }
    let first = (turn.wrapping_mul(order | 1).wrapping_add(order >> 20)) & mask;
    let reversed = first.reverse_bits() >> (u64::BITS - width);
    (reversed.wrapping_mul(finalise(order) | 1) & mask) as usize
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_refused;
    use super::super::{Codec, CodecError, Coder};
    use super::*;

    fn coder(context: Context) -> Coder {
        Coder { codec: Codec::Mask, context }
    }

    /// The places that are sent of so many elements.
    fn selected(context: Context, elems: usize) -> Vec<usize> {
        let mut places = Vec::new();
        each(&context, elems, |at| places.push(at));
        places
    }

    #[test]
    fn all_peers_select_the_same_and_every_place_has_its_turn() {
        for one_of in [1, 2, 8, 256] {
            let turn = |turn| Context { seed: 7, chunk: 3, turn, one_of, ..Context::default() };
            let n = 3 * one_of as usize;
            let mut seen: Vec<usize> =
                (0..u64::from(one_of)).flat_map(|t| selected(turn(t), n)).collect();
            seen.sort();
            assert_eq!(seen, (0..n).collect::<Vec<_>>(), "1 of {one_of}");
        }
        let seven = |t| Context { turn: t, one_of: 8, ..Context::default() };
        let short: Vec<_> = (0..7).flat_map(|t| selected(seven(t), 7)).collect();
        assert_eq!(
            {
                let mut all = short.clone();
                all.sort();
                all
            },
            (0..7).collect::<Vec<_>>()
        );
    }

    #[test]
    fn places_differ_by_seed_chunk_turn_and_cycle() {
        let usual = Context::default();
        let n = 64 * 256;
        let base = selected(usual, n);
        for other in [
            Context { seed: 1, ..usual },
            Context { chunk: 1, ..usual },
            Context { turn: 1, ..usual },
            Context { turn: 256, ..usual },
        ] {
            let same = selected(other, n).iter().zip(&base).filter(|(a, b)| a == b).count();
            assert!(same < 8, "{other:?} shares {same} of 64 places");
        }
        assert_eq!(
            selected(Context { first: 512, ..usual }, n - 512),
            base[2..].iter().map(|at| at - 512).collect::<Vec<_>>()
        );
    }

    #[test]
    fn places_are_spread_evenly() {
        let mut counts = [0; 16];
        let context = |turn| Context { turn, one_of: 16, ..Context::default() };
        for turn in [0, 5, 17] {
            selected(context(turn), 16 * 4096).iter().for_each(|at| counts[at % 16] += 1);
        }
        // 768 each; five standard deviations are 134.
        assert!(counts.iter().all(|n| (634..902).contains(n)), "{counts:?}");
    }

    #[test]
    fn what_is_selected_is_exact_and_the_rest_is_zero() {
        let context = Context { one_of: 4, ..Context::default() };
        let input = [1.5, -2.5, 1e-40, 4.0, 0.1, 0.2, f32::NAN, f32::INFINITY, 9.0];
        let mut bytes = Vec::new();
        coder(context).encode(&input, &mut bytes);
        assert_eq!(bytes.len(), 12);
        let mut back = vec![5.0; 9];
        coder(context).decode(&bytes, &mut back).unwrap();
        let places = selected(context, 9);
        for (at, x) in back.iter().enumerate() {
            let want = if places.contains(&at) { limited(input[at]) } else { 0.0 };
            assert_eq!(x.to_bits(), want.to_bits(), "{at}");
        }
    }

    #[test]
    fn a_liars_numbers_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::MAX, -f32::INFINITY] {
            let bytes = [0.0, bad].map(f32::to_le_bytes).concat();
            let want = CodecError::Scale { codec: Codec::Mask, block: 1 };
            check_refused(Codec::Mask, &bytes, 512, want);
            let bytes = [[0, 0], [bad.to_le_bytes()[2], bad.to_le_bytes()[3]]].concat();
            let want = CodecError::Scale { codec: Codec::MaskBf16, block: 1 };
            check_refused(Codec::MaskBf16, &bytes, 512, want);
        }
    }
}
