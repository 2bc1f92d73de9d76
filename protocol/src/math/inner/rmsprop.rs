//! RMSprop in PyTorch's form, not centred: `v = alpha * v + (1 - alpha) * g^2; d = g / (sqrt(v) + eps)`, and a step along `d` or,
//! with momentum, along `m = mu * m + d`.

use super::{Pace, decay};
use crate::run::InnerSpec;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// What the gradient is multiplied with.
    pub gradient: f32,
    /// L2 weight decay.
    pub decay: f32,
    /// Learning rate.
    pub lr: f32,
    /// What the second moment keeps of itself.
    pub alpha: f32,
    /// What momentum keeps of itself; without momentum 0.
    pub momentum: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

impl RmsProp {
    pub(super) fn new(spec: &InnerSpec, (alpha, momentum): (f32, f32), pace: &Pace) -> RmsProp {
        RmsProp {
            gradient: pace.gradient as f32,
            decay: decay(spec, pace) as f32,
            lr: pace.lr as f32,
            alpha,
            momentum,
            eps: spec.eps,
        }
    }

    /// The second moment is the first vector of state.
    pub(super) fn step(&self, p: &mut [f32], v: &mut [f32], m: &mut [f32], g: &[f32]) {
        if self.momentum > 0.0 { heavy(*self, p, v, m, g) } else { plain(*self, p, v, g) }
    }
}

wide! {
    fn plain(f: RmsProp, p: &mut [f32], v: &mut [f32], g: &[f32]) {
        for ((p, v), g) in p.iter_mut().zip(v).zip(g) {
            let g = g * f.gradient + f.decay * *p;
            *v = f.alpha * *v + (1.0 - f.alpha) * g * g;
            *p -= f.lr * (g / (v.sqrt() + f.eps));
        }
    }
}

wide! {
    fn heavy(f: RmsProp, p: &mut [f32], v: &mut [f32], m: &mut [f32], g: &[f32]) {
        for (((p, v), m), g) in p.iter_mut().zip(v).zip(m).zip(g) {
            let g = g * f.gradient + f.decay * *p;
            *v = f.alpha * *v + (1.0 - f.alpha) * g * g;
            *m = f.momentum * *m + g / (v.sqrt() + f.eps);
            *p -= f.lr * *m;
        }
    }
}
