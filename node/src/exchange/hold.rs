//! Bytes of contributions, results and state chunks, by name.

use bytes::Bytes;
use shoal_protocol::event::{ChunkId, ChunkKind};
use shoal_protocol::id::{Digest, PeerId};
use std::collections::BTreeMap;

/// What a result was before it was rounded: the owner keeps it until the round is committed.
pub(super) type Target = Vec<f32>;

/// An arrived bulk frame: a name that is its own, whatever else its sender sent for the same chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it.
    pub from: PeerId,
    /// What it is said to be.
    pub chunk: ChunkId,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// Bytes of one chunk, from whom, and their digest.
type Came = (PeerId, Digest, Bytes);

/// Bulk data that the machine has not let go of.
#[derive(Debug)]
pub(super) struct Hold {
    me: PeerId,
    /// Contributions of others to this peer's chunks, by plan and index.
    arrived: BTreeMap<(Digest, u32), Vec<Came>>,
    /// This peer's own encoded contributions, by plan and index.
    kept: BTreeMap<(Digest, u32), Bytes>,
    /// Results by plan and index. The machine discards all but one; the last stands.
    results: BTreeMap<(Digest, u32), Vec<Came>>,
    /// What own results were before rounding.
    targets: BTreeMap<(Digest, u32), Target>,
    /// Chunks of a state that is being fetched, by its record's digest and index.
    state: BTreeMap<(Digest, u32), Vec<Came>>,
}

impl Hold {
    pub fn new(me: PeerId) -> Hold {
        Hold {
            me,
            arrived: BTreeMap::new(),
            kept: BTreeMap::new(),
            results: BTreeMap::new(),
            targets: BTreeMap::new(),
            state: BTreeMap::new(),
        }
    }

    fn of_kind(&mut self, kind: ChunkKind) -> &mut BTreeMap<(Digest, u32), Vec<Came>> {
        match kind {
            ChunkKind::Contribution => &mut self.arrived,
            ChunkKind::Result => &mut self.results,
            // Pieces of files never come here: their bytes go to the library.
            ChunkKind::State | ChunkKind::Piece => &mut self.state,
        }
    }

    /// A frame has arrived that is to be kept.
    pub fn arrive(&mut self, frame: &Frame, bytes: Bytes) {
        let Frame { from, chunk, digest } = *frame;
        let came = self.of_kind(chunk.kind).entry((chunk.of, chunk.index)).or_default();
        came.push((from, digest, bytes));
    }

    /// A frame that was kept is not wanted any more.
    pub fn discard(&mut self, frame: &Frame) {
        let (Frame { from, chunk, digest }, name) = (*frame, (frame.chunk.of, frame.chunk.index));
        let lists = self.of_kind(chunk.kind);
        let Some(came) = lists.get_mut(&name) else { return };
        if let Some(at) = came.iter().rposition(|(who, what, _)| (*who, *what) == (from, digest)) {
            came.remove(at);
        }
        if came.is_empty() {
            lists.remove(&name);
        }
    }

    /// Another peer's contribution.
    pub fn contribution(&self, plan: &Digest, index: u32, from: &PeerId) -> Option<&Bytes> {
        let came = self.arrived.get(&(*plan, index))?;
        came.iter().find(|(who, _, _)| who == from).map(|(_, _, bytes)| bytes)
    }

    /// A contribution has been added up, or will not be.
    pub fn used(&mut self, plan: &Digest, index: u32, from: &PeerId) {
        if let Some(came) = self.arrived.get_mut(&(*plan, index)) {
            came.retain(|(who, _, _)| who != from);
        }
    }

    /// This peer's own contribution, if it has been encoded.
    pub fn own(&self, plan: &Digest, index: u32) -> Option<Bytes> {
        self.kept.get(&(*plan, index)).cloned()
    }

    /// Keeps this peer's own contribution.
    pub fn keep_own(&mut self, plan: Digest, index: u32, bytes: Bytes) {
        self.kept.insert((plan, index), bytes);
    }

    /// Keeps a result that this peer added up, and what it was before rounding.
    pub fn keep_result(
        &mut self,
        (plan, index): (Digest, u32),
        sum: (Digest, Bytes),
        target: Target,
    ) {
        self.results.entry((plan, index)).or_default().push((self.me, sum.0, sum.1));
        self.targets.insert((plan, index), target);
    }

    /// The result of a chunk.
    pub fn result(&self, plan: &Digest, index: u32) -> Option<Bytes> {
        let list = self.results.get(&(*plan, index))?;
        list.last().map(|(_, _, bytes)| bytes.clone())
    }

    /// What this peer's own result was before rounding.
    pub fn target(&self, plan: &Digest, index: u32) -> Option<&Target> {
        self.targets.get(&(*plan, index))
    }

    /// A chunk of a state that is being fetched.
    pub fn state_chunk(&self, record: &Digest, index: u32) -> Option<&Bytes> {
        self.state.get(&(*record, index))?.last().map(|(_, _, bytes)| bytes)
    }

    /// The state has been assembled, or another is fetched.
    pub fn clear_state(&mut self) {
        self.state.clear();
    }

    /// The round is committed: contributions are done with; results stay for those who are late.
    pub fn settled(&mut self, plan: &Digest) {
        let of = |name: &Digest| name == plan;
        self.arrived.retain(|(name, _), _| !of(name));
        self.kept.retain(|(name, _), _| !of(name));
        self.targets.retain(|(name, _), _| !of(name));
    }

    /// Nothing of this plan is needed any more.
    pub fn forget(&mut self, plan: &Digest) {
        self.settled(plan);
        self.results.retain(|(name, _), _| name != plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: ChunkKind, from: u8, bytes: &'static [u8]) -> (Frame, Bytes) {
        let chunk = ChunkId { of: Digest([7; 32]), kind, index: 3, included: 0 };
        let frame = Frame { from: PeerId([from; 32]), chunk, digest: Digest::of(bytes) };
        (frame, Bytes::from_static(bytes))
    }

    fn hold(frames: &[&(Frame, Bytes)]) -> Hold {
        let mut hold = Hold::new(PeerId([0; 32]));
        frames.iter().for_each(|(frame, bytes)| hold.arrive(frame, bytes.clone()));
        hold
    }

    #[test]
    fn a_discarded_frame_leaves_what_else_came_for_the_chunk() {
        let (good, bad) =
            (frame(ChunkKind::Result, 1, b"good"), frame(ChunkKind::Result, 1, b"bad"));
        let other = frame(ChunkKind::Result, 2, b"other");
        let (of, stands) = (Digest([7; 32]), Some(good.1.clone()));
        for came in [[&good, &bad, &bad], [&bad, &good, &bad], [&bad, &bad, &good]] {
            let mut hold = hold(&came);
            hold.discard(&bad.0);
            hold.discard(&bad.0);
            assert_eq!(hold.result(&of, 3), stands);
            hold.arrive(&other.0, other.1.clone());
            hold.discard(&other.0);
            assert_eq!(hold.result(&of, 3), stands);
            hold.forget(&of);
            assert_eq!(hold.result(&of, 3), None);
        }
    }

    #[test]
    fn a_contribution_that_came_twice_is_still_there_when_one_is_discarded() {
        let part = frame(ChunkKind::Contribution, 1, b"part");
        let mut hold = hold(&[&part, &part]);
        hold.discard(&part.0);
        assert_eq!(hold.contribution(&Digest([7; 32]), 3, &part.0.from), Some(&part.1));
        hold.used(&Digest([7; 32]), 3, &part.0.from);
        assert_eq!(hold.contribution(&Digest([7; 32]), 3, &part.0.from), None);
    }
}
