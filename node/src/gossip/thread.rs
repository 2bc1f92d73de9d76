//! The one thread that owns a peer's numbers and frames: it takes jobs in order, and answers with inputs for the machine.

use super::frames::Frames;
use super::sending::Sending;
use crate::exchange::State;
use crate::net::{Credit, NetHandle};
use crate::store::StateBytes;
use crate::store::floats::floats_of;
use bytes::Bytes;
use shoal_protocol::gossip::{Frame, FrameKind, Input, Numbers};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::state_root;
use shoal_protocol::math::all_finite;
use shoal_protocol::run::RunSpec;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Jobs that may wait; the memory of pieces is bounded by the network's credit. A full channel makes the others wait.
const JOBS_MAX: usize = 1 << 12;

/// Something to do with the numbers; most are a [`shoal_protocol::gossip::Output`] word for word.
#[derive(Debug)]
pub enum Job {
    /// Hand the outer parameters to the trainer.
    Train(Round),
    /// Local work has come to this: tokens, and outer parameters minus local ones.
    Learned(u64, Vec<f32>),
    /// A group of so many begins.
    Begin(Digest, u64),
    /// Send a part.
    Part(PeerId, Frame),
    /// Add up a slice.
    Sum(Frame, Vec<PeerId>),
    /// Send a mean.
    Mean(PeerId, Frame),
    /// Take the outer step: round, slices, those whose means are here, group.
    Step(Round, u64, Vec<u64>, Digest),
    /// Send the outer parameters.
    SendState(PeerId, Frame),
    /// Take over a neighbour's.
    Load(PeerId, Frame),
    /// A state is wanted of this peer.
    Want(PeerId),
    /// A piece of a frame has come: from whom, its header and bytes.
    Arrive(PeerId, Vec<u8>, Bytes, Credit),
    /// A piece has left for this peer.
    Sent(PeerId),
    /// A peer is gone.
    Gone(PeerId),
    /// Training goes at so many tokens a second.
    Speed(f64),
    /// End.
    Stop,
}

/// What the thread tells.
#[derive(Debug)]
pub enum Feedback {
    /// Something for the machine.
    Input(Input),
    /// An outer step was taken.
    Stepped(Box<Stepped>),
    /// Local work may begin from these parameters, `[params]`, on these samples.
    Train(Round, Range<u64>, Arc<Vec<f32>>),
}

/// A peer after an outer step, with everything that a checkpoint needs.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// The round.
    pub round: Round,
    /// Root over the state's chunks: its name.
    pub digest: Digest,
    /// Outer parameters and momentum.
    pub state: State,
    /// What this peer's parts did not carry yet, `[params]`.
    pub residual: Vec<f32>,
    /// Where its next samples begin in the endless order of epochs.
    pub position: u64,
    /// Tokens that it has trained on in all rounds.
    pub tokens: u64,
    /// Of those in the round that ended.
    pub trained: u64,
    /// How far the group was apart before it averaged: see [`Numbers::distance`].
    pub distance: Option<f64>,
}

/// Where a peer begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Its numbers.
    pub numbers: Numbers,
    /// Where its samples begin.
    pub position: u64,
    /// Tokens that it has trained on.
    pub tokens: u64,
}

/// The thread and the way to it.
pub struct GossipThread {
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl GossipThread {
    /// Starts it.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        spec: RunSpec,
        beginning: Beginning,
        net: NetHandle,
        tell: Box<dyn Fn(Feedback) + Send>,
    ) -> std::io::Result<GossipThread> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let Beginning { numbers, position, tokens } = beginning;
        let worker = Worker {
            me: net.me(),
            frames: Frames::new(&spec),
            sending: Sending::new(net),
            numbers,
            spec,
            tell,
            slices: 0,
            mean: None,
            distance: None,
            position,
            tokens,
            trained: 0,
            tokens_per_s: 0.0,
        };
        let thread =
            std::thread::Builder::new().name("gossip".into()).spawn(move || worker.run(&inbox))?;
        Ok(GossipThread { jobs, thread: Some(thread) })
    }

    /// A way to hand over jobs from elsewhere.
    pub fn jobs(&self) -> SyncSender<Job> {
        self.jobs.clone()
    }

    /// Ends the thread after the jobs that it has.
    pub fn join(mut self) {
        // An error means that the thread has ended already.
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    me: PeerId,
    spec: RunSpec,
    numbers: Numbers,
    frames: Frames,
    sending: Sending,
    tell: Box<dyn Fn(Feedback) + Send>,
    /// Of the group under way.
    slices: u64,
    /// Of this peer's slice.
    mean: Option<(Frame, Bytes)>,
    distance: Option<f64>,
    position: u64,
    tokens: u64,
    trained: u64,
    tokens_per_s: f64,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            if matches!(job, Job::Stop) {
                return;
            }
            self.handle(job);
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Train(round) => self.train(round),
            Job::Learned(tokens, delta) => self.learned(tokens, delta),
            Job::Begin(_, members) => {
                (self.slices, self.mean, self.distance) = (members, None, None);
            }
            Job::Part(to, frame) => {
                let bytes = Bytes::from(self.numbers.part(self.slices, frame.slice));
                self.sending.send(to, frame, self.slices, &bytes);
            }
            Job::Sum(frame, parts) => self.sum(frame, &parts),
            Job::Mean(to, frame) => self.mean(to, frame),
            Job::Step(round, slices, here, group) => self.step(round, slices, &here, group),
            Job::SendState(to, frame) => {
                let params = StateBytes::new(self.numbers.outer(), &[]);
                let bytes = Bytes::from(params.read(0..params.len()));
                self.sending.send(to, frame, 0, &bytes);
            }
            Job::Load(from, frame) => self.load(from, frame),
            Job::Want(donor) => self.frames.want(donor),
            Job::Arrive(from, header, bytes, credit) => {
                match self.frames.take(from, &header, &bytes) {
                    Ok(Some(frame)) => self.input(Input::Arrived { from, frame }),
                    Ok(None) => {}
                    Err(reason) => refused(&from, &reason),
                }
                drop(credit);
            }
            Job::Sent(peer) => self.sending.sent(&peer),
            Job::Gone(peer) => {
                self.frames.gone(&peer);
                self.sending.gone(&peer);
            }
            Job::Speed(tokens_per_s) => self.tokens_per_s = tokens_per_s,
            Job::Stop => {}
        }
    }

    fn input(&self, input: Input) {
        (self.tell)(Feedback::Input(input));
    }

    fn train(&mut self, round: Round) {
        let here = self.position..self.position + self.samples();
        (self.tell)(Feedback::Train(round, here, self.numbers.outer().clone()));
    }

    /// Sequences of one round's local work.
    fn samples(&self) -> u64 {
        let (inner, context) = (&self.spec.inner, u64::from(self.spec.model.context));
        let batch = u64::from(inner.batch);
        let expected = self.tokens_per_s * inner.round_ms as f64 / 1e3;
        let steps = if inner.round_ms == 0 || self.tokens_per_s <= 0.0 {
            u64::from(inner.steps)
        } else {
            (expected as u64 / (batch * context)).clamp(1, u64::from(u32::MAX))
        };
        steps * batch
    }

    fn learned(&mut self, tokens: u64, mut delta: Vec<f32>) {
        let outer = self.numbers.outer();
        if delta.len() != outer.len() {
            delta = vec![0.0; outer.len()];
        }
        delta.iter_mut().zip(outer.iter()).for_each(|(delta, outer)| *delta = outer - *delta);
        let sound = self.numbers.learned(&delta);
        if !sound {
            tracing::error!("local work holds a number that is not finite: it is left out");
        }
        self.trained = if sound { tokens } else { 0 };
        self.position += self.samples_of(tokens);
        self.input(Input::Trained);
    }

    fn samples_of(&self, tokens: u64) -> u64 {
        tokens / u64::from(self.spec.model.context)
    }

    /// Adds up this peer's slice of what is here and sound; the rest is told and left out.
    fn sum(&mut self, frame: Frame, members: &[PeerId]) {
        let mut parts: Vec<(PeerId, Option<Bytes>)> = Vec::new();
        for member in members {
            let bytes = self.frames.remove(member, &frame);
            if *member == self.me || bytes.is_some() {
                parts.push((*member, bytes));
            }
        }
        let mean = loop {
            let bytes: Vec<Option<&[u8]>> = parts.iter().map(|(_, part)| part.as_deref()).collect();
            match self.numbers.average(self.slices, frame.slice, &bytes) {
                Ok(mean) => {
                    self.distance = self.numbers.distance(self.slices, frame.slice, &bytes);
                    break mean;
                }
                Err(unsound) => {
                    refused(&parts[unsound.place].0, &unsound.cause.to_string());
                    parts.remove(unsound.place);
                }
            }
        };
        self.mean = Some((Frame { kind: FrameKind::Mean, ..frame }, mean.into()));
    }

    fn mean(&mut self, to: PeerId, frame: Frame) {
        if let Some((_, bytes)) = self.mean.as_ref().filter(|(own, _)| *own == frame) {
            self.sending.send(to, frame, self.slices, bytes);
        }
    }

    fn step(&mut self, round: Round, slices: u64, here: &[u64], group: Digest) {
        let own = self.mean.take();
        let find = |slice: &u64| {
            let frame = Frame { group, slice: *slice, kind: FrameKind::Mean };
            let own = own.as_ref().filter(|(own, _)| *own == frame).map(|(_, bytes)| bytes.clone());
            Some((*slice, own.or_else(|| self.frames.find(&frame))?))
        };
        let means: Vec<(u64, Bytes)> = here.iter().filter_map(find).collect();
        let bytes: Vec<(u64, &[u8])> =
            means.iter().map(|(slice, bytes)| (*slice, bytes.as_ref())).collect();
        for unsound in self.numbers.step(slices, &bytes) {
            let slice = bytes[unsound.place].0;
            tracing::info!(slice, reason = %unsound.cause, "a mean is left out");
        }
        self.frames.forget(&group);
        let distance = self.distance.take().filter(|_| slices > 0);
        self.tokens += self.trained;
        (self.tell)(Feedback::Stepped(Box::new(self.stepped(round, distance))));
        self.trained = 0;
    }

    fn stepped(&self, round: Round, distance: Option<f64>) -> Stepped {
        let (params, momentum) = (self.numbers.outer().clone(), self.numbers.momentum().clone());
        let digest = state_root(&StateBytes::new(&params, &momentum).chunk_digests());
        Stepped {
            round,
            digest,
            state: State { params, momentum },
            residual: self.numbers.residual().to_vec(),
            position: self.position,
            tokens: self.tokens,
            trained: self.trained,
            distance,
        }
    }

    fn load(&mut self, from: PeerId, frame: Frame) {
        let Some(bytes) = self.frames.remove(&from, &frame) else { return };
        let params = floats_of(&bytes);
        if params.len() != self.numbers.outer().len() || !all_finite(&params) {
            return refused(&from, "parameters that are not finite");
        }
        self.numbers.load(params);
        tracing::info!(peer = %from.short(), round = frame.slice, "goes on from a neighbour's parameters");
    }
}

fn refused(peer: &PeerId, reason: &str) {
    tracing::info!(peer = %peer.short(), reason, "refused what a peer sent");
}
