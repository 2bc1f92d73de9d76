//! Virtual time, links between neighbours, and who is there.

use super::numbers::Numbers;
use super::page::Kept;
use super::report::{Seen, Summary};
use crate::cluster::{self, Drawn};
use crate::fault::{Fault, seconds};
use crate::keys;
use crate::learn::Lesson;
use crate::net::{Due, FlowId, Sharing};
use crate::queue::Queue;
use crate::report::Spread;
use crate::rng::Rng;
use crate::scenario::{FaultKind, Scenario};
use crate::trace::Trace;
use shoal_protocol::gossip::grid::Place;
use shoal_protocol::gossip::{Frame, GossipSession, Input, Message};
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::{Span, Time};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long it takes until a peer is told that another cannot be reached any more. As in the other worlds.
const DETECTED: Span = Span::from_millis(1500);

/// Bytes of a frame, if there are numbers.
pub type Payload = Option<Rc<Vec<u8>>>;

/// A bulk frame under way.
struct Transfer {
    from: usize,
    to: usize,
    bytes: u64,
    frame: Frame,
    payload: Payload,
}

/// What is to happen.
pub enum Event {
    Start(usize),
    Kill(usize),
    /// Hosts are cut into groups that cannot reach each other.
    Cut(Vec<u8>),
    /// To a peer in this life.
    Input(usize, u32, Input),
    /// A frame, with its bytes.
    Bulk {
        from: usize,
        to: usize,
        life: u32,
        frame: Frame,
        payload: Payload,
    },
    Look(Due),
    Wake(usize, Time),
}

/// One peer.
pub struct Peer {
    pub id: PeerId,
    pub life: u32,
    /// Its machine, while it lives.
    pub session: Option<GossipSession>,
    pub numbers: Option<Numbers>,
    pub tokens_per_s: u64,
    pub latency: Span,
    /// All that it could ever meet, alive or not.
    pub neighbours: Vec<usize>,
    pub committed: Round,
    /// Frames that came and are not used yet.
    pub held: BTreeMap<(Frame, usize), Payload>,
    /// Slices and order of the group under way.
    pub slices: u64,
    pub trained: Span,
    pub traffic: (u64, u64),
    woken: Time,
}

/// A run by gossip under way.
pub struct World {
    pub now: Time,
    queue: Queue<Event>,
    pub peers: Vec<Peer>,
    /// How many live.
    pub alive: usize,
    groups: Vec<u8>,
    sharing: Sharing,
    flows: BTreeMap<FlowId, Transfer>,
    pub spec: Rc<RunSpec>,
    pub lesson: Option<Lesson>,
    pub seen: Seen,
    kept: Kept,
    pub trace: Trace,
    inputs: u64,
}

/// Runs a scenario until all that live have committed its rounds.
pub fn run(scenario: &Scenario, seed: u64) -> (Summary, Kept) {
    let mut rng = Rng::new(seed);
    let (hosts, names) = cluster::hosts(scenario, seed);
    let spec = Rc::new(scenario.spec(0).expect("it was checked when it was read"));
    let mut world = World::new(scenario, spec, &hosts, names);
    lay_out(scenario, &hosts, &mut world, &mut rng);
    let groups: Vec<usize> = hosts.iter().map(|drawn| drawn.group).collect();
    for fault in crate::fault::all(scenario, &groups, &mut rng.fork()) {
        befall(&fault, &mut world);
    }
    let end = Time::ZERO + seconds(scenario.hours * 3600.0);
    while !world.is_done(scenario.rounds) && world.step(end) {}
    world.summary(scenario, seed)
}

fn lay_out(scenario: &Scenario, hosts: &[Drawn], world: &mut World, rng: &mut Rng) {
    for (p, drawn) in hosts.iter().enumerate() {
        let starts = scenario.group[drawn.group].starts_s.draw(rng);
        world.happens(Time::ZERO + seconds(starts), Event::Start(p));
    }
}

/// Crashes and cuts; the rest of what befalls other worlds has no place in this one yet.
fn befall(fault: &Fault, world: &mut World) {
    let over = fault.lasts().map(|lasts| fault.at() + lasts);
    match fault.kind() {
        FaultKind::Crash => {
            for p in fault.whom() {
                world.happens(fault.at(), Event::Kill(*p));
                over.into_iter().for_each(|at| world.happens(at, Event::Start(*p)));
            }
        }
        FaultKind::Partition => {
            let cut = (0..world.peers.len()).map(|p| u8::from(fault.whom().contains(&p)));
            world.happens(fault.at(), Event::Cut(cut.collect()));
            let whole = vec![0; world.peers.len()];
            over.into_iter().for_each(|at| world.happens(at, Event::Cut(whole.clone())));
        }
        _ => {}
    }
}

/// Who could meet whom.
fn neighbours(ids: &[PeerId], spec: &RunSpec) -> Vec<Vec<usize>> {
    let (run, gossip) = (spec.id(), spec.gossip.expect("it is a gossip run"));
    if gossip.claimed {
        return (0..ids.len()).map(|p| (0..ids.len()).filter(|q| *q != p).collect()).collect();
    }
    let places: Vec<Place> = ids.iter().map(|id| Place::of(&run, id, &gossip)).collect();
    let mut cells: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (p, place) in places.iter().enumerate() {
        for axis in 0..gossip.axes as usize {
            cells.entry(place.cell(axis)).or_default().push(p);
        }
    }
    let mut all = vec![Vec::new(); ids.len()];
    for cell in cells.values() {
        for p in cell {
            all[*p].extend(cell.iter().filter(|q| *q != p));
        }
    }
    for near in &mut all {
        near.sort_unstable();
        near.dedup();
    }
    all
}

impl World {
    fn new(scenario: &Scenario, spec: Rc<RunSpec>, hosts: &[Drawn], names: Vec<String>) -> World {
        let ids: Vec<PeerId> = (0..hosts.len()).map(keys::peer_id).collect();
        let lesson = scenario.lesson.clone().map(|setup| Lesson::new(Box::new(setup)));
        let near = neighbours(&ids, &spec);
        let kept = Kept::new(names);
        let mut sharing = Sharing::default();
        let mut peers = Vec::new();
        for ((drawn, id), neighbours) in hosts.iter().zip(&ids).zip(near) {
            sharing.add_host(drawn.host.up_bytes_per_s, drawn.host.down_bytes_per_s);
            peers.push(Peer {
                id: *id,
                life: 0,
                session: None,
                numbers: Numbers::initial(scenario, lesson.as_ref(), &spec, id),
                tokens_per_s: drawn.tokens_per_s,
                latency: drawn.host.latency,
                neighbours,
                committed: 0,
                held: BTreeMap::new(),
                slices: 0,
                trained: Span::ZERO,
                traffic: (0, 0),
                woken: Time(u64::MAX),
            });
        }
        World {
            now: Time::ZERO,
            queue: Queue::new(1),
            groups: vec![0; peers.len()],
            peers,
            alive: 0,
            sharing,
            flows: BTreeMap::new(),
            spec,
            lesson,
            seen: Seen::default(),
            kept,
            trace: Trace::default(),
            inputs: 0,
        }
    }

    /// Schedules an event.
    pub fn happens(&mut self, at: Time, event: Event) {
        self.queue.push(at, Some(0), event);
    }

    fn is_done(&self, rounds: Round) -> bool {
        self.seen.is_past(rounds)
            && self.peers.iter().all(|peer| peer.session.is_none() || peer.committed >= rounds)
    }

    /// Carries out the next event; false if none is left before `end`.
    pub fn step(&mut self, end: Time) -> bool {
        let Some((at, event)) = self.queue.pop(end) else { return false };
        self.now = at;
        match event {
            Event::Start(p) => self.start(p),
            Event::Kill(p) => self.kill(p),
            Event::Cut(groups) => self.cut(groups),
            Event::Input(p, life, input) if self.lives(p, life) => self.give(p, input),
            Event::Bulk { from, to, life, frame, payload } if self.lives(to, life) => {
                self.peers[to].held.insert((frame, from), payload);
                let from = self.peers[from].id;
                self.give(to, Input::Arrived { from, frame });
            }
            Event::Look(due) => self.look(due),
            Event::Wake(p, at) if self.peers[p].woken == at => {
                self.peers[p].woken = Time(u64::MAX);
                self.give(p, Input::Wake);
            }
            _ => {}
        }
        for due in self.sharing.settle(self.now) {
            self.happens(due.at, Event::Look(due));
        }
        true
    }

    fn lives(&self, p: usize, life: u32) -> bool {
        self.peers[p].session.is_some() && self.peers[p].life == life
    }

    fn start(&mut self, p: usize) {
        let peer = &mut self.peers[p];
        peer.life += 1;
        let new = GossipSession::new(self.now, &self.spec, peer.id, peer.committed);
        self.alive += usize::from(peer.session.is_none() && new.is_some());
        peer.session = new;
        self.keep(p);
        for q in self.peers[p].neighbours.clone() {
            if self.reach(p, q) {
                self.meet(p, q);
            }
        }
        self.wake(p);
    }

    fn reach(&self, p: usize, q: usize) -> bool {
        let alive = |p: usize| self.peers[p].session.is_some();
        alive(p) && alive(q) && self.groups[p] == self.groups[q]
    }

    /// Two come to know of each other, a handshake later.
    fn meet(&mut self, p: usize, q: usize) {
        let at = self.now + Span(3 * self.latency(p, q).0);
        for (who, about) in [(p, q), (q, p)] {
            let peer = self.peers[about].id;
            self.happens(at, Event::Input(who, self.peers[who].life, Input::Met { peer }));
        }
    }

    fn kill(&mut self, p: usize) {
        self.alive -= usize::from(self.peers[p].session.take().is_some());
        self.peers[p].held.clear();
        self.keep(p);
        for q in self.peers[p].neighbours.clone() {
            self.miss(q, p);
        }
    }

    fn miss(&mut self, who: usize, about: usize) {
        let (life, peer) = (self.peers[who].life, self.peers[about].id);
        self.happens(self.now + DETECTED, Event::Input(who, life, Input::Lost { peer }));
    }

    fn cut(&mut self, groups: Vec<u8>) {
        let before = std::mem::replace(&mut self.groups, groups);
        for p in 0..self.peers.len() {
            for q in self.peers[p].neighbours.clone() {
                let (was, is) = (before[p] == before[q], self.groups[p] == self.groups[q]);
                if was && !is {
                    self.miss(p, q);
                } else if !was && is && p < q && self.reach(p, q) {
                    self.meet(p, q);
                }
            }
        }
    }

    fn latency(&self, p: usize, q: usize) -> Span {
        self.peers[p].latency + self.peers[q].latency
    }

    fn give(&mut self, p: usize, input: Input) {
        self.inputs += 1;
        self.trace.gossip(self.now, p, &input);
        let Some(session) = &mut self.peers[p].session else { return };
        let mut out = Vec::new();
        session.handle(self.now, input, &mut out);
        out.into_iter().for_each(|output| self.perform(p, output));
        self.keep(p);
        self.wake(p);
    }

    fn keep(&mut self, p: usize) {
        let doing = self.peers[p].session.as_ref().map(GossipSession::doing);
        self.kept.does(p, self.now, doing);
    }

    fn wake(&mut self, p: usize) {
        let peer = &mut self.peers[p];
        let Some(at) = peer.session.as_ref().and_then(GossipSession::next_wake) else { return };
        let at = at.max(self.now);
        if at < peer.woken {
            peer.woken = at;
            self.happens(at, Event::Wake(p, at));
        }
    }

    /// A control frame leaves.
    pub fn send(&mut self, from: usize, to: &PeerId, message: Message) {
        let Some(to) = keys::number(to).filter(|to| *to < self.peers.len()) else { return };
        let bytes = message.encoded_len() as u64;
        self.peers[from].traffic.0 += bytes;
        if self.reach(from, to) {
            self.peers[to].traffic.1 += bytes;
            let input = Input::Received { from: self.peers[from].id, message };
            let at = self.now + self.latency(from, to);
            self.happens(at, Event::Input(to, self.peers[to].life, input));
        }
    }

    /// A bulk frame begins to leave.
    pub fn send_bulk(
        &mut self,
        from: usize,
        to: &PeerId,
        frame: Frame,
        bytes: usize,
        payload: Payload,
    ) {
        let Some(to) = keys::number(to).filter(|to| *to < self.peers.len()) else { return };
        let flow = self.sharing.start(self.now, from, to, bytes as u64);
        let bytes = bytes as u64;
        self.flows.insert(flow, Transfer { from, to, bytes, frame, payload });
        self.peers[from].traffic.0 += bytes;
    }

    fn look(&mut self, due: Due) {
        match self.sharing.look(self.now, due.flow, due.version) {
            Ok(true) => {
                self.sharing.end(due.flow);
                let Some(transfer) = self.flows.remove(&due.flow) else { return };
                let Transfer { from, to, bytes, frame, payload } = transfer;
                if self.reach(from, to) {
                    self.peers[to].traffic.1 += bytes;
                    let life = self.peers[to].life;
                    let at = self.now + self.latency(from, to);
                    self.happens(at, Event::Bulk { from, to, life, frame, payload });
                }
            }
            Ok(false) => {}
            Err(later) => self.happens(later.at, Event::Look(later)),
        }
    }

    fn summary(mut self, scenario: &Scenario, seed: u64) -> (Summary, Kept) {
        let last = self.look_at(scenario.rounds);
        let mut kept = std::mem::take(&mut self.kept);
        (kept.rounds, kept.end) = (std::mem::take(&mut self.seen.rounds), self.now);
        let exact = super::exact::loss(scenario, &self.spec, self.peers.len(), scenario.rounds);
        let inner = &self.spec.inner;
        let tokens =
            u64::from(inner.steps) * u64::from(inner.batch) * u64::from(self.spec.model.context);
        let virtual_s = self.now.since(Time::ZERO).as_secs_f64();
        let trained = self.peers.iter().map(|peer| peer.trained.as_secs_f64()).sum::<f64>();
        let summary = Summary {
            scenario: scenario.name.clone(),
            seed,
            hosts: self.peers.len(),
            virtual_s,
            rounds: scenario.rounds,
            tokens_per_s: self.seen.steps as f64 * tokens as f64 / virtual_s.max(1e-9),
            utilisation: trained / (virtual_s * self.peers.len() as f64).max(1e-9),
            alone: self.seen.alone as f64 / self.seen.steps.max(1) as f64,
            sent: Spread::of(self.peers.iter().map(|peer| peer.traffic.0)),
            exact,
            last,
            inputs: self.inputs,
            trace: self.trace.digest().short(),
        };
        (summary, kept)
    }
}
