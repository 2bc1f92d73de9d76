//! `f32`: the numbers as they are, 4 bytes each.

use super::{BLOCK, Blocks, Fault, limited, within_limit};

pub(super) const SCHEME: Blocks = Blocks {
    name: "f32",
    block: BLOCK,
    block_bytes: |n| 4 * n,
    encode,
    sound: |bytes, _| sound(bytes),
    fault: |block, _| block.chunks(4).position(|b| !sound(b)).map(Fault::Value),
    decode,
    accumulate,
};

wide! {
    fn encode(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [[0; 4]; BLOCK]);
        for block in input.chunks(BLOCK) {
            for (b, x) in bytes.iter_mut().zip(limited(block, &mut copy)) {
                *b = x.to_le_bytes();
            }
            out.extend_from_slice(bytes[..block.len()].as_flattened());
        }
    }
}

wide! {
    fn sound(bytes: &[u8]) -> bool {
        within_limit(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)))
    }
}

wide! {
    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *o = f32::from_le_bytes(*b);
        }
    }
}

wide! {
    fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (acc, b) in acc.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *acc += weight * f32::from_le_bytes(*b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes_of, check, check_refused};
    use super::super::{Codec, CodecError, LIMIT};

    #[test]
    fn it_is_the_number_itself() {
        check(Codec::F32, &[], &[], &[]);
        check(Codec::F32, &[1.0, -0.0], &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x80], &[1.0, -0.0]);
        check(Codec::F32, &[f32::from_bits(1)], &[1, 0, 0, 0], &[f32::from_bits(1)]);
    }

    #[test]
    fn a_liars_numbers_are_refused() {
        let above = f32::from_bits(LIMIT.to_bits() + 1);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, above, -above] {
            let bytes = bytes_of(&[0.0, 1.0, bad].map(f32::to_le_bytes));
            check_refused(Codec::F32, &bytes, 3, CodecError::Value { codec: Codec::F32, index: 2 });
        }
    }

    #[test]
    fn accumulate_rounds_the_product_then_the_sum() {
        // 3 * (1 + 2^-23) needs one bit more than fits; a fused multiply-add would keep it.
        let x = 1.0 + f32::EPSILON;
        let mut acc = [-3.0];
        Codec::F32.accumulate(&x.to_le_bytes(), 3.0, &mut acc).unwrap();
        assert_eq!(acc, [3.0 * x - 3.0]);
        assert_ne!(acc, [3.0_f32.mul_add(x, -3.0)]);
    }
}
