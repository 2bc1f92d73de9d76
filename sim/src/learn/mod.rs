//! What hosts learn when it is to be real: tasks in plain Rust, whose gradients are exact, and the local steps on them. Parameters,
//! codecs, residuals and the outer step are those of the protocol.
//!
//! All arithmetic is additions and products in a fixed order, and `libm` for the rest, so that a run has the same bits on every
//! machine.

mod convex;
mod course;
mod local;
mod mlp;
mod optimizer;
pub mod settings;
mod text;

pub use course::{Course, Lesson, Worker};
pub use local::Local;

use shoal_protocol::id::Digest;
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
