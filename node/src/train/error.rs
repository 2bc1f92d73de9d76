//! What can go wrong in training, each with what mends it.

use crate::data::DataError;
use shoal_protocol::id::Round;
use tch::TchError;

/// Why a job of training gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Somebody raised the job's flag.
    #[error("the work of round {round} was given up after {steps} steps, as asked")]
    Cancelled {
        /// The round worked on.
        round: Round,
        /// Steps done by then.
        steps: u32,
    },
    /// The loss is no number any more.
    #[error(
        "the loss of round {round} became {loss} in step {step}: lower `inner.lr`, or set `inner.clip`"
    )]
    Diverged {
        /// The round worked on.
        round: Round,
        /// The step at fault, from 1.
        step: u32,
        /// The loss, infinite or NaN.
        loss: f64,
    },
    /// There was nothing to work on.
    #[error("round {round} brought no samples to train on: give it at least one step's batch")]
    NoSamples {
        /// The round asked for.
        round: Round,
    },
    /// Nobody told what the teacher says.
    #[error(
        "no peer has told what the teacher says within {waited_s} s: those that hold it are gone or busy; --teacher holds it here"
    )]
    Untaught {
        /// Seconds waited.
        waited_s: u64,
    },
    /// The prompt cannot be continued.
    #[error("the prompt cannot be continued: {0}")]
    Prompt(String),
    /// The text has no held-out part that is long enough.
    #[error(
        "the text's held-out part is shorter than one sequence: raise `data.heldout_permille`, or bring more text"
    )]
    NoHeldout,
    /// Parameters of another model.
    #[error(
        "{got} parameters were given, the run's model has {expected}: they belong to another run"
    )]
    Params {
        /// Elements given.
        got: usize,
        /// Elements of the model.
        expected: usize,
    },
    /// The text or the tokenizer is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// libtorch failed.
    #[error(
        "libtorch failed: {0}; if memory is short, lower `inner.batch` or take a smaller model"
    )]
    Torch(#[from] TchError),
    /// The device's thread is gone.
    #[error("the device's thread has ended: restart the node")]
    Gone,
}
