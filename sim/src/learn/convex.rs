//! Linear regression on rows that are drawn from a known law, so that the optimum and every loss are known in closed form.
//!
//! A token is a row: features `x[i] = sqrt(h[i]) z[i]` with independent `z` of mean 0 and variance 1, a label `w* x + noise e`
//! with `e` of the same law, and the loss `(w x - y)^2 / 2`. Over all rows that there could be, its mean is
//!
//!   `loss(w) = sum(h[i] (w[i] - w*[i])^2) / 2 + noise^2 / 2`,
//!
//! which is what is told as the held-out loss: least at `w*`, where it is `noise^2 / 2`. Curvatures `h` fall from 1 to
//! `1 / condition` in equal ratios. Training starts at 0, where the gap to the optimum is 1.

use super::Task;
use shoal_protocol::data::rng::{Rng, mix};
use shoal_protocol::id::Digest;

/// Samples in an epoch: no row comes twice in any run that ends.
const SAMPLES: u64 = 1 << 30;
/// Draws the optimum.
const SEED: u64 = 0x5ea1;

/// A convex problem with a known optimum.
#[derive(Clone, Debug, PartialEq)]
pub struct Convex {
    context: usize,
    noise: f64,
    /// Curvatures, `[dimension]`.
    h: Vec<f64>,
    /// Their roots: the features' scales, `[dimension]`.
    scale: Vec<f32>,
    /// Where the loss is least, `[dimension]`.
    optimum: Vec<f32>,
}

impl Convex {
    /// A problem of so many dimensions. `context`: rows in a sample. `condition`: the largest curvature over the least, at
    /// least 1. `noise`: standard deviation of what labels cannot tell.
    pub fn new(dimension: usize, condition: f64, noise: f64, context: usize) -> Convex {
        let ratio = libm::pow(condition, -1.0 / (dimension.max(2) - 1) as f64);
        let h: Vec<f64> =
            std::iter::successors(Some(1.0), |h| Some(h * ratio)).take(dimension).collect();
        let mut rng = Rng::new(SEED);
        let drawn: Vec<f64> = h.iter().map(|_| 2.0 * rng.unit() - 1.0).collect();
        let gap: f64 = h.iter().zip(&drawn).map(|(h, w)| 0.5 * h * w * w).sum();
        let optimum = drawn.iter().map(|w| (w / gap.sqrt()) as f32).collect();
        let scale = h.iter().map(|h| h.sqrt() as f32).collect();
        Convex { context, noise, h, scale, optimum }
    }

    /// Loss above the least one.
    pub fn gap(&self, params: &[f32]) -> f64 {
        let off =
            params.iter().zip(&self.optimum).map(|(w, best)| f64::from(*w) - f64::from(*best));
        off.zip(&self.h).map(|(off, h)| 0.5 * h * off * off).sum()
    }

    /// The features of one row, `[dimension]`, and its label.
    fn row(&self, rng: &mut Rng, x: &mut [f32]) -> f64 {
        x.iter_mut().zip(&self.scale).for_each(|(x, scale)| *x = scale * standard(rng) as f32);
        dot(x, &self.optimum) + self.noise * standard(rng)
    }
}

/// Uniform, of mean 0 and variance 1.
fn standard(rng: &mut Rng) -> f64 {
    const ROOT_3: f64 = 1.732_050_807_568_877_2;
    ROOT_3 * (2.0 * rng.unit() - 1.0)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

impl Task for Convex {
    fn params(&self) -> usize {
        self.optimum.len()
    }

    fn samples(&self) -> u64 {
        SAMPLES
    }

    fn digest(&self) -> Digest {
        Digest::of(format!("convex {self:?}").as_bytes())
    }

    fn initial(&self, _: u64) -> Vec<f32> {
        vec![0.0; self.params()]
    }

    fn gradient(&self, params: &[f32], samples: &[u64], gradient: &mut [f32]) -> f64 {
        gradient.fill(0.0);
        let (mut x, mut loss) = (vec![0.0; self.params()], 0.0);
        let share = 1.0 / (samples.len() * self.context).max(1) as f64;
        for sample in samples {
            let mut rng = Rng::new(mix(SEED ^ mix(*sample)));
            for _ in 0..self.context {
                let label = self.row(&mut rng, &mut x);
                let off = dot(params, &x) - label;
                loss += 0.5 * off * off * share;
                let factor = (off * share) as f32;
                gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += factor * x);
            }
        }
        loss
    }

    fn loss(&self, params: &[f32]) -> f64 {
        self.gap(params) + 0.5 * self.noise * self.noise
    }

    fn optimum(&self) -> Option<f64> {
        Some(0.5 * self.noise * self.noise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::local::assert_gradient_is_exact;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let task = Convex::new(20, 30.0, 0.2, 4);
        let mut rng = Rng::new(3);
        let params: Vec<f32> = (0..20).map(|_| rng.unit() as f32 - 0.5).collect();
        assert_gradient_is_exact(&task, &params, &[0, 7, 123], 0..20);
    }

    #[test]
    fn the_gap_is_1_at_the_start_and_0_at_the_optimum() {
        let task = Convex::new(50, 100.0, 0.5, 1);
        assert!((task.gap(&task.initial(1)) - 1.0).abs() < 1e-6);
        assert_eq!(task.gap(&task.optimum), 0.0);
        assert_eq!(task.optimum(), Some(0.125));
        let spread = task.h[0] / task.h[49];
        assert!((spread - 100.0).abs() < 1e-9, "{spread}");
    }

    /// The closed form is what rows that nobody has trained on come to.
    #[test]
    fn the_loss_is_the_mean_over_rows() {
        let task = Convex::new(8, 10.0, 0.3, 16);
        let samples: Vec<u64> = (1000..5000).collect();
        let mut gradient = vec![0.0; 8];
        let at = |params: &[f32], gradient: &mut [f32]| {
            (task.gradient(params, &samples, gradient), task.loss(params))
        };
        let (drawn, told) = at(&task.initial(0), &mut gradient);
        assert!((drawn / told - 1.0).abs() < 0.02, "{drawn} is not {told}");
        let (drawn, told) = at(&task.optimum.clone(), &mut gradient);
        assert!((drawn / told - 1.0).abs() < 0.02, "{drawn} is not {told}");
        assert!(gradient.iter().all(|g| g.abs() < 0.01), "{gradient:?}");
    }
}
