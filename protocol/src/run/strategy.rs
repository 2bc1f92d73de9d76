//! What a round is made of beside its exchange: what local work gives, which part of the model travels, and whether training goes
//! on meanwhile. The strategies of the literature are combinations of these and of outer optimiser and codec; [`Strategy`] names them.

use super::{OuterKind, OuterSpec, SpecError, check};
use crate::math::Codec;
use serde::{Deserialize, Serialize};

/// What a round is made of. The usual one is left out of the spec's bytes, so that runs from before there was a choice keep their ids.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategySpec {
    /// What local work gives.
    #[serde(default)]
    pub work: LocalWork,
    /// Fragments of the model, one of which is exchanged in a round, in turns.
    #[serde(default = "whole")]
    pub fragments: u32,
    /// What the trainer does while an exchange is under way.
    #[serde(default)]
    pub overlap: Overlap,
}

/// What local work gives to the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalWork {
    /// Steps of the inner optimiser; outer parameters minus local ones (DiLoCo, arXiv 2311.08105).
    #[default]
    Steps,
    /// No step: the mean gradient over the batches, at the committed parameters.
    Gradient,
}

/// What the trainer does while an exchange is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum Overlap {
    /// It waits.
    #[default]
    None,
    /// It goes on from its local parameters. When the result comes, the local parameters become `keep` times themselves and
    /// `1 - keep` times the committed ones (Streaming DiLoCo, arXiv 2501.18512, section 2.3: a half). 0 keeps of the local
    /// parameters exactly what has been learned since, and the committed ones for the rest.
    Delayed {
        /// What local parameters keep of themselves.
        keep: f32,
    },
    /// It goes on from the outer step that the freshest numbers it has would make: its own of this round, the others' of the round
    /// before (Eager updates, arXiv 2502.12996, algorithm 1). When the result comes, the difference is made good.
    Eager,
}

impl Default for StrategySpec {
    fn default() -> StrategySpec {
        StrategySpec { work: LocalWork::Steps, fragments: whole(), overlap: Overlap::None }
    }
}

fn whole() -> u32 {
    1
}

/// Most fragments. Guess: more than the layers of any model of today.
pub const FRAGMENTS_MAX: u32 = 256;

impl StrategySpec {
    pub(super) fn is_usual(&self) -> bool {
        *self == StrategySpec::default()
    }

    /// Whether the trainer goes on while an exchange is under way.
    pub fn overlaps(&self) -> bool {
        self.overlap != Overlap::None
    }

    /// Whether local parameters outlast a round: not all of what they have learned is exchanged in it, or training goes on meanwhile.
    pub fn runs_on(&self) -> bool {
        self.overlaps() || self.fragments > 1
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        check((1..=FRAGMENTS_MAX).contains(&self.fragments), "strategy.fragments", || {
            format!("must be 1 to {FRAGMENTS_MAX}")
        })?;
        if let Overlap::Delayed { keep } = self.overlap {
            check((0.0..1.0).contains(&keep), "strategy.keep", || {
                format!("{keep} must be at least 0 and below 1: 0.5 merges half and half")
            })?;
        }
        check(self.overlap != Overlap::Eager || self.fragments == 1, "strategy.overlap", || {
            "\"eager\" goes with one fragment: take \"delayed\"".into()
        })?;
        check(self.work == LocalWork::Steps || !self.runs_on(), "strategy.work", || {
            "a gradient is taken at the committed parameters: it goes with one fragment and no overlap".into()
        })
    }
}

/// A strategy by its name: settings that belong together. Each can be set apart as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Gradients are averaged each step, and the inner optimiser takes the mean: data parallel training.
    Sync,
    /// Parameters are averaged (Stich 2019, arXiv 1805.09767).
    LocalSgd,
    /// Local steps, then an outer step with momentum (arXiv 2311.08105).
    #[default]
    Diloco,
    /// A fragment at a time, in few bits, while training goes on (Streaming DiLoCo, arXiv 2501.18512).
    Streaming,
    /// A whole round is hidden behind training (Eager updates, arXiv 2502.12996).
    Eager,
    /// The largest 64 of each 4,096 numbers, outer SGD (SparseLoCo, arXiv 2508.15706).
    Sparse,
    /// Each step the largest components of decoupled momentum, and a step by their sign (DeMo, arXiv 2411.19870).
    Demo,
}

/// What a strategy sets where nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Usual {
    /// The round's pieces.
    pub pieces: StrategySpec,
    /// The outer optimiser.
    pub outer: OuterSpec,
    /// Codec, both ways.
    pub codec: Codec,
    /// What residuals keep of themselves.
    pub residual_decay: f32,
    /// Whether contributions are clipped to their median norm.
    pub clip_to_median: bool,
    /// Local steps in a round; `None` where the strategy has no number of its own.
    pub steps: Option<u32>,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 7] = [
        Strategy::Sync,
        Strategy::LocalSgd,
        Strategy::Diloco,
        Strategy::Streaming,
        Strategy::Eager,
        Strategy::Sparse,
        Strategy::Demo,
    ];

    /// Its name in a run file.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Sync => "sync",
            Strategy::LocalSgd => "local-sgd",
            Strategy::Diloco => "diloco",
            Strategy::Streaming => "streaming",
            Strategy::Eager => "eager",
            Strategy::Sparse => "sparse",
            Strategy::Demo => "demo",
        }
    }

    /// What it sets: the values of its paper, where not said otherwise.
    pub fn usual(self) -> Usual {
        let plain = StrategySpec::default();
        let gradient = StrategySpec { work: LocalWork::Gradient, ..plain };
        let nesterov = OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.9 };
        let sgd = |lr| OuterSpec { kind: OuterKind::Sgd, lr, momentum: 0.0 };
        let usual = |pieces, outer, codec, steps| {
            let (residual_decay, clip_to_median) = (1.0, false);
            Usual { pieces, outer, codec, residual_decay, clip_to_median, steps }
        };
        match self {
            Strategy::Sync => {
                let outer = OuterSpec { kind: OuterKind::Inner, lr: 1.0, momentum: 0.0 };
                usual(gradient, outer, Codec::F32, Some(1))
            }
            Strategy::LocalSgd => usual(plain, sgd(1.0), Codec::Int8, None),
            Strategy::Diloco => usual(plain, nesterov, Codec::Int8, None),
            Strategy::Streaming => {
                // The paper's number of fragments follows from three layers in each.
                let overlap = Overlap::Delayed { keep: 0.5 };
                let pieces = StrategySpec { fragments: 4, overlap, ..plain };
                usual(pieces, OuterSpec { lr: 0.4, ..nesterov }, Codec::Fp4, None)
            }
            Strategy::Eager => {
                let pieces = StrategySpec { overlap: Overlap::Eager, ..plain };
                usual(pieces, nesterov, Codec::Int8, None)
            }
            Strategy::Sparse => {
                let usual = usual(plain, sgd(1.0), Codec::TopkTight, Some(30));
                Usual { residual_decay: 0.95, clip_to_median: true, ..usual }
            }
            Strategy::Demo => {
                let outer = OuterSpec { kind: OuterKind::Sign, lr: 1e-3, momentum: 0.0 };
                let usual = usual(gradient, outer, Codec::Dct, Some(1));
                Usual { residual_decay: 0.999, ..usual }
            }
        }
    }
}

impl std::str::FromStr for Strategy {
    type Err = ();

    fn from_str(name: &str) -> Result<Strategy, ()> {
        Strategy::ALL.into_iter().find(|strategy| strategy.name() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::spec;
    use crate::wire::{from_cbor, to_cbor};

    #[test]
    fn each_makes_a_sound_spec_that_survives_its_bytes() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse(), Ok(strategy));
            let usual = strategy.usual();
            let mut run = spec();
            (run.exchange.chunk_elems, run.model.dim) = (4096, 64);
            (run.strategy, run.outer) = (usual.pieces, usual.outer);
            (run.exchange.up, run.exchange.down) = (usual.codec, usual.codec);
            assert_eq!(run.validate(), Ok(()), "{strategy:?}");
            assert_eq!(from_cbor::<super::super::RunSpec>(&to_cbor(&run)).unwrap(), run);
        }
    }

    #[test]
    fn the_usual_one_adds_no_bytes() {
        let bytes = to_cbor(&spec());
        assert!(!bytes.windows(8).any(|part| part == b"strategy"));
    }

    #[test]
    fn what_does_not_go_together_is_told_by_its_key() {
        let plain = StrategySpec::default();
        let gradient = StrategySpec { work: LocalWork::Gradient, ..plain };
        for (pieces, key) in [
            (StrategySpec { fragments: 0, ..plain }, "strategy.fragments"),
            (StrategySpec { overlap: Overlap::Delayed { keep: 1.0 }, ..plain }, "strategy.keep"),
            (StrategySpec { fragments: 2, overlap: Overlap::Eager, ..plain }, "strategy.overlap"),
            (StrategySpec { fragments: 2, ..gradient }, "strategy.work"),
            (StrategySpec { overlap: Overlap::Eager, ..gradient }, "strategy.work"),
        ] {
            assert_eq!(pieces.validate().unwrap_err().key, key);
        }
    }
}
