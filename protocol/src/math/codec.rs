//! How a chunk of numbers becomes bytes and numbers again.
//!
//! | codec | bytes for `n` elements | a decoded element |
//! |---|---|---|
//! | `f32` | `4 n` | the element itself |
//! | `bf16` | `2 n` | the nearest bfloat16, ties to even |
//! | `int8` | `n + 4 ceil(n / 512)` | `q * scale`, `q` in -127..=127, one `scale` for 512 elements |
//!
//! All numbers are little-endian. `int8` writes block after block: the scale (f32), then one byte an element;
//! the last block may be short. `scale = max |x| / 127` and `q = x * (1 / scale)`, rounded to nearest, ties to
//! even (symmetric block quantisation: Dettmers et al., arXiv 2110.02861, with a linear code).
//! A run of whole blocks is thus itself a message, for every codec: [`Codec::byte_range`] says where it lies.
//!
//! **Encoding is total and its result always decodes.** NaN is written as 0 and values beyond ±[`LIMIT`] as
//! ±[`LIMIT`]. What was not written is the caller's to carry, and NaN and infinity cannot be carried: check with
//! [`all_finite`] first. An `int8` block whose magnitudes all lie below 2^-118 is written as zeros.
//!
//! **Decoding refuses** what no encoder writes and what would spoil a sum: NaN, infinities, values beyond
//! ±[`LIMIT`], scales that are negative or beyond the limit's. It checks before it writes, so a refused
//! message leaves the destination as it was.

use super::vector;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Elements that share one scale in [`Codec::Int8`].
pub const BLOCK: usize = 512;

/// Largest magnitude that travels: 2^100. No pseudo-gradient comes near it, and under it no weighted mean, no
/// residual and no momentum can overflow, so a liar cannot make an infinity out of finite numbers.
pub const LIMIT: f32 = f32::from_bits(LIMIT_BITS);

const LIMIT_BITS: u32 = (127 + 100) << 23;
const INT8_MAX: f32 = 127.0;
/// Largest scale that [`Codec::Int8`] writes or reads.
const SCALE_MAX: f32 = LIMIT / INT8_MAX;
/// Below this magnitude (2^-118) a block is zeros: its scale and the scale's inverse stay normal numbers.
const INT8_TINY: f32 = f32::from_bits((127 - 118) << 23);
const SCALE_BYTES: usize = size_of::<f32>();
const INT8_BLOCK_BYTES: usize = SCALE_BYTES + BLOCK;
/// 1.5 * 2^23: adding it to a float of small magnitude leaves the nearest integer, ties to even, in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// How elements travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// 32-bit floats, as they are.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest even.
    Bf16,
    /// Signed bytes with one scale for [`BLOCK`] elements.
    Int8,
}

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The message is longer or shorter than its elements need.
    Length {
        /// The codec that was to read it.
        codec: Codec,
        /// Bytes that the elements need.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// An element is NaN, infinite or beyond ±[`LIMIT`].
    Value {
        /// The codec that was to read it.
        codec: Codec,
        /// The first such element.
        index: usize,
    },
    /// A block's scale is NaN, infinite, negative or too large.
    Scale {
        /// The codec that was to read it.
        codec: Codec,
        /// The first such block.
        block: usize,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Length { codec, expected, got } => {
                write!(f, "{codec}: {got} bytes where {expected} are needed")
            }
            CodecError::Value { codec, index } => {
                write!(f, "{codec}: element {index} is not a finite number up to 2^100")
            }
            CodecError::Scale { codec, block } => {
                write!(
                    f,
                    "{codec}: the scale of block {block} is not a finite number up to 2^100 / 127"
                )
            }
        }
    }
}

impl std::error::Error for CodecError {}

/// A name that is no codec's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCodec(pub String);

impl fmt::Display for UnknownCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no codec: take f32, bf16 or int8", self.0)
    }
}

impl std::error::Error for UnknownCodec {}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Codec::F32 => "f32",
            Codec::Bf16 => "bf16",
            Codec::Int8 => "int8",
        })
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        match name {
            "f32" => Ok(Codec::F32),
            "bf16" => Ok(Codec::Bf16),
            "int8" => Ok(Codec::Int8),
            _ => Err(UnknownCodec(name.to_owned())),
        }
    }
}

impl Codec {
    /// All codecs, from the most exact to the smallest.
    pub const ALL: [Codec; 3] = [Codec::F32, Codec::Bf16, Codec::Int8];

    /// Bytes that [`Codec::encode`] writes for `elems` elements; saturates.
    pub fn encoded_len(self, elems: usize) -> usize {
        match self {
            Codec::F32 => elems.saturating_mul(4),
            Codec::Bf16 => elems.saturating_mul(2),
            Codec::Int8 => elems.saturating_add(elems.div_ceil(BLOCK).saturating_mul(SCALE_BYTES)),
        }
    }

    /// Where the elements `elems` of a message lie in its bytes. `elems` starts at a multiple of [`BLOCK`] and ends
    /// at one or at the message's end.
    pub fn byte_range(self, elems: Range<usize>) -> Range<usize> {
        self.encoded_len(elems.start)..self.encoded_len(elems.end)
    }

    /// Appends the encoding of `input` to `out`. Total: see the module's page for what NaN and infinity become.
    pub fn encode(self, input: &[f32], out: &mut Vec<u8>) {
        out.reserve(self.encoded_len(input.len()));
        match self {
            Codec::F32 => encode_f32(input, out),
            Codec::Bf16 => encode_bf16(input, out),
            Codec::Int8 => encode_int8(input, out),
        }
    }

    /// Whether `bytes` are `elems` elements in this codec, all of them usable.
    ///
    /// # Errors
    /// The length, or the first element or block at fault.
    pub fn check(self, bytes: &[u8], elems: usize) -> Result<(), CodecError> {
        let (expected, got) = (self.encoded_len(elems), bytes.len());
        if got != expected {
            return Err(CodecError::Length { codec: self, expected, got });
        }
        let sound = match self {
            Codec::F32 => sound_f32(bytes),
            Codec::Bf16 => sound_bf16(bytes),
            Codec::Int8 => sound_int8(bytes),
        };
        if sound { Ok(()) } else { Err(self.first_fault(bytes)) }
    }

    /// Decodes `bytes` into `out`, which has one place for every element.
    ///
    /// # Errors
    /// As [`Codec::check`]; `out` is then as it was.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, out.len())?;
        match self {
            Codec::F32 => decode_f32(bytes, out),
            Codec::Bf16 => decode_bf16(bytes, out),
            Codec::Int8 => decode_int8(bytes, out),
        }
        Ok(())
    }

    /// `acc[i] += weight * decoded[i]`, without a temporary vector. The product is rounded, then the sum.
    ///
    /// # Errors
    /// As [`Codec::check`]; `acc` is then as it was.
    pub fn accumulate(self, bytes: &[u8], weight: f32, acc: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, acc.len())?;
        match self {
            Codec::F32 => accumulate_f32(bytes, weight, acc),
            Codec::Bf16 => accumulate_bf16(bytes, weight, acc),
            Codec::Int8 => accumulate_int8(bytes, weight, acc),
        }
        Ok(())
    }

    /// The first fault in bytes of the right length that are not sound.
    #[cold]
    fn first_fault(self, bytes: &[u8]) -> CodecError {
        let first = |width: usize, sound: fn(&[u8]) -> bool| {
            bytes.chunks(width).position(|part| !sound(part)).unwrap_or(0)
        };
        match self {
            Codec::F32 => CodecError::Value { codec: self, index: first(4, sound_f32) },
            Codec::Bf16 => CodecError::Value { codec: self, index: first(2, sound_bf16) },
            Codec::Int8 => {
                CodecError::Scale { codec: self, block: first(INT8_BLOCK_BYTES, sound_int8) }
            }
        }
    }
}

/// Whether `values` hold neither NaN nor infinity.
pub fn all_finite(values: &[f32]) -> bool {
    vector::max_abs_bits(values) < f32::INFINITY.to_bits()
}

/// The block itself if it can travel as it is, else a copy in which NaN is 0 and the others are held within the limit.
#[inline(always)]
fn limited<'a>(block: &'a [f32], copy: &'a mut [f32; BLOCK]) -> &'a [f32] {
    if within_limit(block.iter().map(|x| x.to_bits())) {
        return block;
    }
    for (c, x) in copy.iter_mut().zip(block) {
        *c = if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) };
    }
    &copy[..block.len()]
}

/// Whether no magnitude is beyond [`LIMIT`]: the difference to the limit's bits turns negative for one that is.
#[inline(always)]
fn within_limit(bits: impl Iterator<Item = u32>) -> bool {
    let room = |bits: u32| LIMIT_BITS as i32 - (bits as i32 & i32::MAX);
    bits.fold(0, |signs, bits| signs | room(bits)) >= 0
}

// ---- f32 ------------------------------------------------------------------------------------------------------

wide! {
    fn encode_f32(input: &[f32], out: &mut Vec<u8>) {
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
    fn sound_f32(bytes: &[u8]) -> bool {
        within_limit(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)))
    }
}

wide! {
    fn decode_f32(bytes: &[u8], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *o = f32::from_le_bytes(*b);
        }
    }
}

wide! {
    fn accumulate_f32(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (acc, b) in acc.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *acc += weight * f32::from_le_bytes(*b);
        }
    }
}

// ---- bf16 -----------------------------------------------------------------------------------------------------

wide! {
    fn encode_bf16(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [[0; 2]; BLOCK]);
        for block in input.chunks(BLOCK) {
            for (b, x) in bytes.iter_mut().zip(limited(block, &mut copy)) {
                *b = to_bf16(*x).to_le_bytes();
            }
            out.extend_from_slice(bytes[..block.len()].as_flattened());
        }
    }
}

wide! {
    fn sound_bf16(bytes: &[u8]) -> bool {
        // As `within_limit`, on halves.
        let room = |b: &[u8; 2]| (LIMIT_BITS >> 16) as i16 - (i16::from_le_bytes(*b) & i16::MAX);
        bytes.as_chunks::<2>().0.iter().fold(0, |signs, b| signs | room(b)) >= 0
    }
}

wide! {
    fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *o = from_bf16(*b);
        }
    }
}

wide! {
    fn accumulate_bf16(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (acc, b) in acc.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *acc += weight * from_bf16(*b);
        }
    }
}

/// The nearest bfloat16 of a number within the limit.
#[inline(always)]
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    // Half of what is cut off, less one where the kept part is even. It cannot overflow: the limit has room above.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[inline(always)]
fn from_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

// ---- int8 -----------------------------------------------------------------------------------------------------

wide! {
    fn encode_int8(input: &[f32], out: &mut Vec<u8>) {
        let (mut copy, mut bytes) = ([0.0; BLOCK], [0; INT8_BLOCK_BYTES]);
        for block in input.chunks(BLOCK) {
            let block = limited(block, &mut copy);
            let (scale, inverse) = int8_scale(block);
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
    fn sound_int8(bytes: &[u8]) -> bool {
        // Compared as integers, a set sign and a NaN are both larger than the largest scale.
        let scales = bytes.chunks(INT8_BLOCK_BYTES).map(|block| int8_parts(block).0.to_bits());
        scales.fold(0, u32::max) <= SCALE_MAX.to_bits()
    }
}

wide! {
    fn decode_int8(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks(INT8_BLOCK_BYTES).zip(out.chunks_mut(BLOCK)) {
            let (scale, elems) = int8_parts(block);
            for (o, q) in out.iter_mut().zip(elems) {
                *o = f32::from(*q as i8) * scale;
            }
        }
    }
}

wide! {
    fn accumulate_int8(bytes: &[u8], weight: f32, acc: &mut [f32]) {
        for (block, acc) in bytes.chunks(INT8_BLOCK_BYTES).zip(acc.chunks_mut(BLOCK)) {
            let (scale, elems) = int8_parts(block);
            for (acc, q) in acc.iter_mut().zip(elems) {
                *acc += weight * (f32::from(*q as i8) * scale);
            }
        }
    }
}

/// The block's scale and the scale's inverse; both 0 for a block too small to be told from zeros.
#[inline(always)]
fn int8_scale(block: &[f32]) -> (f32, f32) {
    let largest = f32::from_bits(vector::max_abs_bits(block));
    if largest < INT8_TINY {
        return (0.0, 0.0);
    }
    let scale = largest / INT8_MAX;
    (scale, 1.0 / scale)
}

/// A block's scale and its elements. A block that is too short for a scale has scale 0 and no elements.
#[inline(always)]
fn int8_parts(block: &[u8]) -> (f32, &[u8]) {
    match block.split_first_chunk() {
        Some((scale, elems)) => (f32::from_le_bytes(*scale), elems),
        None => (0.0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes `input`, compares the bytes, decodes them and compares the numbers, bit for bit.
    fn check(codec: Codec, input: &[f32], bytes: &[u8], decoded: &[f32]) {
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
    fn check_refused(codec: Codec, bytes: &[u8], elems: usize, want: CodecError) {
        let mut out = vec![7.0; elems];
        assert_eq!(codec.decode(bytes, &mut out), Err(want));
        assert_eq!(codec.accumulate(bytes, 1.0, &mut out), Err(want));
        assert_eq!(codec.check(bytes, elems), Err(want));
        assert_eq!(out, vec![7.0; elems]);
    }

    fn bytes_of<const N: usize>(parts: &[[u8; N]]) -> Vec<u8> {
        parts.as_flattened().to_vec()
    }

    #[test]
    fn f32_is_the_number_itself() {
        check(Codec::F32, &[], &[], &[]);
        check(Codec::F32, &[1.0, -0.0], &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x80], &[1.0, -0.0]);
        check(Codec::F32, &[f32::from_bits(1)], &[1, 0, 0, 0], &[f32::from_bits(1)]);
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let rows: [(u32, u16); 8] = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_8000, 0x3f80), // a tie goes down to even
            (0x3f81_8000, 0x3f82), // a tie goes up to even
            (0x3f80_8001, 0x3f81), // just above a tie
            (0x3f80_7fff, 0x3f80), // just below one
            (0xbfff_ffff, 0xc000), // carries into the exponent
            (0x0000_0001, 0x0000), // the smallest denormal
            (0x8000_0000, 0x8000), // -0
        ];
        for (input, want) in rows {
            let decoded = f32::from_bits(u32::from(want) << 16);
            check(Codec::Bf16, &[f32::from_bits(input)], &want.to_le_bytes(), &[decoded]);
        }
    }

    #[test]
    fn int8_rounds_to_nearest_even() {
        let input = [127.0, -127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -0.0];
        let quanta = [127_i8, -127, 0, 2, 2, 0, -2, 0, 0];
        let mut bytes = 1.0_f32.to_le_bytes().to_vec();
        bytes.extend(quanta.map(|q| q as u8));
        check(Codec::Int8, &input, &bytes, &quanta.map(f32::from));
        check(Codec::Int8, &[], &[], &[]);
        check(Codec::Int8, &[0.0; 2], &[0; 6], &[0.0; 2]);
    }

    #[test]
    fn int8_scales_each_block_and_a_short_one() {
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
        let above = INT8_TINY;
        let mut bytes = (above / 127.0).to_le_bytes().to_vec();
        bytes.push(127);
        check(Codec::Int8, &[above], &bytes, &[127.0 * (above / 127.0)]);
    }

    #[test]
    fn what_cannot_travel_becomes_zero_or_the_limit() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, 1.0];
        let limited = [0.0, LIMIT, -LIMIT, LIMIT, -LIMIT, 1.0];
        check(Codec::F32, &odd, &bytes_of(&limited.map(f32::to_le_bytes)), &limited);
        let halves = limited.map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes());
        check(Codec::Bf16, &odd, &bytes_of(&halves), &limited);
        let mut bytes = SCALE_MAX.to_le_bytes().to_vec();
        bytes.extend([0_i8, 127, -127, 127, -127, 0].map(|q| q as u8));
        let top = 127.0 * SCALE_MAX;
        check(Codec::Int8, &odd, &bytes, &[0.0, top, -top, top, -top, 0.0]);
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
    fn a_liars_numbers_are_refused() {
        let above = f32::from_bits(LIMIT.to_bits() + 1);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, above, -above] {
            let bytes = bytes_of(&[0.0, 1.0, bad].map(f32::to_le_bytes));
            check_refused(Codec::F32, &bytes, 3, CodecError::Value { codec: Codec::F32, index: 2 });
        }
        for bad in [0x7fc0_u16, 0xffff, 0x7f80, 0xff80, 0x7181] {
            let bytes = bytes_of(&[0, bad].map(u16::to_le_bytes));
            check_refused(
                Codec::Bf16,
                &bytes,
                2,
                CodecError::Value { codec: Codec::Bf16, index: 1 },
            );
        }
        let above = f32::from_bits(SCALE_MAX.to_bits() + 1);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, above] {
            let mut bytes = vec![0; INT8_BLOCK_BYTES];
            bytes.extend(bad.to_le_bytes());
            bytes.push(1);
            let want = CodecError::Scale { codec: Codec::Int8, block: 1 };
            check_refused(Codec::Int8, &bytes, BLOCK + 1, want);
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

    #[test]
    fn names() {
        for codec in Codec::ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        let unknown = "fp4".parse::<Codec>().unwrap_err();
        assert_eq!(unknown.to_string(), "`fp4` is no codec: take f32, bf16 or int8");
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
}
