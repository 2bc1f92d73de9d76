//! `topk-tight`: what [`topk`](super::topk) keeps, with the places as one number.
//!
//! A block of `n` elements, of which `k = ceil(n / 64)` are kept, is the codebook (2 bytes), the places in
//! `min(ceil(15 k / 16), 59)` bytes, and the values (`ceil(k / 4)` bytes): 77 bytes for a whole block, 0.15039 bits an element,
//! against 114 and 0.22266. Codebook and values are `topk`'s, and so is what it decodes to, bit for bit. How places become
//! bytes, and why these bytes are always enough, stands in `places.rs`.

use super::places::{pack, unpack};
use super::topk::{KEPT, Kept, block_bytes, kept, numbers, parts, value_fault};
use super::{BLOCK_MAX, Blocks, Fault, blocks};

pub(super) const SCHEME: Blocks = Blocks {
    name: "topk-tight",
    block: BLOCK_MAX,
    block_bytes: |n| block_bytes(n, packed_bytes(kept(n))),
    encode,
    sound,
    fault,
    decode: |bytes, out| {
        out.fill(0.0);
        each(bytes, out, |x, number| *x = number);
    },
    accumulate: |bytes, weight, acc| each(bytes, acc, |acc, number| *acc += weight * number),
};

/// Bytes of `k` places among at most `64 k` elements.
const fn packed_bytes(k: usize) -> usize {
    let bytes = (15 * k).div_ceil(16);
    if bytes > 59 { 59 } else { bytes }
}

fn encode(input: &[f32], out: &mut Vec<u8>) {
    for block in input.chunks(BLOCK_MAX) {
        let kept = Kept::of(block);
        out.extend_from_slice(&kept.codebook_bytes());
        pack(kept.places(), block.len(), packed_bytes(kept.places().len()), out);
        out.extend_from_slice(kept.values());
    }
}

fn sound(bytes: &[u8], elems: usize) -> bool {
    blocks(&SCHEME, bytes, elems).all(|(block, n)| fault(block, n).is_none())
}

fn fault(block: &[u8], n: usize) -> Option<Fault> {
    let (codebook, packed, values) = parts(block, n);
    let mut places = [0; KEPT];
    let sound = unpack(packed, n, &mut places[..kept(n)]);
    value_fault(codebook, values, n).or_else(|| (!sound).then_some(Fault::Places))
}

/// Calls `then` for each kept element with its number.
fn each(bytes: &[u8], elems: &mut [f32], then: impl Fn(&mut f32, f32)) {
    let whole = block_bytes(BLOCK_MAX, packed_bytes(KEPT));
    let mut places = [0; KEPT];
    for (block, elems) in bytes.chunks(whole).zip(elems.chunks_mut(BLOCK_MAX)) {
        let (codebook, packed, values) = parts(block, elems.len());
        let places = &mut places[..kept(elems.len())];
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
