//! The face of the device threads: splits a lease among them, merges what they did, and evaluates between rounds.

use crate::data::DataError;
use crate::message::{
    Answered, Evaluate, Evaluated, InnerState, Merged, Stop, Subject, Train, Worked,
};
use crate::train::{
    Answer, DeviceThread, Done, Job, Merges, Refused, TrainError, WorkDone, merge_by_tokens,
};
use actix::{Actor, ActorContext, Context, Handler, Recipient};
use shoal_protocol::id::Round;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who is handed what a lease has come to: the round, tokens, the pseudo-gradient, and how many of the commits since it began are in it.
pub type Learned = Box<dyn Fn(Round, u64, Vec<f32>, usize)>;

/// The face of the device threads.
pub struct TrainerActor {
    devices: Vec<Device>,
    session: Recipient<Worked>,
    evaluated: Recipient<Evaluated>,
    archive: Recipient<InnerState>,
    learned: Learned,
    sequences: [u64; 2],
    cancel: Arc<AtomicBool>,
    work: Option<Work>,
    evaluations: BTreeMap<u64, (Round, Subject)>,
    next_id: u64,
}

/// One device.
struct Device {
    thread: DeviceThread,
    waiting: VecDeque<(u64, Job)>,
    tokens_per_s: f64,
}

/// A lease that the devices work on.
struct Work {
    round: Round,
    under_way: BTreeMap<u64, usize>,
    parts: Vec<(u64, Vec<f32>)>,
    accounts: Vec<WorkDone>,
    /// What commits have done to local parameters since it began; the devices look for them between steps.
    merges: Arc<Merges>,
}

impl TrainerActor {
    /// The face of these threads. `sequences`: held-out sequences that are evaluated after each round, and where the session asks.
    pub fn new(
        threads: Vec<DeviceThread>,
        session: Recipient<Worked>,
        evaluated: Recipient<Evaluated>,
        archive: Recipient<InnerState>,
        learned: Learned,
        sequences: [u64; 2],
    ) -> TrainerActor {
        let device = |thread| Device { thread, waiting: VecDeque::new(), tokens_per_s: 0.0 };
        TrainerActor {
            devices: threads.into_iter().map(device).collect(),
            session,
            evaluated,
            archive,
            learned,
            sequences,
            cancel: Arc::default(),
            work: None,
            evaluations: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn submit(&mut self, device: usize, job: Job) -> u64 {
        self.next_id += 1;
        self.devices[device].waiting.push_back((self.next_id, job));
        self.devices[device].feed();
        self.next_id
    }

    /// A part of the lease is done, or has failed; with the last the whole goes to the exchange.
    fn part_done(&mut self, device: usize, id: u64, result: Result<Done, TrainError>) {
        let Some(work) = &mut self.work else { return };
        if work.under_way.remove(&id).is_none() {
            return;
        }
        match result {
            Ok(Done::Worked { done, mut delta, state: bytes }) => {
                work.merges.after(done.merged).iter().for_each(|merge| merge.shrink(&mut delta));
                self.archive.do_send(InnerState { device, bytes });
                if done.seconds > 0.0 {
                    self.devices[device].tokens_per_s = done.tokens as f64 / done.seconds;
                }
                work.parts.push((done.tokens, delta));
                work.accounts.push(done);
            }
            Ok(_) => {}
            Err(TrainError::Cancelled { .. }) => {}
            Err(error) => tracing::error!(%error, "local work is left out of the round"),
        }
        if work.under_way.is_empty() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(work) = self.work.take() else { return };
        let (tokens, delta) = merge_by_tokens(work.parts).unwrap_or_default();
        (self.learned)(work.round, tokens, delta, work.merges.len());
        let tokens_per_s = self.devices.iter().map(|device| device.tokens_per_s).sum();
        let weighed: f64 =
            work.accounts.iter().map(|done| done.loss_mean * done.tokens as f64).sum();
        let loss = (tokens > 0).then(|| weighed / tokens as f64);
        self.session.do_send(Worked { tokens, tokens_per_s, loss });
    }
}

impl Device {
    /// Hands over the next job if the thread takes one.
    fn feed(&mut self) {
        if let Some((id, job)) = self.waiting.pop_front()
            && let Err(Refused::Busy(job) | Refused::Gone(job)) = self.thread.submit(id, job)
        {
            self.waiting.push_front((id, job));
        }
    }
}

impl Actor for TrainerActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.cancel.store(true, Ordering::Relaxed);
        self.devices.drain(..).for_each(|device| device.thread.join());
    }
}

impl Handler<Train> for TrainerActor {
    type Result = ();
    fn handle(&mut self, train: Train, _: &mut Context<Self>) {
        let speeds: Vec<f64> = self.devices.iter().map(|device| device.tokens_per_s).collect();
        let work = Work {
            round: train.round,
            under_way: BTreeMap::new(),
            parts: vec![],
            accounts: vec![],
            merges: Arc::default(),
        };
        let merges = work.merges.clone();
        self.work = Some(work);
        for (device, positions) in split(&train.lease, &speeds).into_iter().enumerate() {
            if positions.is_empty() {
                continue;
            }
            let (round, from) = (train.round, train.from.clone());
            let (cancel, merges, buffer) = (self.cancel.clone(), merges.clone(), Vec::new());
            let job = Job::Work { round, from, positions, cancel, merges, buffer };
            let id = self.submit(device, job);
            if let Some(work) = &mut self.work {
                work.under_way.insert(id, device);
            }
        }
        if self.work.as_ref().is_some_and(|work| work.under_way.is_empty()) {
            self.finish();
        }
    }
}

impl Handler<Merged> for TrainerActor {
    type Result = ();
    fn handle(&mut self, Merged(merge): Merged, _: &mut Context<Self>) {
        if let Some(work) = &self.work {
            work.merges.push(merge);
        }
    }
}

impl Handler<Evaluate> for TrainerActor {
    type Result = ();
    fn handle(&mut self, evaluate: Evaluate, _: &mut Context<Self>) {
        let Some(first) = self.devices.first() else { return };
        let Evaluate { round, subject, params } = evaluate;
        let [shown, told] = self.sequences;
        let sequences = if subject == Subject::Shown { shown } else { told };
        let busy = subject == Subject::Shown && !first.waiting.is_empty();
        if sequences > 0 && !busy {
            let id = self.submit(0, Job::Evaluate { params, sequences });
            self.evaluations.insert(id, (round, subject));
        }
    }
}

impl Handler<Stop> for TrainerActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Answered> for TrainerActor {
    type Result = ();
    fn handle(&mut self, answered: Answered, _: &mut Context<Self>) {
        let Answered { device, answer: Answer { id, result } } = answered;
        self.devices[device].feed();
        match (self.evaluations.remove(&id), result) {
            (Some((round, subject)), Ok(Done::Evaluated { loss })) => {
                self.evaluated.do_send(Evaluated { round, subject, loss })
            }
            (Some((round, _)), Err(TrainError::Data(DataError::Absent { .. }))) => {
                tracing::info!(round, "not evaluated: the held-out part is not here yet");
            }
            (Some((round, _)), Err(error)) => {
                tracing::error!(round, %error, "the round could not be evaluated")
            }
            (_, result) => self.part_done(device, id, result),
        }
    }
}

/// A lease in as many parts as there are devices, by their speeds (all alike while any is unknown).
fn split(lease: &[Range<u64>], speeds: &[f64]) -> Vec<Vec<Range<u64>>> {
    let known = speeds.iter().all(|speed| *speed > 0.0);
    let weights: Vec<f64> = speeds.iter().map(|speed| if known { *speed } else { 1.0 }).collect();
    let (sum, total) =
        (weights.iter().sum::<f64>(), lease.iter().map(|r| r.end - r.start).sum::<u64>());
    let mut rest: VecDeque<Range<u64>> = lease.iter().cloned().collect();
    let mut so_far = 0.0;
    let mut taken = 0;
    let mut parts = Vec::new();
    for weight in weights {
        so_far += weight;
        let until = (total as f64 * so_far / sum).round() as u64;
        parts.push(take(&mut rest, until - taken));
        taken = until;
    }
    parts
}

fn take(rest: &mut VecDeque<Range<u64>>, mut samples: u64) -> Vec<Range<u64>> {
    let mut part = Vec::new();
    while samples > 0 {
        let Some(range) = rest.pop_front() else { break };
        let end = range.end.min(range.start + samples);
        samples -= end - range.start;
        if end < range.end {
            rest.push_front(end..range.end);
        }
        part.push(range.start..end);
    }
    part
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_split_by_speed() {
        assert_eq!(split(&[0..10], &[0.0]), [[0..10].to_vec()]);
        assert_eq!(split(&[0..10], &[0.0, 5.0]), [[0..5].to_vec(), [5..10].to_vec()]);
        assert_eq!(split(&[0..4, 8..12], &[1.0, 3.0]), [[0..2].to_vec(), [2..4, 8..12].to_vec()]);
        assert_eq!(split(&[], &[1.0, 1.0]), [[].to_vec(), [].to_vec()]);
    }
}
