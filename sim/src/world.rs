//! A run in memory: the event queue, virtual time, who is alive. Everything follows from one seed.

use crate::book::Book;
use crate::check::s7_bounds;
use crate::keys;
use crate::liar::Liar;
use crate::noise::{self, Numbers};
use crate::net::Net;
use crate::peer::Peer;
use crate::log::{self, Log};
use crate::rng::Rng;
use crate::store::Disk;
use shoal_protocol::event::{Input, Output};
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::{Span, Time};
use shoal_protocol::wire::{self, ChunkId, Message};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Wakes of one peer at one instant that are no accident any more.
const WAKES_MAX: u32 = 1000;

/// What happens next, to whom.
pub enum Event {
    /// A control frame comes.
    Frame { from: usize, to: usize, epoch: u32, bytes: Rc<Vec<u8>> },
    /// A bulk frame comes.
    Bulk { from: usize, to: usize, epoch: u32, chunk: ChunkId, bytes: Rc<Vec<u8>> },
    /// A job is done, or a frame has left.
    Tell { p: usize, life: u32, input: Box<Input> },
    /// Training is done.
    Trained { p: usize, life: u32, tokens: u64 },
    /// A peer may have to be told that a link is up or down.
    Notice { who: usize, about: usize },
    /// Links may have to come up again.
    Reconcile,
    /// A liar's turn.
    Lie { liar: usize },
}

/// All peers, the network, the time, and the outside view.
pub struct World {
    pub test: &'static str,
    pub seed: u64,
    pub spec: Rc<RunSpec>,
    pub now: Time,
    pub peers: Vec<Peer>,
    /// Numbered after the peers.
    pub liars: Vec<Liar>,
    pub net: Net,
    pub book: Book,
    pub log: Log,
    pub rng: Rng,
    /// The plan that each peer last contributed to, and the round: where faults are aimed.
    pub under_way: Option<(Round, Digest)>,
    queue: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    bustle: s7_bounds::Bustle,
}

impl World {
    /// A small run of `n` peers, of whom none has started.
    pub fn new(test: &'static str, seed: u64, n: usize) -> World {
        World::with(test, seed, n, 0, noise::spec)
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
        let disk = Disk {
            record: genesis.record.clone(),
            numbers: Numbers::initial(&spec),
            up: vec![0.0; elems],
            down: vec![0.0; elems],
        };
        let speed = 48 + rng.below(32);
        let peers = (0..n).map(|p| Peer::new(keys::peer_id(p), speed, disk.clone())).collect();
        let liars: Vec<Liar> = (n..n + liars).map(|p| Liar::new(p, rng.fork())).collect();
        World {
            test,
            seed,
            now: Time::ZERO + rng.millis(0, 1_000_000),
            peers,
            net: Net::new(n + liars.len(), rng.fork()),
            liars,
            book: Book::new(&genesis.record, n, elems),
            log: Log::default(),
            under_way: None,
            queue: BTreeMap::new(),
            sequence: 0,
            bustle: s7_bounds::Bustle::default(),
            spec: Rc::new(spec),
            rng,
        }
    }

    pub fn has_liars(&self) -> bool {
        !self.liars.is_empty()
    }

    // ---- faults and joins ---------------------------------------------------------------------------------------

    pub fn start(&mut self, p: usize) {
        self.log.text(self.now, p, "starts");
        self.net.restarted(p);
        self.peers[p].stalled_until = self.now;
        self.peers[p].start(&self.spec, self.now);
        let (up_bytes_per_s, down_bytes_per_s) = self.net.rates(p);
        let tokens_per_s = self.peers[p].speed;
        let measured = Input::Measured { up_bytes_per_s, down_bytes_per_s, tokens_per_s };
        let soon = self.rng.millis(100, 1000);
        self.tell_later(p, soon, measured);
        let store = &self.peers[p].running.as_ref().expect("it has just started").store;
        self.book.accounts[p].write_off(&store.work);
        self.reconcile();
    }

    pub fn start_all(&mut self) {
        (0..self.peers.len()).for_each(|p| self.start(p));
        for liar in 0..self.liars.len() {
            let soon = self.now + self.rng.millis(100, 1000);
            self.schedule(soon, Event::Lie { liar });
        }
    }

    pub fn kill(&mut self, p: usize) {
        self.log.text(self.now, p, "is killed");
        self.peers[p].running = None;
        self.net.died(p);
        self.reconcile();
    }

    /// Cuts the network into groups.
    pub fn cut(&mut self, groups: &[u8]) {
        self.log.text(self.now, 0, &format!("network is cut: {groups:?}"));
        self.net.set_groups(groups);
        self.reconcile();
    }

    /// One network again.
    pub fn heal(&mut self) {
        self.cut(&vec![0; self.peers.len() + self.liars.len()]);
    }

    /// Nothing reaches the peer for a while.
    pub fn stall(&mut self, p: usize, span: Span) {
        self.log.text(self.now, p, &format!("stalls for {:.3} s", span.as_secs_f64()));
        self.peers[p].stalled_until = self.now + span;
    }

    /// Brings links up and down as they should be now.
    pub fn reconcile(&mut self) {
        let mut alive: Vec<bool> = self.peers.iter().map(Peer::is_alive).collect();
        alive.resize(self.peers.len() + self.liars.len(), true);
        for (who, about, after) in self.net.reconcile(&alive, self.now) {
            self.schedule(self.now + after, Event::Notice { who, about });
        }
    }

    // ---- what is under way --------------------------------------------------------------------------------------

    pub fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    pub fn tell_later(&mut self, p: usize, after: Span, input: Input) {
        let life = self.peers[p].life;
        self.schedule(self.now + after, Event::Tell { p, life, input: Box::new(input) });
    }

    /// Posts a control frame.
    pub fn post(&mut self, from: usize, to: usize, bytes: Rc<Vec<u8>>) {
        let epoch = self.net.epoch(from, to);
        for at in self.net.control(from, to, bytes.len(), self.now) {
            self.schedule(at, Event::Frame { from, to, epoch, bytes: bytes.clone() });
        }
    }

    /// Ships a bulk frame; when it has left.
    pub fn ship(&mut self, from: usize, to: usize, chunk: ChunkId, bytes: Vec<u8>) -> Time {
        let epoch = self.net.epoch(from, to);
        let passage = self.net.bulk(from, to, bytes.len(), self.now);
        let bytes = Rc::new(bytes);
        for at in passage.arrives {
            let bytes = bytes.clone();
            self.schedule(at, Event::Bulk { from, to, epoch, chunk, bytes });
        }
        passage.sent
    }

    // ---- time goes on -------------------------------------------------------------------------------------------

    /// The next event or wake happens; false if there is none up to `until`.
    fn step(&mut self, until: Time) -> bool {
        let event = self.queue.first_key_value().map(|(at, _)| at.0);
        let wakes = self.peers.iter().enumerate().filter_map(|(p, peer)| Some((peer.wake()?, p)));
        let wake = wakes.min();
        match (event, wake) {
            (Some(at), wake) if at <= until && wake.is_none_or(|(wake, _)| at <= wake) => {
                let ((at, _), event) = self.queue.pop_first().expect("it was just seen");
                self.now = self.now.max(at);
                self.happen(event);
            }
            (_, Some((at, p))) if at <= until => self.wake(p, at),
            _ => return false,
        }
        true
    }

    fn wake(&mut self, p: usize, at: Time) {
        self.now = self.now.max(at);
        let running = self.peers[p].running.as_mut().expect("only the living wake");
        let (last, times) = running.wakes;
        running.wakes = (self.now, if last == self.now { times + 1 } else { 0 });
        assert!(times < WAKES_MAX, "S7 is broken: p{p} asks to be woken again and again");
        self.handle(p, Input::Wake);
    }

    fn happen(&mut self, event: Event) {
        if let Some(p) = self.target(&event)
            && self.peers[p].stalled_until > self.now
        {
            return self.schedule(self.peers[p].stalled_until, event);
        }
        match event {
            Event::Frame { from, to, epoch, bytes } => self.frame(from, to, epoch, &bytes),
            Event::Bulk { from, to, epoch, chunk, bytes } => {
                self.bulk(from, to, epoch, chunk, bytes);
            }
            Event::Tell { p, life, input } if self.is_life(p, life) => self.handle(p, *input),
            Event::Trained { p, life, tokens } if self.is_life(p, life) => self.trained(p, tokens),
            Event::Tell { .. } | Event::Trained { .. } => {}
            Event::Notice { who, about } => self.notice(who, about),
            Event::Reconcile => self.reconcile(),
            Event::Lie { liar } => self.lie(liar),
        }
    }

    /// The peer that an event happens to.
    fn target(&self, event: &Event) -> Option<usize> {
        let p = match event {
            Event::Frame { to, .. } | Event::Bulk { to, .. } => *to,
            Event::Tell { p, .. } | Event::Trained { p, .. } => *p,
            Event::Notice { who, .. } => *who,
            Event::Reconcile | Event::Lie { .. } => return None,
        };
        (p < self.peers.len()).then_some(p)
    }

    fn is_life(&self, p: usize, life: u32) -> bool {
        self.peers[p].life == life && self.peers[p].is_alive()
    }

    fn frame(&mut self, from: usize, to: usize, epoch: u32, bytes: &[u8]) {
        if self.net.epoch(from, to) != epoch {
            return;
        }
        match to.checked_sub(self.peers.len()) {
            Some(liar) => self.liars[liar].overhears(bytes),
            None => {
                let input = wire::decode(keys::peer_id(from), bytes);
                if let Input::Received { from, message: Message::Confirm(confirm) } = &input {
                    self.book.one_result.confirmed(from, confirm);
                }
                self.handle(to, input);
            }
        }
    }

    fn bulk(&mut self, from: usize, to: usize, epoch: u32, chunk: ChunkId, bytes: Rc<Vec<u8>>) {
        if self.net.epoch(from, to) != epoch || to >= self.peers.len() {
            return;
        }
        let Some(running) = self.peers[to].running.as_mut() else { return };
        let (size, digest) = (bytes.len() as u32, Digest::of(&bytes));
        let from = keys::peer_id(from);
        running.store.take_in(from, chunk, bytes);
        self.handle(to, Input::Arrived { from, chunk, bytes: size, digest });
    }

    fn notice(&mut self, who: usize, about: usize) {
        if who >= self.peers.len() || !self.peers[who].is_alive() {
            return;
        }
        let peer = keys::peer_id(about);
        match self.net.tell(who, about) {
            Some(true) => self.handle(who, Input::Connected { peer }),
            Some(false) => self.handle(who, Input::Disconnected { peer }),
            None => {}
        }
    }

    /// Tells a peer's session something, and does what it asks for.
    pub fn handle(&mut self, p: usize, input: Input) {
        let now = self.now;
        self.log.input(now, p, &input);
        self.bustle.count(now, self.peers.len());
        let Some(running) = self.peers[p].running.as_mut() else { return };
        let mut outputs = Vec::new();
        running.session.handle(now, input.clone(), &mut outputs);
        s7_bounds::outputs(&self.spec, self.peers.len() + self.liars.len(), &input, outputs.len());
        if let Some(tape) = &mut self.peers[p].tape {
            tape.push((now, input, outputs.clone()));
        }
        for output in outputs {
            self.log.output(now, p, &output);
            self.aim(p, &output);
            self.perform(p, output);
        }
        let store = &self.peers[p].running.as_ref().expect("it is alive").store;
        s7_bounds::held(p, store, self.peers.len() + self.liars.len());
    }

    /// Keeps in mind which exchange is under way.
    fn aim(&mut self, p: usize, output: &Output) {
        if let Output::Contribute { chunk, .. } = output {
            let round = self.peers[p].stands().map_or(0, |(round, _)| round + 1);
            if self.under_way.is_none_or(|(newest, _)| newest < round) {
                self.under_way = Some((round, chunk.of));
            }
        }
    }

    pub fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until something holds. What it is waiting for is named when it does not come in time.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, patience: Span, mut holds: impl FnMut(&World) -> bool) {
        let until = self.now + patience;
        while !holds(self) {
            let goes_on = self.step(until);
            assert!(goes_on, "{what}: not within {:.0} s", patience.as_secs_f64());
        }
    }

    // ---- how it stands ------------------------------------------------------------------------------------------

    pub fn alive(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|&p| self.peers[p].is_alive()).collect()
    }

    /// The earliest and the latest committed round among the living.
    pub fn rounds(&self) -> (Round, Round) {
        let rounds = || self.peers.iter().filter_map(|peer| Some(peer.stands()?.0));
        (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0))
    }

    /// Whether all that live stand on one digest.
    pub fn is_together(&self) -> bool {
        let mut stands = self.peers.iter().filter_map(Peer::stands);
        let first = stands.next();
        stands.all(|other| Some(other) == first)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", log::report(self));
        }
    }
}
