//! When a run is over before its last round: its held-out loss has not fallen for a while. And the average of its parameters.

use super::{SpecError, check};
use crate::id::Round;
use serde::{Deserialize, Serialize};

/// Early stopping and averaging, as all peers of a run do it; see [`plateau`](crate::plateau).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSpec {
    /// Rounds from one evaluation of the committed parameters to the next.
    pub every: u64,
    /// So many evaluations in a row without a gain end the run; 0: they never do, only the best checkpoint is known.
    pub patience: u32,
    /// Fall of the loss, nats per token, that counts as a gain; absolute, measured from where the last gain led.
    pub min_gain: f32,
    /// Held-out sequences in an evaluation, spread evenly over the held-out part: the same ones on every peer.
    #[serde(default = "sequences")]
    pub sequences: u64,
    /// What the average of the committed parameters keeps of itself in a round (exponential moving average); 0 for none. Each peer
    /// keeps it by itself: nothing that is trained depends on it.
    #[serde(default)]
    pub ema: f32,
}

fn sequences() -> u64 {
    64
}

impl StopSpec {
    /// Whether the state of a round is evaluated.
    pub fn evaluates(&self, round: Round) -> bool {
        round > 0 && round.is_multiple_of(self.every)
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        check((1..=1_000_000).contains(&self.every), "stop.every", || {
            "must be 1 to 1000000 rounds".into()
        })?;
        check(self.patience <= 1_000_000, "stop.patience", || "must be at most 1000000".into())?;
        check((0.0..=100.0).contains(&self.min_gain), "stop.min_gain", || {
            format!("{} nats are outside 0 to 100: 0.001 is usual", self.min_gain)
        })?;
        check((1..=1 << 20).contains(&self.sequences), "stop.sequences", || {
            "must be 1 to 1048576 held-out sequences".into()
        })?;
        check((0.0..1.0).contains(&self.ema), "stop.ema", || {
            format!("{} must be at least 0 and below 1: 0.9 averages about ten rounds", self.ema)
        })
    }
}
