//! Inner optimisers: what a local step does with a gradient, element by element.
//!
//! | file | holds |
//! |---|---|
//! | [`sgd`] | gradient descent, with momentum and Nesterov's |
//! | [`adam`] | Adam, weight decay in the gradient |
//! | [`adamw`] | the same with decoupled weight decay |
//! | [`rmsprop`] | RMSprop |
//!
//! A [`Rule`] is all that one step needs beside the vectors; [`Rule::step`] takes it on slices. Drivers with other vectors (a
//! GPU's) read the rule's numbers and do the same arithmetic. Clipping, bias correction and which elements decay are decided
//! here, once. Muon needs the model's matrices: here is what it leaves to AdamW.
//!
//! Local steps are nobody's agreement, but a simulated run repeats bit for bit: additions, multiplications, divisions and square
//! roots only, each rounded on its own.

pub mod adam;
pub mod adamw;
pub mod rmsprop;
pub mod sgd;

pub use adam::Adam;
pub use adamw::AdamW;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use crate::run::{InnerOptimizer, InnerSpec};

/// Most vectors of state that an optimiser keeps.
pub const STATES_MAX: usize = 2;

/// The step that is to be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Learning rate.
    pub lr: f64,
    /// The step's number, from 1.
    pub step: u64,
    /// What the gradient is multiplied with: see [`clip_factor`].
    pub gradient: f64,
    /// Whether weight decay acts on these elements.
    pub decays: bool,
}

/// One step of an optimiser, ready to be taken on any elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Gradient descent.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// RMSprop.
    RmsProp(RmsProp),
}

impl Rule {
    /// The step that a spec asks for at this pace.
    pub fn new(spec: &InnerSpec, pace: &Pace) -> Rule {
        match spec.optimizer {
            InnerOptimizer::Sgd { momentum, nesterov } => {
                Rule::Sgd(Sgd::new(spec, (momentum, nesterov), pace))
            }
            InnerOptimizer::Adam => Rule::Adam(Adam::new(spec, pace)),
            InnerOptimizer::AdamW | InnerOptimizer::Muon { .. } => {
                Rule::AdamW(AdamW::new(spec, pace))
            }
            InnerOptimizer::RmsProp { alpha, momentum } => {
                Rule::RmsProp(RmsProp::new(spec, (alpha, momentum), pace))
            }
        }
    }

    /// Moves `params` by `gradient`, `[n]` each. Of `state` the first [`states`] are `[n]`, the others empty; all begin as zeros.
    pub fn step(&self, params: &mut [f32], state: [&mut [f32]; STATES_MAX], gradient: &[f32]) {
        let [first, second] = state;
        match self {
            Rule::Sgd(rule) => rule.step(params, first, gradient),
            Rule::Adam(rule) => rule.step(params, first, second, gradient),
            Rule::AdamW(rule) => rule.step(params, first, second, gradient),
            Rule::RmsProp(rule) => rule.step(params, first, second, gradient),
        }
    }
}

/// Vectors of state that the steps of [`Rule`] keep.
pub fn states(optimizer: &InnerOptimizer) -> usize {
    match *optimizer {
        InnerOptimizer::Sgd { momentum, .. } => usize::from(momentum > 0.0),
        InnerOptimizer::RmsProp { momentum, .. } => 1 + usize::from(momentum > 0.0),
        InnerOptimizer::Adam | InnerOptimizer::AdamW | InnerOptimizer::Muon { .. } => 2,
    }
}

/// What a gradient of this norm is multiplied with, so that it is no longer than `most` (0 for no limit).
pub fn clip_factor(norm: f64, most: f64) -> f64 {
    // The 1e-6 is PyTorch's, in clip_grad_norm_.
    if most > 0.0 && norm > most { most / (norm + 1e-6) } else { 1.0 }
}

/// The weight decay of these elements.
fn decay(spec: &InnerSpec, pace: &Pace) -> f64 {
    if pace.decays { f64::from(spec.weight_decay) } else { 0.0 }
}

/// The L2 beside it, of an optimiser whose weight decay is none.
fn l2(spec: &InnerSpec, pace: &Pace) -> f64 {
    if pace.decays { f64::from(spec.l2) } else { 0.0 }
}

/// Adam's bias correction (section 3 of its paper): `1 - beta^step`.
fn corrected(beta: f32, step: u64) -> f64 {
    1.0 - power(f64::from(beta), step)
}

/// `base^exponent` by squaring; that of the standard library has other bits on other machines.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests;
