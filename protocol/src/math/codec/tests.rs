//! What all codecs have in common, by example.

use super::*;

/// Encodes `input`, compares the bytes, decodes them and compares the numbers, bit for bit.
pub(super) fn check(codec: Codec, input: &[f32], bytes: &[u8], decoded: &[f32]) {
    let mut out = vec![0xee];
    codec.encode(input, &mut out);
    assert_eq!(&out[1..], bytes, "{codec} {input:?}");
    assert_eq!(bytes.len(), codec.encoded_len(input.len()));
    let mut back = vec![9.0; input.len()];
    codec.decode(bytes, &mut back).unwrap();
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(decoded), "{codec} {input:?}");
}

/// `decode` and `accumulate` both give `want` and leave their destination as it was.
pub(super) fn check_refused(codec: Codec, bytes: &[u8], elems: usize, want: CodecError) {
    let mut out = vec![7.0; elems];
    assert_eq!(codec.decode(bytes, &mut out), Err(want));
    assert_eq!(codec.accumulate(bytes, 1.0, &mut out), Err(want));
    assert_eq!(codec.check(bytes, elems), Err(want));
    assert_eq!(out, vec![7.0; elems]);
}

pub(super) fn bytes_of<const N: usize>(parts: &[[u8; N]]) -> Vec<u8> {
    parts.as_flattened().to_vec()
}

#[test]
fn what_cannot_travel_becomes_zero_or_the_limit() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, 1.0];
    let limited = [0.0, LIMIT, -LIMIT, LIMIT, -LIMIT, 1.0];
    check(Codec::F32, &odd, &bytes_of(&limited.map(f32::to_le_bytes)), &limited);
    let halves = limited.map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes());
    check(Codec::Bf16, &odd, &bytes_of(&halves), &limited);
}

#[test]
fn wrong_lengths_are_refused() {
    for codec in Codec::ALL {
        let expected = codec.encoded_len(3);
        for got in [0, 1, expected - 1, expected + 1] {
            let want = CodecError::Length { codec, expected, got };
            check_refused(codec, &vec![0; got], 3, want);
        }
    }
}

#[test]
fn bytes_of_a_million_elements() {
    let lengths = Codec::ALL.map(|codec| codec.encoded_len(1 << 20));
    let blocks = 1 << 8;
    let dense = [4 << 20, 2 << 20, 516 << 11, 260 << 11, 68 << 11];
    let sparse = [239, 137, 114, 77, 9].map(|bytes| bytes * blocks);
    let chunked = [4 << 12, 2 << 12, 4 * (4096 + 256 + 4)];
    assert_eq!(
        (&lengths[..5], &lengths[5..10], &lengths[10..]),
        (&dense[..], &sparse[..], &chunked[..])
    );
}

#[test]
fn a_whole_block_is_the_longest_and_divides_the_largest() {
    for codec in Codec::ALL {
        let Scheme::Blocks(scheme) = codec.scheme() else { continue };
        assert!(BLOCK_MAX.is_multiple_of(scheme.block), "{codec}");
        let whole = (scheme.block_bytes)(scheme.block);
        let lengths: Vec<_> = (0..=scheme.block).map(scheme.block_bytes).collect();
        assert!(lengths[0] == 0 && lengths[1] > 0 && lengths.is_sorted(), "{codec}");
        assert_eq!(lengths[scheme.block], whole);
    }
}

#[test]
fn names() {
    for codec in Codec::ALL {
        assert_eq!(codec.to_string().parse(), Ok(codec));
        assert_eq!(crate::wire::to_cbor(&codec), crate::wire::to_cbor(&codec.to_string()));
    }
    let unknown = "int4".parse::<Codec>().unwrap_err();
    let want = "`int4` is no codec: take f32, bf16, int8, fp4, sign, topk16-tight, topk32-tight, topk, topk-tight, dct, mask, mask-bf16 or powersgd";
    assert_eq!(unknown.to_string(), want);
}

#[test]
fn finite() {
    for (values, want) in [
        (&[][..], true),
        (&[0.0, -f32::MAX, f32::MIN_POSITIVE], true),
        (&[0.0, f32::NAN], false),
        (&[f32::NEG_INFINITY, 0.0], false),
    ] {
        assert_eq!(all_finite(values), want, "{values:?}");
    }
}
