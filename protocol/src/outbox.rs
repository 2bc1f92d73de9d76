//! What waits to leave for each member: results first, a bounded number under way at a time.

use crate::event::{ChunkId, ChunkKind};
use crate::exchange::MemberIndex;
use crate::id::Digest;
use std::collections::{BTreeSet, VecDeque};

/// Bulk frames under way to one member. Measured: eight chunks of 512 KiB fill 100 Mbit/s at 300 ms.
const WINDOW: usize = 8;

/// Queues by member.
#[derive(Debug)]
pub(crate) struct Outbox {
    lanes: Vec<Lane>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    results: VecDeque<ChunkId>,
    contributions: VecDeque<u32>,
    queued: BTreeSet<(ChunkKind, u32)>,
    under_way: usize,
}

impl Outbox {
    pub fn new(members: usize) -> Outbox {
        Outbox { lanes: vec![Lane::default(); members] }
    }

    /// Queues a contribution, unless it is queued already.
    pub fn contribution(&mut self, to: MemberIndex, index: u32) {
        let lane = &mut self.lanes[to as usize];
        if lane.queued.insert((ChunkKind::Contribution, index)) {
            lane.contributions.push_back(index);
        }
    }

    /// Queues a result, unless it is queued already.
    pub fn result(&mut self, to: MemberIndex, chunk: ChunkId) {
        let lane = &mut self.lanes[to as usize];
        if lane.queued.insert((ChunkKind::Result, chunk.index)) {
            lane.results.push_back(chunk);
        }
    }

    /// One frame has left for a member.
    pub fn sent(&mut self, to: MemberIndex) {
        let lane = &mut self.lanes[to as usize];
        lane.under_way = lane.under_way.saturating_sub(1);
    }

    /// What was under way to a member is lost; its window is open again.
    pub fn reconnected(&mut self, to: MemberIndex) {
        self.lanes[to as usize].under_way = 0;
    }

    /// Nothing goes to this member any more, and what was under way is not counted.
    pub fn clear(&mut self, to: MemberIndex) {
        self.lanes[to as usize] = Lane::default();
    }

    /// Drops contributions that wait for a member that does not own them any more.
    pub fn forget_contribution(&mut self, index: u32) {
        for lane in &mut self.lanes {
            lane.contributions.retain(|queued| *queued != index);
            lane.queued.remove(&(ChunkKind::Contribution, index));
        }
    }

    /// Drops a result that does not stand any more.
    pub fn forget_result(&mut self, index: u32) {
        for lane in &mut self.lanes {
            lane.results.retain(|queued| queued.index != index);
            lane.queued.remove(&(ChunkKind::Result, index));
        }
    }

    /// What may leave now, members in turn.
    pub fn drain(&mut self, plan: Digest) -> Vec<(MemberIndex, ChunkId)> {
        let mut leaving = Vec::new();
        loop {
            let before = leaving.len();
            for (to, lane) in self.lanes.iter_mut().enumerate() {
                leaving.extend(lane.next(plan).map(|chunk| (to as MemberIndex, chunk)));
            }
            if leaving.len() == before {
                return leaving;
            }
        }
    }
}

impl Lane {
    fn next(&mut self, plan: Digest) -> Option<ChunkId> {
        if self.under_way == WINDOW {
            return None;
        }
        let contribution =
            |index| ChunkId { of: plan, kind: ChunkKind::Contribution, index, included: 0 };
        let chunk = self
            .results
            .pop_front()
            .or_else(|| self.contributions.pop_front().map(contribution))?;
        self.queued.remove(&(chunk.kind, chunk.index));
        self.under_way += 1;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_first_and_a_window_per_member() {
        let plan = Digest::default();
        let mut outbox = Outbox::new(2);
        (0..10).for_each(|index| outbox.contribution(1, index));
        let result = ChunkId { of: plan, kind: ChunkKind::Result, index: 99, included: 1 };
        outbox.result(1, result);
        outbox.result(1, result);
        let indices = |outbox: &mut Outbox| {
            outbox.drain(plan).iter().map(|(_, c)| c.index).collect::<Vec<_>>()
        };
        assert_eq!(indices(&mut outbox), [99, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(indices(&mut outbox), [] as [u32; 0]);
        outbox.sent(1);
        assert_eq!(indices(&mut outbox), [7]);
        outbox.clear(1);
        assert_eq!(indices(&mut outbox), [] as [u32; 0]);
    }
}
