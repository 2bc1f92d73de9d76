//! Adam (Kingma and Ba 2015, algorithm 1); weight decay is L2: it is part of the gradient and of its moments.

use super::{Pace, corrected, decay};
use crate::run::InnerSpec;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// What the gradient is multiplied with.
    pub gradient: f32,
    /// L2 weight decay.
    pub decay: f32,
    /// What the moments keep of themselves.
    pub betas: (f32, f32),
    /// `lr / (1 - beta1^t)`
    pub rate: f32,
    /// `1 / sqrt(1 - beta2^t)`
    pub root: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

impl Adam {
    pub(super) fn new(spec: &InnerSpec, pace: &Pace) -> Adam {
        Adam {
            gradient: pace.gradient as f32,
            decay: decay(spec, pace) as f32,
            betas: (spec.beta1, spec.beta2),
            rate: (pace.lr / corrected(spec.beta1, pace.step)) as f32,
            root: (1.0 / corrected(spec.beta2, pace.step).sqrt()) as f32,
            eps: spec.eps,
        }
    }

    pub(super) fn step(&self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        step_keeping(*self, 1.0, p, m, v, g);
    }
}

wide! {
    /// A step that also multiplies the parameters with `keep`: decoupled weight decay.
    pub(super) fn step_keeping(
        f: Adam,
        keep: f32,
        p: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
        g: &[f32],
    ) {
        let (beta1, beta2) = f.betas;
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * f.gradient + f.decay * *p;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p = keep * *p - f.rate * *m / (v.sqrt() * f.root + f.eps);
        }
    }
}
