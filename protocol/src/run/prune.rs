//! Pruning in the middle of a run: how many weights become zero, which of them, and at which rounds.
//!
//! Whoever judges weights by what goes into them has to know that of everybody's data. It is measured by each peer on its own and
//! exchanged like the model: the flat vector goes on behind the parameters, with a root mean square for each feature that goes into
//! a matrix (see [`inputs`]). A member contributes how far what is committed is from what it measures, without any residual, and the
//! outer step subtracts the mean of that by tokens: what a lossy codec rounds off is made up for in the next round.

use super::layout::{Layout, Slot};
use super::{LocalWork, ModelSpec, OuterKind, Overlap, RunSpec, SpecError, check};
use crate::id::Round;
use crate::math::Codec;
use crate::math::prune::Which;
use serde::{Deserialize, Serialize};
use std::ops::Range;

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
    /// By what weights are judged.
    #[serde(default, skip_serializing_if = "PruneMethod::is_magnitude")]
    pub method: PruneMethod,
}

/// Rounds before the first that prunes in which is measured already: with lossy codecs each brings what is committed nearer.
const BEFORE: Round = 3;
/// Elements of the blocks of codecs that send every number.
const BLOCK: u64 = 512;

/// By what a weight is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneMethod {
    /// Its magnitude, against the others of its matrix.
    #[default]
    Magnitude,
    /// Its magnitude times the norm of what goes into it, against the others of its output row (Wanda, arXiv 2306.11695,
    /// section 3). Unlike there a layer is measured with all layers as they are, not with those before it pruned already.
    Wanda,
}

impl PruneMethod {
    fn is_magnitude(&self) -> bool {
        *self == PruneMethod::Magnitude
    }
}

/// How many weights of the layers' matrices become zero: those that count least by the [`PruneMethod`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum PruneKind {
    /// This share of every matrix.
    Share {
        /// Above 0 and below 1; with [`PruneMethod::Wanda`] of every row, rounded down.
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

    /// Which weights of every matrix are zero after this round.
    pub(crate) fn which(&self, round: Round) -> Which {
        match self.kind {
            PruneKind::Share { .. } => Which::Share(self.share(round)),
            PruneKind::Pattern { keep, of } => Which::Pattern { keep: keep.into(), of: of.into() },
        }
    }

    /// Whether what goes into the matrices is measured in the work that leads to this round.
    pub fn measures(&self, round: Round) -> bool {
        self.method == PruneMethod::Wanda
            && (self.from.saturating_sub(BEFORE)..=self.until).contains(&round)
    }

    /// How many numbers the flat vector has behind the parameters.
    pub fn measured(&self, model: &ModelSpec) -> u64 {
        match self.method {
            PruneMethod::Magnitude => 0,
            PruneMethod::Wanda => {
                let [dim, hidden, heads] = [model.dim, model.hidden, model.heads].map(u64::from);
                // Any spec is asked, valid or not.
                let into_out = if heads == 0 { 0 } else { heads * u64::from(model.head_dim()) };
                let numbers = u64::from(model.layers) * (2 * dim + into_out + hidden);
                first_measured(model) - model.params() + numbers
            }
        }
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
        self.validate_method(spec)?;
        let plain = spec.strategy.fragments == 1 && spec.strategy.overlap == Overlap::None;
        check(plain && spec.gossip.is_none(), "prune", || {
            "local parameters that outlast rounds would bring pruned weights back: it goes with one fragment, no overlap and no gossip".into()
        })
    }

    fn validate_method(&self, spec: &RunSpec) -> Result<(), SpecError> {
        if self.method == PruneMethod::Magnitude {
            return Ok(());
        }
        check(self.from > 1, "prune.from", || {
            "must be 2 at least with \"wanda\": nobody works before the first round, and nothing is measured".into()
        })?;
        let steps = matches!(spec.outer.kind, OuterKind::Sgd | OuterKind::Nesterov);
        check(steps && spec.strategy.work == LocalWork::Steps, "prune.method", || {
            "\"wanda\" goes with local steps and the outer optimisers \"sgd\" and \"nesterov\"; or take \"magnitude\"".into()
        })?;
        check(!spec.exchange.clip_to_median, "exchange.clip_to_median", || {
            "does not go with \"wanda\": the mean of what was measured would be clipped as well"
                .into()
        })?;
        let dense = |codec| matches!(codec, Codec::F32 | Codec::Bf16 | Codec::Int8 | Codec::Fp4);
        check(spec.exchange.codecs().into_iter().all(dense), "prune.method", || {
            "\"wanda\" wants all that was measured in each exchange: take the codec \"f32\", \"bf16\", \"int8\" or \"fp4\"".into()
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

/// Where what is measured begins in the flat vector: behind the parameters, at a block of its own, for blocks have one scale.
fn first_measured(model: &ModelSpec) -> u64 {
    model.params().next_multiple_of(BLOCK)
}

/// The matrices that are pruned, each with where in the flat vector the root mean squares of what goes into it are: layer by layer
/// what goes into attention, into its output matrix, into the feed-forward block, and into its last matrix.
pub fn inputs(model: &ModelSpec) -> Vec<(Slot, Range<usize>)> {
    let mut of = Vec::new();
    let mut end = first_measured(model) as usize;
    for slot in Layout::new(model).slots.into_iter().filter(is_pruned) {
        // q, k and v have one input, and so have gate and up.
        if !["k_proj", "v_proj", "up_proj"].iter().any(|name| slot.name.contains(name)) {
            end += slot.shape[1];
        }
        let width = slot.shape[1];
        of.push((slot, end - width..end));
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::spec;
    use crate::wire::{from_cbor, to_cbor};

    const HALF: PruneKind = PruneKind::Share { sparsity: 0.5 };

    #[test]
    fn the_share_grows_by_a_cube() {
        let method = PruneMethod::Magnitude;
        let gradual = PruneSpec { kind: HALF, from: 10, until: 14, method };
        let shares: Vec<f64> = (9..=15).map(|round| gradual.share(round)).collect();
        assert_eq!(shares, [0.0, 0.0, 0.2890625, 0.4375, 0.4921875, 0.5, 0.5]);
        let at_once = PruneSpec { until: 10, ..gradual };
        assert_eq!((at_once.share(9), at_once.share(10)), (0.0, 0.5));
        let kind = PruneKind::Pattern { keep: 2, of: 8 };
        assert_eq!(PruneSpec { kind, ..at_once }.share(11), 0.75);
    }

    #[test]
    fn what_does_not_go_together_is_told_by_its_key() {
        let method = PruneMethod::Magnitude;
        let plain = PruneSpec { kind: HALF, from: 2, until: 2, method };
        let wanda = PruneSpec { method: PruneMethod::Wanda, ..plain };
        let pattern = |keep, of| PruneSpec { kind: PruneKind::Pattern { keep, of }, ..plain };
        let of = |prune| RunSpec { prune: Some(prune), ..spec() };
        assert_eq!(of(plain).validate(), Ok(()));
        assert_eq!(of(pattern(2, 4)).validate(), Ok(()));
        let mut delayed = of(plain);
        delayed.strategy.overlap = Overlap::Delayed { keep: 0.5 };
        let share = |sparsity| PruneSpec { kind: PruneKind::Share { sparsity }, ..plain };
        assert_eq!(of(wanda).validate(), Ok(()));
        let (mut sparse, mut signs) = (of(wanda), of(wanda));
        sparse.exchange.down = Codec::Sign;
        signs.outer.kind = OuterKind::Sign;
        let mut clipped = of(wanda);
        clipped.exchange.clip_to_median = true;
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
            (of(PruneSpec { from: 1, ..wanda }), "prune.from"),
            (sparse, "prune.method"),
            (signs, "prune.method"),
            (clipped, "exchange.clip_to_median"),
        ] {
            assert_eq!(spec.validate().unwrap_err().key, key);
        }
    }

    /// Specs that were made before there were methods keep their name, and what is measured lies behind the model without gaps.
    #[test]
    fn what_is_measured_lies_behind_the_model() {
        let method = PruneMethod::Magnitude;
        let plain = PruneSpec { kind: HALF, from: 2, until: 2, method };
        #[derive(Serialize)]
        struct Before {
            kind: PruneKind,
            from: Round,
            until: Round,
        }
        let before = to_cbor(&Before { kind: HALF, from: 2, until: 2 });
        assert_eq!(to_cbor(&plain), before);
        assert_eq!(from_cbor::<PruneSpec>(&before).unwrap(), plain);
        let wanda = PruneSpec { method: PruneMethod::Wanda, ..plain };
        let model = spec().model;
        let ranges = inputs(&model);
        assert_eq!(plain.measured(&model), 0);
        let end = ranges.last().unwrap().1.end as u64;
        assert_eq!(wanda.measured(&model), end - model.params());
        assert_eq!(ranges[0].1.start as u64, model.params().next_multiple_of(512));
        for (slot, range) in &ranges {
            assert_eq!(range.len(), slot.shape[1], "{}", slot.name);
        }
        assert!(
            ranges.windows(2).all(|two| two[0].1 == two[1].1 || two[0].1.end == two[1].1.start)
        );
        let rounds = |from, until| PruneSpec { from, until, ..wanda };
        let measuring = |prune: PruneSpec| (0..20).filter(|round| prune.measures(*round)).collect();
        let all: [Vec<Round>; 3] =
            [rounds(2, 2), rounds(10, 12), PruneSpec { method, ..rounds(10, 12) }].map(measuring);
        assert_eq!(all, [vec![0, 1, 2], vec![7, 8, 9, 10, 11, 12], vec![]]);
        let run = RunSpec { prune: Some(wanda), ..spec() };
        assert_eq!(run.elems(), model.params() + wanda.measured(&model));
    }
}
