//! Small worlds for tests: uneven peers of one run, a spec drawn from the seed, and faults by hand.

use super::spec;
use crate::book::Book;
use crate::keys;
use crate::liar::Liar;
use crate::net::{Host, Loss, Net};
use crate::noise::{self, Numbers};
use crate::peer::Peer;
use crate::rng::Rng;
use crate::store::{Disk, Saved};
use crate::world::{Chance, World};
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::{Span, Time};
use std::rc::Rc;

impl World {
    /// A small run of `n` peers, of whom none has started.
    pub fn new(test: &'static str, seed: u64, n: usize) -> World {
        World::with(test, seed, n, 0, spec::small)
    }

    /// A run of `n` peers and some liars, with a spec of the caller's.
    pub fn with(
        test: &'static str,
        seed: u64,
        n: usize,
        liars: usize,
        spec: fn(&mut Rng) -> RunSpec,
    ) -> World {
        let mut rng = Rng::new(seed);
        let spec = spec(&mut rng);
        let genesis = noise::genesis(&spec);
        let elems = spec.elems() as usize;
        let disk = Disk::Real(Box::new(Saved {
            record: genesis.record.clone(),
            numbers: Numbers::initial(&spec),
            up: vec![0.0; elems],
            down: vec![0.0; elems],
        }));
        let speed = 48 + rng.below(32);
        let spec = Rc::new(spec);
        let peer = |p| Peer::new(keys::peer_id(p), spec.clone(), speed, disk.clone());
        let peers = (0..n).map(peer).collect();
        let liars: Vec<Liar> = (n..n + liars).map(|p| Liar::new(p, rng.fork())).collect();
        let net = uneven(n + liars.len(), rng.fork());
        let book = Book::new(&genesis.record, n, elems);
        let again = format!("SHOAL_SEED={seed} cargo test -p shoal-sim -- {test}");
        let begin = Time::ZERO + rng.millis(0, 1_000_000);
        let mut world = World::assemble(&again, seed, spec, peers, net, book, rng);
        (world.liars, world.now) = (liars, begin);
        world
    }

    pub fn start_all(&mut self) {
        (0..self.peers.len()).for_each(|p| self.start(p));
        for liar in 0..self.liars.len() {
            let soon = self.now + self.rng.millis(100, 1000);
            self.happens(soon, Chance::Lie(liar));
        }
    }

    /// One network again.
    pub fn heal(&mut self) {
        self.cut(&vec![0; self.peers.len() + self.liars.len()]);
    }

    pub fn alive(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|&p| self.peers[p].is_alive()).collect()
    }
}

/// Uneven hosts of one run.
pub fn uneven(n: usize, mut rng: Rng) -> Net {
    let distance: Vec<Span> = (0..n).map(|_| rng.millis(3, 30)).collect();
    let mut host = |latency| {
        let mut rate = || 100_000 + rng.below(900_000);
        let (up_bytes_per_s, down_bytes_per_s) = (rate(), 2 * rate());
        let (jitter, loss) = (Span::ZERO, Loss::default());
        Host { run: 0, region: None, up_bytes_per_s, down_bytes_per_s, latency, jitter, loss }
    };
    let hosts = distance.into_iter().map(&mut host).collect();
    Net::new(hosts, rng)
}

#[test]
fn a_short_absence_is_noticed_by_nobody() {
    let mut net = uneven(2, Rng::new(1));
    assert_eq!(net.reconcile(0, |_| true, Time::ZERO).0.len(), 2);
    assert_eq!((net.tell(0, 1), net.tell(1, 0)), (Some(true), Some(true)));
    let epoch = net.epoch(0, 1);
    net.died(1);
    assert_eq!(net.reconcile(1, |p| p == 0, Time::ZERO).0.len(), 1);
    net.restarted(1);
    net.reconcile(1, |_| true, Time::ZERO);
    assert_eq!((net.tell(0, 1), net.tell(1, 0)), (None, Some(true)));
    assert_ne!(net.epoch(0, 1), epoch);
}
