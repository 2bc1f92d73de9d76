//! Inner optimisers: what a local step does with a gradient, as on a node, at a constant rate. Their state lasts from lease to
//! lease, until the host dies.

use serde::Deserialize;
use shoal_protocol::math::inner::{Pace, Rule, STATES_MAX, clip_factor, states};
use shoal_protocol::run::{InnerOptimizer, InnerSpec};

/// Which inner optimiser: those that need to know nothing of what the parameters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Gradient descent.
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// RMSprop.
    RmsProp,
}

/// An inner optimiser and its state.
#[derive(Debug)]
pub struct Optimizer {
    spec: InnerSpec,
    /// `[params]` each, or empty.
    state: [Vec<f32>; STATES_MAX],
    steps: u64,
}

impl Kind {
    /// With this momentum, if any. None if it has no momentum but is given one.
    pub fn with(self, momentum: Option<f32>) -> Option<InnerOptimizer> {
        match (self, momentum.unwrap_or(0.0)) {
            (Kind::Sgd, momentum) => Some(InnerOptimizer::Sgd { momentum, nesterov: false }),
            // PyTorch's alpha.
            (Kind::RmsProp, momentum) => Some(InnerOptimizer::RmsProp { alpha: 0.99, momentum }),
            (Kind::Adam, _) => momentum.is_none().then_some(InnerOptimizer::Adam),
            (Kind::AdamW, _) => momentum.is_none().then_some(InnerOptimizer::AdamW),
        }
    }
}

impl Optimizer {
    /// An optimiser without history for `n` parameters.
    pub fn new(spec: &InnerSpec, n: usize) -> Optimizer {
        let kept = states(&spec.optimizer);
        let vector = |place| if place < kept { vec![0.0; n] } else { Vec::new() };
        Optimizer { spec: spec.clone(), state: std::array::from_fn(vector), steps: 0 }
    }

    /// Moves `params` by `gradient`, both `[params]`, which is clipped to the spec's norm.
    pub fn step(&mut self, params: &mut [f32], gradient: &[f32]) {
        let norm = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
        self.steps += 1;
        let pace = Pace {
            lr: f64::from(self.spec.lr),
            step: self.steps,
            gradient: clip_factor(norm, f64::from(self.spec.clip)),
            decays: true,
        };
        let state = self.state.each_mut().map(Vec::as_mut_slice);
        Rule::new(&self.spec, &pace).step(params, state, gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::inner;

    fn spec(kind: Kind, momentum: Option<f32>, lr: f32, clip: f32) -> InnerSpec {
        let optimizer = kind.with(momentum).expect("it goes with it");
        let weight_decay = if optimizer.decouples() { 0.1 } else { 0.0 };
        InnerSpec { lr, clip, optimizer, weight_decay, ..inner(1, 1, 0) }
    }

    #[test]
    fn sgd_by_hand() {
        let mut params = [1.0, -1.0];
        Optimizer::new(&spec(Kind::Sgd, None, 0.5, 0.0), 2).step(&mut params, &[3.0, 4.0]);
        assert_eq!(params, [-0.5, -3.0]);
        let mut params = [1.0, -1.0];
        // The norm is 5: clipped to 1 it is (0.6, 0.8).
        Optimizer::new(&spec(Kind::Sgd, None, 0.5, 1.0), 2).step(&mut params, &[3.0, 4.0]);
        assert!((params[0] - 0.7f32).abs() < 1e-6 && (params[1] + 1.4f32).abs() < 1e-6);
    }

    /// `torch.optim.SGD([1.0], lr=0.5, momentum=0.5)`: 1 - 0.5 * 2; then m = 0.5 * 2 - 1 = 0.
    #[test]
    fn momentum_by_hand() {
        let mut optimizer = Optimizer::new(&spec(Kind::Sgd, Some(0.5), 0.5, 0.0), 1);
        let mut params = [1.0f32];
        for (gradient, want) in [(2.0, 0.0), (-1.0, 0.0), (2.0, -1.0)] {
            optimizer.step(&mut params, &[gradient]);
            assert_eq!(params, [want]);
        }
        assert_eq!((Kind::AdamW.with(Some(0.5)), Kind::Adam.with(Some(0.5))), (None, None));
    }

    /// `torch.optim.AdamW([1.0], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)` with gradients 0.5, -0.25: after one step
    /// 0.99 - 0.1; then m = 0.02, m^ = 0.02 / 0.19, v = 0.015, v^ = 0.015 / 0.0975.
    #[test]
    fn adamw_by_hand() {
        let mut optimizer = Optimizer::new(&spec(Kind::AdamW, None, 0.1, 0.0), 1);
        let mut params = [1.0f32];
        optimizer.step(&mut params, &[0.5]);
        assert!((params[0] - 0.89).abs() < 1e-6, "{params:?}");
        optimizer.step(&mut params, &[-0.25]);
        let step: f64 = 0.02 / 0.19 / (0.015f64 / 0.0975).sqrt();
        let want = 0.89 * 0.99 - 0.1 * step;
        assert!((f64::from(params[0]) - want).abs() < 1e-6, "{params:?} is not {want}");
    }
}
