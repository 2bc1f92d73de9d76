//! One device's training: load the outer parameters, take local steps, say how far they went.

use super::distill;
use super::error::TrainError;
use super::inner::{Inner, StateError};
use super::merge::Merges;
use crate::data::{Batch, DataError};
use crate::model::activations::Inputs;
use crate::model::{Dropout, Layout, Learned, Lesson, Llama, Thrift};
use rayon::prelude::*;
use shoal_protocol::id::Round;
use shoal_protocol::math::schedule::Schedule;
use shoal_protocol::math::{Merge, prune};
use shoal_protocol::run::{InnerSpec, ModelSpec, PruneSpec, RegularisationSpec, RunSpec};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// Elements that one task subtracts.
const CHUNK: usize = 1 << 16;

/// A device with its model and inner optimiser, whose state lasts from round to round.
pub struct Trainer {
    model: Llama,
    optimiser: Inner,
    schedule: Schedule,
    regularisation: RegularisationSpec,
    /// The run's, which dropout's masks follow from.
    seed: u64,
    thrift: Thrift,
    prune: Option<PruneSpec>,
    /// True where weights may move, `[params]`; none as long as all may.
    mask: Option<Tensor>,
    teacher: Option<distill::Lesson>,
}

/// What to do in a round.
pub struct Work<'a> {
    /// The round that the work leads to, from 1.
    pub round: Round,
    /// Steps that the batches make, for the schedule.
    pub steps: u32,
    /// Raised by somebody else to end the work early.
    pub cancel: &'a AtomicBool,
    /// What commits do to local parameters meanwhile.
    pub merges: &'a Merges,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkDone {
    /// Tokens trained on.
    pub tokens: u64,
    /// Steps taken.
    pub steps: u32,
    /// Mean of the steps' losses, in nats per token.
    pub loss_mean: f64,
    /// Loss of the last step.
    pub loss_last: f64,
    /// Time from the first step to the last.
    pub seconds: f64,
    /// Merges that were taken in between steps.
    pub merged: usize,
}

impl Trainer {
    /// A trainer for a run on `device`, without optimiser history.
    ///
    /// # Errors
    /// The device is absent or has too little memory.
    pub fn new(spec: &RunSpec, device: Device) -> Result<Trainer, TrainError> {
        let trainer = Trainer::with(&spec.model, &spec.inner, Schedule::new(spec), device)?;
        let trainer = trainer.regularised(spec.regularisation, spec.seed);
        Ok(Trainer { prune: spec.prune, ..trainer })
    }

    /// From now on it learns from a teacher as well.
    pub fn attend(&mut self, lesson: distill::Lesson) {
        self.teacher = Some(lesson);
    }

    /// A trainer from a run's parts, without dropout or label smoothing.
    ///
    /// # Errors
    /// The device is absent or has too little memory.
    pub fn with(
        model: &ModelSpec,
        inner: &InnerSpec,
        schedule: Schedule,
        device: Device,
    ) -> Result<Trainer, TrainError> {
        let layout = Layout::new(model);
        let optimiser = Inner::new(inner, &layout, device)?;
        Ok(Trainer {
            model: Llama::new(model, device)?,
            optimiser,
            schedule,
            regularisation: RegularisationSpec::default(),
            seed: 0,
            thrift: Thrift::default(),
            prune: None,
            mask: None,
            teacher: None,
        })
    }

    /// The same with dropout and label smoothing, of a run of this seed.
    pub fn regularised(self, regularisation: RegularisationSpec, seed: u64) -> Trainer {
        Trainer { regularisation, seed, ..self }
    }

    /// The same with another bargain between memory and time.
    pub fn thrifty(self, thrift: Thrift) -> Trainer {
        Trainer { thrift, ..self }
    }

    /// The model with its local parameters.
    pub fn model(&self) -> &Llama {
        &self.model
    }

    /// Puts another inner optimiser in the place of the one it has, which goes where that was: several workers with a history
    /// each can share one model.
    pub fn swap_optimiser(&mut self, other: &mut Inner) {
        std::mem::swap(&mut self.optimiser, other);
    }

    /// The inner optimiser's state as bytes: all of a trainer that lasts from round to round.
    ///
    /// # Errors
    /// The device failed.
    pub fn save(&self) -> Result<Vec<u8>, TrainError> {
        Ok(self.optimiser.save()?)
    }

    /// Goes on from the state that [`Trainer::save`] of the same run made, on whatever device; tells the steps taken until then.
    ///
    /// # Errors
    /// Bytes of another run, or the device failed; the trainer is then as it was.
    pub fn restore(&mut self, state: &[u8]) -> Result<u64, StateError> {
        self.optimiser.restore(state)?;
        Ok(self.optimiser.steps())
    }

    /// Starts from `outer` and takes one step a batch. The local parameters stay in the model: see [`Trainer::delta`].
    ///
    /// # Errors
    /// Cancelled, diverged, no batch at all, a batch that could not be read, parameters of another length, or the device failed.
    pub fn work(
        &mut self,
        outer: &[f32],
        batches: impl IntoIterator<Item = Result<Batch, TrainError>>,
        work: &Work,
    ) -> Result<WorkDone, TrainError> {
        self.load(outer)?;
        self.hold_zeros(work.round)?;
        let start = Instant::now();
        let mut done = WorkDone::default();
        for batch in batches {
            work.check_cancelled(&done)?;
            for merge in work.merges.after(done.merged) {
                self.merge(&merge)?;
                done.merged += 1;
            }
            let batch = batch?;
            let lr = self.schedule.rate(work.round, done.steps, work.steps);
            let loss = self.step(&batch, lr)?;
            done.count(&batch, loss);
            if !loss.is_finite() {
                return Err(TrainError::Diverged { round: work.round, step: done.steps, loss });
            }
        }
        done.seconds = start.elapsed().as_secs_f64();
        if done.steps == 0 { Err(TrainError::NoSamples { round: work.round }) } else { Ok(done) }
    }

    /// Committed parameters reach the local ones.
    fn merge(&mut self, merge: &Merge) -> Result<(), TrainError> {
        let mut local = vec![0.0; self.model.spec().params() as usize];
        self.model.write_flat(&mut local)?;
        merge.apply(&mut local);
        self.load(&local)
    }

    /// No step: the mean gradient at `params` over the batches, by sequences, written over `into`; all have the model's length.
    ///
    /// # Errors
    /// As [`Trainer::work`].
    pub fn mean_gradient(
        &mut self,
        params: &[f32],
        batches: impl IntoIterator<Item = Result<Batch, TrainError>>,
        work: &Work,
        into: &mut Vec<f32>,
    ) -> Result<WorkDone, TrainError> {
        self.load(params)?;
        let start = Instant::now();
        let mut done = WorkDone::default();
        let (mut sum, mut rows) = (None::<Tensor>, 0);
        for batch in batches {
            work.check_cancelled(&done)?;
            let batch = batch?;
            let Learned { gradient, loss } = self.learn(&batch)?;
            let gradient = gradient.f_mul_scalar(batch.rows as f64)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&gradient)?,
                None => gradient,
            });
            rows += batch.rows;
            done.count(&batch, loss);
            if !loss.is_finite() {
                return Err(TrainError::Diverged { round: work.round, step: done.steps, loss });
            }
        }
        let sum = sum.ok_or(TrainError::NoSamples { round: work.round })?;
        into.resize(params.len(), 0.0);
        sum.f_div_scalar(rows as f64)?.f_to(Device::Cpu)?.f_copy_data(into, params.len())?;
        done.seconds = start.elapsed().as_secs_f64();
        Ok(done)
    }

    /// One optimiser step; returns the loss before it, with what was dropped but not smoothed.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(&mut self, batch: &Batch, lr: f64) -> Result<f64, TrainError> {
        let Learned { mut gradient, loss } = self.learn(batch)?;
        if loss.is_finite() {
            if let Some(mask) = &self.mask {
                gradient = gradient.f_mul(mask)?;
            }
            self.optimiser.step(self.model.flat_mut(), &gradient, lr)?;
            if let Some(mask) = &self.mask {
                no_grad(|| self.model.flat_mut().f_mul_(mask).map(drop))?;
            }
            self.model.refresh()?;
        }
        Ok(loss)
    }

    fn learn(&self, batch: &Batch) -> Result<Learned, TrainError> {
        let (inputs, targets) = tensors(batch, self.model.device())?;
        if let Some(teacher) = &self.teacher {
            let loss = teacher.loss(&self.model, &inputs, &targets, batch.told.as_ref())?;
            return Ok(self.model.learn_by(&loss)?);
        }
        let RegularisationSpec { dropout, label_smoothing } = self.regularisation;
        let dropped = || Dropout::new(dropout, self.seed, &batch.positions);
        let lesson = Lesson {
            inputs,
            targets,
            dropout: (!dropout.is_none()).then(dropped),
            label_smoothing: f64::from(label_smoothing),
        };
        Ok(self.model.learn(&lesson, self.thrift)?)
    }

    /// In work that leads to `round`, weights that the run has pruned stay zero: those that are zero now.
    fn hold_zeros(&mut self, round: Round) -> Result<(), TchError> {
        self.mask = None;
        if self.prune.is_none_or(|prune| !prune.holds(round)) {
            return Ok(());
        }
        let ranges = prune::ranges(self.model.spec());
        let flat = self.model.flat_mut();
        let mask = flat.f_ones_like()?.f_to_kind(Kind::Bool)?;
        for range in ranges {
            let cut = |x: &Tensor| x.f_narrow(0, range.start as i64, range.len() as i64);
            cut(&mask)?.f_copy_(&cut(flat)?.f_ne(0.0)?)?;
        }
        self.mask = Some(mask);
        Ok(())
    }

    /// The pseudo-gradient `outer - local`, written over `into`; all have the model's length.
    ///
    /// # Errors
    /// Another length, or the device failed.
    pub fn delta(&self, outer: &[f32], into: &mut Vec<f32>) -> Result<(), TrainError> {
        into.resize(outer.len(), 0.0);
        self.model.write_flat(into)?;
        into.par_chunks_mut(CHUNK).zip(outer.par_chunks(CHUNK)).for_each(|(into, outer)| {
            into.iter_mut().zip(outer).for_each(|(local, outer)| *local = outer - *local);
        });
        Ok(())
    }

    /// Root mean squares over tokens of what goes into each matrix of the model as it is, in the order of
    /// [`inputs`](shoal_protocol::run::prune::inputs).
    ///
    /// # Errors
    /// A batch that could not be read, or the device failed.
    pub fn measure(
        &self,
        batches: impl IntoIterator<Item = Result<Batch, DataError>>,
    ) -> Result<Vec<f32>, TrainError> {
        let mut layers = vec![Inputs::default(); self.model.spec().layers as usize];
        let mut tokens = 0.0;
        for batch in batches {
            let (inputs, _) = tensors(&batch?, self.model.device())?;
            tokens += inputs.numel() as f64;
            let new = self.model.inputs(&inputs)?;
            layers.iter_mut().zip(&new).for_each(|(layer, new)| layer.add(new));
        }
        let sums = layers.iter().flat_map(|layer| {
            [&layer.attention, &layer.out, &layer.mlp, &layer.down].into_iter().flatten()
        });
        Ok(sums.map(|sum| (sum / tokens.max(1.0)).sqrt() as f32).collect())
    }

    /// Mean loss of `params` over the rows of `batch` (in nats per token), `rows` sequences at a time.
    ///
    /// The local parameters are lost: the next [`Trainer::work`] loads its own.
    ///
    /// # Errors
    /// No rows, parameters of another length, or the device failed.
    pub fn evaluate(
        &mut self,
        params: &[f32],
        batch: &Batch,
        rows: usize,
    ) -> Result<f64, TrainError> {
        self.load(params)?;
        evaluate(&self.model, batch, rows)
    }

    /// Puts `params` into the model.
    ///
    /// # Errors
    /// Parameters of another length, or the device failed.
    pub fn load(&mut self, params: &[f32]) -> Result<(), TrainError> {
        let expected = self.model.spec().params() as usize;
        if params.len() != expected {
            return Err(TrainError::Params { got: params.len(), expected });
        }
        Ok(self.model.load_flat(params)?)
    }
}

impl Work<'_> {
    fn check_cancelled(&self, done: &WorkDone) -> Result<(), TrainError> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(TrainError::Cancelled { round: self.round, steps: done.steps }),
            false => Ok(()),
        }
    }
}

impl WorkDone {
    fn count(&mut self, batch: &Batch, loss: f64) {
        self.steps += 1;
        self.tokens += (batch.tokens.len() - batch.rows) as u64;
        self.loss_last = loss;
        self.loss_mean += (loss - self.loss_mean) / f64::from(self.steps);
    }
}

/// Mean loss of a model over the rows of `batch` in nats per token, `rows` sequences at a time; the same rows give the same sum.
///
/// # Errors
/// No rows, or the device failed.
pub fn evaluate(model: &Llama, batch: &Batch, rows: usize) -> Result<f64, TrainError> {
    if batch.rows == 0 {
        return Err(TrainError::NoHeldout);
    }
    let width = batch.tokens.len() / batch.rows;
    let mut sum = 0.0;
    for part in batch.tokens.chunks(rows.max(1) * width) {
        let rows = part.len() / width;
        let part = Batch { tokens: part.to_vec(), rows, ..Batch::default() };
        let (inputs, targets) = tensors(&part, model.device())?;
        let loss = no_grad(|| model.loss(&inputs, &targets))?.f_double_value(&[])?;
        sum += loss * part.rows as f64;
    }
    Ok(sum / batch.rows as f64)
}

/// Inputs and targets, `[rows, context]` i64 each.
fn tensors(batch: &Batch, device: Device) -> Result<(Tensor, Tensor), TrainError> {
    let rows =
        Tensor::f_from_slice(&batch.tokens)?.f_view([batch.rows as i64, -1])?.f_to(device)?;
    let context = rows.size()[1] - 1;
    Ok((rows.f_narrow(1, 0, context)?, rows.f_narrow(1, 1, context)?))
}

#[cfg(test)]
pub(crate) use tests::test_spec;

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
