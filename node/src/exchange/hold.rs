//! Bytes of contributions, results and state chunks, by name.

use bytes::Bytes;
use shoal_protocol::event::{ChunkId, ChunkKind};
use shoal_protocol::id::{Digest, PeerId};
use std::collections::BTreeMap;

/// What a result was before it was rounded: the owner keeps it until the round is committed.
pub(super) type Target = Vec<f32>;

/// Bulk data that the machine has not let go of.
#[derive(Debug)]
pub(super) struct Hold {
    me: PeerId,
    /// Contributions of others to this peer's chunks, by plan, index and sender.
    arrived: BTreeMap<(Digest, u32, PeerId), Bytes>,
    /// This peer's own encoded contributions, by plan and index.
    kept: BTreeMap<(Digest, u32), Bytes>,
    /// Results by plan and index: from whom, and what. The machine discards all but one; the last stands.
    results: BTreeMap<(Digest, u32), Vec<(PeerId, Bytes)>>,
    /// What own results were before rounding.
    targets: BTreeMap<(Digest, u32), Target>,
    /// Chunks of a state that is being fetched, by its record's digest and index.
    state: BTreeMap<(Digest, u32), Vec<(PeerId, Bytes)>>,
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

    /// A frame has arrived.
    pub fn arrive(&mut self, from: PeerId, chunk: &ChunkId, bytes: Bytes) {
        let name = (chunk.of, chunk.index);
        match chunk.kind {
            ChunkKind::Contribution => {
                self.arrived.entry((name.0, name.1, from)).or_insert(bytes);
            }
            ChunkKind::Result => self.results.entry(name).or_default().push((from, bytes)),
            ChunkKind::State => self.state.entry(name).or_default().push((from, bytes)),
        }
    }

    /// A frame that arrived is not wanted: the newest of that name from that peer.
    pub fn discard(&mut self, from: &PeerId, chunk: &ChunkId) {
        let name = (chunk.of, chunk.index);
        let lists = match chunk.kind {
            ChunkKind::Contribution => return drop(self.arrived.remove(&(name.0, name.1, *from))),
            ChunkKind::Result => &mut self.results,
            ChunkKind::State => &mut self.state,
        };
        if let Some(list) = lists.get_mut(&name) {
            if let Some(last) = list.iter().rposition(|(sender, _)| sender == from) {
                list.remove(last);
            }
            if list.is_empty() {
                lists.remove(&name);
            }
        }
    }

    /// Another peer's contribution.
    pub fn contribution(&self, plan: &Digest, index: u32, from: &PeerId) -> Option<&Bytes> {
        self.arrived.get(&(*plan, index, *from))
    }

    /// A contribution has been added up, or will not be.
    pub fn used(&mut self, plan: &Digest, index: u32, from: &PeerId) {
        self.arrived.remove(&(*plan, index, *from));
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
    pub fn keep_result(&mut self, plan: Digest, index: u32, bytes: Bytes, target: Target) {
        self.results.entry((plan, index)).or_default().push((self.me, bytes));
        self.targets.insert((plan, index), target);
    }

    /// The result of a chunk.
    pub fn result(&self, plan: &Digest, index: u32) -> Option<Bytes> {
        let list = self.results.get(&(*plan, index))?;
        list.last().map(|(_, bytes)| bytes.clone())
    }

    /// What this peer's own result was before rounding.
    pub fn target(&self, plan: &Digest, index: u32) -> Option<&Target> {
        self.targets.get(&(*plan, index))
    }

    /// A chunk of a state that is being fetched.
    pub fn state_chunk(&self, record: &Digest, index: u32) -> Option<&Bytes> {
        self.state.get(&(*record, index))?.last().map(|(_, bytes)| bytes)
    }

    /// The state has been assembled, or another is fetched.
    pub fn clear_state(&mut self) {
        self.state.clear();
    }

    /// The round is committed: contributions are done with; results stay for those who are late.
    pub fn settled(&mut self, plan: &Digest) {
        let of = |name: &Digest| name == plan;
        self.arrived.retain(|(name, _, _), _| !of(name));
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

    fn result(of: u8) -> ChunkId {
        ChunkId { of: Digest([of; 32]), kind: ChunkKind::Result, index: 3, included: 0 }
    }

    #[test]
    fn a_discarded_duplicate_leaves_what_was_there() {
        let (me, honest, other) = (PeerId([0; 32]), PeerId([1; 32]), PeerId([2; 32]));
        let mut hold = Hold::new(me);
        let chunk = result(7);
        hold.arrive(honest, &chunk, Bytes::from_static(b"good"));
        hold.arrive(other, &chunk, Bytes::from_static(b"bad"));
        hold.discard(&other, &chunk);
        hold.arrive(honest, &chunk, Bytes::from_static(b"good"));
        hold.discard(&honest, &chunk);
        assert_eq!(hold.result(&chunk.of, 3), Some(Bytes::from_static(b"good")));
        hold.forget(&chunk.of);
        assert_eq!(hold.result(&chunk.of, 3), None);
    }
}
