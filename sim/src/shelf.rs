//! A peer's pieces of the run's text, by name and size: on its disk, so that they outlast its death.

use shoal_protocol::data::Order;
use shoal_protocol::event::Input;
use shoal_protocol::exchange::ranges;
use shoal_protocol::id::Digest;
use shoal_protocol::run::{Blob, DataSpec, RunSpec, TokenizerSpec};
use shoal_protocol::wire::PIECE_BYTES;
use std::ops::Range;

/// Held-out share of a text, in thousandths.
const HELDOUT_PERMILLE: u16 = 10;
/// Pieces that are shuffled together: few, so that a lease does not need the whole of a short text.
const WINDOW: u32 = 2;

/// The pieces of a text that one peer holds.
#[derive(Clone)]
pub struct Shelf {
    text: Blob,
    list: Vec<Digest>,
    /// Whether the peer knows the list.
    listed: bool,
    here: Vec<bool>,
}

/// A text of so many bytes, which peers fetch from each other.
pub fn text(bytes: u64, context: u32) -> DataSpec {
    let list = list(bytes.div_ceil(PIECE_BYTES as u64));
    let heldout = bytes * u64::from(HELDOUT_PERMILLE) / 1000;
    DataSpec::Text {
        digest: Digest::of(b"text"),
        bytes,
        samples: (bytes - heldout).saturating_sub(1) / u64::from(context),
        heldout_permille: HELDOUT_PERMILLE,
        pieces: Blob::of(&list, bytes).map(|blob| blob.root),
        id_bytes: None,
        window: Some(WINDOW),
    }
}

/// The same run on hosts that have its files: virtual pieces, with names of their own, stand for what is in them.
pub fn at_hand(mut spec: RunSpec) -> RunSpec {
    if let TokenizerSpec::File { pieces, .. } = &mut spec.tokenizer {
        *pieces = None;
    }
    if let DataSpec::Text { bytes, pieces: pieces @ Some(_), .. } = &mut spec.data {
        let list = list(bytes.div_ceil(PIECE_BYTES as u64));
        *pieces = Blob::of(&list, *bytes).map(|blob| blob.root);
    }
    spec
}

fn list(pieces: u64) -> Vec<Digest> {
    (0..pieces).map(|index| Digest::of(&index.to_le_bytes())).collect()
}

impl Shelf {
    /// The text of a run, if it has one in pieces: all of it, or nothing.
    pub fn of(spec: &RunSpec, whole: bool) -> Option<Shelf> {
        let text = spec.text()?;
        let list = list(u64::from(text.pieces()));
        Some(Shelf { text, here: vec![whole; list.len()], list, listed: whole })
    }

    /// What the peer's session is told at the start.
    pub fn holding(&self) -> Input {
        let here = (0..self.text.pieces()).filter(|index| self.here[*index as usize]);
        let list = if self.listed { self.list.clone() } else { Vec::new() };
        Input::Holds { blob: self.text.root, list, pieces: ranges(here) }
    }

    /// Size and name of a piece that is here.
    pub fn piece(&self, index: u32) -> Option<(u32, Digest)> {
        let here = self.here.get(index as usize)?;
        here.then(|| (self.text.piece_bytes(index) as u32, self.list[index as usize]))
    }

    pub fn keep_list(&mut self) {
        self.listed = true;
    }

    /// A piece of this name is kept. False if it is not the text's.
    pub fn keep(&mut self, index: u32, digest: Digest) -> bool {
        self.here[index as usize] = true;
        self.list[index as usize] == digest
    }

    pub fn drop_pieces(&mut self, pieces: &[(u32, u32)]) {
        pieces.iter().for_each(|(start, end)| {
            self.here[*start as usize..*end as usize].fill(false);
        });
    }

    /// Pieces that are here.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.here.iter().filter(|here| **here).count()
    }

    /// A piece that training on these positions needs, and that is not here.
    pub fn lacks(&self, spec: &RunSpec, positions: &[Range<u64>]) -> Option<u32> {
        let (mut order, context) = (Order::of(spec), u64::from(spec.model.context));
        let mut sequences = positions.iter().cloned().flatten().map(|at| order.sequence(at));
        sequences.find_map(|sequence| {
            let start = sequence * context;
            let mut pieces = self.text.pieces_of(start..start + context + 1);
            pieces.find(|piece| !self.here[*piece as usize])
        })
    }
}
