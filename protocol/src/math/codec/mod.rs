//! How a chunk of numbers becomes bytes and numbers again.
//!
//! | codec | block | bytes for a block of `n` elements | bits an element | a decoded element |
//! |---|---|---|---|---|
//! | [`f32`](float32) | 512 | `4 n` | 32 | the element itself |
//! | [`bf16`] | 512 | `2 n` | 16 | the nearest bfloat16, ties to even |
//! | [`int8`] | 512 | `n + 4` | 8.0625 | `q * scale`, `q` in -127..=127 |
//! | [`fp4`] | 512 | `ceil(n / 2) + 4` | 4.0625 | 0 or `±scale * 2^-e`, `e` in 0..=6 |
//! | [`sign`] | 512 | `4 ceil(n / 32) + 4` | 1.0625 | `±` the block's mean magnitude |
//! | [`topk`] | 4096 | with `k = ceil(n / 64)`: `ceil(3 k / 2) + ceil(k / 4) + 2` | 0.2227 | 0 for all but the `k` largest, which have two magnitudes |
//! | [`topk-tight`](topk_tight) | 4096 | with `k = ceil(n / 64)`: `min(ceil(15 k / 16), 59) + ceil(k / 4) + 2` | 0.1504 | the same |
//! | [`topk32-tight`](topk_tight) | 4096 | with `k = ceil(n / 32)`: `min(ceil(13 k / 16), 103) + ceil(k / 4) + 2` | 0.2676 | the same with twice as many |
//! | [`topk16-tight`](topk_tight) | 4096 | with `k = ceil(n / 16)`: `min(ceil(11 k / 16), 173) + ceil(k / 4) + 2` | 0.4668 | the same with four times as many |
//! | [`dct`] | 4096 | 9 | 0.0176 | a sum of four cosines of one magnitude |
//! | [`mask`] | 256 | 4 | 0.125 | 0 for all but one, which is the element itself |
//! | [`mask-bf16`](mask) | 256 | 2 | 0.0625 | the same, rounded |
//! | [`powersgd`] | a chunk of `rows x columns` | `rank * (rows + columns + 4)` | `8 rank (rows + columns + 4) / n` | a sum of `rank` products of a column and a row |
//!
//! The last three may have other parameters than the usual ones, and depend on what is known of a chunk beside its bytes: [`Coder`].
//!
//! All numbers are little-endian. A message is block after block, and the last block may be short. A run of whole
//! blocks is thus itself a message, for every codec that has blocks: [`Codec::byte_range`] says where it lies.
//!
//! **Encoding is total and its result always decodes.** NaN is written as 0 and values beyond ±[`LIMIT`] as
//! ±[`LIMIT`]. What was not written is the caller's to carry, and NaN and infinity cannot be carried: check with
//! [`all_finite`] first. A block whose scale would lie below 2^-118 is written as zeros.
//!
//! Loops over elements add integers with `wrapping_add`, though none of these sums can overflow: a check in each would keep them from
//! being vectorised in builds that have such checks.
//!
//! **Decoding refuses** what no encoder writes and what would spoil a sum: NaN, infinities, values beyond
//! ±[`LIMIT`], scales that are negative or beyond the limit's, places that are no places or written in another way than
//! the encoder's. It checks before it writes, so a refused message leaves the destination as it was.

pub mod bf16;
mod coder;
pub mod dct;
pub mod float32;
pub mod fp4;
pub mod int8;
pub mod mask;
mod places;
pub mod powersgd;
mod select;
pub mod sign;
#[cfg(test)]
mod tests;
pub mod topk;
pub mod topk_tight;

pub use coder::{Coder, Context};
pub use powersgd::RANK_MAX;

use super::vector;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Elements that share one scale in [`Codec::Int8`], [`Codec::Fp4`] and [`Codec::Sign`].
pub const BLOCK: usize = 512;
/// The largest [`Codec::block`], of which all others are divisors.
pub const BLOCK_MAX: usize = 4096;

/// Largest magnitude that travels: 2^100. No pseudo-gradient comes near it, and under it no weighted mean, no
/// residual and no momentum can overflow, so a liar cannot make an infinity out of finite numbers.
pub const LIMIT: f32 = f32::from_bits(LIMIT_BITS);

const LIMIT_BITS: u32 = (127 + 100) << 23;
/// Below this magnitude (2^-118) a block is zeros: its scale and the scale's inverse stay normal numbers.
const TINY: f32 = f32::from_bits((127 - 118) << 23);
const SCALE_BYTES: usize = size_of::<f32>();

/// How elements travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// 32-bit floats, as they are.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest even.
    Bf16,
    /// Signed bytes with one scale for [`BLOCK`] elements.
    Int8,
    /// Signed powers of two with one scale for [`BLOCK`] elements.
    Fp4,
    /// Signs and one magnitude for [`BLOCK`] elements.
    Sign,
    /// The largest of every 64 elements, two bits and a place each.
    Topk,
    /// What [`Codec::Topk`] decodes to, in fewer bytes and more time.
    TopkTight,
    /// The largest of every 32 elements, as [`Codec::TopkTight`] writes them.
    Topk32Tight,
    /// The largest of every 16 elements, as [`Codec::TopkTight`] writes them.
    Topk16Tight,
    /// The four largest cosines of 64 x 64 elements.
    Dct,
    /// One of every 256 elements, the same for all members of a round.
    Mask,
    /// What [`Codec::Mask`] sends, as bfloat16.
    MaskBf16,
    /// A few pairs of factors for a chunk seen as a matrix.
    Powersgd,
}

/// What one codec does.
enum Scheme {
    /// The same to every block.
    Blocks(&'static Blocks),
    /// By the chunk's context.
    Chunks(&'static Chunks),
}

/// What a codec does whose blocks are all written alike; `elems` is how many elements `bytes` are.
struct Blocks {
    name: &'static str,
    /// Elements of a whole block; a divisor of [`BLOCK_MAX`].
    block: usize,
    /// Bytes of a block of so many elements, for a whole block the most; none for none.
    block_bytes: fn(elems: usize) -> usize,
    encode: fn(input: &[f32], out: &mut Vec<u8>),
    /// Whether bytes of the right length are what the encoder may have written.
    sound: fn(bytes: &[u8], elems: usize) -> bool,
    /// What is wrong with the bytes of one block.
    fault: fn(block: &[u8], elems: usize) -> Option<Fault>,
    /// Both for sound bytes alone.
    decode: fn(bytes: &[u8], out: &mut [f32]),
    accumulate: fn(bytes: &[u8], weight: f32, acc: &mut [f32]),
}

/// A block's place in a message, and what is wrong with it; nothing if all are sound.
type FirstFault = Option<(usize, Fault)>;

/// What a codec does that has to know what it writes.
struct Chunks {
    name: &'static str,
    /// Elements of a block that stands alone, a divisor of [`BLOCK_MAX`]; `None` where a chunk is one.
    block: fn(&Context) -> Option<usize>,
    /// Bytes of so many elements; none for none, saturates.
    bytes: fn(&Context, elems: usize) -> usize,
    encode: fn(&Context, input: &[f32], out: &mut Vec<u8>),
    /// The first block at fault in bytes of the right length.
    fault: fn(&Context, bytes: &[u8], elems: usize) -> FirstFault,
    /// Both for sound bytes alone.
    decode: fn(&Context, bytes: &[u8], out: &mut [f32]),
    accumulate: fn(&Context, bytes: &[u8], weight: f32, acc: &mut [f32]),
}

impl Scheme {
    fn name(&self) -> &'static str {
        match self {
            Scheme::Blocks(blocks) => blocks.name,
            Scheme::Chunks(chunks) => chunks.name,
        }
    }
}

/// What is wrong with a block.
enum Fault {
    /// The element's place in the block; in the message, where it is told with the block.
    Value(usize),
    Scale,
    Places,
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
    /// A block's places are not the block's, or they or the unused bits are written as no encoder writes them.
    Places {
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
                let most = match codec {
                    Codec::Int8 => "2^100 / 127",
                    Codec::Powersgd => "2^78, or 2^100 / 127 where nothing is factored",
                    _ => "2^100",
                };
                let what = if codec.is_mask() { "element" } else { "scale" };
                write!(
                    f,
                    "{codec}: the {what} of block {block} is not a finite number up to {most}"
                )
            }
            CodecError::Places { codec, block } => {
                write!(f, "{codec}: no encoder writes the places or unused bits of block {block}")
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
        write!(f, "`{}` is no codec: take {}", self.0, Codec::names())
    }
}

impl std::error::Error for UnknownCodec {}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.scheme().name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        let named = |codec: &Codec| codec.scheme().name() == name;
        Codec::ALL.into_iter().find(named).ok_or_else(|| UnknownCodec(name.to_owned()))
    }
}

impl Codec {
    /// All codecs: dense ones from the most exact to the smallest, then sparse ones.
    pub const ALL: [Codec; 13] = [
        Codec::F32,
        Codec::Bf16,
        Codec::Int8,
        Codec::Fp4,
        Codec::Sign,
        Codec::Topk16Tight,
        Codec::Topk32Tight,
        Codec::Topk,
        Codec::TopkTight,
        Codec::Dct,
        Codec::Mask,
        Codec::MaskBf16,
        Codec::Powersgd,
    ];

    /// Those that lose so little that error feedback has made up for it a round later: what is learned is the same as with `f32`.
    /// The others save more bytes, and what they cost in loss is to be measured for each run.
    pub const NEARLY_EXACT: [Codec; 3] = [Codec::F32, Codec::Bf16, Codec::Int8];

    fn scheme(self) -> Scheme {
        match self {
            Codec::F32 => Scheme::Blocks(&float32::SCHEME),
            Codec::Bf16 => Scheme::Blocks(&bf16::SCHEME),
            Codec::Int8 => Scheme::Blocks(&int8::SCHEME),
            Codec::Fp4 => Scheme::Blocks(&fp4::SCHEME),
            Codec::Sign => Scheme::Blocks(&sign::SCHEME),
            Codec::Topk => Scheme::Blocks(&topk::SCHEME),
            Codec::TopkTight => Scheme::Blocks(&topk_tight::SCHEME),
            Codec::Topk32Tight => Scheme::Blocks(&topk_tight::SCHEME_32),
            Codec::Topk16Tight => Scheme::Blocks(&topk_tight::SCHEME_16),
            Codec::Dct => Scheme::Blocks(&dct::SCHEME),
            Codec::Mask => Scheme::Chunks(&mask::SCHEME),
            Codec::MaskBf16 => Scheme::Chunks(&mask::SCHEME_BF16),
            Codec::Powersgd => Scheme::Chunks(&powersgd::SCHEME),
        }
    }

    fn is_mask(self) -> bool {
        matches!(self, Codec::Mask | Codec::MaskBf16)
    }

    /// The codec on a chunk of which this is known.
    pub fn on(self, context: Context) -> Coder {
        Coder { codec: self, context }
    }

    /// The names of all codecs, for help and errors: "f32, bf16, … or dct".
    pub fn names() -> String {
        let names = Codec::ALL.map(|codec| codec.scheme().name());
        let (last, others) = names.split_last().expect("there are codecs");
        format!("{} or {last}", others.join(", "))
    }

    /// [`Coder::encoded_len`] in the usual context.
    pub fn encoded_len(self, elems: usize) -> usize {
        Coder::from(self).encoded_len(elems)
    }

    /// [`Coder::byte_range`] in the usual context.
    pub fn byte_range(self, elems: Range<usize>) -> Range<usize> {
        Coder::from(self).byte_range(elems)
    }

    /// [`Coder::encode`] in the usual context.
    pub fn encode(self, input: &[f32], out: &mut Vec<u8>) {
        Coder::from(self).encode(input, out);
    }

    /// [`Coder::check`] in the usual context.
    ///
    /// # Errors
    /// The length, or the first element or block at fault.
    pub fn check(self, bytes: &[u8], elems: usize) -> Result<(), CodecError> {
        Coder::from(self).check(bytes, elems)
    }

    /// [`Coder::decode`] in the usual context.
    ///
    /// # Errors
    /// As [`Coder::check`]; `out` is then as it was.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        Coder::from(self).decode(bytes, out)
    }

    /// [`Coder::accumulate`] in the usual context.
    ///
    /// # Errors
    /// As [`Coder::check`]; `acc` is then as it was.
    pub fn accumulate(self, bytes: &[u8], weight: f32, acc: &mut [f32]) -> Result<(), CodecError> {
        Coder::from(self).accumulate(bytes, weight, acc)
    }
}

impl Blocks {
    /// Bytes of so many elements; saturates.
    fn bytes(&self, elems: usize) -> usize {
        let whole = (elems / self.block).saturating_mul((self.block_bytes)(self.block));
        whole.saturating_add((self.block_bytes)(elems % self.block))
    }

    /// The first fault in bytes of the right length: its block, and what it is; a value's place is counted from the message's start.
    fn fault(&self, bytes: &[u8], elems: usize) -> Option<(usize, Fault)> {
        if (self.sound)(bytes, elems) {
            return None;
        }
        let mut faults = blocks(self, bytes, elems)
            .enumerate()
            .filter_map(|(i, (bytes, n))| (self.fault)(bytes, n).map(|fault| (i, fault)));
        match faults.next() {
            Some((i, Fault::Value(at))) => Some((i, Fault::Value(i * self.block + at))),
            Some(fault) => Some(fault),
            None => unreachable!("{}: unsound as a whole and sound block by block", self.name),
        }
    }
}

/// The blocks of a message, each with its number of elements.
fn blocks<'a>(
    scheme: &Blocks,
    bytes: &'a [u8],
    elems: usize,
) -> impl Iterator<Item = (&'a [u8], usize)> {
    let block = scheme.block;
    let n = move |(i, bytes)| (bytes, block.min(elems - i * block));
    bytes.chunks((scheme.block_bytes)(block)).enumerate().map(n)
}

/// Whether `values` hold neither NaN nor infinity.
pub fn all_finite(values: &[f32]) -> bool {
    vector::max_abs_bits(values) < f32::INFINITY.to_bits()
}

/// The block itself if it can travel as it is, else a copy in which NaN is 0 and the others are held within the limit.
#[inline(always)]
fn limited<'a, const N: usize>(block: &'a [f32], copy: &'a mut [f32; N]) -> &'a [f32] {
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
    let room = |bits: u32| (LIMIT_BITS as i32).wrapping_sub(bits as i32 & i32::MAX);
    bits.fold(0, |signs, bits| signs | room(bits)) >= 0
}

/// A block's scale and its elements. A block that is too short for a scale has scale 0 and no elements.
#[inline(always)]
fn scaled(block: &[u8]) -> (f32, &[u8]) {
    match block.split_first_chunk() {
        Some((scale, elems)) => (f32::from_le_bytes(*scale), elems),
        None => (0.0, &[]),
    }
}
