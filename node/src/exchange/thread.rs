//! The one thread that owns the data: it takes jobs in order, and answers with inputs for the machine.

use super::arithmetic::{Arithmetic, Committed};
use super::hold::Frame;
use crate::net::{NetHandle, Priority, SendError};
use bytes::Bytes;
use shoal_protocol::event::{ChunkId, ChunkKind, Input, Part, Settle};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::Record;
use shoal_protocol::math::Merge;
use shoal_protocol::wire::to_cbor;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Jobs that may wait. The machine's windows keep far fewer under way; a full channel makes the session's actor wait.
const JOBS_MAX: usize = 1 << 15;

/// Something to do with the data; most are an [`shoal_protocol::event::Output`] word for word.
#[derive(Debug)]
pub enum Job {
    /// Keep the bytes of a frame that has arrived.
    Arrive(Frame, Bytes),
    /// Drop them.
    Discard(Frame),
    /// Add local work: its round, tokens, pseudo-gradient, and how many of the commits since it began are in it.
    AddDelta(Round, u64, Vec<f32>, usize),
    /// Put what has been learned on into what is contributed.
    Offer(Round),
    /// Encode and send a contribution, with this factor of the downward residual.
    Contribute(PeerId, ChunkId, f32),
    /// Add up a chunk.
    Reduce(Digest, u32, Vec<Part>),
    /// Send a result.
    SendResult(PeerId, ChunkId),
    /// Send a piece of a state.
    SendState(PeerId, ChunkId),
    /// Take the outer step.
    Apply(Round, Digest, bool),
    /// Make the pending state the committed one.
    Commit(Record, Vec<Settle>),
    /// Assemble a fetched state.
    Load(Record),
    /// Drop everything of a plan.
    Forget(Digest),
    /// Stop serving a record's state.
    Release(Digest),
    /// Leave a branch for the loaded one: its share, tokens given to it, tokens in hand.
    TakeAlong(f32, u64, u64),
    /// Hand the committed parameters of this round, and their average, to the trainer to be measured: the digest of the round's record.
    Evaluate(Round, Digest),
    /// Hand the committed parameters to the trainer, after all jobs before.
    Train(Round, Vec<Range<u64>>),
    /// End.
    Stop,
}

/// What the thread tells.
#[derive(Debug)]
pub enum Feedback {
    /// Something for the machine.
    Input(Box<Input>),
    /// A state was committed.
    Committed(Box<Committed>),
    /// It does this to local parameters that are being trained on.
    Merged(Arc<Merge>),
    /// Measure these parameters, `[params]`, and these averaged ones, if there are any.
    Evaluate(Round, Digest, Arc<Vec<f32>>, Option<Arc<Vec<f32>>>),
    /// Local work may begin from these parameters, `[params]`.
    Train(Round, Vec<Range<u64>>, Arc<Vec<f32>>),
    /// The data cannot be worked with; the node has to stop. In people's words.
    Broken(String),
}

/// The thread and the way to it.
pub struct ExchangeThread {
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl ExchangeThread {
    /// Starts it.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        arithmetic: Arithmetic,
        net: NetHandle,
        tell: Box<dyn Fn(Feedback) + Send>,
    ) -> std::io::Result<ExchangeThread> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let worker = Worker { arithmetic, net, tell };
        let thread = std::thread::Builder::new()
            .name("exchange".into())
            .spawn(move || worker.run(&inbox))?;
        Ok(ExchangeThread { jobs, thread: Some(thread) })
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
    arithmetic: Arithmetic,
    net: NetHandle,
    tell: Box<dyn Fn(Feedback) + Send>,
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
            Job::Arrive(frame, bytes) => self.arithmetic.arrive(&frame, bytes),
            Job::Discard(frame) => self.arithmetic.discard(&frame),
            Job::AddDelta(round, tokens, delta, merged) => {
                self.add_delta(round, tokens, delta, merged);
            }
            Job::Offer(round) => self.arithmetic.offer(round),
            Job::Contribute(to, chunk, fold) => {
                let bytes = self.arithmetic.contribution(&chunk, fold);
                self.send(to, chunk, Some(bytes));
            }
            Job::Reduce(plan, index, parts) => self.reduce(plan, index, &parts),
            Job::SendResult(to, chunk) => self.send(to, chunk, self.arithmetic.result(&chunk)),
            Job::SendState(to, chunk) => self.send(to, chunk, self.arithmetic.state_chunk(&chunk)),
            Job::Apply(round, plan, step) => match self.arithmetic.apply(round, &plan, step) {
                Ok(chunks) => self.input(Input::Applied { round, chunks }),
                Err(error) => self.broken(format!("round {round} cannot be applied: {error}")),
            },
            Job::Commit(record, settle) => match self.arithmetic.commit(record, &settle) {
                Some((committed, merge)) => {
                    merge.into_iter().for_each(|merge| (self.tell)(Feedback::Merged(merge)));
                    (self.tell)(Feedback::Committed(Box::new(committed)));
                }
                None => self.broken("a commit without a state".into()),
            },
            Job::Load(record) => match self.arithmetic.load(&record) {
                Ok(chunks) => self.input(Input::Loaded { round: record.round, chunks }),
                Err(error) => self.broken(format!(
                    "the state of round {} cannot be loaded: {error}",
                    record.round
                )),
            },
            Job::Forget(plan) => self.arithmetic.forget(&plan),
            Job::Release(digest) => self.arithmetic.release(&digest),
            Job::TakeAlong(share, given, tokens) => {
                self.arithmetic.take_along(share, given, tokens);
            }
            Job::Evaluate(round, of) => {
                let params = self.arithmetic.committed().params.clone();
                let average = self.arithmetic.averaged();
                (self.tell)(Feedback::Evaluate(round, of, params, average));
            }
            Job::Train(round, lease) => {
                let from = self.arithmetic.begin_training();
                (self.tell)(Feedback::Train(round, lease, from));
            }
            Job::Stop => {}
        }
    }

    fn input(&self, input: Input) {
        (self.tell)(Feedback::Input(Box::new(input)));
    }

    fn broken(&self, reason: String) {
        (self.tell)(Feedback::Broken(reason));
    }

    fn add_delta(&mut self, round: Round, tokens: u64, delta: Vec<f32>, merged: usize) {
        let tokens = match tokens {
            0 => 0,
            _ => match self.arithmetic.add_delta(delta, merged) {
                Ok(()) => tokens,
                Err(reason) => {
                    tracing::error!(round, "local work {reason}: it is left out");
                    0
                }
            },
        };
        self.input(Input::LocalWorkReady { round, tokens });
    }

    fn reduce(&mut self, plan: Digest, index: u32, parts: &[Part]) {
        let input = match self.arithmetic.reduce(plan, index, parts) {
            Ok(digest) => Input::Reduced { plan, index, digest },
            Err(part) => Input::Unsound { plan, index, member: part.member, reason: part.reason },
        };
        self.input(input);
    }

    /// Hands bytes to the network, or says at once that they cannot leave.
    fn send(&self, to: PeerId, chunk: ChunkId, bytes: Option<Bytes>) {
        let priority = match chunk.kind {
            ChunkKind::State => Priority::Background,
            _ => Priority::Urgent,
        };
        let sent = match bytes {
            Some(bytes) => self.net.send_bulk(to, to_cbor(&chunk), bytes, priority),
            None => Err(SendError::NotConnected),
        };
        if let Err(error) = sent {
            tracing::debug!(peer = %to.short(), %error, "a chunk does not leave");
            self.input(Input::Sent { to });
        }
    }
}
