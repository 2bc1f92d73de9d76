//! The session: brings what happens to the protocol's machine, and performs what it asks. The one `match` on `Output` of the node.

use crate::actor::archive::Endorsement;
use crate::actor::witness::Witness;
use crate::blob::{self, Library};
use crate::exchange::{Frame, Job};
use crate::message::{
    Archive, Archived, Delivered, Evaluate, Evaluated, Happened, StateCommitted, Stop, Train,
    Worked,
};
use crate::net::{Credit, NetHandle};
use crate::settings::Settings;
use crate::status::{MemberStatus, RoundStatus, SharedStatus};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use bytes::Bytes;
use shoal_protocol::event::{ChunkId, ChunkKind, Input, Note, Output};
use shoal_protocol::id::PeerId;
use shoal_protocol::ledger::Record;
use shoal_protocol::recording::Scribe;
use shoal_protocol::session::{DataView, Phase, Session, Waiting};
use shoal_protocol::time::Time;
use shoal_protocol::wire::{Message, to_cbor};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the status is brought up to date when nothing else does.
const STATUS_EVERY: Duration = Duration::from_millis(250);
/// Groups up to this size hear a beacon directly as well: gossip takes a while to find its ways.
const DIRECT_BEACONS_MAX: usize = 16;

/// Microseconds since 1970 by a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    origin: u64,
}

impl Clock {
    /// A clock that begins at the system's time.
    pub fn new() -> Clock {
        let origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), origin: origin.as_micros() as u64 }
    }

    /// Now.
    pub fn now(&self) -> Time {
        Time(self.origin + self.started.elapsed().as_micros() as u64)
    }

    /// How long until then.
    fn until(&self, time: Time) -> Duration {
        Duration::from_micros(time.0.saturating_sub(self.now().0))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// Whom the session speaks to.
pub struct Contacts {
    /// The network.
    pub net: NetHandle,
    /// The exchange.
    pub jobs: SyncSender<Job>,
    /// The run's files.
    pub library: Arc<Library>,
    /// What reads and writes them.
    pub pieces: Sender<blob::Job>,
    /// The trainer, for work.
    pub train: Recipient<Train>,
    /// The trainer, for evaluation.
    pub evaluate: Recipient<Evaluate>,
    /// The archive, for checkpoints.
    pub archive: Recipient<Archive>,
    /// The archive, for endorsements.
    pub endorse: Recipient<Endorsement>,
    /// Whoever stops the node.
    pub stop: Recipient<Stop>,
}

/// The actor around the machine.
pub struct SessionActor {
    machine: Session,
    scribe: Option<Scribe>,
    witness: Option<Witness>,
    clock: Clock,
    settings: Settings,
    contacts: Contacts,
    status: SharedStatus,
    outputs: Vec<Output>,
    timer: Option<(Time, SpawnHandle)>,
    phase: Phase,
    round: RoundStatus,
    bytes_before: u64,
    tokens: u64,
    tokens_per_s: f64,
    val_loss: Option<f64>,
}

impl SessionActor {
    /// Around a machine that has not seen anything yet, and who writes down what it will see, if anybody does.
    pub fn new(
        (machine, scribe): (Session, Option<Scribe>),
        clock: Clock,
        settings: Settings,
        contacts: Contacts,
        status: SharedStatus,
    ) -> SessionActor {
        let spec = settings.spec.clone();
        let chunks_in = Box::new(move |round| spec.chunks_in(round));
        let witness = || Witness::new(contacts.net.me(), chunks_in, machine.record().clone());
        SessionActor {
            witness: cfg!(debug_assertions).then(witness),
            phase: machine.waiting().phase,
            machine,
            scribe,
            clock,
            settings,
            contacts,
            status,
            outputs: Vec::new(),
            timer: None,
            round: RoundStatus::default(),
            bytes_before: 0,
            tokens: 0,
            tokens_per_s: 0.0,
            val_loss: None,
        }
    }

    /// Something has happened: the machine is told, what it asks is performed, and the next wake is set.
    fn handle_input(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.tell_machine(input);
        self.look_ahead(ctx);
    }

    fn look_ahead(&mut self, ctx: &mut Context<Self>) {
        self.arm(ctx);
        if self.machine.waiting().phase != self.phase {
            self.tell_status();
        }
    }

    fn tell_machine(&mut self, input: Input) {
        let mut outputs = self.outputs_of(input);
        outputs.drain(..).for_each(|output| self.perform(output));
        self.outputs = outputs;
    }

    /// As the machine is told of a frame, the exchange is given its bytes, unless they are not wanted: until the machine has judged
    /// them, nothing can be made of them.
    fn take_delivery(&mut self, frame: Frame, bytes: Bytes, credit: Credit) {
        let (Frame { from, chunk, digest }, len) = (frame, bytes.len() as u32);
        let mut outputs = self.outputs_of(Input::Arrived { from, chunk, bytes: len, digest });
        let unwanted = Output::Discard { from, chunk, digest };
        match outputs.iter().position(|output| *output == unwanted) {
            Some(at) => drop(outputs.remove(at)),
            None if chunk.kind == ChunkKind::Piece => {
                self.contacts.library.keep(&chunk, bytes);
                self.piece(blob::Job::Write(chunk, credit));
            }
            None => self.job(Job::Arrive(frame, bytes)),
        }
        outputs.drain(..).for_each(|output| self.perform(output));
        self.outputs = outputs;
    }

    fn outputs_of(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = std::mem::take(&mut self.outputs);
        let now = self.clock.now();
        match &mut self.scribe {
            Some(scribe) => scribe.handle(&mut self.machine, now, input, &mut outputs),
            None => self.machine.handle(now, input, &mut outputs),
        }
        outputs
    }

    fn perform(&mut self, output: Output) {
        if let Some(Err(why)) = self.witness.as_mut().map(|witness| witness.see(&output)) {
            return self.contacts.stop.do_send(Stop(Some(why)));
        }
        match output {
            Output::Send { to, message } => self.send(to, &message),
            Output::Broadcast { message } => self.broadcast(&message),
            Output::Refuse { peer, reason } => self.contacts.net.ban(peer, reason),
            Output::Train { round, lease } => self.job(Job::Train(round, lease)),
            Output::Offer { round } => self.job(Job::Offer(round)),
            Output::Contribute { to, chunk, fold } => self.job(Job::Contribute(to, chunk, fold)),
            Output::Reduce { plan, index, parts } => self.job(Job::Reduce(plan, index, parts)),
            Output::SendResult { to, chunk } => self.job(Job::SendResult(to, chunk)),
            Output::SendState { to, chunk } => self.job(Job::SendState(to, chunk)),
            Output::SendPiece { to, chunk } => self.piece(blob::Job::Send(to, chunk)),
            Output::KeepList { blob, list } => self.piece(blob::Job::KeepList(blob, list)),
            // As the machine was told of it, its bytes went to the library.
            Output::KeepPiece { from, chunk, .. } => {
                tracing::debug!(peer = %from.short(), piece = chunk.index, "a piece of the run's data is here");
            }
            Output::DropPieces { blob, pieces } => self.piece(blob::Job::Drop(blob, pieces)),
            Output::Discard { chunk: ChunkId { kind: ChunkKind::Piece, .. }, .. } => {}
            Output::Discard { from, chunk, digest } => {
                self.job(Job::Discard(Frame { from, chunk, digest }));
            }
            Output::Abandon { plan } | Output::Forget { plan } => self.job(Job::Forget(plan)),
            Output::Apply { round, plan, step } => self.job(Job::Apply(round, plan, step)),
            Output::Commit { record, settle } => {
                self.committed(&record);
                self.job(Job::Commit(record, settle));
            }
            Output::Endorsed { round, peer, signature } => {
                self.contacts.endorse.do_send(Endorsement(round, peer, signature));
            }
            Output::LoadState { record } => self.job(Job::Load(record)),
            Output::Release { digest } => self.job(Job::Release(digest)),
            Output::TakeAlong { share, given, tokens } => {
                self.job(Job::TakeAlong(share, given, tokens));
            }
            Output::Note(note) => self.note(note),
        }
    }

    fn job(&self, job: Job) {
        if self.contacts.jobs.send(job).is_err() {
            self.contacts.stop.do_send(Stop(Some("the exchange thread has ended".into())));
        }
    }

    fn piece(&self, job: blob::Job) {
        if self.contacts.pieces.send(job).is_err() {
            self.contacts.stop.do_send(Stop(Some("the thread of the run's data has ended".into())));
        }
    }

    fn send(&self, to: PeerId, message: &Message) {
        if let Err(error) = self.contacts.net.send(to, to_cbor(message)) {
            tracing::debug!(peer = %to.short(), %error, "a message does not leave");
        }
    }

    fn broadcast(&self, message: &Message) {
        let frame = to_cbor(message);
        let peers = self.contacts.net.peers();
        if peers.len() <= DIRECT_BEACONS_MAX {
            peers.iter().for_each(|peer| self.send(*peer, message));
        }
        if let Err(error) = self.contacts.net.broadcast(frame) {
            tracing::debug!(%error, "a beacon does not leave");
        }
    }

    /// Sets the timer for the machine's next wake, unless one is set that comes first.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let Some(wake) = self.machine.next_wake() else { return };
        if self.timer.as_ref().is_some_and(|(at, _)| *at <= wake) {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(self.clock.until(wake), |actor, ctx| {
            actor.timer = None;
            actor.handle_input(Input::Wake, ctx);
        });
        self.timer = Some((wake, handle));
    }

    /// The machine has committed a record: what is known of the round goes into the status when the exchange has it.
    fn committed(&mut self, record: &Record) {
        let contributed: u64 = record.contributions.iter().map(|share| share.tokens).sum();
        let sent = self.contacts.net.traffic_all().1.bytes_sent;
        let planned = self.round.round == record.round;
        let round = RoundStatus {
            round: record.round,
            digest: record.digest().to_string(),
            members: if planned { self.round.members } else { record.contributions.len() },
            tokens: contributed,
            bytes_sent: sent.saturating_sub(self.bytes_before),
            at_s: self.clock.started.elapsed().as_secs_f64(),
            ..if planned { std::mem::take(&mut self.round) } else { RoundStatus::default() }
        };
        self.bytes_before = sent;
        let (number, members) = (round.round, round.members);
        tracing::info!(round = number, members, tokens = contributed, digest = %record.digest().short(), "committed");
        self.status.push_round(round);
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Planned { round, members, attempt } => {
                tracing::debug!(round, members, attempt, "plan adopted");
                self.round = RoundStatus { round, members, attempt, ..RoundStatus::default() };
            }
            Note::Exchanged { round, micros } => {
                tracing::debug!(round, ms = micros / 1000, "exchange complete");
                self.round.exchange_s = Some(micros as f64 / 1e6);
            }
            Note::Straggler { peer, chunks } => {
                tracing::info!(peer = %peer.short(), chunks, "not waiting any longer for contributions");
            }
            Note::Repaired { lost, chunks } => {
                let lost: Vec<String> = lost.iter().map(PeerId::short).collect();
                tracing::info!(?lost, chunks, "a lost peer's part is taken over");
            }
            Note::Abandoned { round, reason } => {
                tracing::info!(round, reason, "a plan was given up")
            }
            Note::Strike { peer, reason } => {
                tracing::info!(peer = %peer.short(), reason, "refused what a peer sent")
            }
            Note::CatchingUp { from, to } => tracing::info!(from, to, "catching up"),
            Note::Fetched { blob, pieces } => {
                tracing::info!(file = %blob.short(), pieces, "all of the run's data that is wanted is here");
            }
            Note::Finished { round } => tracing::info!(round, "the run is complete"),
        }
    }

    fn tell_status(&mut self) {
        let now = self.clock.now();
        let waiting = self.machine.waiting();
        let data = self.machine.data();
        let me = self.contacts.net.me();
        self.phase = waiting.phase;
        let members = self.machine.peers(now).into_iter().map(|peer| MemberStatus {
            peer: peer.peer.to_string(),
            round: peer.round,
            tokens_per_s: peer.tokens_per_s,
            alive: peer.alive,
            heard_s: now.since(peer.heard).as_secs_f64(),
        });
        let members: Vec<MemberStatus> = members.collect();
        let traffic = self.contacts.net.traffic_all().1;
        let ticket = crate::node::ticket(&self.contacts.net, self.settings.spec.id());
        self.status.update(|status| {
            status.phase = phase_name(waiting.phase).into();
            status.waiting = match data.filter(|data| data.waits) {
                Some(data) => data_line(&data),
                None => waiting_line(&waiting, &me, now),
            };
            status.data_pieces = data.map(|data| (data.held, data.all));
            status.members = members;
            status.bytes_sent = traffic.bytes_sent;
            status.bytes_received = traffic.bytes_received;
            status.up_bytes_per_s = traffic.up_bytes_per_s;
            status.down_bytes_per_s = traffic.down_bytes_per_s;
            status.uptime_s = self.clock.started.elapsed().as_secs_f64();
            status.tokens_committed = self.machine.record().tokens;
            status.peak_memory_bytes = peak_memory_bytes();
            status.ticket = ticket;
        });
        let (up_bytes_per_s, down_bytes_per_s) = traffic.link(self.settings.up_bytes_per_s);
        let tokens_per_s = self.tokens_per_s as u64;
        self.tell_machine(Input::Measured { up_bytes_per_s, down_bytes_per_s, tokens_per_s });
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for holding in self.contacts.library.holdings() {
            self.handle_input(holding, ctx);
        }
        for peer in self.contacts.net.peers() {
            self.handle_input(Input::Connected { peer }, ctx);
        }
        self.handle_input(Input::Wake, ctx);
        self.tell_status();
        ctx.run_interval(STATUS_EVERY, |actor, ctx| {
            actor.tell_status();
            actor.arm(ctx);
        });
    }
}

impl Handler<Happened> for SessionActor {
    type Result = ();
    fn handle(&mut self, Happened(input, credit): Happened, ctx: &mut Context<Self>) {
        self.handle_input(input, ctx);
        drop(credit);
    }
}

impl Handler<Delivered> for SessionActor {
    type Result = ();
    fn handle(&mut self, Delivered(frame, bytes, credit): Delivered, ctx: &mut Context<Self>) {
        self.take_delivery(frame, bytes, credit);
        self.look_ahead(ctx);
    }
}

impl Handler<StateCommitted> for SessionActor {
    type Result = ();
    fn handle(&mut self, StateCommitted(committed): StateCommitted, _: &mut Context<Self>) {
        let round = committed.record.round;
        self.contacts.evaluate.do_send(Evaluate { round, state: committed.state.clone() });
        self.contacts.archive.do_send(Archive(committed, self.val_loss));
    }
}

impl Handler<Archived> for SessionActor {
    type Result = ();
    fn handle(&mut self, archived: Archived, _: &mut Context<Self>) {
        self.status.update(|status| {
            status.round = archived.round;
            status.checkpoint = Some(archived.folder);
            let known = status.rounds.iter().find(|round| round.round == archived.round);
            status.digest = known.map_or(String::new(), |round| round.digest.clone());
        });
    }
}

impl Handler<Evaluated> for SessionActor {
    type Result = ();
    fn handle(&mut self, evaluated: Evaluated, _: &mut Context<Self>) {
        tracing::info!(
            round = evaluated.round,
            loss = format!("{:.4}", evaluated.loss),
            "held-out loss"
        );
        self.val_loss = Some(evaluated.loss);
        self.status.update(|status| {
            status.val_loss = Some(evaluated.loss);
            if let Some(round) =
                status.rounds.iter_mut().find(|round| round.round == evaluated.round)
            {
                round.val_loss = Some(evaluated.loss);
            }
        });
    }
}

impl Handler<Worked> for SessionActor {
    type Result = ();
    fn handle(&mut self, worked: Worked, _: &mut Context<Self>) {
        self.tokens += worked.tokens;
        self.tokens_per_s = worked.tokens_per_s;
        self.status.update(|status| {
            status.tokens = self.tokens;
            status.tokens_per_s = worked.tokens_per_s;
            status.train_loss = worked.loss.or(status.train_loss);
        });
    }
}

impl Handler<Stop> for SessionActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// A phase as the status names it.
fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "looking",
        Phase::Training => "training",
        Phase::Gathering => "gathering",
        Phase::Reducing => "reducing",
        Phase::Confirming => "confirming",
        Phase::Applying => "applying",
        Phase::CatchingUp => "catching-up",
        Phase::Finished => "finished",
    }
}

/// What the node waits for, in one line.
fn waiting_line(waiting: &Waiting, me: &PeerId, now: Time) -> String {
    let what = match waiting.phase {
        Phase::Looking => "looking for peers",
        Phase::Training => "local work under way",
        Phase::Gathering => "waiting for the plan",
        Phase::Reducing => "exchanging",
        Phase::Confirming => "waiting for confirmations",
        Phase::Applying => "taking the outer step",
        Phase::CatchingUp => "fetching what others committed",
        Phase::Finished => return "nothing: the run is complete".into(),
    };
    let since = now.since(waiting.since).as_secs_f64();
    let on: Vec<String> = waiting.on.iter().filter(|peer| *peer != me).map(PeerId::short).collect();
    let on = if on.is_empty() { String::new() } else { format!(", on {}", on.join(", ")) };
    let until = waiting.until.map_or(String::new(), |until| {
        format!(", looking again in {:.1} s", until.since(now).as_secs_f64())
    });
    format!("{what}{on}, for {since:.1} s{until}")
}

/// What training waits for, in one line.
fn data_line(data: &DataView) -> String {
    let DataView { here, needed, from, .. } = data;
    match from {
        0 => {
            format!("waiting for data: {here} of {needed} pieces, and no peer that gives the rest")
        }
        1 => format!("waiting for data: {here} of {needed} pieces from 1 peer"),
        _ => format!("waiting for data: {here} of {needed} pieces from {from} peers"),
    }
}

/// Peak resident memory of this process, bytes.
fn peak_memory_bytes() -> u64 {
    // SAFETY: getrusage fills the struct that it is given, and zeroes are a valid one.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_maxrss as u64 * 1024
    }
}
