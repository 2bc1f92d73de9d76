//! Who is alive, how fast, and where in the run. Nothing global is ever the maximum of claims.

use crate::deadline::{Deadline, median};
use crate::id::{Digest, PeerId, Round};
use crate::time::{Span, Time};
use crate::wire::{Beacon, PEERS_MAX, Ready, STRIKES_MAX};
use std::collections::BTreeMap;

/// How long a broken connection may take to come back before its peer counts as gone. Guess: a redial takes under a second.
const RECONNECT_GRACE: Span = Span::from_millis(1_500);
/// Beacons that may be missing before their sender counts as gone, at the least. Guess.
const BEACONS_MISSED: u64 = 4;
/// How long a refused peer stays refused.
const REFUSED_FOR: Span = Span::from_secs(600);

/// Everybody that this peer has heard of.
#[derive(Debug)]
pub struct Membership {
    peers: BTreeMap<PeerId, Peer>,
    beacon_every: Span,
}

/// What is known of one peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whether a connection stands.
    pub connected: bool,
    /// When it was last heard, or its connection last changed.
    pub heard: Time,
    /// Its newest beacon.
    pub beacon: Option<Beacon>,
    /// Its newest word that local work is done.
    pub ready: Option<Ready>,
    /// Last committed round, its digest and its parent, as last told by beacon or endorsement.
    pub at: Option<Position>,
    gaps: Deadline,
    strikes: u32,
    refused_until: Time,
}

/// A committed state that a peer says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The round.
    pub round: Round,
    /// Digest of its record.
    pub digest: Digest,
    /// Digest of the record before.
    pub parent: Digest,
    /// Tokens committed so far.
    pub tokens: u64,
}

/// A committed state that is worth having, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The round.
    pub round: Round,
    /// Digest of its record.
    pub digest: Digest,
    /// Peers that stand on it now, ascending.
    pub holders: Vec<PeerId>,
    /// Peers that stand on it or on its child, ascending.
    pub supporters: Vec<PeerId>,
}

impl Membership {
    /// Nobody yet.
    pub fn new(beacon_every: Span) -> Membership {
        Membership { peers: BTreeMap::new(), beacon_every }
    }

    /// The peer's entry; `None` when it is refused, or the table is full of living peers.
    pub fn heard(&mut self, peer: PeerId, now: Time) -> Option<&mut Peer> {
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            self.forget_one(now);
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            return None;
        }
        let every = self.beacon_every;
        let entry = self.peers.entry(peer).or_insert_with(|| Peer::new(every, now));
        if entry.refused_until > now {
            return None;
        }
        entry.heard = now;
        Some(entry)
    }

    /// What is known of a peer.
    pub fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    /// The connection to a peer is gone.
    pub fn disconnected(&mut self, peer: &PeerId, now: Time) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.connected = false;
            entry.heard = now;
        }
    }

    /// Counts a misdeed; true when it was one too many and the peer is to be refused.
    pub fn strike(&mut self, peer: &PeerId, weight: u32, now: Time) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else { return false };
        entry.strikes = entry.strikes.saturating_add(weight);
        let out = entry.strikes >= STRIKES_MAX;
        if out {
            entry.strikes = 0;
            entry.connected = false;
            entry.refused_until = now + REFUSED_FOR;
        }
        out
    }

    /// Takes in a beacon whose signature has been checked; false when it is older than one already known.
    pub fn beacon(&mut self, beacon: Beacon, now: Time) -> bool {
        let Some(entry) = self.heard(beacon.peer, now) else { return false };
        if entry.beacon.as_ref().is_some_and(|known| known.sequence >= beacon.sequence) {
            return false;
        }
        entry.at = Some(Position {
            round: beacon.round,
            digest: beacon.digest,
            parent: beacon.parent,
            tokens: beacon.tokens,
        });
        entry.beacon = Some(beacon);
        true
    }

    /// Takes note of how long a peer's beacon was in coming after the one with sequence `before` (its sender's microseconds).
    pub fn gap(&mut self, peer: &PeerId, before: Option<u64>) {
        if let Some(entry) = self.peers.get_mut(peer)
            && let (Some(before), Some(beacon)) = (before, &entry.beacon)
        {
            let gap = beacon.sequence.saturating_sub(before);
            entry.gaps.observe(Span(gap.saturating_mul(BEACONS_MISSED)));
        }
    }

    /// A peer has told by other means than a beacon that it committed this record.
    pub fn stands_on(&mut self, peer: &PeerId, round: Round, digest: Digest) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        let before = entry.at.filter(|at| at.round <= round && at.digest != digest);
        if before.is_some() || entry.at.is_none() {
            let parent =
                before.filter(|at| at.round + 1 == round).map_or(Digest::default(), |at| at.digest);
            let tokens = before.map_or(0, |at| at.tokens);
            entry.at = Some(Position { round, digest, parent, tokens });
        }
    }

    /// Whether a peer can be worked with now.
    pub fn alive(&self, peer: &PeerId, now: Time) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.alive(now))
    }

    /// All that can be worked with now, ascending.
    pub fn living(&self, now: Time) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter().filter(move |(_, entry)| entry.alive(now))
    }

    /// Everybody, ascending.
    pub fn all(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    /// Living peers that stand on this committed state, ascending.
    pub fn in_step(&self, digest: &Digest, now: Time) -> Vec<PeerId> {
        let on_it = |entry: &Peer| entry.at.is_some_and(|at| at.digest == *digest);
        self.living(now).filter(|(_, entry)| on_it(entry)).map(|(peer, _)| *peer).collect()
    }

    /// The furthest committed state beyond `mine` that more than half of the living peers, by weight, stand on or just
    /// left for its child. `None` when there is none: then this peer is not behind.
    pub fn head(&self, mine: &Position, now: Time) -> Option<Head> {
        let weights = self.weights(now);
        let total: u64 = weights.values().sum();
        let mut candidates: Vec<(Round, Digest)> = self
            .positions(now)
            .filter(|(_, at)| at.beyond(mine))
            .map(|(_, at)| (at.round, at.digest))
            .collect();
        let parents = self.positions(now).filter(|(_, at)| at.round > mine.round + 1);
        candidates.extend(parents.map(|(_, at)| (at.round - 1, at.parent)));
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().rev().find_map(|(round, digest)| {
            let head = self.supported(round, digest, now);
            let weight: u64 = head.supporters.iter().map(|peer| weights[peer]).sum();
            (weight * 2 > total && !head.holders.is_empty()).then_some(head)
        })
    }

    /// Whether more than half of the living peers, by weight, stand on this state or on its child.
    pub fn confirmed(&self, round: Round, digest: &Digest, now: Time) -> bool {
        let weights = self.weights(now);
        let total: u64 = weights.values().sum();
        let head = self.supported(round, *digest, now);
        head.supporters.iter().map(|peer| weights[peer]).sum::<u64>() * 2 > total
    }

    fn supported(&self, round: Round, digest: Digest, now: Time) -> Head {
        let mut head = Head { round, digest, holders: Vec::new(), supporters: Vec::new() };
        for (peer, at) in self.positions(now) {
            if at.digest == digest {
                head.holders.push(*peer);
                head.supporters.push(*peer);
            } else if at.parent == digest {
                head.supporters.push(*peer);
            }
        }
        head
    }

    fn positions(&self, now: Time) -> impl Iterator<Item = (&PeerId, Position)> {
        self.living(now).filter_map(|(peer, entry)| entry.at.map(|at| (peer, at)))
    }

    /// A peer's weight is its speed, but never more than twice the median: nobody outvotes the rest by a claim.
    fn weights(&self, now: Time) -> BTreeMap<PeerId, u64> {
        let speed = |entry: &Peer| entry.beacon.as_ref().map_or(0, |beacon| beacon.tokens_per_s);
        let most = median(self.living(now).map(|(_, entry)| speed(entry))).saturating_mul(2).max(1);
        let weigh = |entry: &Peer| speed(entry).clamp(most.div_ceil(4), most);
        self.living(now)
            .filter(|(_, entry)| entry.at.is_some())
            .map(|(peer, entry)| (*peer, weigh(entry)))
            .collect()
    }

    /// Makes room: whoever was heard longest ago and is not alive goes.
    fn forget_one(&mut self, now: Time) {
        let gone =
            self.peers.iter().filter(|(_, entry)| !entry.alive(now) && entry.refused_until <= now);
        if let Some(peer) = gone.min_by_key(|(_, entry)| entry.heard).map(|(peer, _)| *peer) {
            self.peers.remove(&peer);
        }
    }
}

impl Peer {
    fn new(beacon_every: Span, now: Time) -> Peer {
        let least = Span(beacon_every.0.saturating_mul(BEACONS_MISSED));
        let most = Span(least.0.saturating_mul(8));
        let gaps = Deadline::new(least, least, most);
        Peer {
            connected: false,
            heard: now,
            beacon: None,
            ready: None,
            at: None,
            gaps,
            strikes: 0,
            refused_until: Time::ZERO,
        }
    }

    fn alive(&self, now: Time) -> bool {
        let patience = if self.connected { self.gaps.span() } else { RECONNECT_GRACE };
        let known = self.connected || self.beacon.is_some();
        known && self.refused_until <= now && now.since(self.heard) < patience
    }
}

impl Position {
    /// Whether a peer on this state is ahead of one on `mine`: further along, or on the heavier side of a fork.
    pub fn beyond(&self, mine: &Position) -> bool {
        let forked =
            self.digest != mine.digest && self.digest != mine.parent && self.parent != mine.digest;
        let heavier = (self.tokens, self.digest) > (mine.tokens, mine.digest);
        self.parent == mine.digest || (forked && (self.round > mine.round + 1 || heavier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Signature;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    /// Living peers at the given (round, digest, parent, tokens/s).
    fn mesh(at: &[(Round, u8, u8, u64)]) -> Membership {
        let mut members = Membership::new(Span::from_secs(2));
        for (n, &(round, own, parent, tokens_per_s)) in at.iter().enumerate() {
            let id = peer(n as u8 + 1);
            members.heard(id, Time::ZERO).expect("room for all").connected = true;
            let beacon = Beacon {
                peer: id,
                sequence: 1,
                round,
                digest: digest(own),
                parent: digest(parent),
                tokens: round * 100,
                tokens_per_s,
                up_bytes_per_s: 0,
                down_bytes_per_s: 0,
                reachable: true,
                signature: Signature::default(),
            };
            assert!(members.beacon(beacon, Time::ZERO));
        }
        members
    }

    fn mine(round: Round, own: u8) -> Position {
        Position { round, digest: digest(own), parent: digest(99), tokens: round * 100 }
    }

    fn check(at: &[(Round, u8, u8, u64)], expected: Option<(Round, u8, usize)>) {
        let head = mesh(at).head(&mine(3, 30), Time::ZERO);
        let found = head.map(|head| (head.round, head.digest.0[0], head.holders.len()));
        assert_eq!(found, expected, "{at:?}");
    }

    #[test]
    fn the_head_is_what_more_than_half_confirm() {
        check(&[], None);
        check(&[(3, 30, 20, 1)], None);
        check(&[(5, 50, 40, 1)], Some((5, 50, 1)));
        check(&[(5, 50, 40, 1), (5, 50, 40, 1), (5, 66, 66, 1)], Some((5, 50, 2)));
        check(&[(5, 50, 40, 1), (4, 40, 30, 1)], Some((4, 40, 1)));
        check(&[(5, 50, 40, 1), (3, 30, 20, 1)], None);
    }

    #[test]
    fn an_exaggerated_claim_outvotes_nobody() {
        let honest = (5, 50, 40, 10);
        check(&[honest, honest, honest, (900, 66, 67, u64::MAX)], Some((5, 50, 3)));
    }

    #[test]
    fn the_heavier_side_of_a_fork_is_kept() {
        let side = |round, own| [(round, own, 9, 1), (round, own, 9, 1)];
        check(&side(4, 77), Some((4, 77, 2)));
        check(&side(2, 77), None);
    }

    #[test]
    fn silence_and_broken_connections_end_a_life() {
        let mut members = mesh(&[(1, 1, 0, 1), (1, 1, 0, 1)]);
        members.disconnected(&peer(1), Time::ZERO);
        let alive = |ms| {
            let now = Time::ZERO + Span::from_millis(ms);
            members.living(now).map(|(id, _)| id.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(alive(1_000), [1, 2]);
        assert_eq!(alive(2_000), [2]);
        assert_eq!(alive(9_000), [] as [u8; 0]);
    }

    #[test]
    fn strikes_refuse_a_peer_for_a_while() {
        let mut members = mesh(&[(1, 1, 0, 1)]);
        let verdicts: Vec<bool> = (0..8).map(|_| members.strike(&peer(1), 1, Time::ZERO)).collect();
        assert_eq!(verdicts, [false, false, false, false, false, false, false, true]);
        assert!(members.heard(peer(1), Time::ZERO).is_none());
        assert!(members.heard(peer(1), Time::ZERO + REFUSED_FOR).is_some());
    }
}
