//! Committed state as one run of bytes, cut into chunks that a peer that catches up fetches and verifies one by one.
//!
//! The bytes are the parameters, little-endian f32, followed by the outer momentum; the last chunk may be shorter.

use super::floats::{bytes_of, bytes_of_mut};
use rayon::prelude::*;
use shoal_protocol::id::Digest;
use std::ops::Range;

/// Bytes in a chunk: what the protocol asks for one by one.
pub const CHUNK_BYTES: usize = shoal_protocol::wire::STATE_CHUNK_BYTES;

/// The bytes of a state.
#[derive(Clone, Copy)]
pub struct StateBytes<'a> {
    params: &'a [u8],
    momentum: &'a [u8],
}

impl<'a> StateBytes<'a> {
    /// The bytes of these parameters and this momentum (which may be empty).
    pub fn new(params: &'a [f32], momentum: &'a [f32]) -> StateBytes<'a> {
        StateBytes { params: bytes_of(params), momentum: bytes_of(momentum) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.params.len() + self.momentum.len()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.len().div_ceil(CHUNK_BYTES)
    }

    /// The place of chunk `index` among the bytes; empty past the end.
    pub fn chunk(&self, index: usize) -> Range<usize> {
        let end = |index: usize| index.saturating_mul(CHUNK_BYTES).min(self.len());
        end(index)..end(index.saturating_add(1))
    }

    /// The bytes of `range`, in one or two pieces; cut off at the end.
    pub fn pieces(&self, range: Range<usize>) -> [&'a [u8]; 2] {
        let split = self.params.len();
        let cut = |bytes: &'a [u8], start: usize, end: usize| {
            bytes.get(start.min(bytes.len())..end.min(bytes.len())).unwrap_or_default()
        };
        let first = cut(self.params, range.start, range.end);
        let second =
            cut(self.momentum, range.start.saturating_sub(split), range.end.saturating_sub(split));
        [first, second]
    }

    /// A copy of the bytes of `range`.
    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        self.pieces(range).concat()
    }

    /// The BLAKE3 of every chunk, computed in parallel.
    pub fn chunk_digests(&self) -> Vec<Digest> {
        let digest = |index| {
            let mut hasher = blake3::Hasher::new();
            self.pieces(self.chunk(index)).iter().for_each(|piece| {
                hasher.update(piece);
            });
            Digest(*hasher.finalize().as_bytes())
        };
        (0..self.chunks()).into_par_iter().map(digest).collect()
    }
}

/// Puts `bytes` at `start` of the state's bytes; `false`, with nothing written, if they reach past the end.
pub fn write_state(params: &mut [f32], momentum: &mut [f32], start: usize, bytes: &[u8]) -> bool {
    let (params, momentum) = (bytes_of_mut(params), bytes_of_mut(momentum));
    let Some(end) = start.checked_add(bytes.len()) else { return false };
    if end > params.len() + momentum.len() {
        return false;
    }
    let split = params.len();
    let (first, second) = bytes.split_at(split.saturating_sub(start).min(bytes.len()));
    if !first.is_empty() {
        params[start..start + first.len()].copy_from_slice(first);
    }
    if !second.is_empty() {
        let start = (start + first.len()) - split;
        momentum[start..start + second.len()].copy_from_slice(second);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (Vec<f32>, Vec<f32>) {
        let count = CHUNK_BYTES / 4 + 100;
        ((0..count).map(|i| i as f32).collect(), (0..count).map(|i| -(i as f32)).collect())
    }

    #[test]
    fn chunks_are_those_of_the_joined_bytes() {
        let (params, momentum) = state();
        let joined = [bytes_of(&params), bytes_of(&momentum)].concat();
        let state = StateBytes::new(&params, &momentum);
        assert_eq!((state.len(), state.chunks()), (joined.len(), 3));
        let expected: Vec<Digest> = joined.chunks(CHUNK_BYTES).map(Digest::of).collect();
        assert_eq!(state.chunk_digests(), expected);
        for range in [0..8, CHUNK_BYTES + 390..CHUNK_BYTES + 410, joined.len() - 3..joined.len()] {
            assert_eq!(state.read(range.clone()), joined[range]);
        }
        assert_eq!(state.read(joined.len() - 1..joined.len() + 9).len(), 1);
        assert!(state.chunk(3).is_empty() && state.chunk(usize::MAX).is_empty());
    }

    #[test]
    fn fetched_chunks_in_any_order_make_the_state() {
        let (params, momentum) = state();
        let state = StateBytes::new(&params, &momentum);
        let mut got = (vec![0.0; params.len()], vec![0.0; momentum.len()]);
        for index in [2, 0, 1] {
            let range = state.chunk(index);
            assert!(write_state(&mut got.0, &mut got.1, range.start, &state.read(range)));
        }
        assert_eq!(got, (params, momentum));
        assert!(!write_state(&mut got.0, &mut got.1, usize::MAX, &[1, 2]));
        assert!(!write_state(&mut got.0, &mut [], CHUNK_BYTES + 399, &[1, 2]));
    }
}
