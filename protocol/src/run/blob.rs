//! Files that peers fetch from each other: named by what is in them, and cut into pieces that are checked one by one.

use super::{DataSpec, RunSpec, SpecError, TokenizerSpec, check};
use crate::id::Digest;
use crate::ledger::state_root;
use crate::wire::{PIECE_BYTES, PIECES_MAX};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A file that peers fetch from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// [`state_root`] over the BLAKE3 of each [`PIECE_BYTES`] of the file. It names the file among peers.
    pub root: Digest,
    /// Length in bytes.
    pub bytes: u64,
}

impl Blob {
    /// A file with pieces of these digests. `None`: it has more of them than a list can tell, and each peer has to bring it.
    pub fn of(digests: &[Digest], bytes: u64) -> Option<Blob> {
        let fits = bytes > 0 && digests.len() <= PIECES_MAX;
        fits.then(|| Blob { root: state_root(digests), bytes })
    }

    /// How many pieces it has.
    pub fn pieces(&self) -> u32 {
        self.bytes.div_ceil(PIECE_BYTES as u64) as u32
    }

    /// Bytes of a piece; 0 beyond the last.
    pub fn piece_bytes(&self, index: u32) -> usize {
        let start = u64::from(index) * PIECE_BYTES as u64;
        self.bytes.saturating_sub(start).min(PIECE_BYTES as u64) as usize
    }

    /// The pieces that a range of bytes lies in.
    pub fn pieces_of(&self, bytes: Range<u64>) -> Range<u32> {
        let end = bytes.end.min(self.bytes);
        if bytes.start >= end {
            return 0..0;
        }
        let piece = PIECE_BYTES as u64;
        (bytes.start / piece) as u32..end.div_ceil(piece) as u32
    }

    /// Checks a list of its pieces' digests.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, digests: &[Digest]) -> Result<(), &'static str> {
        if digests.len() != self.pieces() as usize || state_root(digests) != self.root {
            return Err("gave a list of pieces that is not what the run's spec says");
        }
        Ok(())
    }
}

impl RunSpec {
    /// Those that a peer needs before it begins: the initial parameters, and the teacher.
    pub fn first_blobs(&self) -> Vec<Blob> {
        let teacher = self.distill.as_ref().and_then(|distill| distill.pieces);
        self.start.into_iter().chain(teacher).collect()
    }

    /// The files that peers of this run can fetch from each other: the first ones, the tokenizer, then the text.
    pub fn blobs(&self) -> Vec<Blob> {
        let tokenizer = match self.tokenizer {
            TokenizerSpec::File { pieces, .. } => pieces,
            TokenizerSpec::Bytes => None,
        };
        self.first_blobs().into_iter().chain(tokenizer).chain(self.text()).collect()
    }

    /// The text, if peers can fetch it from each other.
    pub fn text(&self) -> Option<Blob> {
        match self.data {
            DataSpec::Text { bytes, pieces: Some(root), .. } => Some(Blob { root, bytes }),
            DataSpec::Text { .. } | DataSpec::Stories { .. } => None,
        }
    }

    /// The same run as older builds began it, the latest first: before sequences were shuffled by windows, initial weights
    /// suited the width, and owners stayed, and before peers fetched files from each other.
    pub fn as_once(&self) -> [RunSpec; 2] {
        let mut by_shards = self.clone();
        by_shards.model.init_std = None;
        by_shards.exchange.owners_stay = false;
        if let DataSpec::Text { window, .. } = &mut by_shards.data {
            *window = None;
        }
        let brought = by_shards.without_pieces();
        [by_shards, brought]
    }

    fn without_pieces(&self) -> RunSpec {
        let mut spec = self.clone();
        if let TokenizerSpec::File { pieces, .. } = &mut spec.tokenizer {
            *pieces = None;
        }
        if let DataSpec::Text { pieces, .. } = &mut spec.data {
            *pieces = None;
        }
        if let Some(distill) = &mut spec.distill {
            distill.pieces = None;
        }
        spec
    }

    /// Bytes of text that make a token, if every token has as many: then it is known where in the text a sequence lies.
    pub fn token_bytes(&self) -> Option<u64> {
        match (&self.data, &self.tokenizer) {
            (DataSpec::Text { id_bytes: Some(bytes), .. }, _) => Some(u64::from(*bytes)),
            (_, TokenizerSpec::Bytes) => Some(1),
            (_, TokenizerSpec::File { .. }) => None,
        }
    }

    pub(super) fn validate_blobs(&self) -> Result<(), SpecError> {
        if let DataSpec::Text { window: Some(window), pieces, .. } = self.data {
            check(
                (1..=PIECES_MAX as u32).contains(&window) && pieces.is_some(),
                "data.window",
                || {
                    format!(
                        "must be from 1 to {PIECES_MAX}, of a text that peers fetch from each other"
                    )
                },
            )?;
        }
        if let DataSpec::Text { id_bytes: Some(bytes), .. } = self.data {
            check(matches!(bytes, 1 | 2 | 4), "data.text", || {
                format!("ids of {bytes} bytes are none: it must be 1, 2 or 4")
            })?;
        }
        if let Some(start) = self.start {
            check(start.bytes == 4 * self.model.params(), "model.start", || {
                format!("{} bytes are not {} numbers of four", start.bytes, self.model.params())
            })?;
            check(self.gossip.is_none(), "model.start", || {
                "does not go with gossip yet: its peers fetch no files from each other".into()
            })?;
        }
        for blob in self.blobs() {
            let key = match blob {
                _ if self.start == Some(blob) => "model.start",
                _ if self.first_blobs().contains(&blob) => "distill.teacher",
                _ if self.text() == Some(blob) => "data.text",
                _ => "model.tokenizer",
            };
            let pieces = blob.bytes.div_ceil(PIECE_BYTES as u64);
            check((1..=PIECES_MAX as u64).contains(&pieces), key, || {
                format!("{pieces} pieces are outside 1..={PIECES_MAX}: bring it without `pieces`")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_file_and_a_list_is_checked() {
        let digests = [Digest([1; 32]), Digest([2; 32])];
        let blob = Blob::of(&digests, PIECE_BYTES as u64 + 5).unwrap();
        let sizes: Vec<usize> = (0..3).map(|index| blob.piece_bytes(index)).collect();
        assert_eq!((blob.pieces(), sizes), (2, vec![PIECE_BYTES, 5, 0]));
        assert_eq!(blob.pieces_of(0..1), 0..1);
        assert_eq!(blob.pieces_of(PIECE_BYTES as u64 - 1..PIECE_BYTES as u64 + 1), 0..2);
        assert_eq!(blob.pieces_of(PIECE_BYTES as u64..u64::MAX), 1..2);
        assert_eq!(blob.pieces_of(blob.bytes..blob.bytes + 9), 0..0);
        assert_eq!(blob.check(&digests), Ok(()));
        assert!(blob.check(&digests[..1]).is_err());
        assert!(blob.check(&[digests[1], digests[0]]).is_err());
        assert_eq!(Blob::of(&[], 0), None);
        assert_eq!(Blob::of(&vec![Digest::default(); PIECES_MAX + 1], 1), None);
    }
}
