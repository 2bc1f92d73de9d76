//! A number of a host, or how to draw it.

use crate::rng::Rng;
use serde::Deserialize;

/// A number, or how to draw one for each host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "must be a number, { uniform = [low, high] }, { lognormal = [median, sigma] } or { exponential = mean }"
)]
pub enum Draw {
    /// The same for all.
    Number(f64),
    /// Between two numbers.
    Uniform {
        /// Both ends.
        uniform: [f64; 2],
    },
    /// The logarithm is normal.
    Lognormal {
        /// Median, and standard deviation of the natural logarithm.
        lognormal: [f64; 2],
    },
    /// Without memory.
    Exponential {
        /// The mean.
        exponential: f64,
    },
}

impl Default for Draw {
    fn default() -> Draw {
        Draw::Number(0.0)
    }
}

impl Draw {
    /// One number.
    pub fn draw(&self, rng: &mut Rng) -> f64 {
        match self {
            Draw::Number(x) => *x,
            Draw::Uniform { uniform: [low, high] } => low + (high - low) * rng.unit(),
            Draw::Lognormal { lognormal: [median, sigma] } => median * (sigma * normal(rng)).exp(),
            Draw::Exponential { exponential } => -exponential * (1.0 - rng.unit()).ln(),
        }
    }

    /// The least that comes of it; of the lognormal and exponential the scale, which tells its sign.
    pub fn least(&self) -> f64 {
        match self {
            Draw::Number(x) => *x,
            Draw::Uniform { uniform: [low, high] } => low.min(*high),
            Draw::Lognormal { lognormal: [median, _] } => *median,
            Draw::Exponential { exponential } => *exponential,
        }
    }
}

/// Box and Muller, 1958.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}
