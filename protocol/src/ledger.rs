//! The hash-linked record of committed rounds, and in it the data cursor: which samples are whose (S6).

use crate::id::{Digest, PeerId, Round, RunId};
use crate::plateau::{self, Plateau};
use crate::run::RunSpec;
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
    /// Where the rule stands that may end the run early, if there is one and a loss was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
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
    /// Which come after those: peers that train on while an exchange is under way know what on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Range<u64>>,
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
            plateau: None,
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
        spec: &RunSpec,
        parent: Digest,
        (name, plan): (Digest, &Plan),
        (result, included): (Digest, u64),
        state: Digest,
    ) -> Record {
        let members = plan.members.iter().enumerate();
        let came = |index: usize| included & (1 << index) != 0;
        let contributors = members.filter(|(index, member)| member.tokens > 0 && came(*index));
        let trained = || contributors.clone().map(|(_, member)| member);
        let done: Vec<(PeerId, u8)> = trained().map(|m| (m.peer, m.leases)).collect();
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
            cursor: self.cursor.advance(&done, &plan.lost, &wants, spec.strategy.overlaps()),
            plateau: plateau::after(spec, self.plateau.as_ref(), plan),
        }
    }

    /// A peer's part of the tokens that the round counted.
    pub fn share_of(&self, peer: &PeerId) -> f32 {
        let own = self.contributions.iter().find(|given| given.peer == *peer);
        let all: u64 = self.contributions.iter().map(|given| given.tokens).sum();
        own.map_or(0.0, |own| (own.tokens as f64 / all.max(1) as f64) as f32)
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
        self.lease(peer).map_or(&[], |lease| &lease.ranges)
    }

    /// All that a peer has leased; `None` for nothing.
    pub fn lease(&self, peer: &PeerId) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.peer == *peer)
    }

    /// The cursor after a round: of `done` peers so many leases are finished, those of `lost` peers return to the pool, and each of
    /// `wants` (peer, samples; in member order) gets a new lease, and one to follow it if they are dealt out `ahead`; from the
    /// pool first.
    pub fn advance(
        &self,
        done: &[(PeerId, u8)],
        lost: &[PeerId],
        wants: &[(PeerId, u32)],
        ahead: bool,
    ) -> Cursor {
        let mut cursor = Cursor { next: self.next, pool: self.pool.clone(), leases: Vec::new() };
        for lease in &self.leases {
            if lost.contains(&lease.peer) && planted(Bug::LostForgotten) {
            } else if lost.contains(&lease.peer) {
                cursor.pool.extend(lease.positions().cloned());
            } else {
                let done = done.iter().find(|(peer, _)| *peer == lease.peer);
                cursor.leases.extend(lease.after(done.map_or(0, |(_, count)| *count)));
            }
        }
        cursor.pool.sort_by_key(|range| range.start);
        for (peer, samples) in wants.iter().filter(|(_, samples)| *samples > 0) {
            cursor.deal(peer, u64::from(*samples), ahead);
        }
        cursor.leases.sort_by_key(|lease| lease.peer);
        cursor
    }

    /// Fills up what a peer has leased.
    fn deal(&mut self, peer: &PeerId, samples: u64, ahead: bool) {
        let at = self.leases.iter().position(|lease| lease.peer == *peer);
        let at = at.unwrap_or_else(|| {
            let ranges = self.take(samples);
            self.leases.push(Lease { peer: *peer, ranges, then: Vec::new() });
            self.leases.len() - 1
        });
        if ahead && self.leases[at].then.is_empty() {
            self.leases[at].then = self.take(samples);
        }
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

impl Lease {
    /// All positions, those that come later too.
    pub fn positions(&self) -> impl Iterator<Item = &Range<u64>> {
        self.ranges.iter().chain(&self.then)
    }

    /// What is left when so many leases are finished; `None` if nothing is.
    fn after(&self, finished: u8) -> Option<Lease> {
        match finished {
            0 => Some(self.clone()),
            1 if !self.then.is_empty() => {
                Some(Lease { peer: self.peer, ranges: self.then.clone(), then: Vec::new() })
            }
            _ => None,
        }
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
        Lease { peer: peer(n), ranges: ranges.to_vec(), then: vec![] }
    }

    #[test]
    fn a_lost_peers_samples_are_leased_again_before_new_ones() {
        let first = Cursor::default().advance(&[], &[], &[(peer(2), 10), (peer(1), 5)], false);
        let expected = vec![lease(1, &[10..15]), lease(2, &[0..10])];
        assert_eq!(first, Cursor { next: 15, pool: vec![], leases: expected });

        let second = first.advance(&[(peer(1), 1)], &[peer(2)], &[(peer(1), 12)], false);
        let expected = vec![lease(1, &[0..10, 15..17])];
        assert_eq!(second, Cursor { next: 17, pool: vec![], leases: expected });
    }

    #[test]
    fn a_late_peer_keeps_its_lease_and_gets_no_second_one() {
        let first = Cursor::default().advance(&[], &[], &[(peer(1), 4), (peer(2), 4)], false);
        let second = first.advance(&[(peer(1), 1)], &[], &[(peer(1), 4), (peer(2), 4)], false);
        assert_eq!(second.leases, vec![lease(1, &[8..12]), lease(2, &[4..8])]);
    }

    #[test]
    fn a_pool_range_is_split_when_less_is_wanted() {
        let cursor = Cursor { next: 9, pool: vec![0..9], leases: vec![] };
        let after = cursor.advance(&[], &[], &[(peer(1), 4)], false);
        assert_eq!(after, Cursor { next: 9, pool: vec![4..9], leases: vec![lease(1, &[0..4])] });
    }

    #[test]
    fn dealt_out_ahead_a_peer_goes_on_where_its_next_lease_is() {
        let ahead = |n, ranges: &[Range<u64>], then: &[Range<u64>]| Lease {
            then: then.to_vec(),
            ..lease(n, ranges)
        };
        let wants = [(peer(1), 4), (peer(2), 2)];
        let first = Cursor::default().advance(&[], &[], &wants, true);
        assert_eq!(first.leases, vec![ahead(1, &[0..4], &[4..8]), ahead(2, &[8..10], &[10..12])]);
        let second = first.advance(&[(peer(1), 1)], &[], &wants, true);
        assert_eq!(second.leases, vec![ahead(1, &[4..8], &[12..16]), first.leases[1].clone()]);
        let third = second.advance(&[(peer(2), 2)], &[peer(1)], &[(peer(2), 2)], true);
        assert_eq!(third.leases, vec![ahead(2, &[4..6], &[6..8])]);
        assert_eq!(third.pool, vec![12..16]);
    }
}
