//! The inner learning rate over a run: linear warm-up, then a cosine down to a floor (Loshchilov and Hutter 2017).

use shoal_protocol::{
    id::Round,
    run::{InnerSpec, RunSpec},
};

/// The learning rate of a run at any step of any round.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    floor: f64,
    warmup: f64,
    rounds: f64,
}

impl Schedule {
    /// The schedule that a run's spec asks for.
    pub fn new(spec: &RunSpec) -> Schedule {
        Schedule::over(&spec.inner, spec.rounds)
    }

    /// The schedule over a number of rounds.
    pub fn over(inner: &InnerSpec, rounds: u64) -> Schedule {
        Schedule {
            peak: f64::from(inner.lr),
            floor: f64::from(inner.lr_floor),
            warmup: inner.warmup_rounds as f64,
            rounds: rounds as f64,
        }
    }

    /// The rate of step `step` (from 0) of the `steps` that lead to `round` (from 1).
    ///
    /// It depends on the round and the share of it that is done, so peers that do uneven amounts keep in step.
    pub fn rate(&self, round: Round, step: u32, steps: u32) -> f64 {
        let within = f64::from(step + 1) / f64::from(steps.max(1));
        let done = round.saturating_sub(1) as f64 + within;
        if done <= self.warmup {
            return self.peak * done / self.warmup;
        }
        let share = ((done - self.warmup) / (self.rounds - self.warmup).max(1.0)).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_the_floor() {
        let schedule = Schedule { peak: 2.0, floor: 0.1, warmup: 2.0, rounds: 10.0 };
        let rows = [
            (1, 0, 4, 0.25),
            (1, 3, 4, 1.0),
            (2, 3, 4, 2.0),
            (6, 0, 1, 2.0 * 0.55),
            (10, 4, 5, 0.2),
            (99, 0, 1, 0.2),
        ];
        for (round, step, steps, expected) in rows {
            let rate = schedule.rate(round, step, steps);
            assert!((rate - expected).abs() < 1e-12, "{round} {step}/{steps}: {rate}");
        }
    }

    #[test]
    fn without_warm_up_it_starts_at_the_peak() {
        let schedule = Schedule { peak: 1.0, floor: 0.0, warmup: 0.0, rounds: 100.0 };
        assert!(schedule.rate(1, 0, 1000) > 0.999);
    }
}
