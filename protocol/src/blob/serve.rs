//! Gives pieces to others, each asker in turn, a few under way at a time. A round goes before: while an exchange is under way pieces wait,
//! but for one every now and then, so that where exchanges hardly ever end those who wait for data still get some.

use crate::event::{ChunkId, Output};
use crate::id::PeerId;
use crate::time::{Span, Time};
use crate::wire::PIECE_WINDOW;
use std::collections::{BTreeMap, VecDeque};

/// Pieces under way to all askers together, one each: an exchange that begins has so much before it. Guess.
const UNDER_WAY_MAX: usize = 4;
/// How long pieces wait for an exchange before one leaves all the same. Guess: 1 MiB takes 0.4 s of it at 20 Mbit/s.
const HELD_BACK: Span = Span::from_secs(4);

/// What waits to leave.
#[derive(Debug, Default)]
pub(crate) struct Serve {
    lanes: BTreeMap<PeerId, Lane>,
    /// Who was served last.
    last: Option<PeerId>,
    /// When a piece last left.
    released: Time,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<ChunkId>,
    under_way: bool,
}

impl Serve {
    /// A peer asks for a piece.
    pub fn ask(&mut self, from: PeerId, chunk: ChunkId) {
        let queue = &mut self.lanes.entry(from).or_default().queue;
        if queue.len() < PIECE_WINDOW && !queue.contains(&chunk) {
            queue.push_back(chunk);
        }
    }

    /// The piece that was under way to a peer has left.
    pub fn sent(&mut self, to: &PeerId) {
        if let Some(lane) = self.lanes.get_mut(to) {
            lane.under_way = false;
        }
    }

    /// A peer's connection is gone, or new: what it asked for on the old one is lost.
    pub fn clear(&mut self, peer: &PeerId) {
        self.lanes.remove(peer);
    }

    /// Lets leave what may leave now. When to look again, if only time is waited for.
    pub fn release(&mut self, exchanging: bool, now: Time, out: &mut Vec<Output>) -> Option<Time> {
        self.lanes.retain(|_, lane| lane.under_way || !lane.queue.is_empty());
        let most = if exchanging { 1 } else { UNDER_WAY_MAX };
        while self.lanes.values().filter(|lane| lane.under_way).count() < most {
            let to = self.next()?;
            if exchanging && now < self.released + HELD_BACK {
                return Some(self.released + HELD_BACK);
            }
            let lane = self.lanes.get_mut(&to)?;
            let chunk = lane.queue.pop_front()?;
            lane.under_way = true;
            self.last = Some(to);
            self.released = now;
            out.push(Output::SendPiece { to, chunk });
        }
        None
    }

    /// Whose turn it is: the first behind who was served last.
    fn next(&self) -> Option<PeerId> {
        let waits = |lane: &Lane| !lane.under_way && !lane.queue.is_empty();
        let mut waiting = self.lanes.iter().filter(|(_, lane)| waits(lane)).map(|(peer, _)| *peer);
        let first = waiting.clone().next();
        waiting.find(|peer| Some(*peer) > self.last).or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChunkKind;
    use crate::id::Digest;

    fn released(serve: &mut Serve, exchanging: bool, ms: u64) -> (Vec<(u8, u32)>, Option<u64>) {
        let mut out = Vec::new();
        let until = serve.release(exchanging, Time(ms * 1000), &mut out);
        let sent = |output: &Output| match output {
            Output::SendPiece { to, chunk } => Some((to.0[0], chunk.index)),
            _ => None,
        };
        (out.iter().filter_map(sent).collect(), until.map(|until| until.0 / 1000))
    }

    #[test]
    fn askers_take_turns_and_an_exchange_goes_before() {
        let mut serve = Serve::default();
        let kind = ChunkKind::Piece;
        let piece = |index| ChunkId { of: Digest([9; 32]), kind, index, included: 0 };
        let peer = |n| PeerId([n; 32]);
        for (who, index) in [(1, 0), (1, 1), (1, 1), (2, 0), (3, 5), (1, 2), (1, 3), (1, 4)] {
            serve.ask(peer(who), piece(index));
        }
        let all = |sent: &[(u8, u32)]| (sent.to_vec(), None);
        assert_eq!(released(&mut serve, false, 10_000), all(&[(1, 0), (2, 0), (3, 5)]));
        assert_eq!(released(&mut serve, false, 10_000), all(&[]));
        serve.sent(&peer(3));
        serve.sent(&peer(1));
        serve.ask(peer(3), piece(6));
        // While an exchange is under way, one after a while, and no second one before the first has left.
        serve.sent(&peer(2));
        assert_eq!(released(&mut serve, true, 13_999), (vec![], Some(14_000)));
        assert_eq!(released(&mut serve, true, 14_000), all(&[(1, 1)]));
        assert_eq!(released(&mut serve, true, 20_000), all(&[]));
        serve.sent(&peer(1));
        assert_eq!(released(&mut serve, false, 20_000), all(&[(3, 6), (1, 2)]));
        serve.sent(&peer(1));
        serve.clear(&peer(3));
        assert_eq!(released(&mut serve, false, 21_000), all(&[(1, 3)]));
        serve.sent(&peer(1));
        assert_eq!(
            released(&mut serve, false, 22_000),
            all(&[]),
            "four of one asker wait, no more"
        );
    }
}
