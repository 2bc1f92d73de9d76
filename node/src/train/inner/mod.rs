//! The inner optimiser of one device: clipping by norm, then a step of each part of the flat vector.
//!
//! What a step does to an element is [`shoal_protocol::math::inner`]'s. [`step_elements`] is where devices are told apart: on a
//! CPU those very functions run over the slices in parallel, elsewhere `whole` does the same with operations on whole vectors.
//! Muon's matrices are tensors on both.

mod muon;
mod state;
mod whole;

pub use state::StateError;

use crate::model::{Layout, Role};
use muon::Muon;
use rayon::prelude::*;
use shoal_protocol::math::inner::{Pace, Rule, STATES_MAX, clip_factor, states};
use shoal_protocol::run::{InnerOptimizer, InnerSpec};
use std::ops::Range;
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// Elements that one task updates.
const CHUNK: usize = 1 << 16;

/// The optimiser's settings and state.
pub struct Inner {
    spec: InnerSpec,
    parts: Vec<Part>,
    steps: u64,
}

/// Neighbours in the flat vector that are treated alike.
struct Part {
    range: Range<usize>,
    treatment: Treatment,
    /// `[len]` f32 each.
    state: Vec<Tensor>,
}

#[derive(Clone, Copy)]
enum Treatment {
    Elements {
        decays: bool,
    },
    /// A matrix for Muon, `[rows, cols]`.
    Matrix {
        rows: i64,
        cols: i64,
    },
}

impl Inner {
    /// An optimiser without history for the weights of `layout` on `device`.
    ///
    /// # Errors
    /// The device has too little memory.
    pub fn new(spec: &InnerSpec, layout: &Layout, device: Device) -> Result<Inner, TchError> {
        let hidden = |role| matches!(role, Role::Inner | Role::Residual);
        let muon = matches!(spec.optimizer, InnerOptimizer::Muon { .. });
        let runs = layout.decay_runs(spec.decays, |slot| !(muon && hidden(slot.role)));
        let mut parts = runs
            .into_iter()
            .map(|(range, decays)| {
                let treatment = Treatment::Elements { decays };
                Part::new(range, treatment, states(&spec.optimizer), device)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for slot in layout.slots.iter().filter(|slot| muon && hidden(slot.role)) {
            let (rows, cols) = (slot.shape[0] as i64, slot.shape[1] as i64);
            parts.push(Part::new(slot.range(), Treatment::Matrix { rows, cols }, 1, device)?);
        }
        Ok(Inner { spec: spec.clone(), parts, steps: 0 })
    }

    /// Steps taken since the beginning.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves `params` by `gradient`, both `[params]` f32, at the schedule's rate `lr`, and returns the gradient's norm before
    /// clipping.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(
        &mut self,
        params: &mut Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<f64, TchError> {
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        self.steps += 1;
        let factor = clip_factor(norm, f64::from(self.spec.clip));
        let pace = Pace { lr, step: self.steps, gradient: factor, decays: true };
        let spec = &self.spec;
        no_grad(|| {
            self.parts.iter_mut().try_for_each(|part| part.step(spec, pace, params, gradient))
        })?;
        Ok(norm)
    }
}

impl Part {
    fn new(
        range: Range<usize>,
        treatment: Treatment,
        states: usize,
        device: Device,
    ) -> Result<Part, TchError> {
        let zeros = |_| Tensor::f_zeros([range.len() as i64], (Kind::Float, device));
        let state = (0..states).map(zeros).collect::<Result<_, _>>()?;
        Ok(Part { range, treatment, state })
    }

    fn step(
        &mut self,
        spec: &InnerSpec,
        pace: Pace,
        params: &Tensor,
        gradient: &Tensor,
    ) -> Result<(), TchError> {
        let cut =
            |tensor: &Tensor| tensor.f_narrow(0, self.range.start as i64, self.range.len() as i64);
        let (mut params, gradient) = (cut(params)?, cut(gradient)?);
        match self.treatment {
            Treatment::Elements { decays } => {
                let rule = Rule::new(spec, &Pace { decays, ..pace });
                step_elements(&rule, &mut params, &mut self.state, &gradient)
            }
            Treatment::Matrix { rows, cols } => {
                let muon = Muon::new(spec, &pace);
                let shaped = |tensor: &Tensor| tensor.f_view([rows, cols]);
                muon.step(shaped(&params)?, shaped(&self.state[0])?, &shaped(&gradient)?)
            }
        }
    }
}

/// One step of `params` and `state` by `gradient`, `[n]` f32 each.
fn step_elements(
    rule: &Rule,
    params: &mut Tensor,
    state: &mut [Tensor],
    gradient: &Tensor,
) -> Result<(), TchError> {
    match params.device() {
        Device::Cpu => {
            step_slices(rule, params, state, gradient);
            Ok(())
        }
        _ => whole::step(rule, params, state, gradient),
    }
}

/// The same on the CPU.
fn step_slices(rule: &Rule, params: &mut Tensor, state: &mut [Tensor], gradient: &Tensor) {
    let mut vectors = state.iter_mut();
    // SAFETY: different tensors, each alive and not otherwise used during this function.
    let (params, gradient, state): (_, _, [_; STATES_MAX]) = unsafe {
        let mut next = || vectors.next().map(|vector| floats_mut(vector));
        (floats_mut(params), floats(gradient), [next(), next()])
    };
    if tch::get_num_threads() <= 1 {
        return rule.step(params, state.map(Option::unwrap_or_default), gradient);
    }
    step_chunks(rule, params, state, gradient);
}

/// The same, chunk by chunk in parallel.
fn step_chunks(
    rule: &Rule,
    params: &mut [f32],
    state: [Option<&mut [f32]>; STATES_MAX],
    gradient: &[f32],
) {
    let count = params.len().div_ceil(CHUNK);
    let [first, second] = state.map(|vector| chunks(vector, count));
    let both = params.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    both.zip(first)
        .zip(second)
        .for_each(|(((p, g), first), second)| rule.step(p, [first, second], g));
}

/// A vector's chunks; as many empty ones where there is no vector.
fn chunks(vector: Option<&mut [f32]>, count: usize) -> Vec<&mut [f32]> {
    match vector {
        Some(vector) => vector.chunks_mut(CHUNK).collect(),
        None => (0..count).map(|_| Default::default()).collect(),
    }
}

/// The elements of a contiguous f32 tensor on the CPU.
///
/// # Safety
/// Nothing may write the tensor's elements while the slice lives.
unsafe fn floats(tensor: &Tensor) -> &[f32] {
    debug_assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float);
    // SAFETY: contiguous f32 memory of that many elements, which the contract above keeps as it is.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The same, writable.
///
/// # Safety
/// Nothing else may use the tensor's elements while the slice lives.
unsafe fn floats_mut(tensor: &mut Tensor) -> &mut [f32] {
    debug_assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float);
    // SAFETY: contiguous f32 memory of that many elements; uniqueness is this function's own contract.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

#[cfg(test)]
mod tests;
