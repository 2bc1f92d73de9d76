//! The hash-linked record of committed rounds, and in it the data cursor: which samples are whose (S6).

use crate::id::{Digest, PeerId, Round, RunId};
use crate::sabotage::{Bug, planted};
use crate::wire::{self, Plan};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One line of the ledger. Its BLAKE3 is the run's committed digest: it commits to parameters, momentum, data cursor and history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The run.
    pub run: RunId,
    /// The round.
    pub round: Round,
    /// Digest of the record before; zero for round 0.
    pub parent: Digest,
    /// The plan that was carried out; zero for round 0.
    pub plan: Digest,
    /// Who contributed how many tokens, in member order.
    pub contributions: Vec<Contribution>,
    /// Members of the plan that some chunk of the result includes, a bit each.
    pub included: u64,
    /// BLAKE3 over the result's chunks, see [`crate::exchange`]; zero for round 0.
    pub result: Digest,
    /// [`state_root`] of the outer parameters and momentum after the round.
    pub state: Digest,
    /// Tokens that all rounds so far were trained on.
    pub tokens: u64,
    /// Whose turn which samples are.
    pub cursor: Cursor,
}

/// One member's share of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Who.
    pub peer: PeerId,
    /// How many tokens.
    pub tokens: u64,
}

/// Which samples are done, leased or free. Positions count through all epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// First position that was never leased.
    pub next: u64,
    /// Positions that came back from lost peers, ascending.
    pub pool: Vec<Range<u64>>,
    /// Who works on what, ascending by peer.
    pub leases: Vec<Lease>,
}

/// The samples that one peer works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Who.
    pub peer: PeerId,
    /// Which positions.
    pub ranges: Vec<Range<u64>>,
}

impl Record {
    /// The record of round 0: the initial state, which every peer computes from the run's spec.
    pub fn genesis(run: RunId, state: Digest) -> Record {
        Record {
            run,
            round: 0,
            parent: Digest::default(),
            plan: Digest::default(),
            contributions: Vec::new(),
            included: 0,
            result: Digest::default(),
            state,
            tokens: 0,
            cursor: Cursor::default(),
        }
    }

    /// The committed digest: BLAKE3 of the record's canonical CBOR.
    pub fn digest(&self) -> Digest {
        Digest::of(&wire::to_cbor(self))
    }

    /// The record that follows when `plan` led to `result` and `state`. `included`: members that some chunk of the result
    /// includes, a bit each. Of whom nothing came in time has contributed nothing: the work is still to be counted, and the
    /// lease stands. `parent` and `name` are the digests of this record and of the plan.
    pub(crate) fn next(
        &self,
        parent: Digest,
        (name, plan): (Digest, &Plan),
        (result, included): (Digest, u64),
        state: Digest,
    ) -> Record {
        let members = plan.members.iter().enumerate();
        let came = |index: usize| included & (1 << index) != 0;
        let contributors = members.filter(|(index, member)| member.tokens > 0 && came(*index));
        let trained = || contributors.clone().map(|(_, member)| member);
        let done: Vec<PeerId> = trained().map(|member| member.peer).collect();
        let wants: Vec<(PeerId, u32)> =
            plan.members.iter().map(|member| (member.peer, member.wants)).collect();
        let tokens: u64 = trained().map(|member| member.tokens).sum();
        Record {
            run: self.run,
            round: plan.round,
            parent,
            plan: name,
            contributions: trained()
                .map(|m| Contribution { peer: m.peer, tokens: m.tokens })
                .collect(),
            included,
            result,
            state,
            tokens: self.tokens.saturating_add(tokens),
            cursor: self.cursor.advance(&done, &plan.lost, &wants),
        }
    }

    /// What a peer signs to endorse a record: run, round and digest behind a label of their own.
    pub fn signed_bytes(run: &RunId, round: Round, digest: &Digest) -> Vec<u8> {
        [b"shoal/record/1".as_slice(), &run.0, &round.to_le_bytes(), &digest.0].concat()
    }
}

/// The root over a state's chunk digests: 1 MiB chunks of the little-endian f32 bytes of the parameters, then of the momentum.
pub fn state_root(chunks: &[Digest]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    chunks.iter().for_each(|chunk| {
        hasher.update(&chunk.0);
    });
    Digest(*hasher.finalize().as_bytes())
}

impl Cursor {
    /// Positions leased to `peer`.
    pub fn lease_of(&self, peer: &PeerId) -> &[Range<u64>] {
        self.leases.iter().find(|lease| lease.peer == *peer).map_or(&[], |lease| &lease.ranges)
    }

    /// The cursor after a round: leases of `done` peers are finished, those of `lost` peers return to the pool, and each of
    /// `wants` (peer, samples; in member order) gets a new lease, from the pool first.
    pub fn advance(&self, done: &[PeerId], lost: &[PeerId], wants: &[(PeerId, u32)]) -> Cursor {
        let mut cursor = Cursor { next: self.next, pool: self.pool.clone(), leases: Vec::new() };
        for lease in &self.leases {
            if lost.contains(&lease.peer) && planted(Bug::LostForgotten) {
            } else if lost.contains(&lease.peer) {
                cursor.pool.extend(lease.ranges.iter().cloned());
            } else if !done.contains(&lease.peer) {
                cursor.leases.push(lease.clone());
            }
        }
        cursor.pool.sort_by_key(|range| range.start);
        for (peer, samples) in wants {
            if cursor.lease_of(peer).is_empty() && *samples > 0 {
                let ranges = cursor.take(u64::from(*samples));
                cursor.leases.push(Lease { peer: *peer, ranges });
            }
        }
        cursor.leases.sort_by_key(|lease| lease.peer);
        cursor
    }

    fn take(&mut self, mut samples: u64) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        while samples > 0 && !self.pool.is_empty() {
            let range = self.pool.remove(0);
            let end = range.end.min(range.start + samples);
            samples -= end - range.start;
            if end < range.end {
                self.pool.insert(0, end..range.end);
            }
            ranges.push(range.start..end);
        }
        if samples > 0 {
            ranges.push(self.next..self.next + samples);
            self.next += if planted(Bug::LeasedTwice) { samples / 2 } else { samples };
        }
        ranges
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a lease of one range is meant")]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn lease(n: u8, ranges: &[Range<u64>]) -> Lease {
        Lease { peer: peer(n), ranges: ranges.to_vec() }
    }

    #[test]
    fn a_lost_peers_samples_are_leased_again_before_new_ones() {
        let first = Cursor::default().advance(&[], &[], &[(peer(2), 10), (peer(1), 5)]);
        let expected = vec![lease(1, &[10..15]), lease(2, &[0..10])];
        assert_eq!(first, Cursor { next: 15, pool: vec![], leases: expected });

        let second = first.advance(&[peer(1)], &[peer(2)], &[(peer(1), 12)]);
        let expected = vec![lease(1, &[0..10, 15..17])];
        assert_eq!(second, Cursor { next: 17, pool: vec![], leases: expected });
    }

    #[test]
    fn a_late_peer_keeps_its_lease_and_gets_no_second_one() {
        let first = Cursor::default().advance(&[], &[], &[(peer(1), 4), (peer(2), 4)]);
        let second = first.advance(&[peer(1)], &[], &[(peer(1), 4), (peer(2), 4)]);
        assert_eq!(second.leases, vec![lease(1, &[8..12]), lease(2, &[4..8])]);
    }

    #[test]
    fn a_pool_range_is_split_when_less_is_wanted() {
        let cursor = Cursor { next: 9, pool: vec![0..9], leases: vec![] };
        let after = cursor.advance(&[], &[], &[(peer(1), 4)]);
        assert_eq!(after, Cursor { next: 9, pool: vec![4..9], leases: vec![lease(1, &[0..4])] });
    }
}
