//! The simulator's learner that trains with libtorch: the node's model, initial parameters, inner optimiser and order of data.
//!
//! All virtual workers share one model: what a worker keeps from round to round is its optimiser's history. The inner rate
//! follows the node's schedule over a worker's local steps, one step in the place of one round, so that rounds of any length
//! see the same rates after the same tokens.

use crate::data::{Batch, Dataset};
use crate::model::Layout;
use crate::train::inner::Inner;
use crate::train::{Merges, TrainError, Trainer, Work, trainer::evaluate};
use shoal_protocol::id::Round;
use shoal_protocol::math::schedule::Schedule;
use shoal_protocol::run::{InnerSpec, RunSpec};
use shoal_sim::cohort::{Course, Worker};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tch::Device;

/// Sequences that go through the model at once when it is measured.
const ROWS: usize = 16;

/// A model and what it learns from. Clones share it.
#[derive(Clone)]
pub struct TorchCourse(Rc<Shared>);

struct Shared {
    trainer: RefCell<Trainer>,
    dataset: Dataset,
    heldout: Batch,
    /// Training sequences that are measured as well; may be none.
    training: Batch,
    /// Their losses, by rounds that counted work.
    training_losses: RefCell<BTreeMap<u64, f64>>,
    spec: RunSpec,
    schedule: Schedule,
    length: Length,
    spent_s: Cell<f64>,
    failed: RefCell<Option<TrainError>>,
}

/// How long a run is, and how often it is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Local steps of a worker.
    pub steps: u64,
    /// Rounds that count work.
    pub rounds: u64,
    /// Times that the held-out loss is taken after the beginning; every round if there are fewer.
    pub evaluations: u64,
    /// Share of the steps in which the rate rises.
    pub warmup: f64,
}

impl Length {
    /// Whether the loss is taken after so many rounds; always at the beginning and at the end.
    pub fn measures(&self, done: u64) -> bool {
        let passed = |done: u64| done * self.evaluations / self.rounds.max(1);
        done == 0 || (done <= self.rounds && passed(done) > passed(done - 1)) || done == self.rounds
    }
}

impl TorchCourse {
    /// A model on `device` for a run of this spec.
    ///
    /// # Errors
    /// The device is absent or has too little memory.
    pub fn new(
        spec: &RunSpec,
        dataset: Dataset,
        (heldout, training): (Batch, Batch),
        length: Length,
        device: Device,
    ) -> Result<TorchCourse, TrainError> {
        let warmup_rounds = (length.warmup * length.steps as f64).round() as u64;
        let schedule =
            Schedule::over(&InnerSpec { warmup_rounds, ..spec.inner.clone() }, length.steps);
        let trainer = Trainer::with(&spec.model, &spec.inner, schedule.clone(), device)?
            .regularised(spec.regularisation, spec.seed);
        Ok(TorchCourse(Rc::new(Shared {
            trainer: RefCell::new(trainer),
            dataset,
            heldout,
            training,
            training_losses: RefCell::default(),
            spec: spec.clone(),
            schedule,
            length,
            spent_s: Cell::new(0.0),
            failed: RefCell::new(None),
        })))
    }

    /// Seconds spent in training and measuring.
    pub fn spent_s(&self) -> f64 {
        self.0.spent_s.get()
    }

    /// Why training came to nothing, if it did.
    pub fn failure(&self) -> Option<TrainError> {
        self.0.failed.take()
    }

    /// Loads these parameters, `[params]`.
    ///
    /// # Errors
    /// Another length, or the device failed.
    pub fn load(&self, params: &[f32]) -> Result<(), TrainError> {
        self.0.timed(|shared| shared.trainer.borrow_mut().load(params))
    }

    /// One step, the `index`-th of all (from 0), of the model as it is on the sequences at these positions.
    ///
    /// # Errors
    /// The loss is no number any more, a token is outside the vocabulary, or the device failed.
    pub fn step(&self, index: u64, positions: Range<u64>) -> Result<(), TrainError> {
        self.0.timed(|shared| shared.step(index, shared.dataset.batch(positions)?))
    }

    /// The held-out loss of the model as it is, in nats per token, and that of training sequences if they are measured.
    ///
    /// # Errors
    /// The device failed.
    pub fn measure(&self) -> Result<(f64, Option<f64>), TrainError> {
        self.0.timed(Shared::measure)
    }

    /// The loss of training sequences after so many rounds that counted work, if it was taken.
    pub fn training_loss(&self, done: u64) -> Option<f64> {
        self.0.training_losses.borrow().get(&done).copied()
    }
}

impl Shared {
    fn timed<T>(&self, work: impl FnOnce(&Shared) -> T) -> T {
        let start = Instant::now();
        let result = work(self);
        self.spent_s.set(self.spent_s.get() + start.elapsed().as_secs_f64());
        result
    }

    fn measure(&self) -> Result<(f64, Option<f64>), TrainError> {
        let trainer = self.trainer.borrow();
        let of = |batch| evaluate(trainer.model(), batch, ROWS);
        let training = (self.training.rows > 0).then(|| of(&self.training)).transpose()?;
        Ok((of(&self.heldout)?, training))
    }

    fn step(&self, index: u64, batch: Batch) -> Result<(), TrainError> {
        let lr = self.schedule.rate(index + 1, 0, 1);
        let loss = self.trainer.borrow_mut().step(&batch, lr)?;
        if loss.is_finite() {
            return Ok(());
        }
        Err(TrainError::Diverged { round: index + 1, step: 1, loss })
    }

    /// Local steps on these positions from `local`, `[params]`, which they move; the first of them is the `first`-th of all.
    fn local(
        &self,
        local: &mut [f32],
        positions: &[Range<u64>],
        first: u64,
    ) -> Result<(), TrainError> {
        self.trainer.borrow_mut().load(local)?;
        for (index, batch) in (first..).zip(self.dataset.batches(positions, self.spec.inner.batch))
        {
            self.step(index, batch?)?;
        }
        Ok(self.trainer.borrow().model().write_flat(local)?)
    }

    /// The mean gradient at `params`, `[params]`, over these positions.
    fn gradient(&self, params: &[f32], positions: &[Range<u64>]) -> Result<Vec<f32>, TrainError> {
        let batches = self.dataset.batches(positions, self.spec.inner.batch);
        let batches = batches.map(|batch| Ok(batch?));
        let (cancel, merges) = (AtomicBool::new(false), Merges::default());
        let work = Work { round: 1, steps: 1, cancel: &cancel, merges: &merges };
        let mut gradient = Vec::new();
        self.trainer.borrow_mut().mean_gradient(params, batches, &work, &mut gradient)?;
        Ok(gradient)
    }

    /// What has failed once is over: the rest of the run costs nothing.
    fn unless_failed<T>(&self, work: impl FnOnce(&Shared) -> Result<T, TrainError>) -> Option<T> {
        if self.failed.borrow().is_some() {
            return None;
        }
        self.timed(work).map_err(|why| self.failed.replace(Some(why))).ok()
    }
}

impl fmt::Debug for TorchCourse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TorchCourse({} parameters)", self.0.spec.elems())
    }
}

impl Course for TorchCourse {
    fn worker(&self, spec: &RunSpec) -> Box<dyn Worker> {
        let layout = Layout::new(&spec.model);
        let device = self.0.trainer.borrow().model().device();
        let history = Inner::new(&spec.inner, &layout, device);
        let history = history.map_err(|why| self.0.failed.replace(Some(why.into()))).ok();
        Box::new(TorchWorker { course: self.clone(), history, steps: 0 })
    }

    fn loss(&self, round: Round, params: &[f32]) -> Option<f64> {
        // The first round deals out leases and counts no work.
        let done = round.saturating_sub(1);
        if !self.0.length.measures(done) {
            return None;
        }
        let measure = |shared: &Shared| {
            shared.trainer.borrow_mut().load(params)?;
            let (loss, training) = shared.measure()?;
            shared.training_losses.borrow_mut().extend(training.map(|loss| (done, loss)));
            Ok(loss)
        };
        self.0.unless_failed(measure)
    }
}

/// One virtual worker.
struct TorchWorker {
    course: TorchCourse,
    /// None only if there was no memory for it: the run has failed then.
    history: Option<Inner>,
    /// Local steps taken.
    steps: u64,
}

impl fmt::Debug for TorchWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TorchWorker after {} steps", self.steps)
    }
}

impl Worker for TorchWorker {
    fn steps(&mut self, _: Round, local: &mut [f32], positions: &[Range<u64>]) -> bool {
        let shared = &self.course.0;
        let history = self.history.as_mut();
        // After a failure rounds go on with nothing in them, so that the world comes to its end.
        let _ = shared.unless_failed(|shared| {
            let history = history.ok_or(TrainError::Gone)?;
            shared.trainer.borrow_mut().swap_optimiser(history);
            let moved = shared.local(local, positions, self.steps);
            shared.trainer.borrow_mut().swap_optimiser(history);
            moved
        });
        self.steps += positions.iter().map(|range| range.end - range.start).sum::<u64>()
            / u64::from(shared.spec.inner.batch);
        true
    }

    fn gradient(&mut self, params: &[f32], positions: &[Range<u64>]) -> Option<Vec<f32>> {
        let gradient = self.course.0.unless_failed(|shared| shared.gradient(params, positions));
        Some(gradient.unwrap_or_else(|| vec![0.0; params.len()]))
    }
}

#[test]
fn losses_are_taken_evenly_and_at_both_ends() {
    let measured = |rounds, evaluations| {
        let length = Length { steps: 1, rounds, evaluations, warmup: 0.0 };
        (0..=rounds + 1).filter(|done| length.measures(*done)).collect::<Vec<u64>>()
    };
    assert_eq!(measured(10, 5), [0, 2, 4, 6, 8, 10]);
    assert_eq!(measured(3, 10), [0, 1, 2, 3]);
    assert_eq!(measured(7, 2), [0, 4, 7]);
    assert_eq!(measured(1, 1), [0, 1]);
}
