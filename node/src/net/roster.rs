//! Whom we have heard of, and when to dial whom.

use super::address;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Peers that are remembered; beyond it the least hopeful one goes.
const PEERS_MAX: usize = 512;
/// Addresses of one peer that are remembered, newest first.
const ADDRESSES_MAX: usize = 12;
/// Wait before the first repeated dial; it doubles with each failure.
const BACKOFF_MIN: Duration = Duration::from_millis(400);
/// Longest wait between dials of a peer that was given as a bootstrap address or is still announced.
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// After this many failures a peer that nobody has spoken of lately is forgotten.
const FAILURES_MAX: u32 = 8;
/// "Lately", in that sense.
const LATELY: Duration = Duration::from_secs(120);
/// The side with the larger name lets the other dial first, so that two rarely meet in the middle.
const POLITENESS: Duration = Duration::from_millis(600);
/// An address without a peer is dialled again this often while we are alone.
const ANONYMOUS_EVERY: Duration = Duration::from_secs(5);

/// One peer that we have heard of.
#[derive(Debug)]
struct Known {
    addresses: Vec<Multiaddr>,
    failures: u32,
    next: Instant,
    /// Not before this, whatever else is said.
    avoid: Instant,
    /// Nor let in before this.
    shut_out: Instant,
    heard: Instant,
    /// Given by a person: never forgotten.
    bootstrap: bool,
}

/// A dial that is due. Without addresses, the other behaviours may know some.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
}

/// Whom we have heard of.
pub(super) struct Roster {
    me: PeerId,
    peers: BTreeMap<PeerId, Known>,
    anonymous: Vec<(Multiaddr, Instant)>,
}

impl Roster {
    /// Knows the bootstrap addresses.
    pub(super) fn new(me: PeerId, bootstrap: &[Multiaddr], now: Instant) -> Self {
        let mut roster = Roster { me, peers: BTreeMap::new(), anonymous: Vec::new() };
        for address in bootstrap {
            roster.add_bootstrap(address.clone(), now);
        }
        roster
    }

    /// Takes an address from a person; it is dialled at once and never forgotten.
    pub(super) fn add_bootstrap(&mut self, address: Multiaddr, now: Instant) {
        match address::split_peer(address) {
            (address, Some(peer)) => {
                self.hear(peer, [address], now);
                if let Some(known) = self.peers.get_mut(&peer) {
                    (known.bootstrap, known.next, known.avoid) = (true, now, now);
                    known.shut_out = now;
                }
            }
            (address, None) if self.anonymous.len() < PEERS_MAX => {
                self.anonymous.push((address, now));
            }
            _ => {}
        }
    }

    /// Notes that `peer` is said to be at `addresses`.
    pub(super) fn hear(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        now: Instant,
    ) {
        if peer == self.me {
            return;
        }
        let politeness = if self.me > peer { POLITENESS } else { Duration::ZERO };
        let known = self.peers.entry(peer).or_insert_with(|| Known {
            addresses: Vec::new(),
            failures: 0,
            next: now + politeness,
            avoid: now,
            shut_out: now,
            heard: now,
            bootstrap: false,
        });
        known.heard = now;
        for address in addresses {
            known.add(address::split_peer(address).0, now + politeness);
        }
        if self.peers.len() > PEERS_MAX {
            self.forget_worst(&peer);
        }
    }

    fn forget_worst(&mut self, but: &PeerId) {
        let candidates = self.peers.iter().filter(|(peer, known)| !known.bootstrap && *peer != but);
        let worst = candidates.max_by_key(|(_, known)| (known.failures, known.next));
        if let Some(peer) = worst.map(|(peer, _)| *peer) {
            self.peers.remove(&peer);
        }
    }

    /// A dial failed.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.failures += 1;
        known.next = now + backoff(peer, known.failures);
        let hopeless = known.failures > FAILURES_MAX && now > known.heard + LATELY;
        if hopeless && !known.bootstrap {
            self.peers.remove(peer);
        }
    }

    /// A session stands.
    pub(super) fn succeeded(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.failures = 0;
        }
    }

    /// A session ended by itself: dial again soon.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Instant) {
        let politeness = if self.me > *peer { POLITENESS } else { Duration::ZERO };
        if let Some(known) = self.peers.get_mut(peer) {
            known.failures += 1;
            known.next = now + backoff(peer, known.failures) + politeness;
        }
    }

    /// Leave this peer alone for a while.
    pub(super) fn avoid(&mut self, peer: PeerId, until: Instant, now: Instant) {
        self.hear(peer, [], now);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.avoid = until;
        }
    }

    /// Do not let this peer in for a while, whoever dials; one that is not known is not worth remembering.
    pub(super) fn shut_out(&mut self, peer: PeerId, until: Instant) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.shut_out = until;
        }
    }

    /// Whether this peer is not to be let in.
    pub(super) fn is_shut_out(&self, peer: &PeerId, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|known| known.shut_out > now)
    }

    /// Whether we know a place to dial for `peer`.
    pub(super) fn has_addresses(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|known| !known.addresses.is_empty())
    }

    /// The dials that are due, at most `most`. Each counts as under way until it fails or succeeds.
    pub(super) fn due(
        &mut self,
        now: Instant,
        most: usize,
        connected: impl Fn(&PeerId) -> bool,
        alone: bool,
    ) -> Vec<Due> {
        let mut due: Vec<Due> = Vec::new();
        for (peer, known) in &mut self.peers {
            if due.len() < most && known.next.max(known.avoid) <= now && !connected(peer) {
                known.next = now + BACKOFF_MAX;
                due.push(Due { peer: Some(*peer), addresses: known.to_dial() });
            }
        }
        for (address, next) in self.anonymous.iter_mut().filter(|(_, next)| alone && *next <= now) {
            *next = now + ANONYMOUS_EVERY;
            due.push(Due { peer: None, addresses: vec![address.clone()] });
        }
        due
    }
}

impl Known {
    /// A new address is worth a dial before the backoff is over, but not before `next`.
    fn add(&mut self, address: Multiaddr, next: Instant) {
        if !address::is_dialable(&address) {
            return;
        }
        let is_new = !self.addresses.contains(&address);
        self.addresses.retain(|other| *other != address);
        self.addresses.insert(0, address);
        self.addresses.truncate(ADDRESSES_MAX);
        if is_new && self.failures > 0 && self.failures < FAILURES_MAX {
            self.next = self.next.min(next + BACKOFF_MIN);
        }
    }

    /// TCP carries bulk faster, so it is tried first; every second attempt tries what is left.
    fn to_dial(&self) -> Vec<Multiaddr> {
        let tcp = self.failures.is_multiple_of(2);
        let (first, second): (Vec<_>, Vec<_>) =
            self.addresses.iter().cloned().partition(|address| address::is_tcp(address) == tcp);
        if first.is_empty() { second } else { first }
    }
}

/// Doubles with each failure up to [`BACKOFF_MAX`], spread by up to a quarter so that a mesh does not dial in step.
fn backoff(peer: &PeerId, failures: u32) -> Duration {
    let wait = (BACKOFF_MIN * 2u32.pow(failures.clamp(1, 8) - 1)).min(BACKOFF_MAX);
    let hash = blake3::hash(&[peer.to_bytes().as_slice(), &failures.to_le_bytes()].concat());
    wait + wait.mul_f64(f64::from(hash.as_bytes()[0]) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn roster(now: Instant) -> Roster {
        Roster::new(PeerId::random(), &[], now)
    }

    fn due(roster: &mut Roster, now: Instant) -> Vec<Option<PeerId>> {
        roster.due(now, 64, |_| false, true).into_iter().map(|due| due.peer).collect()
    }

    #[test]
    fn a_peer_is_dialled_once_and_again_after_a_growing_wait() {
        let (mut now, peer) = (Instant::now(), PeerId::random());
        let mut roster = roster(now);
        roster.hear(peer, [address(1)], now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let begun = now;
            while due(&mut roster, now).is_empty() {
                now += Duration::from_millis(50);
            }
            waits.push(now - begun);
            roster.failed(&peer, now);
        }
        assert!(waits.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn tcp_is_tried_before_quic() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut roster = Roster::new(PeerId::random(), &[], now);
        let quic: Multiaddr = "/ip4/10.0.0.1/udp/1/quic-v1".parse().unwrap();
        roster.hear(peer, [quic.clone(), address(1)], now);
        let later = now + POLITENESS;
        assert_eq!(roster.due(later, 9, |_| false, true)[0].addresses, [address(1)]);
        roster.failed(&peer, later);
        assert_eq!(roster.due(later + BACKOFF_MAX, 9, |_| false, true)[0].addresses, [quic]);
    }

    #[test]
    fn strangers_cannot_fill_it_nor_push_out_a_bootstrap_peer() {
        let now = Instant::now();
        let friend = PeerId::random();
        let given = address::with_peer(&address(1), friend);
        let mut roster = Roster::new(PeerId::random(), &[given], now);
        (0..2 * PEERS_MAX).for_each(|_| roster.hear(PeerId::random(), [address(2)], now));
        assert_eq!(roster.peers.len(), PEERS_MAX);
        assert!(roster.peers.contains_key(&friend));
        (0..100).for_each(|port| roster.hear(friend, [address(port + 1)], now));
        assert_eq!(roster.peers[&friend].addresses.len(), ADDRESSES_MAX);
    }

    #[test]
    fn an_avoided_peer_waits_even_if_it_is_heard_of() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut roster = roster(now);
        roster.avoid(peer, now + Duration::from_secs(600), now);
        roster.hear(peer, [address(1)], now);
        roster.lost(&peer, now);
        assert_eq!(due(&mut roster, now + Duration::from_secs(599)), []);
        assert_eq!(due(&mut roster, now + Duration::from_secs(600)), [Some(peer)]);
    }

    #[test]
    fn who_is_shut_out_is_let_in_again_later() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut roster = roster(now);
        roster.avoid(peer, now + Duration::from_secs(60), now);
        assert!(!roster.is_shut_out(&peer, now));
        roster.shut_out(peer, now + Duration::from_secs(60));
        assert!(roster.is_shut_out(&peer, now + Duration::from_secs(59)));
        assert!(!roster.is_shut_out(&peer, now + Duration::from_secs(60)));
    }

    #[test]
    fn an_address_without_a_peer_is_dialled_while_alone() {
        let now = Instant::now();
        let mut roster = Roster::new(PeerId::random(), &[address(1)], now);
        assert_eq!(due(&mut roster, now), [None]);
        assert_eq!(due(&mut roster, now), []);
        assert_eq!(roster.due(now + ANONYMOUS_EVERY, 64, |_| false, false), []);
        assert_eq!(due(&mut roster, now + ANONYMOUS_EVERY), [None]);
    }
}
