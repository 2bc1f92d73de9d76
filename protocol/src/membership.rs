//! Who is alive, how fast, and where in the run. Nothing global is ever the maximum of claims.

use crate::deadline::{Deadline, median};
use crate::donor::ROUNDS_KEPT;
use crate::id::{Digest, PeerId, Round};
use crate::ledger::Record;
use crate::time::{Span, Time};
use crate::wire::{Beacon, PEERS_MAX, RECENT_MAX, Ready, STRIKES_MAX, TOKENS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// How long a broken connection may take to come back before its peer counts as gone. Guess: a redial takes under a second.
const RECONNECT_GRACE: Span = Span::from_millis(1_500);
/// Beacons that may be missing before their sender counts as gone, at the least. Guess.
const BEACONS_MISSED: u64 = 4;
/// How long a refused peer stays refused: by the machine, and by a transport that keeps its connections closed for as long. A
/// connection to somebody who does not listen would look like a working one.
pub const REFUSED_FOR: Span = Span::from_secs(60);

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
    /// Where it stands, as last told by beacon, endorsement or word of readiness.
    pub at: Option<Position>,
    /// Whether its connection is newer than its beacon: it may have started anew, with another clock.
    renewed: bool,
    /// When it was last told the plan of the round.
    pub plan_told: Option<Time>,
    gaps: Deadline,
    strikes: u32,
    refused_until: Time,
}

/// A committed state that a peer says it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The round.
    pub round: Round,
    /// Digest of its record.
    pub digest: Digest,
    /// Digests of the rounds before, the latest first; as many as are known.
    pub recent: Vec<Digest>,
    /// Tokens committed so far.
    pub tokens: u64,
    /// Whether the peer has told all that it knows of its way (a beacon), or only where it stands.
    pub whole: bool,
}

/// A committed state that is worth having, and who can help to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The round.
    pub round: Round,
    /// Digest of its record.
    pub digest: Digest,
    /// Whether it is the round that follows from one's own state, and so can be repeated; else the whole state is fetched.
    pub follows: bool,
    /// Who has it, ascending.
    pub holders: Vec<PeerId>,
}

/// What peers have said that they do not have: digest, whether what it takes to repeat the round was asked for (else the
/// whole state), and who.
pub type Lacking = BTreeSet<(Digest, bool, PeerId)>;

impl Head {
    /// Without holders that lack it; `None` when no others are left.
    fn without(mut self, lacking: &Lacking) -> Option<Head> {
        let (digest, follows) = (self.digest, self.follows);
        self.holders.retain(|peer| !lacking.contains(&(digest, follows, *peer)));
        (!self.holders.is_empty()).then_some(self)
    }
}

/// How little evidence is enough for a peer to follow others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is at work on the round itself.
    Busy,
    /// It is not in the midst of an exchange: the next round, which leads on from where it stands, is followed on a quarter,
    /// since those who committed it may be more than half of its plan and yet no half of all; so is the heavier side of a fork.
    Ready,
    /// It has taken over a state of theirs, which they have left behind since: what comes after it is of the same branch, and
    /// whoever holds it is followed.
    OnTheWay,
    /// It has waited for long in vain: so is any heavier state. Who is far behind cannot tell a fork from a long way.
    Over,
}

impl Membership {
    /// Nobody yet.
    pub fn new(beacon_every: Span) -> Membership {
        Membership { peers: BTreeMap::new(), beacon_every }
    }

    /// The peer's entry; `None` when it is refused, or the table is full of living peers.
    pub fn heard(&mut self, peer: PeerId, now: Time) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            self.forget_one(now);
            if self.peers.len() >= PEERS_MAX {
                return None;
            }
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

    /// What is known of a peer, to be changed.
    pub fn entry(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    /// A connection to a peer stands; false when it is refused, or the table is full of living peers.
    pub fn connected(&mut self, peer: &PeerId, now: Time) -> bool {
        let heard = self.heard(*peer, now).is_some();
        if let Some(entry) = self.peers.get_mut(peer) {
            (entry.connected, entry.renewed) = (true, true);
        }
        heard
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
        let old = entry.beacon.as_ref().is_some_and(|known| known.sequence >= beacon.sequence);
        if old && !entry.renewed {
            return false;
        }
        entry.renewed = false;
        entry.at = Some(Position {
            round: beacon.round,
            digest: beacon.digest,
            recent: beacon.recent.clone(),
            tokens: beacon.tokens,
            whole: true,
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

    /// A peer has told by other means than a beacon that it committed this record; perhaps also which one that followed from. It
    /// need not be the one that the peer stood on before: it may have taken over another branch.
    pub fn stands_on(
        &mut self,
        peer: &PeerId,
        (round, digest): (Round, Digest),
        parent: Option<Digest>,
    ) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        let (recent, tokens, whole) = match &entry.at {
            Some(at) if at.round > round || at.digest == digest => return,
            Some(at) if Some(at.digest) == parent => (at.way(), at.tokens, at.whole),
            Some(at) => (parent.into_iter().collect(), at.tokens, false),
            None => (parent.into_iter().collect(), 0, false),
        };
        entry.at = Some(Position { round, digest, recent, tokens, whole });
    }

    /// Peers that claim more tokens for a state than its record says, ascending; they are taken to have said what is true.
    pub fn overstated(&mut self, record: &Record) -> Vec<PeerId> {
        let digest = record.digest();
        let mut liars = Vec::new();
        for (peer, entry) in &mut self.peers {
            if let Some(at) = entry.at.as_mut().filter(|at| at.digest == digest)
                && at.tokens > record.tokens
            {
                at.tokens = record.tokens;
                liars.push(*peer);
            }
        }
        liars
    }

    /// Whether a peer can be worked with now.
    pub fn alive(&self, peer: &PeerId, now: Time) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.alive(now))
    }

    /// When the next peer whose connection is broken counts as gone, if it does not come back.
    pub fn next_loss(&self, now: Time) -> Option<Time> {
        let broken = self.peers.values().filter(|entry| !entry.connected && entry.alive(now));
        broken.map(|entry| entry.heard + RECONNECT_GRACE).min()
    }

    /// All that can be worked with now, ascending.
    pub fn living(&self, now: Time) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter().filter(move |(_, entry)| entry.alive(now))
    }

    /// Everybody, ascending.
    pub fn all(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    /// Whether anybody stands anywhere that [`Membership::head`] could lead to from this record; cheaper, and asked at each input.
    pub(crate) fn is_ahead(&self, record: &Record, digest: Digest, now: Time) -> bool {
        let mine = (record.tokens, record.round, digest);
        let leads = |at: &Position| {
            at.whole && at.weight() > mine
                || at.round > record.round && at.at(record.round) == Some(digest)
        };
        self.peers.values().any(|entry| entry.at.as_ref().is_some_and(leads) && entry.alive(now))
    }

    /// The committed state to go to from `mine`, or `None` when this peer is not behind.
    ///
    /// First the next round, if enough living peers (by weight) are on it or beyond, and some still keep what it takes to
    /// repeat it. Else the heaviest tip (more committed tokens, then the later round, then the larger digest) that is heavier
    /// than `mine` and has enough living peers on it. That order is the same for everybody, so all end on one.
    ///
    /// Enough is more than half; or a quarter, as `patience` says. If everybody stands somewhere else, so that no state has a
    /// quarter, then any is enough: after a time in which all were alone they would stay so for ever.
    /// `lacking` are peers that have said that they do not have what a digest names: nothing is asked of them.
    pub fn head(
        &self,
        mine: &Position,
        patience: Patience,
        lacking: &Lacking,
        now: Time,
    ) -> Option<Head> {
        let voters = self.voters(now);
        let total: u64 = voters.iter().map(|voter| voter.weight).sum();
        let (half, quarter) = (total / 2 + 1, total.div_ceil(4));
        let (next, tip, fork) = match patience {
            Patience::Busy => (half, half, half),
            Patience::Ready => (quarter, half, quarter),
            Patience::OnTheWay => (1, half, quarter),
            Patience::Over => (quarter, quarter, quarter),
        };
        next_round(mine, &voters, next, lacking).or_else(|| {
            let scattered = patience != Patience::Busy && is_scattered(mine, &voters, quarter);
            let needed = if scattered { (0, 0) } else { (tip, fork) };
            heaviest_tip(mine, &voters, needed, lacking)
        })
    }

    /// Where a peer goes whose run is over and that is all but alone with what it holds, though that weighs more than what the others
    /// stand on: nobody follows it, and nothing will change any more. `None` unless more than half stand on one other state, which is
    /// not on this peer's own way, and less than a quarter on its own.
    pub fn yields_to(&self, mine: &Position, now: Time) -> Option<Head> {
        let voters = self.voters(now);
        let total: u64 = voters.iter().map(|voter| voter.weight).sum();
        let on = |digest: Digest| voters.iter().filter(move |voter| voter.at.digest == digest);
        let weight = |digest| on(digest).map(|voter| voter.weight).sum::<u64>();
        let most = voters
            .iter()
            .map(|voter| voter.at)
            .find(|at| at.digest != mine.digest && at.whole && 2 * weight(at.digest) > total)?;
        let alone = weight(mine.digest) < total.div_ceil(4) && !mine.descends_from(most);
        let holders = on(most.digest).map(|voter| voter.peer).collect();
        let head = Head { round: most.round, digest: most.digest, follows: false, holders };
        alone.then_some(head)
    }

    /// Whether living peers of a quarter of the weight have gone on from this state. Fewer would not be followed.
    pub fn passed(&self, mine: &Position, now: Time) -> bool {
        let voters = self.voters(now);
        let total: u64 = voters.iter().map(|voter| voter.weight).sum();
        let beyond = voters.iter().filter(|voter| voter.at.descends_from(mine));
        beyond.map(|voter| voter.weight).sum::<u64>() >= total.div_ceil(4).max(1)
    }

    /// Living peers that have told where they stand, ascending. A peer's weight is its speed, but never more than twice the
    /// median: nobody outvotes the rest by a claim.
    fn voters(&self, now: Time) -> Vec<Voter<'_>> {
        let told = |beacon: &Beacon| beacon.tokens_per_s.min(TOKENS_MAX / 2);
        let speed = |entry: &Peer| entry.beacon.as_ref().map_or(0, told);
        let living: Vec<(&PeerId, &Peer)> = self.living(now).collect();
        let speeds = living.iter().map(|(_, entry)| speed(entry));
        let most = median(speeds).saturating_mul(2).max(1);
        let voter = |(peer, entry): &(&PeerId, &'_ Peer)| {
            (**peer, speed(entry).clamp(most.div_ceil(4), most))
        };
        let placed = living.iter().filter_map(|of| Some((voter(of), of.1.at.as_ref()?)));
        placed.map(|((peer, weight), at)| Voter { peer, at, weight }).collect()
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
            renewed: false,
            plan_told: None,
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
    /// The digest of a round on the way to this state, if it is known.
    pub fn at(&self, round: Round) -> Option<Digest> {
        match self.round.checked_sub(round)? {
            0 => Some(self.digest),
            back => self.recent.get(back as usize - 1).copied(),
        }
    }

    /// Whether this state is known to have come from `other`.
    pub fn descends_from(&self, other: &Position) -> bool {
        self.round > other.round && self.at(other.round) == Some(other.digest)
    }

    /// Whether this state and `other` are known to be on different branches.
    pub fn forked_from(&self, other: &Position) -> bool {
        let round = self.round.min(other.round);
        matches!((self.at(round), other.at(round)), (Some(here), Some(there)) if here != there)
    }

    /// What decides between two branches: more committed tokens, then the later round, then the larger digest.
    pub fn weight(&self) -> (u64, Round, Digest) {
        (self.tokens, self.round, self.digest)
    }

    /// This state's way, with itself as the latest of it.
    pub fn way(&self) -> Vec<Digest> {
        std::iter::once(self.digest).chain(self.recent.iter().copied()).take(RECENT_MAX).collect()
    }
}

/// A peer whose word counts for so much.
struct Voter<'a> {
    peer: PeerId,
    at: &'a Position,
    weight: u64,
}

/// The round that follows from `mine`, if those on it or beyond weigh enough; of several that somebody still has, the heaviest.
fn next_round(mine: &Position, voters: &[Voter], needed: u64, lacking: &Lacking) -> Option<Head> {
    let round = mine.round + 1;
    let came_from_mine: Vec<&Position> =
        voters.iter().map(|voter| voter.at).filter(|at| at.descends_from(mine)).collect();
    let reachable = |at: &&Position| at.round <= mine.round + ROUNDS_KEPT as Round;
    if !came_from_mine.iter().any(reachable) {
        return None;
    }
    let digests: BTreeSet<Digest> = came_from_mine.iter().filter_map(|at| at.at(round)).collect();
    let candidates = digests.into_iter().filter_map(|digest| {
        let through = |at: &Position| at.at(round) == Some(digest);
        // Who has only told where it stands came the way that others tell of.
        let known: BTreeSet<Digest> =
            came_from_mine.iter().filter(|at| through(at)).map(|at| at.digest).collect();
        let holds = |voter: &&Voter| through(voter.at) || known.contains(&voter.at.digest);
        let weight: u64 = voters.iter().filter(holds).map(|voter| voter.weight).sum();
        let holders = voters.iter().filter(holds).map(|voter| voter.peer).collect();
        let head = Head { round, digest, follows: true, holders }.without(lacking)?;
        (weight >= needed).then_some((weight, head))
    });
    candidates.max_by_key(|(weight, _)| *weight).map(|(_, head)| head)
}

/// Whether neither this peer's state nor any other's has living peers of that weight on its way.
fn is_scattered(mine: &Position, voters: &[Voter], weight: u64) -> bool {
    let on_one_way = |a: &Position, b: &Position| {
        a.digest == b.digest || a.descends_from(b) || b.descends_from(a)
    };
    let with = |at: &Position| {
        voters
            .iter()
            .filter(|voter| on_one_way(voter.at, at))
            .map(|voter| voter.weight)
            .sum::<u64>()
    };
    voters.iter().map(|voter| voter.at).chain([mine]).all(|at| with(at) < weight)
}

/// `needed`: the weight that has to be on it, or on the other side of a fork.
fn heaviest_tip(
    mine: &Position,
    voters: &[Voter],
    (needed, of_a_fork): (u64, u64),
    lacking: &Lacking,
) -> Option<Head> {
    // Who has only told where it stands will tell the way there with its next beacon.
    let worth = |at: &Position| at.weight() > mine.weight() && at.whole && !mine.descends_from(at);
    let mut tips: Vec<&Position> =
        voters.iter().map(|voter| voter.at).filter(|at| worth(at)).collect();
    tips.sort_by_key(|at| std::cmp::Reverse(at.weight()));
    tips.dedup();
    let supported = |tip: &&Position| {
        let forked = tip.forked_from(mine);
        let supports = |at: &Position| {
            at.digest == tip.digest || at.descends_from(tip) || forked && tip.descends_from(at)
        };
        let side = voters.iter().filter(|voter| supports(voter.at));
        let weight: u64 = side.map(|voter| voter.weight).sum();
        weight >= if forked { of_a_fork } else { needed }
    };
    let head = |tip: &Position| {
        let (round, digest) = (tip.round, tip.digest);
        let there = voters.iter().filter(|voter| voter.at.digest == digest);
        Head { round, digest, follows: false, holders: there.map(|voter| voter.peer).collect() }
    };
    tips.into_iter().filter(supported).find_map(|tip| head(tip).without(lacking))
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
                recent: vec![digest(parent)],
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
        Position {
            round,
            digest: digest(own),
            recent: vec![digest(99)],
            tokens: round * 100,
            whole: true,
        }
    }

    fn check(at: &[(Round, u8, u8, u64)], expected: Option<(Round, u8, usize)>) {
        check_with(Patience::Busy, at, expected);
    }

    fn check_with(
        patience: Patience,
        at: &[(Round, u8, u8, u64)],
        expected: Option<(Round, u8, usize)>,
    ) {
        let head = mesh(at).head(&mine(3, 30), patience, &BTreeSet::new(), Time::ZERO);
        let found = head.map(|head| (head.round, head.digest.0[0], head.holders.len()));
        assert_eq!(found, expected, "{at:?}");
    }

    #[test]
    fn the_head_is_what_more_than_half_confirm() {
        check(&[], None);
        check(&[(3, 30, 20, 1)], None);
        check(&[(5, 50, 40, 1)], Some((5, 50, 1)));
        check(&[(5, 50, 40, 1), (5, 50, 40, 1), (5, 66, 66, 1)], Some((5, 50, 2)));
        check(&[(5, 50, 40, 1), (4, 40, 30, 1)], Some((4, 40, 2)));
        check(&[(4, 40, 30, 1), (4, 40, 30, 1), (3, 30, 99, 1)], Some((4, 40, 2)));
        check(&[(5, 50, 40, 1), (3, 30, 20, 1)], None);
    }

    #[test]
    fn who_waits_is_content_with_a_quarter() {
        let (here, far) = ((3, 30, 99, 1), (9, 90, 80, 1));
        let next = [here, here, here, (4, 40, 30, 1)];
        check_with(Patience::Busy, &next, None);
        check_with(Patience::Ready, &next, Some((4, 40, 1)));
        check_with(Patience::Ready, &[here, here, here, here, (4, 40, 30, 1)], None);
        check_with(Patience::Ready, &[here, far], None);
        check_with(Patience::Over, &[here, far], Some((9, 90, 1)));
    }

    #[test]
    fn where_all_stand_alone_the_heaviest_is_followed() {
        let alone = |n: u8| (4, 40 + n, 30 + n, 1);
        let scattered = [alone(1), alone(2), (5, 53, 43, 1), alone(4), alone(5)];
        check_with(Patience::Busy, &scattered, None);
        check_with(Patience::Ready, &scattered, Some((5, 53, 1)));
        let with_two_together = [alone(1), alone(1), (5, 53, 43, 1), alone(4), (3, 30, 99, 1)];
        check_with(Patience::Ready, &with_two_together, Some((4, 41, 2)));
    }

    #[test]
    fn who_tells_only_where_it_stands_came_the_way_of_others() {
        let mut members = mesh(&[(4, 40, 30, 1), (3, 30, 99, 1)]);
        members.heard(peer(3), Time::ZERO).expect("room").connected = true;
        members.stands_on(&peer(3), (4, digest(40)), Some(digest(30)));
        let lacks = |lacking: &[u8]| {
            let lacking = lacking.iter().map(|n| (digest(40), true, peer(*n))).collect();
            members.head(&mine(3, 30), Patience::Busy, &lacking, Time::ZERO)
        };
        let head = |follows, holders: &[u8]| {
            let holders = holders.iter().map(|n| peer(*n)).collect();
            Some(Head { round: 4, digest: digest(40), follows, holders })
        };
        assert_eq!(lacks(&[]), head(true, &[1, 3]));
        assert_eq!(lacks(&[1]), head(true, &[3]));
        assert_eq!(lacks(&[1, 3]), head(false, &[1, 3]));
    }

    #[test]
    fn of_several_next_rounds_the_heaviest_is_repeated_that_somebody_still_has() {
        let members = mesh(&[(4, 40, 30, 1), (4, 41, 30, 1), (4, 41, 30, 1), (4, 42, 30, 1)]);
        let next = |lacking: &[(u8, u8)]| {
            let lacks = |(own, n): &(u8, u8)| (digest(*own), true, peer(*n));
            let lacking = lacking.iter().map(lacks).collect();
            let head = members.head(&mine(3, 30), Patience::OnTheWay, &lacking, Time::ZERO);
            head.map(|head| (head.digest.0[0], head.follows, head.holders.len()))
        };
        assert_eq!(next(&[]), Some((41, true, 2)));
        assert_eq!(next(&[(41, 2), (41, 3)]), Some((42, true, 1)));
        assert_eq!(next(&[(41, 2), (41, 3), (42, 4)]), Some((40, true, 1)));
        assert_eq!(next(&[(40, 1), (41, 2)]), Some((41, true, 1)));
    }

    #[test]
    fn whoever_is_alone_with_more_when_all_is_over_yields() {
        let check = |at: &[(Round, u8, u8, u64)], expected: Option<u8>| {
            let head = mesh(at).yields_to(&mine(3, 30), Time::ZERO);
            assert_eq!(head.map(|head| head.digest.0[0]), expected, "{at:?}");
        };
        let (other, same, behind) = ((2, 77, 9, 1), (3, 30, 99, 1), (2, 99, 98, 1));
        check(&[other, other], Some(77));
        check(&[other, (2, 78, 9, 1)], None);
        check(&[other, other, other, same], None);
        check(&[other, other, other, other, same], Some(77));
        check(&[behind, behind], None);
    }

    #[test]
    fn claims_are_held_against_the_record() {
        let record = Record::genesis(crate::id::RunId::default(), digest(1));
        let mut members = mesh(&[(0, 9, 9, 1), (0, 9, 9, 1), (0, 9, 9, 1)]);
        for (n, (digest, tokens)) in
            [(digest(9), 7), (record.digest(), 7), (record.digest(), 0)].into_iter().enumerate()
        {
            let at = members.entry(&peer(n as u8 + 1)).and_then(|entry| entry.at.as_mut());
            let at = at.expect("it has told where it stands");
            (at.digest, at.tokens) = (digest, tokens);
        }
        assert_eq!(members.overstated(&record), [peer(2)]);
        assert_eq!(members.overstated(&record), []);
    }

    #[test]
    fn an_exaggerated_claim_outvotes_nobody() {
        let honest = (5, 50, 40, 10);
        check(&[honest, honest, honest, (900, 66, 67, u64::MAX)], Some((5, 50, 3)));
    }

    #[test]
    fn the_heavier_side_of_a_fork_is_kept() {
        let side = |round, own, parent| [(round, own, parent, 1), (3, 30, 99, 1), (3, 30, 99, 1)];
        check_with(Patience::Ready, &side(4, 77, 31), Some((4, 77, 1)));
        check_with(Patience::Busy, &side(4, 77, 31), None);
        check_with(Patience::Ready, &side(3, 77, 99), Some((3, 77, 1)));
        check_with(Patience::Ready, &side(3, 7, 99), None);
        check_with(Patience::Ready, &side(2, 77, 9), None);
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
