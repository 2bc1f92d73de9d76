//! Which pieces of the text are needed, and which of them first: what is leased, the held-out part, then what is dealt out next.

use crate::data::{Order, Window};
use crate::ledger::Lease;
use crate::run::{Blob, RunSpec};
use crate::wire::PIECE_BYTES;
use std::collections::BTreeSet;
use std::ops::Range;

/// The rank of a piece that is not wanted.
pub(crate) const NEVER: u32 = u32::MAX;
/// The last rank whose pieces are needed, whatever the disk's cap: the lease, the held-out part, the lease to follow.
pub(crate) const NEEDED: u32 = 2;

/// So many sequences for each piece of a window are as good as all of them (e^-4 of the pieces would not be met): guess.
const MEETS_ALL: u64 = 4;

/// How a text that is fetched is gone through.
#[derive(Debug)]
pub(crate) struct Need {
    text: Blob,
    order: Order,
    /// Bytes of a sequence, if sequences lie at known places; else every one needs the whole text.
    sequence_bytes: Option<u64>,
    token_bytes: u64,
    heldout: Range<u32>,
}

impl Need {
    /// The text of a run, if peers fetch it from each other.
    pub fn of(spec: &RunSpec) -> Option<Need> {
        let text = spec.text()?;
        let token_bytes = spec.token_bytes();
        let tokens = text.bytes / token_bytes.unwrap_or(1);
        let kept = u128::from(tokens) * u128::from(spec.data.heldout_permille()) / 1000;
        let start = (tokens - kept as u64) * token_bytes.unwrap_or(1);
        Some(Need {
            text,
            order: Order::of(spec),
            sequence_bytes: token_bytes.map(|token| token * u64::from(spec.model.context)),
            token_bytes: token_bytes.unwrap_or(1),
            heldout: text.pieces_of(start..text.bytes),
        })
    }

    /// The pieces that a shard lies in: its last target is the token behind it.
    fn shard(&self, shard: u64) -> Range<u32> {
        let Some(bytes) = self.sequence_bytes else { return 0..self.text.pieces() };
        let sequences = self.order.sequences(shard);
        self.text.pieces_of(sequences.start * bytes..sequences.end * bytes + self.token_bytes)
    }

    /// The pieces that a window lies in.
    fn window(&self, window: &Window) -> BTreeSet<u32> {
        window.shards.iter().flat_map(|shard| self.shard(*shard)).collect()
    }

    /// The pieces that it takes to train on these positions.
    pub fn of_positions(&mut self, positions: &[Range<u64>]) -> BTreeSet<u32> {
        let mut pieces = BTreeSet::new();
        for range in positions {
            let mut at = range.start;
            while at < range.end && pieces.len() < self.text.pieces() as usize {
                let window = self.order.window(at);
                let until = window.positions.end.min(range.end);
                pieces.extend(self.of_some(&window, at..until));
                at = until;
            }
        }
        pieces
    }

    /// The pieces of these positions in a window, and of many of them the whole window's.
    fn of_some(&mut self, window: &Window, positions: Range<u64>) -> BTreeSet<u32> {
        let all = self.window(window);
        let few = positions.end - positions.start < MEETS_ALL * all.len() as u64;
        match self.sequence_bytes {
            Some(bytes) if few && window.shards.len() > 1 => positions
                .flat_map(|at| {
                    let start = self.order.sequence(at) * bytes;
                    self.text.pieces_of(start..start + bytes + self.token_bytes)
                })
                .collect(),
            _ => all,
        }
    }

    /// Bytes that are needed at one time at the most: the held-out part, a lease and the next of one or two windows each.
    pub fn least(&self) -> u64 {
        let window = self.order.window_shards() as usize * self.shard(0).len();
        let pieces = self.heldout.len() + 4 * window;
        (pieces as u64 * PIECE_BYTES as u64).min(u64::from(self.text.pieces()) * PIECE_BYTES as u64)
    }

    /// A rank for each piece, the lowest first: the lease, the held-out part, the lease to follow, then window by window what is dealt
    /// out from position `next` on, until `most` pieces are wanted.
    pub fn ranks(&mut self, lease: Option<&Lease>, next: u64, most: usize) -> Vec<u32> {
        let mut ranks = Ranks { of: vec![NEVER; self.text.pieces() as usize], wanted: 0 };
        let (now, then) = lease.map_or((&[][..], &[][..]), |l| (&l.ranges, &l.then));
        ranks.give(0, self.of_positions(now));
        ranks.give(1, self.heldout.clone());
        ranks.give(NEEDED, self.of_positions(then));
        let (mut at, mut rank) = (next, NEEDED);
        // From within an epoch to the end of the next one: every window is passed.
        for _ in 0..2 * self.order.windows() {
            let window = self.order.window(at);
            let pieces = self.window(&window);
            if ranks.wanted == ranks.of.len() || ranks.wanted + ranks.unseen(&pieces) > most {
                break;
            }
            rank += 1;
            ranks.give(rank, pieces);
            at = window.positions.end;
        }
        ranks.of
    }
}

struct Ranks {
    of: Vec<u32>,
    wanted: usize,
}

impl Ranks {
    /// Pieces that have no rank yet.
    fn unseen(&self, pieces: &BTreeSet<u32>) -> usize {
        pieces.iter().filter(|piece| self.of[**piece as usize] == NEVER).count()
    }

    fn give(&mut self, rank: u32, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            let of = &mut self.of[piece as usize];
            self.wanted += usize::from(*of == NEVER);
            *of = rank.min(*of);
        }
    }
}
