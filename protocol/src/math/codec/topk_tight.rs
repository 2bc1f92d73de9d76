//! `topk-tight`: what [`topk`](super::topk) keeps, with the places as one number; `topk32-tight` and `topk16-tight`, which keep two
//! and four times as many.
//!
//! | codec | of a block of `n` elements are kept | places | a whole block | bits an element |
//! |---|---|---|---|---|
//! | `topk-tight` | `k = ceil(n / 64)` | `min(ceil(15 k / 16), 59)` bytes | 77 bytes | 0.15039 |
//! | `topk32-tight` | `k = ceil(n / 32)` | `min(ceil(13 k / 16), 103)` bytes | 137 bytes | 0.26758 |
//! | `topk16-tight` | `k = ceil(n / 16)` | `min(ceil(11 k / 16), 173)` bytes | 239 bytes | 0.46680 |
//!
//! A block is the codebook (2 bytes), the places, and the values (`ceil(k / 4)` bytes). Codebook and values are `topk`'s, and what
//! `topk-tight` decodes to is what `topk` does, bit for bit, which needs 114 bytes. How places become bytes, and why these bytes are
//! always enough, stands in `places.rs`.

use super::places::{pack, unpack};
use super::topk::{KEPT_MAX, Kept, block_bytes, kept, numbers, parts, value_fault};
use super::{BLOCK_MAX, Blocks, Fault, blocks};

pub(super) const SCHEME: Blocks = scheme::<64>("topk-tight");
pub(super) const SCHEME_32: Blocks = scheme::<32>("topk32-tight");
pub(super) const SCHEME_16: Blocks = scheme::<16>("topk16-tight");

const fn scheme<const ONE_OF: usize>(name: &'static str) -> Blocks {
    Blocks {
        name,
        block: BLOCK_MAX,
        block_bytes: packed_block::<ONE_OF>,
        encode: encode::<ONE_OF>,
        sound: sound::<ONE_OF>,
        fault: fault::<ONE_OF>,
        decode: |bytes, out| {
            out.fill(0.0);
            each::<ONE_OF>(bytes, out, |x, number| *x = number);
        },
        accumulate: |bytes, weight, acc| {
            each::<ONE_OF>(bytes, acc, |acc, number| *acc += weight * number);
        },
    }
}

fn packed_block<const ONE_OF: usize>(n: usize) -> usize {
    block_bytes::<ONE_OF>(n, packed_bytes(ONE_OF, kept::<ONE_OF>(n)))
}

/// Bytes of `k` places among at most `one_of * k` elements.
pub(super) const fn packed_bytes(one_of: usize, k: usize) -> usize {
    let (sixteenths, most) = match one_of {
        64 => (15, 59),
        32 => (13, 103),
        _ => (11, 173),
    };
    let bytes = (sixteenths * k).div_ceil(16);
    if bytes > most { most } else { bytes }
}

fn encode<const ONE_OF: usize>(input: &[f32], out: &mut Vec<u8>) {
    for block in input.chunks(BLOCK_MAX) {
        let kept = Kept::of::<ONE_OF>(block);
        out.extend_from_slice(&kept.codebook_bytes());
        pack(kept.places(), block.len(), packed_bytes(ONE_OF, kept.places().len()), out);
        out.extend_from_slice(kept.values());
    }
}

fn sound<const ONE_OF: usize>(bytes: &[u8], elems: usize) -> bool {
    let scheme = const { &scheme::<ONE_OF>("") };
    blocks(scheme, bytes, elems).all(|(block, n)| fault::<ONE_OF>(block, n).is_none())
}

fn fault<const ONE_OF: usize>(block: &[u8], n: usize) -> Option<Fault> {
    let k = kept::<ONE_OF>(n);
    let (codebook, packed, values) = parts(block, k);
    let sound = unpack(packed, n, &mut [0; KEPT_MAX][..k]);
    value_fault(codebook, values, k).or_else(|| (!sound).then_some(Fault::Places))
}

/// Calls `then` for each kept element with its number.
fn each<const ONE_OF: usize>(bytes: &[u8], elems: &mut [f32], then: impl Fn(&mut f32, f32)) {
    let whole = packed_block::<ONE_OF>(BLOCK_MAX);
    let mut places = [0; KEPT_MAX];
    for (block, elems) in bytes.chunks(whole).zip(elems.chunks_mut(BLOCK_MAX)) {
        let places = &mut places[..kept::<ONE_OF>(elems.len())];
        let (codebook, packed, values) = parts(block, places.len());
        unpack(packed, elems.len(), places);
        for (place, number) in places.iter().zip(numbers(codebook, values, places.len())) {
            then(&mut elems[usize::from(*place)], number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError};

    #[test]
    fn a_place_among_few_is_a_share_of_a_byte() {
        // The codebook of 1.0 alone. A first of two that is kept is the upper half of all numbers, which begins just
        // above 0x80.
        check(Codec::TopkTight, &[0.5, -1.0], &[0x0f, 0x7f, 0, 0b11], &[0.0, -1.0]);
        check(Codec::TopkTight, &[1.0, -0.5], &[0x0f, 0x7f, 0x81, 0b01], &[1.0, 0.0]);
        check(Codec::TopkTight, &[-4.0], &[0x0f, 0x81, 0, 0b11], &[-4.0]);
        check(Codec::TopkTight, &[], &[], &[]);
    }

    #[test]
    fn two_and_four_times_as_many_are_kept() {
        let input: Vec<f32> = (0..64).map(|i| if i % 16 == 5 { 1.0 } else { 0.0 }).collect();
        let kept = |codec: Codec| {
            let (mut bytes, mut back) = (Vec::new(), vec![0.0; 64]);
            codec.encode(&input, &mut bytes);
            codec.decode(&bytes, &mut back).unwrap();
            (bytes.len(), back.iter().map(|x| x.round()).sum::<f32>())
        };
        let all = [Codec::TopkTight, Codec::Topk32Tight, Codec::Topk16Tight].map(kept);
        assert_eq!(all, [(4, 1.0), (5, 2.0), (6, 4.0)]);
    }

    #[test]
    fn a_liars_block_is_refused() {
        let places = CodecError::Places { codec: Codec::TopkTight, block: 0 };
        for byte in [0x01, 0x7f, 0x80, 0x82, 0xff] {
            check_refused(Codec::TopkTight, &[0x0f, 0x7f, byte, 0], 2, places);
        }
        check_refused(Codec::TopkTight, &[0x0f, 0x7f, 0, 0b100], 2, places);
        let scale = CodecError::Scale { codec: Codec::TopkTight, block: 0 };
        check_refused(Codec::TopkTight, &[0xff, 0xff, 0, 0], 2, scale);
    }
}
