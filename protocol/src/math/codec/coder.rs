//! A codec where it is used: with what everybody knows of a chunk before its bytes come.
//!
//! Most codecs write a chunk in the same way wherever it lies. [`Codec::Mask`] draws which elements it sends from the run's seed, the
//! chunk and the round; [`Codec::Powersgd`] sees a chunk as the rows of a matrix. A [`Coder`] knows these, and nothing of them travels.

use super::{Codec, CodecError, Fault, Scheme};
use std::ops::Range;

/// What is known of a chunk beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Seed of the run.
    pub seed: u64,
    /// Which of the model's chunks it is.
    pub chunk: u64,
    /// How many rounds have had this chunk's turn before.
    pub turn: u64,
    /// Elements of the chunk before the first that is meant.
    pub first: usize,
    /// Of so many elements [`Codec::Mask`] sends one: a power of two up to [`BLOCK_MAX`](super::BLOCK_MAX).
    pub one_of: u32,
    /// Elements in a row of the matrix that [`Codec::Powersgd`] takes a chunk for; at least 1.
    pub columns: u32,
    /// Most pairs of factors that [`Codec::Powersgd`] sends for a chunk: 1 to [`RANK_MAX`](super::RANK_MAX).
    pub rank: u32,
}

impl Context {
    /// Of so many elements [`Codec::Mask`] sends one where nothing else is said: 0.39 %, within SPARTA's 0.05 to 0.5.
    pub const ONE_OF: u32 = 256;
    /// The rank of [`Codec::Powersgd`] where nothing else is said: the largest of Vogels et al., tables 3 to 5.
    pub const RANK: u32 = 4;
}

/// The first chunk of a run with seed 0, in its first round.
impl Default for Context {
    fn default() -> Context {
        let (one_of, rank) = (Context::ONE_OF, Context::RANK);
        Context { seed: 0, chunk: 0, turn: 0, first: 0, one_of, columns: 256, rank }
    }
}

/// A codec and the chunk that it is used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coder {
    /// The codec.
    pub codec: Codec,
    /// The chunk.
    pub context: Context,
}

/// On a chunk of which nothing is known.
impl From<Codec> for Coder {
    fn from(codec: Codec) -> Coder {
        Coder { codec, context: Context::default() }
    }
}

impl Coder {
    /// Elements of a whole block: blocks are encoded on their own, and what is cut into pieces is cut between them. `None`: the
    /// chunk is encoded as one.
    pub fn block(&self) -> Option<usize> {
        match self.codec.scheme() {
            Scheme::Blocks(blocks) => Some(blocks.block),
            Scheme::Chunks(chunks) => (chunks.block)(&self.context),
        }
    }

    /// The same for the chunk's elements from `first` on, which is a multiple of [`Coder::block`].
    #[must_use]
    pub fn after(self, first: usize) -> Coder {
        let first = self.context.first + first;
        Coder { context: Context { first, ..self.context }, ..self }
    }

    /// Bytes that [`Coder::encode`] writes for `elems` elements; saturates.
    pub fn encoded_len(&self, elems: usize) -> usize {
        match self.codec.scheme() {
            Scheme::Blocks(blocks) => blocks.bytes(elems),
            Scheme::Chunks(chunks) => (chunks.bytes)(&self.context, elems),
        }
    }

    /// Where the elements `elems` of a message lie in its bytes. `elems` starts at 0 or a multiple of [`Coder::block`] and ends at one
    /// or at the message's end.
    pub fn byte_range(&self, elems: Range<usize>) -> Range<usize> {
        self.encoded_len(elems.start)..self.encoded_len(elems.end)
    }

    /// Appends the encoding of `input` to `out`. Total: see the module's page for what NaN and infinity become.
    pub fn encode(&self, input: &[f32], out: &mut Vec<u8>) {
        out.reserve(self.encoded_len(input.len()));
        match self.codec.scheme() {
            Scheme::Blocks(blocks) => (blocks.encode)(input, out),
            Scheme::Chunks(chunks) => (chunks.encode)(&self.context, input, out),
        }
    }

    /// Whether `bytes` are `elems` elements in this codec, all of them usable.
    ///
    /// # Errors
    /// The length, or the first element or block at fault.
    pub fn check(&self, bytes: &[u8], elems: usize) -> Result<(), CodecError> {
        let (codec, expected, got) = (self.codec, self.encoded_len(elems), bytes.len());
        if got != expected {
            return Err(CodecError::Length { codec, expected, got });
        }
        let fault = match codec.scheme() {
            Scheme::Blocks(blocks) => blocks.fault(bytes, elems),
            Scheme::Chunks(chunks) => (chunks.fault)(&self.context, bytes, elems),
        };
        match fault {
            None => Ok(()),
            Some((_, Fault::Value(index))) => Err(CodecError::Value { codec, index }),
            Some((block, Fault::Scale)) => Err(CodecError::Scale { codec, block }),
            Some((block, Fault::Places)) => Err(CodecError::Places { codec, block }),
        }
    }

    /// Decodes `bytes` into `out`, which has one place for every element.
    ///
    /// # Errors
    /// As [`Coder::check`]; `out` is then as it was.
    pub fn decode(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, out.len())?;
        match self.codec.scheme() {
            Scheme::Blocks(blocks) => (blocks.decode)(bytes, out),
            Scheme::Chunks(chunks) => (chunks.decode)(&self.context, bytes, out),
        }
        Ok(())
    }

    /// `acc[i] += weight * decoded[i]`. The product is rounded, then the sum. Sparse codecs touch the elements that were kept and no
    /// others.
    ///
    /// # Errors
    /// As [`Coder::check`]; `acc` is then as it was.
    pub fn accumulate(&self, bytes: &[u8], weight: f32, acc: &mut [f32]) -> Result<(), CodecError> {
        self.check(bytes, acc.len())?;
        match self.codec.scheme() {
            Scheme::Blocks(blocks) => (blocks.accumulate)(bytes, weight, acc),
            Scheme::Chunks(chunks) => (chunks.accumulate)(&self.context, bytes, weight, acc),
        }
        Ok(())
    }
}
