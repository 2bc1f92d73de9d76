//! Pruning in the middle of a run: how many weights become zero, which of them, and at which rounds.

use super::layout::{Layout, Slot};
use super::{ModelSpec, Overlap, RunSpec, SpecError, check};
use crate::id::Round;
use serde::{Deserialize, Serialize};

/// What is pruned, and when. From the first of its rounds on, a weight that is zero stays zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneSpec {
    /// Which weights.
    pub kind: PruneKind,
    /// The first round after whose outer step weights become zero.
    pub from: Round,
    /// The round at which all that shall be zero is; `from` for all at once.
    pub until: Round,
}

/// Which weights of the layers' matrices become zero: those of the smallest magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum PruneKind {
    /// This share of every matrix.
    Share {
        /// Above 0 and below 1.
        sparsity: f32,
    },
    /// Of `of` neighbours in a row all but `keep`.
    Pattern {
        /// At least 1, less than `of`.
        keep: u8,
        /// Divides the length of every row.
        of: u8,
    },
}

impl PruneSpec {
    /// Share of a matrix that is zero after a round, 0 before the first.
    ///
    /// It grows by the cubic schedule of Zhu and Gupta (arXiv 1710.01878, equation 1), from 0: fast at first, when weights to
    /// spare are many. Only additions and multiplications of f64, so that all machines find the same.
    pub fn share(&self, round: Round) -> f64 {
        let most = match self.kind {
            PruneKind::Share { sparsity } => f64::from(sparsity),
            PruneKind::Pattern { keep, of } => 1.0 - f64::from(keep) / f64::from(of),
        };
        if round < self.from {
            return 0.0;
        }
        if round >= self.until {
            return most;
        }
        let left = (self.until - round) as f64 / (self.until - self.from) as f64;
        most * (1.0 - left * left * left)
    }

    /// Whether zeros stay zero in the work that leads to this round.
    pub fn holds(&self, round: Round) -> bool {
        round > self.from
    }

    pub(super) fn validate(&self, spec: &RunSpec) -> Result<(), SpecError> {
        check((1..=spec.rounds).contains(&self.from), "prune.from", || {
            format!("{} is outside the run's rounds, 1 to {}", self.from, spec.rounds)
        })?;
        check((self.from..=spec.rounds).contains(&self.until), "prune.until", || {
            format!("{} must lie between `from` and the run's last round", self.until)
        })?;
        match self.kind {
            PruneKind::Share { sparsity } => {
                check(sparsity > 0.0 && sparsity < 1.0, "prune.sparsity", || {
                    format!("{sparsity} must be above 0 and below 1: 0.5 is half of the weights")
                })?;
            }
            PruneKind::Pattern { keep, of } => self.validate_pattern(&spec.model, keep, of)?,
        }
        let plain = spec.strategy.fragments == 1 && spec.strategy.overlap == Overlap::None;
        check(plain && spec.gossip.is_none(), "prune", || {
            "local parameters that outlast rounds would bring pruned weights back: it goes with one fragment, no overlap and no gossip".into()
        })
    }

    fn validate_pattern(&self, model: &ModelSpec, keep: u8, of: u8) -> Result<(), SpecError> {
        check((1..of).contains(&keep), "prune.pattern", || {
            format!("{keep}:{of} must keep at least one, and less than all: \"2:4\" keeps half")
        })?;
        check(self.until == self.from, "prune.until", || {
            "a pattern comes all at once: leave it out".into()
        })?;
        let uneven = Layout::new(model)
            .slots
            .into_iter()
            .find(|slot| is_pruned(slot) && !slot.shape[1].is_multiple_of(usize::from(of)));
        match uneven {
            None => Ok(()),
            Some(slot) => check(false, "prune.pattern", || {
                format!("{of} does not divide the rows of {}, {} long", slot.name, slot.shape[1])
            }),
        }
    }
}

/// Whether weights of it are pruned: matrices inside of layers; embedding, head and norms are spared.
pub fn is_pruned(slot: &Slot) -> bool {
    use super::layout::Role;
    matches!(slot.role, Role::Inner | Role::Residual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::spec;

    const HALF: PruneKind = PruneKind::Share { sparsity: 0.5 };

    #[test]
    fn the_share_grows_by_a_cube() {
        let gradual = PruneSpec { kind: HALF, from: 10, until: 14 };
        let shares: Vec<f64> = (9..=15).map(|round| gradual.share(round)).collect();
        assert_eq!(shares, [0.0, 0.0, 0.2890625, 0.4375, 0.4921875, 0.5, 0.5]);
        let at_once = PruneSpec { until: 10, ..gradual };
        assert_eq!((at_once.share(9), at_once.share(10)), (0.0, 0.5));
        let kind = PruneKind::Pattern { keep: 2, of: 8 };
        assert_eq!(PruneSpec { kind, ..at_once }.share(11), 0.75);
    }

    #[test]
    fn what_does_not_go_together_is_told_by_its_key() {
        let plain = PruneSpec { kind: HALF, from: 2, until: 2 };
        let pattern = |keep, of| PruneSpec { kind: PruneKind::Pattern { keep, of }, ..plain };
        let of = |prune| RunSpec { prune: Some(prune), ..spec() };
        assert_eq!(of(plain).validate(), Ok(()));
        assert_eq!(of(pattern(2, 4)).validate(), Ok(()));
        let mut delayed = of(plain);
        delayed.strategy.overlap = Overlap::Delayed { keep: 0.5 };
        let share = |sparsity| PruneSpec { kind: PruneKind::Share { sparsity }, ..plain };
        for (spec, key) in [
            (of(PruneSpec { from: 0, ..plain }), "prune.from"),
            (of(PruneSpec { until: 1, ..plain }), "prune.until"),
            (of(share(1.0)), "prune.sparsity"),
            (of(share(f32::NAN)), "prune.sparsity"),
            (of(pattern(4, 4)), "prune.pattern"),
            (of(pattern(0, 4)), "prune.pattern"),
            (of(pattern(2, 7)), "prune.pattern"),
            (of(PruneSpec { until: 3, ..pattern(2, 4) }), "prune.until"),
            (delayed, "prune"),
        ] {
            assert_eq!(spec.validate().unwrap_err().key, key);
        }
    }
}
