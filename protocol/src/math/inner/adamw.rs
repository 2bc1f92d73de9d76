//! AdamW (Loshchilov and Hutter 2019, algorithm 2): Adam whose weight decay shrinks the parameters beside the step.

use super::adam::step_keeping;
use super::{Adam, Pace, decay, l2};
use crate::run::InnerSpec;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Adam's part, which decays by the L2 that there may be beside.
    pub adam: Adam,
    /// What a parameter keeps of itself: `1 - lr * weight_decay`.
    pub keep: f32,
}

impl AdamW {
    pub(super) fn new(spec: &InnerSpec, pace: &Pace) -> AdamW {
        let adam = Adam { decay: l2(spec, pace) as f32, ..Adam::new(spec, pace) };
        AdamW { adam, keep: (1.0 - pace.lr * decay(spec, pace)) as f32 }
    }

    pub(super) fn step(&self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        step_keeping(self.adam, self.keep, p, m, v, g);
    }
}
