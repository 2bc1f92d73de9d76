//! One plain thread per device: it owns the trainer, takes one job at a time and answers with the job's id.
//!
//! The channel holds one job beside the one at work. More are refused, not queued: who sends them decides what to do.

use super::distill::Lesson;
use super::error::TrainError;
use super::merge::Merges;
use super::sample::{SampleSpec, sample};
use super::trainer::{Trainer, Work, WorkDone};
use super::{return_memory, set_threads};
use crate::data::{Batch, DataError, Late};
use crate::model::Thrift;
use crate::store::teacher::Teacher;
use crate::teach::{Ahead, Asking};
use shoal_protocol::id::Round;
use shoal_protocol::run::{LocalWork, RunSpec};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use tch::Device;

/// What a lease is trained on.
type Batches<'a> = Box<dyn Iterator<Item = Result<Batch, TrainError>> + 'a>;

/// Sequences of a lease on which is measured what goes into the matrices. Wanda (arXiv 2306.11695, section 4.1) takes 128; of
/// several members each brings some.
const MEASURED: u32 = 64;
/// Sequences that go through the model at once for that: few, so that it takes less memory than training.
const AT_ONCE: u32 = 4;

/// Something for a device to do.
pub enum Job {
    /// Train from the committed parameters, or from local ones that outlast rounds.
    Work {
        /// The round that the work leads to, from 1.
        round: Round,
        /// Where from: the parameters, and what pruning has measured behind them.
        from: Arc<Vec<f32>>,
        /// The positions to train on, in order.
        positions: Vec<Range<u64>>,
        /// Raise it to end the work before its end; the answer is then [`TrainError::Cancelled`].
        cancel: Arc<AtomicBool>,
        /// What commits do to local parameters meanwhile.
        merges: Arc<Merges>,
        /// A vector to write the pseudo-gradient into: an old one, to save memory, or an empty one.
        buffer: Vec<f32>,
    },
    /// Measure parameters on the held-out part.
    Evaluate {
        /// `[params]`
        params: Arc<Vec<f32>>,
        /// How many held-out sequences, spread evenly; the same ones on every peer.
        sequences: u64,
    },
    /// Make text.
    Generate {
        /// `[params]`
        params: Arc<Vec<f32>>,
        /// What text.
        sample: SampleSpec,
    },
}

/// What a job came to.
pub enum Done {
    /// The pseudo-gradient, as long as where it began: that, moved along by every merge, minus where it ended, or the mean gradient;
    /// and the account of the work.
    Worked {
        /// The account.
        done: WorkDone,
        /// The pseudo-gradient.
        delta: Vec<f32>,
        /// The inner optimiser's state after it, for [`DeviceThread::spawn`] of a later life.
        state: Vec<u8>,
    },
    /// Mean held-out loss, in nats per token.
    Evaluated {
        /// The loss.
        loss: f64,
    },
    /// Text after the prompt.
    Generated {
        /// The text.
        text: String,
    },
}

/// A job's answer.
pub struct Answer {
    /// The job's id.
    pub id: u64,
    /// What it came to.
    pub result: Result<Done, TrainError>,
}

/// A job that was not taken, handed back.
pub enum Refused {
    /// One job is at work and one waits.
    Busy(Job),
    /// The thread has ended.
    Gone(Job),
}

/// A device and the thread that owns it. Dropping it ends the thread after the jobs it has.
pub struct DeviceThread {
    jobs: SyncSender<(u64, Job)>,
    thread: JoinHandle<()>,
    device: Device,
}

/// What the thread owns.
struct Worker {
    trainer: Trainer,
    spec: RunSpec,
    data: Arc<Late>,
    /// Where it is asked what the teacher says, if that is not here.
    asking: Option<Arc<Asking>>,
}

/// Where a device learns what the run's teacher says.
#[derive(Clone, Default)]
pub enum Source {
    /// The run has none.
    #[default]
    None,
    /// From the teacher itself.
    Here(Arc<Teacher>),
    /// From those who have it.
    Asked(Arc<Asking>),
}

impl DeviceThread {
    /// Starts the thread, waits until its model stands on `device`, and hands each answer to `answer` on that thread.
    ///
    /// `threads` is how many threads libtorch computes with in this process, `thrift` what memory it may take. The inner optimiser goes on from `state`, or afresh
    /// without one or if it does not fit. `teacher` is where it is learned what the run's teacher says.
    ///
    /// # Errors
    /// The device is absent or has too little memory, or no thread can be started.
    pub fn spawn(
        device: Device,
        spec: &RunSpec,
        data: Arc<Late>,
        (threads, thrift): (usize, Thrift),
        state: Option<Arc<Vec<u8>>>,
        teacher: Source,
        answer: Box<dyn Fn(Answer) + Send>,
    ) -> Result<DeviceThread, TrainError> {
        let (jobs, inbox) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        let spec = spec.clone();
        let body = move || {
            set_threads(threads);
            if thrift != Thrift::default() {
                return_memory();
            }
            match trainer(&spec, device, &teacher).map(|trainer| trainer.thrifty(thrift)) {
                Ok(mut trainer) => {
                    restore(&mut trainer, device, state.as_deref());
                    // Nobody listens only if the starter is gone; then the inbox is closed as well.
                    let _ = ready.send(Ok(()));
                    let asking = match teacher {
                        Source::Asked(asking) => Some(asking),
                        Source::None | Source::Here(_) => None,
                    };
                    Worker { trainer, spec, data, asking }.run(&inbox, &answer);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let name = format!("device-{device:?}").to_lowercase();
        let thread =
            std::thread::Builder::new().name(name).spawn(body).map_err(|_| TrainError::Gone)?;
        started.recv().map_err(|_| TrainError::Gone)??;
        Ok(DeviceThread { jobs, thread, device })
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Hands over a job; its answer carries `id`.
    ///
    /// # Errors
    /// The job comes back if another waits already, or the thread has ended.
    pub fn submit(&self, id: u64, job: Job) -> Result<(), Refused> {
        self.jobs.try_send((id, job)).map_err(|error| match error {
            TrySendError::Full((_, job)) => Refused::Busy(job),
            TrySendError::Disconnected((_, job)) => Refused::Gone(job),
        })
    }

    /// Ends the thread after the jobs it has and waits for it. Raise their flags first to have it soon.
    pub fn join(self) {
        drop(self.jobs);
        // A panic there has been reported by the panic hook already.
        let _ = self.thread.join();
    }
}

impl Worker {
    fn run(mut self, inbox: &Receiver<(u64, Job)>, answer: &dyn Fn(Answer)) {
        while let Ok((id, job)) = inbox.recv() {
            let result = self.handle(job);
            answer(Answer { id, result });
        }
    }

    fn handle(&mut self, job: Job) -> Result<Done, TrainError> {
        match job {
            Job::Work { round, from, positions, cancel, merges, buffer } => {
                self.work(round, &from, &positions, (&cancel, &merges), buffer)
            }
            Job::Evaluate { params, sequences } => {
                let batch = self.data.get()?.heldout_batch(sequences)?;
                let rows = self.spec.inner.batch as usize;
                let loss = self.trainer.evaluate(self.model(&params), &batch, rows)?;
                Ok(Done::Evaluated { loss })
            }
            Job::Generate { params, sample: spec } => {
                self.trainer.load(self.model(&params))?;
                let data = self.data.get()?;
                let text = sample(self.trainer.model(), data.tokenizer(), &spec)?;
                Ok(Done::Generated { text })
            }
        }
    }

    /// The model's part of a state's parameters.
    fn model<'a>(&self, params: &'a [f32]) -> &'a [f32] {
        &params[..params.len().min(self.spec.model.params() as usize)]
    }

    /// How far what was `committed` of what pruning measures is from the model as it is now, as a pseudo-gradient; 0 if it is not
    /// measured in this round, or cannot be.
    fn measure(
        &self,
        round: Round,
        committed: &[f32],
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Vec<f32> {
        let mut off = vec![0.0; committed.len()];
        if !self.spec.prune.is_some_and(|prune| prune.measures(round)) {
            return off;
        }
        match self.trainer.measure(batches.take((MEASURED / AT_ONCE) as usize)) {
            Ok(here) => {
                // In front of it is what fills the model's last block.
                let behind = committed.len().saturating_sub(here.len());
                let both = committed[behind..].iter().zip(&here);
                off[behind..].iter_mut().zip(both).for_each(|(off, (c, h))| *off = c - h);
            }
            Err(error) => {
                tracing::warn!(round, %error, "what goes into the weights could not be measured")
            }
        }
        off
    }

    fn work(
        &mut self,
        round: Round,
        from: &[f32],
        positions: &[Range<u64>],
        (cancel, merges): (&AtomicBool, &Merges),
        mut buffer: Vec<f32>,
    ) -> Result<Done, TrainError> {
        let size = self.spec.inner.batch;
        let sequences: u64 =
            positions.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let steps = u32::try_from(sequences.div_ceil(u64::from(size))).unwrap_or(u32::MAX);
        let data = self.data.get()?;
        let asking = self.asking.clone();
        let batches = data.batches(positions, size);
        let batches: Batches = match &asking {
            Some(asking) => Box::new(Ahead::new(batches, asking, round, cancel)),
            None => Box::new(batches.map(|batch| Ok(batch?))),
        };
        let work = Work { round, steps, cancel, merges };
        let (from, measured) = from.split_at(self.model(from).len());
        let done = match self.spec.strategy.work {
            LocalWork::Gradient => self.trainer.mean_gradient(from, batches, &work, &mut buffer)?,
            LocalWork::Steps => {
                let mut done = self.trainer.work(from, batches, &work)?;
                let seen = merges.first(done.merged);
                let mut origin = std::borrow::Cow::Borrowed(from);
                seen.iter().for_each(|merge| merge.apply(origin.to_mut()));
                self.trainer.delta(&origin, &mut buffer)?;
                let start = Instant::now();
                let batches = data.batches(positions, AT_ONCE);
                let going_on = batches.take_while(|_| !cancel.load(Ordering::Relaxed));
                buffer.extend(self.measure(round, measured, going_on));
                done.seconds += start.elapsed().as_secs_f64();
                done
            }
        };
        Ok(Done::Worked { done, delta: buffer, state: self.trainer.save()? })
    }
}

/// A trainer with the run's teacher, if it has one.
fn trainer(spec: &RunSpec, device: Device, teacher: &Source) -> Result<Trainer, TrainError> {
    let mut trainer = Trainer::new(spec, device)?;
    match (&spec.distill, teacher) {
        (None, _) | (_, Source::None) => {}
        (Some(distill), Source::Here(teacher)) => {
            trainer.attend(Lesson::new(teacher, distill, device)?);
        }
        (Some(distill), Source::Asked(_)) => trainer.attend(Lesson::told(distill)),
    }
    Ok(trainer)
}

/// Takes over the state of an earlier life, if there is one that fits.
fn restore(trainer: &mut Trainer, device: Device, state: Option<&Vec<u8>>) {
    let Some(state) = state else { return };
    match trainer.restore(state) {
        Ok(steps) => tracing::info!(?device, steps, "the inner optimiser goes on where it was"),
        Err(error) => {
            tracing::warn!(?device, %error, "the inner optimiser starts afresh");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::model::initial_params;
    use crate::prune::Calibration;
    use crate::train::trainer::test_spec;
    use shoal_protocol::run::prune::inputs;
    use shoal_protocol::run::{PruneKind, PruneMethod, PruneSpec};
    use std::path::Path;
    use std::sync::mpsc::channel;

    fn start(state: Option<Vec<u8>>) -> (DeviceThread, Receiver<Answer>, Arc<Vec<f32>>) {
        start_of(&test_spec(), state)
    }

    fn start_of(
        spec: &RunSpec,
        state: Option<Vec<u8>>,
    ) -> (DeviceThread, Receiver<Answer>, Arc<Vec<f32>>) {
        let data = Dataset::open(spec, None, None, Path::new("unused")).unwrap();
        let data = Arc::new(Late::from(data));
        let (answers, inbox) = channel();
        let answer = Box::new(move |answer| drop(answers.send(answer)));
        let thread = DeviceThread::spawn(
            Device::Cpu,
            spec,
            data,
            (1, Thrift::default()),
            state.map(Arc::new),
            Source::None,
            answer,
        )
        .unwrap();
        (thread, inbox, Arc::new(initial_params(&spec.model, 1)))
    }

    fn work(outer: &Arc<Vec<f32>>, positions: Range<u64>, cancel: &Arc<AtomicBool>) -> Job {
        let (from, cancel, merges) = (outer.clone(), cancel.clone(), Arc::default());
        Job::Work { round: 1, from, positions: vec![positions], cancel, merges, buffer: Vec::new() }
    }

    fn submit(thread: &DeviceThread, id: u64, job: Job) {
        assert!(thread.submit(id, job).is_ok());
    }

    #[test]
    fn answers_each_kind_of_job_with_its_id() {
        let (thread, inbox, outer) = start(None);
        submit(&thread, 7, work(&outer, 0..10, &Arc::default()));
        let answer = inbox.recv().unwrap();
        let Ok(Done::Worked { done, delta, state }) = answer.result else { panic!("worked") };
        assert_eq!((answer.id, done.steps, done.tokens), (7, 3, 160));
        assert_eq!(delta.len(), outer.len());
        assert!(state.len() > 8 * outer.len());
        submit(&thread, 8, Job::Evaluate { params: outer.clone(), sequences: 8 });
        let answer = inbox.recv().unwrap();
        let Ok(Done::Evaluated { loss }) = answer.result else { panic!("evaluated") };
        assert!(answer.id == 8 && (loss - 256f64.ln()).abs() < 0.1, "{loss}");
        let sample = SampleSpec { tokens: 5, ..SampleSpec::default() };
        submit(&thread, 9, Job::Generate { params: outer, sample });
        assert!(matches!(inbox.recv().unwrap().result, Ok(Done::Generated { .. })));
        thread.join();
        assert!(inbox.recv().is_err(), "the callback goes with the thread");
    }

    /// Behind the pseudo-gradient is how far what was committed of the inputs is from those of the model after its steps, until all is
    /// pruned. The same model measured from outside is in `prune::calibrate`.
    #[test]
    fn what_pruning_measures_goes_with_the_work() {
        let (kind, method) = (PruneKind::Share { sparsity: 0.5 }, PruneMethod::Wanda);
        let spec =
            RunSpec { prune: Some(PruneSpec { kind, from: 2, until: 2, method }), ..test_spec() };
        let model = spec.model.params() as usize;
        let (thread, inbox, outer) = start_of(&spec, None);
        let mut from = outer.to_vec();
        from.resize(spec.elems() as usize, 0.5);
        let from = Arc::new(from);
        let delta_of = |round| {
            let (cancel, merges) = Default::default();
            let positions = std::iter::once(0..8).collect();
            let from = from.clone();
            let job = Job::Work { round, from, positions, cancel, merges, buffer: Vec::new() };
            submit(&thread, round, job);
            let Ok(Done::Worked { delta, .. }) = inbox.recv().unwrap().result else {
                panic!("worked")
            };
            assert_eq!(delta.len() as u64, spec.elems());
            delta
        };
        let delta = delta_of(2);
        let mut after = from[..model].to_vec();
        after.iter_mut().zip(&delta).for_each(|(after, delta)| *after -= delta);
        let data = Dataset::open(&spec, None, None, Path::new("unused")).unwrap();
        let batch = data.batch(0..8).unwrap();
        let mut calibration =
            Calibration::new(&spec.model, &after, &batch, 8, Device::Cpu).unwrap();
        let tokens = 8.0 * f64::from(spec.model.context);
        let matrices = inputs(&spec.model);
        for layer in 0..spec.model.layers {
            let seen = calibration.look().unwrap().inputs;
            let of_layer = format!("model.layers.{layer}.");
            for (slot, range) in matrices.iter().filter(|(s, _)| s.name.starts_with(&of_layer)) {
                for (delta, sum) in delta[range.clone()].iter().zip(seen.of(&slot.name)) {
                    let (here, there) = (f64::from(0.5 - delta), (sum / tokens).sqrt());
                    assert!((here - there).abs() < 1e-3 * (1.0 + here), "{}", slot.name);
                }
            }
            calibration.step(&after).unwrap();
        }
        assert_eq!(matrices.len() as u32, 7 * spec.model.layers);
        assert!(delta[model..matrices[0].1.start].iter().all(|delta| *delta == 0.0));
        assert!(delta_of(3)[model..].iter().all(|delta| *delta == 0.0));
        submit(&thread, 4, Job::Evaluate { params: from, sequences: 8 });
        assert!(matches!(inbox.recv().unwrap().result, Ok(Done::Evaluated { .. })));
    }

    #[test]
    fn a_later_life_goes_on_where_the_first_was_and_one_with_a_torn_state_begins_again() {
        let after = |state: Option<Vec<u8>>, positions: Range<u64>| {
            let (thread, inbox, outer) = start(state);
            submit(&thread, 1, work(&outer, positions, &Arc::default()));
            let Ok(Done::Worked { delta, state, .. }) = inbox.recv().unwrap().result else {
                panic!("worked")
            };
            (delta, state)
        };
        let (first, second) = (after(None, 0..8), after(None, 8..16));
        let later = after(Some(first.1.clone()), 8..16);
        assert_ne!(later.0, second.0);
        let torn = first.1[..first.1.len() / 2].to_vec();
        assert_eq!(after(Some(torn), 8..16), second);
    }

    #[test]
    fn one_works_one_waits_the_third_is_refused_and_a_flag_ends_work() {
        let (thread, inbox, outer) = start(None);
        let cancel = Arc::new(AtomicBool::new(false));
        submit(&thread, 1, work(&outer, 0..1_000_000, &cancel));
        while thread.submit(2, work(&outer, 0..4, &Arc::default())).is_err() {
            std::thread::yield_now();
        }
        let refused = thread.submit(3, work(&outer, 0..4, &cancel));
        assert!(matches!(refused, Err(Refused::Busy(Job::Work { .. }))));
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        let first = inbox.recv().unwrap();
        assert!(matches!(first.result, Err(TrainError::Cancelled { round: 1, .. })));
        let second = inbox.recv().unwrap();
        assert!(second.id == 2 && second.result.is_ok());
    }
}
