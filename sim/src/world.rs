//! A run in memory: the event queue, virtual time, who is alive. Everything follows from one seed.

use crate::book::Book;
use crate::check::s7_bounds;
use crate::clock::Clock;
use crate::cpu::Task;
use crate::frame::{Encoder, Frame};
use crate::keys;
use crate::learn::Lesson;
use crate::liar::Liar;
use crate::log::{self, Log};
use crate::net::{Bulk, Due, Left, Net, Weather};
use crate::peer::Peer;
use crate::queue::Queue;
use crate::record::Recorder;
use crate::rng::Rng;
use crate::shelf::Shelf;
use crate::store::Payload;
use crate::trace::Trace;
use shoal_protocol::event::{Input, Output};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::{Span, Time};
use shoal_protocol::wire::{ChunkId, ChunkKind, Message};
use std::rc::Rc;

/// Wakes of one peer at one instant that are no accident any more.
const WAKES_MAX: u32 = 1000;

/// Largest cluster whose last events are kept for the report of a broken promise.
const LOGGED_PEERS: usize = 64;

/// What happens next, to whom.
pub enum Event {
    /// A control frame comes.
    Frame { from: usize, to: usize, epoch: u32, frame: Rc<Frame> },
    /// A bulk frame is ready to leave.
    Ship { p: usize, life: u32, to: usize, chunk: ChunkId, payload: Payload },
    /// A bulk frame comes.
    Bulk { from: usize, to: usize, epoch: u32, chunk: ChunkId, payload: Payload },
    /// A transfer may be done.
    Look(Due),
    /// A peer's session asked to be woken.
    Wake { p: usize, life: u32 },
    /// A job is done, or a frame has left.
    Tell { p: usize, life: u32, input: Box<Input> },
    /// Training is done.
    Trained { p: usize, life: u32, tokens: u64 },
    /// A peer may have to be told that a link is up or down.
    Notice { who: usize, about: usize },
    /// Links of a peer may have to come up again.
    Reconcile { p: usize },
    /// A liar's turn.
    Lie { liar: usize },
    /// What a scenario has laid out.
    Chance(Chance),
}

/// What a scenario lays out in time.
pub enum Chance {
    Start(usize),
    Kill(usize),
    Stall(usize, Span),
    /// Its speed times a factor.
    Speed(usize, f64),
    /// The group of each host: those of different ones cannot reach each other.
    Cut(Vec<u8>),
    /// What all links do to frames.
    Weather(Weather),
    /// So large a share of its bulk frames is spoilt.
    Corrupt(usize, f64),
    /// It starts anew with a clock that is so many microseconds ahead.
    Skew(usize, i64),
    /// A liar begins.
    Lie(usize),
}

impl Chance {
    /// The host that it happens to, if it is one.
    fn host(&self) -> Option<usize> {
        match self {
            Chance::Start(p) | Chance::Kill(p) | Chance::Stall(p, _) | Chance::Speed(p, _) => {
                Some(*p)
            }
            Chance::Corrupt(p, _) | Chance::Skew(p, _) => Some(*p),
            Chance::Lie(_) | Chance::Cut(_) | Chance::Weather(_) => None,
        }
    }
}

/// All peers, the network, the time, and the outside view.
pub struct World {
    /// The command that repeats this run; none if nobody is to hear of it.
    pub again: String,
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
    /// What is learned, if that is real.
    pub lesson: Option<Lesson>,
    /// What is kept for a report, if anything.
    pub recorder: Option<Recorder>,
    queue: Queue<Event>,
    /// Inputs that sessions were given.
    pub inputs: u64,
    trace: Trace,
    pub encoder: Encoder,
    bustle: s7_bounds::Bustle,
    /// Empty, with room for what the next input leads to.
    outputs: Vec<Output>,
}

impl World {
    /// A world of these parts, in which nothing has happened yet.
    pub fn assemble(
        again: &str,
        seed: u64,
        spec: Rc<RunSpec>,
        peers: Vec<Peer>,
        net: Net,
        book: Book,
        rng: Rng,
    ) -> World {
        World {
            again: again.to_owned(),
            seed,
            now: Time::ZERO,
            peers,
            liars: Vec::new(),
            book,
            log: Log::default(),
            under_way: None,
            lesson: None,
            recorder: None,
            queue: Queue::new(net.runs()),
            inputs: 0,
            trace: Trace::default(),
            encoder: Encoder::default(),
            bustle: s7_bounds::Bustle::default(),
            outputs: Vec::new(),
            net,
            spec,
            rng,
        }
    }

    /// Lays out what will happen.
    pub fn happens(&mut self, at: Time, chance: Chance) {
        self.schedule(at, Event::Chance(chance));
    }

    fn chance(&mut self, chance: Chance) {
        match chance {
            Chance::Start(p) if !self.peers[p].is_alive() => self.start(p),
            Chance::Kill(p) if self.peers[p].is_alive() => self.kill(p),
            Chance::Start(_) | Chance::Kill(_) => {}
            Chance::Stall(p, span) => self.stall(p, span),
            Chance::Speed(p, factor) => {
                let speed = self.peers[p].speed as f64 * factor;
                self.peers[p].speed = speed.round().max(1.0) as u64;
            }
            Chance::Cut(groups) => self.cut(&groups),
            Chance::Weather(weather) => self.net.weather = weather,
            Chance::Corrupt(p, share) => self.peers[p].corrupts = share,
            Chance::Skew(p, ahead) => self.skew(p, ahead),
            Chance::Lie(liar) => self.lie(liar),
        }
    }

    /// Peers and liars.
    pub fn hosts(&self) -> usize {
        self.peers.len() + self.liars.len()
    }

    pub fn has_liars(&self) -> bool {
        !self.liars.is_empty()
    }

    /// The name of a peer or liar.
    pub fn id(&self, n: usize) -> PeerId {
        self.peers.get(n).map_or_else(|| self.liars[n - self.peers.len()].id, |peer| peer.id)
    }

    /// The number of a peer or liar, if there is one of that name.
    pub fn number(&self, peer: &PeerId) -> Option<usize> {
        let n = keys::told(peer);
        (n < self.hosts() && self.id(n) == *peer).then_some(n)
    }

    // ---- faults and joins ---------------------------------------------------------------------------------------

    pub fn start(&mut self, p: usize) {
        self.log.text(self.now, p, "starts");
        self.net.restarted(p);
        self.peers[p].stalled_until = self.now;
        self.peers[p].start(self.now);
        if let Some(recorder) = &mut self.recorder {
            recorder.started(self.now, p);
        }
        let (up_bytes_per_s, down_bytes_per_s) = self.net.rates(p);
        let tokens_per_s = self.peers[p].speed;
        let measured = Input::Measured { up_bytes_per_s, down_bytes_per_s, tokens_per_s };
        let soon = self.rng.millis(100, 1000);
        self.tell_later(p, soon, measured);
        if let Some(store) = self.peers[p].running.as_ref().and_then(|r| r.store.real())
            && self.book.is_kept()
        {
            self.book.accounts[p].write_off(store);
        }
        let holding = self.peers[p].shelf.as_ref().map(Shelf::holding);
        holding.into_iter().for_each(|holding| self.tell_later(p, Span::ZERO, holding));
        self.reconcile(p);
        self.wake_later(p);
    }

    pub fn kill(&mut self, p: usize) {
        self.log.text(self.now, p, "is killed");
        self.peers[p].running = None;
        if let Some(recorder) = &mut self.recorder {
            recorder.died(self.now, p);
        }
        let stranded = self.net.died(p);
        self.strand(stranded);
        self.reconcile(p);
    }

    /// A living peer's process starts anew, with another clock.
    fn skew(&mut self, p: usize, ahead: i64) {
        if self.peers[p].is_alive() {
            self.kill(p);
            let ppm = self.rng.below(1000) as i64 - 500;
            self.peers[p].clock = Clock::wrong_by(ahead, ppm);
            self.start(p);
        }
    }

    /// Cuts the network into groups.
    pub fn cut(&mut self, groups: &[u8]) {
        self.log.text(self.now, 0, &format!("network is cut: {groups:?}"));
        self.net.set_groups(groups);
        (0..groups.len()).for_each(|p| self.reconcile(p));
    }

    /// Nothing reaches the peer for a while.
    pub fn stall(&mut self, p: usize, span: Span) {
        self.log.text(self.now, p, &format!("stalls for {:.3} s", span.as_secs_f64()));
        self.peers[p].stalled_until = self.now + span;
    }

    /// Brings a peer's links up and down as they should be now.
    pub fn reconcile(&mut self, p: usize) {
        // Liars are always there.
        let alive = |n: usize| self.peers.get(n).is_none_or(Peer::is_alive);
        let (news, stranded) = self.net.reconcile(p, alive, self.now);
        self.strand(stranded);
        for news in news {
            let event = Event::Notice { who: news.who, about: news.about };
            self.schedule(self.now + news.after, event);
        }
    }

    /// These frames cannot leave any more: their senders need not wait for them.
    fn strand(&mut self, frames: Vec<(usize, usize, Bulk)>) {
        for (from, to, frame) in frames {
            self.left(from, to, (frame.life, frame.chunk.kind));
        }
        self.settle_net();
    }

    // ---- what is under way --------------------------------------------------------------------------------------

    pub fn schedule(&mut self, at: Time, event: Event) {
        let island = self.place(&event).map(|host| self.net.run_of(host));
        self.queue.push(at.max(self.now), island, event);
    }

    /// A host that an event happens at or near; none if it concerns all.
    fn place(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Frame { to, .. } | Event::Bulk { to, .. } => Some(*to),
            Event::Look(due) => Some(self.net.sender(due)),
            Event::Wake { p, .. } | Event::Tell { p, .. } | Event::Trained { p, .. } => Some(*p),
            Event::Notice { who, .. } => Some(*who),
            Event::Reconcile { p } | Event::Ship { p, .. } => Some(*p),
            Event::Lie { liar } | Event::Chance(Chance::Lie(liar)) => Some(self.peers.len() + liar),
            Event::Chance(chance) => chance.host(),
        }
    }

    pub fn tell_later(&mut self, p: usize, after: Span, input: Input) {
        let life = self.peers[p].life;
        self.schedule(self.now + after, Event::Tell { p, life, input: Box::new(input) });
    }

    /// Posts a control frame.
    pub fn post(&mut self, from: usize, to: usize, frame: Rc<Frame>) {
        let epoch = self.net.epoch(from, to);
        for at in self.net.control(from, to, frame.len(), self.now).into_iter().flatten() {
            self.schedule(at, Event::Frame { from, to, epoch, frame: frame.clone() });
        }
    }

    /// Ships a bulk frame.
    pub fn ship(&mut self, from: usize, to: usize, chunk: ChunkId, payload: Payload) {
        let life = self.peers.get(from).map_or(0, |peer| peer.life);
        let frame = Bulk { chunk, payload, life };
        if self.net.bulk(from, to, frame, self.now).is_err() {
            self.left(from, to, (life, chunk.kind));
        }
    }

    /// Tells the sender that a frame has left, or cannot.
    fn left(&mut self, from: usize, to: usize, (life, kind): (u32, ChunkKind)) {
        if from < self.peers.len() {
            let to = self.id(to);
            let input = Box::new(match kind {
                ChunkKind::Piece => Input::PieceSent { to },
                _ => Input::Sent { to },
            });
            self.schedule(self.now, Event::Tell { p: from, life, input });
        }
    }

    /// Shares the network anew after whatever has happened.
    fn settle_net(&mut self) {
        for due in self.net.settle(self.now) {
            self.schedule(due.at, Event::Look(due));
        }
    }

    fn look(&mut self, due: Due) {
        match self.net.look(self.now, due) {
            Ok(Some(Left { from, to, frame, epoch, arrives })) => {
                self.left(from, to, (frame.life, frame.chunk.kind));
                for at in arrives.into_iter().flatten() {
                    let (chunk, payload) = (frame.chunk, frame.payload.clone());
                    self.schedule(at, Event::Bulk { from, to, epoch, chunk, payload });
                }
            }
            Ok(None) => {}
            Err(later) => self.schedule(later.at, Event::Look(later)),
        }
        self.settle_net();
    }

    // ---- time goes on -------------------------------------------------------------------------------------------

    /// The next event happens; false if there is none up to `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let Some((at, event)) = self.queue.pop(until) else { return false };
        self.now = at;
        self.happen(event);
        true
    }

    /// Whether all runs have come equally far.
    pub fn is_even(&self) -> bool {
        self.queue.is_even()
    }

    /// Nothing happens any more: it is as late as it has become anywhere.
    pub fn ends(&mut self) {
        self.now = self.now.max(self.queue.latest());
        self.recorder.iter_mut().for_each(Recorder::put_in_order);
    }

    /// Sees to it that the session is woken when it asks for it. A wake that has become too early is looked at then.
    fn wake_later(&mut self, p: usize) {
        let peer = &mut self.peers[p];
        let Some(at) = peer.wake() else { return };
        if peer.wake_at.is_none_or(|before| at < before) {
            peer.wake_at = Some(at);
            let life = peer.life;
            self.schedule(at, Event::Wake { p, life });
        }
    }

    fn wake(&mut self, p: usize, life: u32) {
        let peer = &mut self.peers[p];
        if peer.life != life || peer.wake_at != Some(self.now) {
            return;
        }
        peer.wake_at = None;
        let (now, due) = (self.now, peer.wake().is_some_and(|at| at <= self.now));
        let Some(running) = peer.running.as_mut().filter(|_| due) else {
            return self.wake_later(p);
        };
        let (last, times) = running.wakes;
        running.wakes = (now, if last == now { times + 1 } else { 0 });
        assert!(times < WAKES_MAX, "S7 is broken: p{p} asks to be woken again and again");
        self.handle(p, Input::Wake);
    }

    fn happen(&mut self, event: Event) {
        if let Some(p) = self.target(&event)
            && self.peers[p].stalled_until > self.now
        {
            if matches!(event, Event::Wake { .. }) {
                self.peers[p].wake_at = Some(self.peers[p].stalled_until);
            }
            return self.schedule(self.peers[p].stalled_until, event);
        }
        match event {
            Event::Frame { from, to, epoch, frame } => self.frame(from, to, epoch, &frame),
            Event::Bulk { from, to, epoch, chunk, payload } => {
                self.bulk(from, to, epoch, chunk, payload);
            }
            Event::Look(due) => self.look(due),
            Event::Wake { p, life } => self.wake(p, life),
            Event::Tell { p, life, input } if self.is_life(p, life) => self.handle(p, *input),
            Event::Trained { p, life, tokens } if self.is_life(p, life) => self.trained(p, tokens),
            Event::Ship { p, life, to, chunk, payload } if self.is_life(p, life) => {
                self.ship(p, to, chunk, payload);
            }
            Event::Tell { .. } | Event::Trained { .. } | Event::Ship { .. } => {}
            Event::Notice { who, about } => self.notice(who, about),
            Event::Reconcile { p } => self.reconcile(p),
            Event::Lie { liar } => self.lie(liar),
            Event::Chance(chance) => self.chance(chance),
        }
    }

    /// The peer that an event happens to.
    fn target(&self, event: &Event) -> Option<usize> {
        let p = match event {
            Event::Frame { to, .. } | Event::Bulk { to, .. } => *to,
            Event::Tell { p, .. } | Event::Trained { p, .. } | Event::Wake { p, .. } => *p,
            Event::Ship { p, .. } => *p,
            Event::Notice { who, .. } => *who,
            Event::Reconcile { .. } | Event::Lie { .. } | Event::Look(_) | Event::Chance(_) => {
                return None;
            }
        };
        (p < self.peers.len()).then_some(p)
    }

    fn is_life(&self, p: usize, life: u32) -> bool {
        self.peers[p].life == life && self.peers[p].is_alive()
    }

    fn frame(&mut self, from: usize, to: usize, epoch: u32, frame: &Frame) {
        if self.net.epoch(from, to) != epoch {
            return;
        }
        match to.checked_sub(self.peers.len()) {
            Some(liar) => self.liars[liar].overhears(frame),
            None => {
                let input = frame.received(self.id(from));
                if let Input::Received { from, message: Message::Confirm(confirm) } = &input
                    && self.book.is_kept()
                {
                    self.book.one_result.confirmed(from, confirm);
                }
                self.handle(to, input);
            }
        }
    }

    fn bulk(&mut self, from: usize, to: usize, epoch: u32, chunk: ChunkId, payload: Payload) {
        if self.net.epoch(from, to) != epoch || to >= self.peers.len() {
            return;
        }
        let from = self.id(from);
        let peer = &mut self.peers[to];
        let Some(running) = peer.running.as_mut() else { return };
        if chunk.kind == ChunkKind::Result
            && let Payload::Bytes(bytes) = &payload
            && let Err(reason) = peer.spec.check_result(chunk.index, bytes)
        {
            return self.handle(to, Input::Malformed { from, reason: reason.to_string() });
        }
        let (bytes, digest) = (payload.len(), payload.digest());
        if chunk.kind != ChunkKind::Piece {
            running.store.take_in(from, chunk, payload);
        }
        let arrived = Input::Arrived { from, chunk, bytes, digest };
        match peer.busy(Task::Receive { bytes: u64::from(bytes) }, self.now) {
            Some(takes) => self.tell_later(to, takes, arrived),
            None => self.handle(to, arrived),
        }
    }

    fn notice(&mut self, who: usize, about: usize) {
        if who >= self.peers.len() || !self.peers[who].is_alive() {
            return;
        }
        let peer = self.id(about);
        match self.net.tell(who, about) {
            Some(true) => self.handle(who, Input::Connected { peer }),
            Some(false) => self.handle(who, Input::Disconnected { peer }),
            None => {}
        }
    }

    /// Tells a peer's session something, and does what it asks for.
    pub fn handle(&mut self, p: usize, input: Input) {
        let crowd = self.net.crowd(p);
        self.bustle.count(self.now, crowd);
        self.inputs += 1;
        self.trace.mark(self.now, p, &input);
        let logged = self.is_logged();
        if logged {
            self.log.input(self.now, p, &input);
        }
        let reads = self.peers[p].clock.reads(self.now);
        let Some(running) = self.peers[p].running.as_mut() else { return };
        let told = logged.then(|| input.clone());
        let mut outputs = std::mem::take(&mut self.outputs);
        running.session.handle(reads, input, &mut outputs);
        s7_bounds::outputs(&self.peers[p].spec, crowd, &told, outputs.len());
        if let (Some(tape), Some(told)) = (&mut self.peers[p].tape, told) {
            tape.push((reads, told, outputs.clone()));
        }
        outputs.drain(..).for_each(|output| self.asked(p, output, logged));
        self.outputs = outputs;
        if let Some(store) = self.peers[p].running.as_ref().and_then(|r| r.store.real()) {
            s7_bounds::held(p, store, crowd);
        }
        self.settle_net();
        self.wake_later(p);
    }

    /// What a session asks for is noted and done.
    fn asked(&mut self, p: usize, output: Output, logged: bool) {
        if logged {
            self.log.output(self.now, p, &output);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.asked(self.now, p, &self.net, &output);
        }
        self.aim(p, &output);
        self.perform(p, output);
    }

    /// Of a crowd nobody reads every word.
    fn is_logged(&self) -> bool {
        self.peers.len() <= LOGGED_PEERS
    }

    /// The held-out loss of a state.
    pub fn trace_loss(&mut self, loss: f64) {
        self.trace.loss(loss);
    }

    /// BLAKE3 over all events so far, and the losses.
    pub fn trace_digest(&self) -> Digest {
        self.trace.digest()
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
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.again.is_empty() {
            eprintln!("{}", log::report(self));
        }
    }
}
