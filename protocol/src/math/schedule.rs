//! The inner learning rate over a run: linear warm-up, then the way that the run's schedule takes to the end.
//!
//! Outer steps that follow it are committed, so the cosine is one that has the same bits on every machine.

use crate::id::Round;
use crate::run::{InnerSchedule, InnerSpec, RunSpec};

/// The learning rate of a run at any step of any round.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: InnerSchedule,
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
            kind: inner.schedule,
            peak: f64::from(inner.lr),
            floor: f64::from(inner.lr_floor),
            warmup: inner.warmup_rounds as f64,
            rounds: rounds as f64,
        }
    }

    /// The highest rate.
    pub fn peak(&self) -> f64 {
        self.peak
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
        self.peak * (self.floor + (1.0 - self.floor) * self.height(done))
    }

    /// How high it stands between floor (0) and peak (1) when `done` rounds are done, of which the warm-up is over.
    fn height(&self, done: f64) -> f64 {
        match self.kind {
            InnerSchedule::Cosine => {
                let share = self.share_since(self.warmup, done);
                0.5 * (1.0 + libm::cos(std::f64::consts::PI * share))
            }
            InnerSchedule::Linear => 1.0 - self.share_since(self.warmup, done),
            InnerSchedule::Wsd { decay } => {
                let stable = self.rounds * (1.0 - f64::from(decay));
                1.0 - self.share_since(stable.max(self.warmup), done)
            }
            InnerSchedule::Constant => 1.0,
        }
    }

    /// The share that is done of the rounds from `start` to the last.
    fn share_since(&self, start: f64, done: f64) -> f64 {
        ((done - start) / (self.rounds - start).max(1.0)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: InnerSchedule, floor: f64, warmup: f64, rounds: f64) -> Schedule {
        Schedule { kind, peak: 2.0, floor, warmup, rounds }
    }

    /// Each row: round, step, steps, rate.
    fn check(schedule: &Schedule, rows: &[(Round, u32, u32, f64)]) {
        for (round, step, steps, expected) in rows {
            let rate = schedule.rate(*round, *step, *steps);
            let near = (rate - expected).abs() < 1e-9;
            assert!(near, "{schedule:?} {round} {step}/{steps}: {rate} is not {expected}");
        }
    }

    /// Two rounds of warm-up, whatever comes after.
    const RISE: [(Round, u32, u32, f64); 3] = [(1, 0, 4, 0.25), (1, 3, 4, 1.0), (2, 3, 4, 2.0)];

    #[test]
    fn cosine_rises_then_falls_to_the_floor() {
        let schedule = schedule(InnerSchedule::Cosine, 0.1, 2.0, 10.0);
        check(&schedule, &RISE);
        let quarter = 0.1 + 0.9 * 0.5 * (1.0 + std::f64::consts::FRAC_1_SQRT_2);
        check(
            &schedule,
            &[(4, 0, 1, 2.0 * quarter), (6, 0, 1, 2.0 * 0.55), (10, 4, 5, 0.2), (99, 0, 1, 0.2)],
        );
    }

    #[test]
    fn linear_is_a_straight_line_to_the_floor() {
        let schedule = schedule(InnerSchedule::Linear, 0.1, 2.0, 10.0);
        check(&schedule, &RISE);
        check(
            &schedule,
            &[
                (3, 0, 2, 2.0 * (0.1 + 0.9 * 15.0 / 16.0)),
                (4, 0, 1, 2.0 * (0.1 + 0.9 * 0.75)),
                (6, 0, 1, 2.0 * 0.55),
                (10, 4, 5, 0.2),
                (99, 0, 1, 0.2),
            ],
        );
    }

    #[test]
    fn wsd_is_stable_until_its_last_share() {
        let stable = schedule(InnerSchedule::Wsd { decay: 0.25 }, 0.1, 2.0, 20.0);
        check(&stable, &RISE);
        check(
            &stable,
            &[
                (3, 0, 1, 2.0),
                (15, 0, 1, 2.0),
                (16, 0, 2, 2.0 * (0.1 + 0.9 * 0.9)),
                (16, 1, 2, 2.0 * (0.1 + 0.9 * 0.8)),
                (18, 0, 1, 2.0 * (0.1 + 0.9 * 0.4)),
                (20, 0, 1, 0.2),
                (99, 0, 1, 0.2),
            ],
        );
        // A decay that would begin before the warm-up ends begins there.
        let whole = schedule(InnerSchedule::Wsd { decay: 1.0 }, 0.1, 2.0, 10.0);
        check(&whole, &RISE);
        check(&whole, &[(6, 0, 1, 2.0 * 0.55), (10, 0, 1, 0.2)]);
    }

    #[test]
    fn constant_keeps_the_peak() {
        let schedule = schedule(InnerSchedule::Constant, 0.1, 2.0, 10.0);
        check(&schedule, &RISE);
        check(&schedule, &[(3, 0, 9, 2.0), (10, 8, 9, 2.0), (99, 0, 1, 2.0)]);
    }

    #[test]
    fn without_warm_up_it_starts_at_the_peak() {
        let schedule = schedule(InnerSchedule::Cosine, 0.0, 0.0, 100.0);
        assert!(schedule.rate(1, 0, 1000) > 2.0 * 0.999);
    }
}
