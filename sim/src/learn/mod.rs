//! What hosts learn when it is to be real: tasks in plain Rust, whose gradients are exact, and the local steps on them. Parameters,
//! codecs, residuals and the outer step are those of the protocol.
//!
//! All arithmetic is additions and products in a fixed order, and `libm` for the rest, so that a run has the same bits on every
//! machine.

mod convex;
mod local;
mod mlp;
mod optimizer;
pub mod settings;
mod text;

pub use local::Local;
pub use settings::Setup;

use shoal_protocol::id::Digest;
use shoal_protocol::run::RunSpec;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Something that can be learned. A *sample* is one sequence of the run's `context` tokens; a position of a lease names one, as
/// on a node, by the order of its epoch.
pub trait Task: Debug + Send + Sync {
    /// Length of the parameter vector.
    fn params(&self) -> usize;

    /// Samples in an epoch.
    fn samples(&self) -> u64;

    /// Names the task with all its data: runs of other tasks have other names.
    fn digest(&self) -> Digest;

    /// Parameters of round 0, `[params]`.
    fn initial(&self, seed: u64) -> Vec<f32>;

    /// The mean loss of `params` (`[params]`) over all tokens of these samples. Its exact gradient is written over `gradient`
    /// (`[params]`).
    fn gradient(&self, params: &[f32], samples: &[u64], gradient: &mut [f32]) -> f64;

    /// The mean loss of `params` on what is never trained on.
    fn loss(&self, params: &[f32]) -> f64;

    /// The least loss that any parameters have, if it is known.
    fn optimum(&self) -> Option<f64>;
}

/// What a world learns, and the loss of each state that was committed.
#[derive(Debug)]
pub struct Lesson {
    setup: Setup,
    losses: BTreeMap<Digest, f64>,
}

impl Lesson {
    pub fn new(setup: Setup) -> Lesson {
        Lesson { setup, losses: BTreeMap::new() }
    }

    /// A host's trainer, without history.
    pub fn trainer(&self, spec: &RunSpec) -> Local {
        Local::new(self.setup.task.clone(), spec)
    }

    /// The least loss that there is, if it is known.
    pub fn optimum(&self) -> Option<f64> {
        self.setup.task.optimum()
    }

    /// States whose loss is known.
    #[cfg(test)]
    pub fn evaluated(&self) -> usize {
        self.losses.len()
    }

    /// The held-out loss of a committed state, `params`, and whether it was not known: many peers commit the same.
    pub fn evaluate(&mut self, state: Digest, params: &[f32]) -> (f64, bool) {
        if let Some(loss) = self.losses.get(&state) {
            return (*loss, false);
        }
        let task = &self.setup.task;
        let loss = task.loss(&params[..task.params()]);
        self.losses.insert(state, loss);
        (loss, true)
    }
}
