//! What is kept of the losses of a simulation: where its runs began, what is wanted, and when each was there.

use crate::record::RoundRow;
use shoal_protocol::time::Time;

/// By run.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Of round 0.
    pub begins: Vec<f64>,
    /// The least that there is, if it is known.
    pub optimum: Option<f64>,
    /// What is wanted, if anything.
    pub target: Option<f64>,
    reached: Vec<Option<Time>>,
}

/// What they come to; of several runs the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub first: f64,
    pub last: f64,
    pub optimum: Option<f64>,
    pub target: Option<f64>,
    /// Until the last of the runs was there; none if one never was, or nothing was wanted.
    pub to_target_s: Option<f64>,
}

impl Losses {
    /// Nothing has been committed yet.
    pub fn new(begins: Vec<f64>, optimum: Option<f64>, target: Option<f64>) -> Losses {
        let reached = vec![None; begins.len()];
        Losses { begins, optimum, target, reached }
    }

    /// A run has committed a state of this loss; whether it is there now for the first time.
    pub fn reaches(&mut self, run: usize, now: Time, loss: f64) -> bool {
        let there = self.target.is_some_and(|target| loss <= target);
        let first = there && self.reached[run].is_none();
        if first {
            self.reached[run] = Some(now);
        }
        first
    }

    /// What it all comes to, with these rounds.
    pub fn come_to(&self, rounds: &[RoundRow]) -> Outcome {
        let mut last = self.begins.clone();
        for row in rounds {
            last[row.run] = row.loss.unwrap_or(last[row.run]);
        }
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        let all_reached: Option<Vec<Time>> = self.reached.iter().copied().collect();
        let latest = all_reached.and_then(|all| all.into_iter().max());
        Outcome {
            first: mean(&self.begins),
            last: mean(&last),
            optimum: self.optimum,
            target: self.target,
            to_target_s: latest.map(|at| at.since(Time::ZERO).as_secs_f64()),
        }
    }
}

impl Outcome {
    /// In words.
    pub fn final_loss(&self) -> String {
        let gap = self.optimum.map_or(String::new(), |least| {
            format!(", {:.2e} above the optimum of {least:.4}", self.last - least)
        });
        format!("{:.4} (from {:.4}{gap})", self.last, self.first)
    }

    /// In words.
    pub fn time_to_target(&self) -> String {
        let Some(target) = self.target else { return "-".into() };
        let time = self.to_target_s.map_or("never".into(), |s| format!("{s:.1} s"));
        format!("{time} (to a loss of {target})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: usize, loss: Option<f64>) -> RoundRow {
        RoundRow {
            run,
            round: 1,
            at: Time(0),
            members: 1,
            tokens: 1,
            exchange_us: 0,
            sent_by_host: 0,
            digest: String::new(),
            loss,
        }
    }

    #[test]
    fn the_target_is_reached_when_the_last_run_is_there() {
        let mut losses = Losses::new(vec![4.0, 6.0], Some(0.5), Some(2.0));
        let rows = [row(0, Some(1.0)), row(1, Some(3.0)), row(1, None)];
        assert!(losses.reaches(0, Time(1_000_000), 1.0));
        assert!(!losses.reaches(0, Time(2_000_000), 0.9));
        assert_eq!(losses.come_to(&rows).to_target_s, None);
        assert!(!losses.reaches(1, Time(2_000_000), 2.1));
        assert!(losses.reaches(1, Time(3_000_000), 2.0));
        let outcome = losses.come_to(&rows);
        assert_eq!((outcome.first, outcome.last, outcome.to_target_s), (5.0, 2.0, Some(3.0)));
        assert_eq!(
            outcome.final_loss(),
            "2.0000 (from 5.0000, 1.50e0 above the optimum of 0.5000)"
        );
        assert_eq!(outcome.time_to_target(), "3.0 s (to a loss of 2)");
    }
}
