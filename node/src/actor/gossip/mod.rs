//! The session of a run by gossip: brings what happens to the protocol's other machine, and performs what it asks. The one `match` on its
//! outputs of the node; the simulator's is in sim/src/gossip/perform.rs.

mod mesh;
mod start;
mod tell;

pub(super) use start::start;

use crate::actor::session::Clock;
use crate::gossip::{Job, Stepped};
use crate::message::{Archive, Archived, Evaluate, Evaluated, Stop, Subject, Worked};
use crate::net::{Credit, NetHandle};
use crate::settings::Settings;
use crate::status::SharedStatus;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle};
use shoal_protocol::gossip::{self, GossipSession, Input, Output};
use shoal_protocol::id::PeerId;
use shoal_protocol::time::Time;
use shoal_protocol::wire::to_cbor;
use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// How often the status is brought up to date when nothing else does.
const STATUS_EVERY: Duration = Duration::from_millis(250);

/// To the session: something has happened. The credit is room in the network's memory, free again once it is handled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Happened(pub Input, pub Option<Credit>);

/// To the session: the thread has taken an outer step.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HasStepped(pub Box<Stepped>);

/// Whom the session speaks to.
pub struct Contacts {
    /// The network.
    pub net: NetHandle,
    /// The thread with the numbers.
    pub jobs: SyncSender<Job>,
    /// The trainer, for evaluation.
    pub evaluate: Recipient<Evaluate>,
    /// The archive, for checkpoints.
    pub archive: Recipient<Archive>,
    /// Whoever stops the node.
    pub stop: Recipient<Stop>,
}

/// The actor around the machine.
pub struct GossipActor {
    machine: GossipSession,
    clock: Clock,
    settings: Settings,
    contacts: Contacts,
    status: SharedStatus,
    timer: Option<(Time, SpawnHandle)>,
    /// The others of the last group, and since when.
    group: Vec<PeerId>,
    began: Time,
    /// When each peer was last heard.
    heard: BTreeMap<PeerId, Time>,
    /// How far the last group of several was apart.
    distance: Option<f64>,
    doing: &'static str,
    bytes_before: u64,
    tokens: u64,
    val_loss: Option<f64>,
}

impl GossipActor {
    /// Around a machine that has not seen anything yet.
    pub fn new(
        machine: GossipSession,
        clock: Clock,
        settings: Settings,
        contacts: Contacts,
        status: SharedStatus,
    ) -> GossipActor {
        GossipActor {
            doing: machine.waits().0,
            machine,
            began: clock.now(),
            clock,
            settings,
            contacts,
            status,
            timer: None,
            group: Vec::new(),
            heard: BTreeMap::new(),
            distance: None,
            bytes_before: 0,
            tokens: 0,
            val_loss: None,
        }
    }

    /// Something has happened: the machine is told, what it asks is performed, and the next wake is set.
    fn handle_input(&mut self, input: Input, ctx: &mut Context<Self>) {
        if let Input::Received { from, .. } | Input::Arrived { from, .. } = &input {
            self.heard.insert(*from, self.clock.now());
        }
        if let Input::Lost { peer } = &input {
            self.heard.remove(peer);
            self.job(Job::Gone(*peer));
        }
        let mut outputs = Vec::new();
        self.machine.handle(self.clock.now(), input, &mut outputs);
        outputs.into_iter().for_each(|output| self.perform(output));
        self.arm(ctx);
        if self.machine.waits().0 != self.doing {
            self.tell_status();
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.send(to, &message),
            Output::Train { round } => self.job(Job::Train(round)),
            Output::Begin { group, members } => {
                (self.group, self.began) = (Vec::new(), self.clock.now());
                self.job(Job::Begin(group, members));
            }
            Output::Part { to, frame } => {
                self.group.push(to);
                self.job(Job::Part(to, frame));
            }
            Output::Sum { frame, parts } => self.job(Job::Sum(frame, parts)),
            Output::Mean { to, frame } => self.job(Job::Mean(to, frame)),
            Output::Step { round, slices, here, group } => {
                if slices == 0 {
                    self.group.clear();
                }
                self.job(Job::Step(round, slices, here, group));
            }
            Output::SendState { to, frame } => self.job(Job::SendState(to, frame)),
            Output::Load { from, frame } => self.job(Job::Load(from, frame)),
        }
    }

    fn job(&self, job: Job) {
        if self.contacts.jobs.send(job).is_err() {
            self.contacts.stop.do_send(Stop(Some("the thread with the numbers has ended".into())));
        }
    }

    fn send(&self, to: PeerId, message: &gossip::Message) {
        if *message == gossip::Message::WantState {
            self.job(Job::Want(to));
        }
        if let Err(error) = self.contacts.net.send(to, to_cbor(message)) {
            tracing::debug!(peer = %to.short(), %error, "a message does not leave");
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
}

impl Actor for GossipActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for peer in self.contacts.net.peers() {
            self.handle_input(Input::Met { peer }, ctx);
        }
        self.handle_input(Input::Wake, ctx);
        self.tell_status();
        ctx.run_interval(STATUS_EVERY, |actor, ctx| {
            actor.tell_status();
            actor.arm(ctx);
        });
    }
}

impl Handler<Happened> for GossipActor {
    type Result = ();
    fn handle(&mut self, Happened(input, credit): Happened, ctx: &mut Context<Self>) {
        self.handle_input(input, ctx);
        drop(credit);
    }
}

impl Handler<HasStepped> for GossipActor {
    type Result = ();
    fn handle(&mut self, HasStepped(stepped): HasStepped, _: &mut Context<Self>) {
        self.tell_step(&stepped);
        let (round, params) = (stepped.round, stepped.state.params.clone());
        self.contacts.evaluate.do_send(Evaluate { round, subject: Subject::Shown, params });
        let kept = start::kept(*stepped, &self.group);
        self.contacts.archive.do_send(Archive(Box::new(kept), self.val_loss));
    }
}

impl Handler<Archived> for GossipActor {
    type Result = ();
    fn handle(&mut self, archived: Archived, _: &mut Context<Self>) {
        self.status.archived(archived.round, archived.folder);
    }
}

impl Handler<Evaluated> for GossipActor {
    type Result = ();
    fn handle(&mut self, evaluated: Evaluated, _: &mut Context<Self>) {
        let Evaluated { round, loss, .. } = evaluated;
        tracing::info!(round, loss = format!("{loss:.4}"), "held-out loss");
        self.val_loss = Some(loss);
        self.status.evaluated(round, loss);
    }
}

impl Handler<Worked> for GossipActor {
    type Result = ();
    fn handle(&mut self, worked: Worked, _: &mut Context<Self>) {
        self.tokens += worked.tokens;
        self.job(Job::Speed(worked.tokens_per_s));
        self.status.update(|status| {
            status.tokens = self.tokens;
            status.tokens_per_s = worked.tokens_per_s;
            status.train_loss = worked.loss.or(status.train_loss);
        });
    }
}

impl Handler<Stop> for GossipActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
