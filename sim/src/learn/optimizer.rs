//! Inner optimisers: what a local step does with a gradient. Their state lasts from lease to lease, until the host dies.

use serde::Deserialize;
use shoal_protocol::run::InnerSpec;

/// Which inner optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// theta <- theta - lr * g.
    Sgd,
    /// Loshchilov and Hutter 2019, as a node's: the spec has its constants.
    AdamW,
}

/// An inner optimiser and its state.
#[derive(Debug)]
pub struct Optimizer {
    kind: Kind,
    spec: InnerSpec,
    /// First and second moments, `[params]` each; empty for SGD.
    moments: (Vec<f32>, Vec<f32>),
    steps: i32,
}

impl Optimizer {
    /// An optimiser without history for `n` parameters.
    pub fn new(kind: Kind, spec: &InnerSpec, n: usize) -> Optimizer {
        let zeros = || if kind == Kind::AdamW { vec![0.0; n] } else { Vec::new() };
        Optimizer { kind, spec: spec.clone(), moments: (zeros(), zeros()), steps: 0 }
    }

    /// Moves `params` by `gradient`, both `[params]`, which is clipped to the spec's norm.
    pub fn step(&mut self, params: &mut [f32], gradient: &mut [f32]) {
        self.clip(gradient);
        self.steps += 1;
        match self.kind {
            Kind::Sgd => {
                params.iter_mut().zip(gradient).for_each(|(p, g)| *p -= self.spec.lr * *g);
            }
            Kind::AdamW => self.adamw(params, gradient),
        }
    }

    fn clip(&self, gradient: &mut [f32]) {
        let norm = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
        let most = f64::from(self.spec.clip);
        if most > 0.0 && norm > most {
            // The 1e-6 is PyTorch's, in clip_grad_norm_.
            let scale = (most / (norm + 1e-6)) as f32;
            gradient.iter_mut().for_each(|g| *g *= scale);
        }
    }

    fn adamw(&mut self, params: &mut [f32], gradient: &[f32]) {
        let (lr, decay) = (f64::from(self.spec.lr), f64::from(self.spec.weight_decay));
        let (beta1, beta2) = (self.spec.beta1, self.spec.beta2);
        let corrected = |beta: f32| 1.0 - libm::pow(f64::from(beta), f64::from(self.steps));
        let rate = (lr / corrected(beta1)) as f32;
        let root = (1.0 / corrected(beta2).sqrt()) as f32;
        let (eps, keep) = (self.spec.eps, (1.0 - lr * decay) as f32);
        let (first, second) = (&mut self.moments.0, &mut self.moments.1);
        for (((p, g), m), v) in params.iter_mut().zip(gradient).zip(first).zip(second) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p = keep * *p - rate * *m / (v.sqrt() * root + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::inner;

    fn spec(lr: f32, clip: f32) -> InnerSpec {
        InnerSpec { lr, clip, weight_decay: 0.1, ..inner(1, 1, 0) }
    }

    #[test]
    fn sgd_by_hand() {
        let mut params = [1.0, -1.0];
        Optimizer::new(Kind::Sgd, &spec(0.5, 0.0), 2).step(&mut params, &mut [3.0, 4.0]);
        assert_eq!(params, [-0.5, -3.0]);
        let mut params = [1.0, -1.0];
        // The norm is 5: clipped to 1 it is (0.6, 0.8).
        Optimizer::new(Kind::Sgd, &spec(0.5, 1.0), 2).step(&mut params, &mut [3.0, 4.0]);
        assert!((params[0] - 0.7f32).abs() < 1e-6 && (params[1] + 1.4f32).abs() < 1e-6);
    }

    /// `torch.optim.AdamW([1.0], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)` with gradients 0.5, -0.25: after one step
    /// 0.99 - 0.1; then m = 0.02, m^ = 0.02 / 0.19, v = 0.015, v^ = 0.015 / 0.0975.
    #[test]
    fn adamw_by_hand() {
        let mut optimizer = Optimizer::new(Kind::AdamW, &spec(0.1, 0.0), 1);
        let mut params = [1.0f32];
        optimizer.step(&mut params, &mut [0.5]);
        assert!((params[0] - 0.89).abs() < 1e-6, "{params:?}");
        optimizer.step(&mut params, &mut [-0.25]);
        let step: f64 = 0.02 / 0.19 / (0.015f64 / 0.0975).sqrt();
        let want = 0.89 * 0.99 - 0.1 * step;
        assert!((f64::from(params[0]) - want).abs() < 1e-6, "{params:?} is not {want}");
    }
}
