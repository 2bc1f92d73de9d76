//! Gradient descent in PyTorch's form: `g += decay * p; m = mu * m + g; p -= lr * (g + mu * m if Nesterov's else m)`.

use super::{Pace, decay};
use crate::run::InnerSpec;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// What the gradient is multiplied with.
    pub gradient: f32,
    /// L2 weight decay.
    pub decay: f32,
    /// Learning rate.
    pub lr: f32,
    /// What momentum keeps of itself; without momentum 0.
    pub momentum: f32,
    /// Whether the step looks ahead along the momentum.
    pub nesterov: bool,
}

impl Sgd {
    pub(super) fn new(spec: &InnerSpec, (momentum, nesterov): (f32, bool), pace: &Pace) -> Sgd {
        Sgd {
            gradient: pace.gradient as f32,
            decay: decay(spec, pace) as f32,
            lr: pace.lr as f32,
            momentum,
            nesterov,
        }
    }

    pub(super) fn step(&self, params: &mut [f32], momentum: &mut [f32], gradient: &[f32]) {
        match (self.momentum > 0.0, self.nesterov) {
            (false, _) => plain(*self, params, gradient),
            (true, false) => heavy(*self, params, momentum, gradient),
            (true, true) => ahead(*self, params, momentum, gradient),
        }
    }
}

wide! {
    fn plain(f: Sgd, p: &mut [f32], g: &[f32]) {
        for (p, g) in p.iter_mut().zip(g) {
            *p -= f.lr * (g * f.gradient + f.decay * *p);
        }
    }
}

wide! {
    fn heavy(f: Sgd, p: &mut [f32], m: &mut [f32], g: &[f32]) {
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            *m = f.momentum * *m + (g * f.gradient + f.decay * *p);
            *p -= f.lr * *m;
        }
    }
}

wide! {
    fn ahead(f: Sgd, p: &mut [f32], m: &mut [f32], g: &[f32]) {
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            let g = g * f.gradient + f.decay * *p;
            *m = f.momentum * *m + g;
            *p -= f.lr * (g + f.momentum * *m);
        }
    }
}
