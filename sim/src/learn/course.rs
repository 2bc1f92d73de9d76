//! What a world learns, seen from the world: one that makes workers, and tells losses.

use shoal_protocol::id::{Digest, Round};
use shoal_protocol::run::RunSpec;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

/// Something that the hosts of a world learn. All that it does must follow from what it is given.
pub trait Course: Debug {
    /// A host's trainer, without history.
    fn worker(&self, spec: &RunSpec) -> Box<dyn Worker>;

    /// The held-out loss of the parameters of a committed round, `[elems]`; none if nobody asks for that round's.
    fn loss(&self, round: Round, params: &[f32]) -> Option<f64>;

    /// The least loss that any parameters have, if it is known.
    fn optimum(&self) -> Option<f64> {
        None
    }
}

/// What trains on one host; its inner optimiser's history lasts from lease to lease.
pub trait Worker: Debug {
    /// Local steps towards `round` on these positions, from `local`, `[elems]`, which they move. False if they diverged.
    fn steps(&mut self, round: Round, local: &mut [f32], positions: &[Range<u64>]) -> bool;

    /// The mean gradient at `params` over the batches of these positions, `[elems]`. None if it is no number.
    fn gradient(&mut self, params: &[f32], positions: &[Range<u64>]) -> Option<Vec<f32>>;
}

/// What a world learns, and the loss of each state that was committed.
#[derive(Debug)]
pub struct Lesson {
    course: Box<dyn Course>,
    losses: BTreeMap<Digest, f64>,
}

impl Lesson {
    pub fn new(course: Box<dyn Course>) -> Lesson {
        Lesson { course, losses: BTreeMap::new() }
    }

    /// A host's trainer, without history.
    pub fn worker(&self, spec: &RunSpec) -> Box<dyn Worker> {
        self.course.worker(spec)
    }

    /// The least loss that there is, if it is known.
    pub fn optimum(&self) -> Option<f64> {
        self.course.optimum()
    }

    /// The held-out loss of parameters, whoever has them.
    pub fn loss(&self, round: Round, params: &[f32]) -> Option<f64> {
        self.course.loss(round, params)
    }

    /// States whose loss is known.
    #[cfg(test)]
    pub fn evaluated(&self) -> usize {
        self.losses.len()
    }

    /// The held-out loss of a committed state, `params`, and whether it was not known: many peers commit the same. None if it
    /// is not asked for.
    pub fn evaluate(&mut self, state: Digest, round: Round, params: &[f32]) -> Option<(f64, bool)> {
        if let Some(loss) = self.losses.get(&state) {
            return Some((*loss, false));
        }
        let loss = self.course.loss(round, params)?;
        self.losses.insert(state, loss);
        Some((loss, true))
    }
}
