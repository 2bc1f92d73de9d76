//! What each peer does between exchanges: how many steps, with which optimiser, at which learning rate.

use super::layout::Role;
use super::{SpecError, check};
use serde::{Deserialize, Serialize};

/// What each peer does between exchanges.
///
/// The usual optimiser and schedule are left out of the spec's bytes, so that runs from before there was a choice keep their ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerSpec {
    /// Local steps in a round (H).
    pub steps: u32,
    /// Sequences in a step.
    pub batch: u32,
    /// If not zero, a peer asks for as many steps as it expects to finish in this many milliseconds instead of `steps`.
    pub round_ms: u64,
    /// Peak learning rate.
    pub lr: f32,
    /// Learning rate at the end, as a share of the peak.
    pub lr_floor: f32,
    /// Rounds of linear warm-up.
    pub warmup_rounds: u64,
    /// The learning rate's way after the warm-up.
    #[serde(default, skip_serializing_if = "InnerSchedule::is_usual")]
    pub schedule: InnerSchedule,
    /// What a step does with a gradient.
    #[serde(default, skip_serializing_if = "InnerOptimizer::is_usual")]
    pub optimizer: InnerOptimizer,
    /// Decay of the first moment: AdamW, Adam, and what Muon leaves to AdamW.
    pub beta1: f32,
    /// Decay of the second moment, likewise.
    pub beta2: f32,
    /// Added to the root of the second moment, likewise and for RMSprop.
    pub eps: f32,
    /// Weight decay, of what [`InnerSpec::decays`] says: see [`InnerOptimizer::decouples`].
    pub weight_decay: f32,
    /// L2 beside a decoupled weight decay, of the same weights: the gradient grows by `l2 * params` once it has been clipped.
    #[serde(default, skip_serializing_if = "is_0")]
    pub l2: f32,
    /// Which weights decay beside the layers' matrices.
    #[serde(default, skip_serializing_if = "DecaySpec::is_usual")]
    pub decays: DecaySpec,
    /// Largest norm of a step's gradient; 0 switches clipping off.
    pub clip: f32,
}

/// Which weights decay beside the layers' matrices, which always do. There are no biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecaySpec {
    /// Embedding and head.
    pub embeddings: bool,
    /// The norms' gains.
    pub norms: bool,
}

impl Default for DecaySpec {
    fn default() -> DecaySpec {
        DecaySpec { embeddings: true, norms: false }
    }
}

impl DecaySpec {
    /// Whether a weight of this role decays.
    pub fn acts_on(self, role: Role) -> bool {
        match role {
            Role::Embedding => self.embeddings,
            Role::Norm => self.norms,
            Role::Inner | Role::Residual => true,
        }
    }

    fn is_usual(&self) -> bool {
        *self == DecaySpec::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_0(value: &f32) -> bool {
    *value == 0.0
}

/// Which inner optimiser, with the settings that it alone has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum InnerOptimizer {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).
    #[default]
    AdamW,
    /// Kingma and Ba 2015 (arXiv 1412.6980); weight decay is added to the gradient.
    Adam,
    /// Gradient descent, with momentum if that is not 0 (Sutskever et al. 2013, in PyTorch's form).
    Sgd {
        /// What momentum keeps of itself (mu).
        momentum: f32,
        /// Whether a step looks ahead along the momentum.
        nesterov: bool,
    },
    /// RMSprop (Hinton's lecture 6e, in PyTorch's form: epsilon outside of the root, not centred).
    RmsProp {
        /// Decay of the second moment.
        alpha: f32,
        /// What momentum keeps of itself; 0 for none.
        momentum: f32,
    },
    /// Muon for the matrices inside the layers, AdamW for all else (Jordan 2024, <https://kellerjordan.github.io/posts/muon/>).
    Muon {
        /// Peak learning rate of those matrices.
        lr: f32,
        /// What momentum keeps of itself.
        momentum: f32,
        /// Whether a step looks ahead along the momentum.
        nesterov: bool,
    },
}

/// The learning rate's way from the end of the warm-up to the end of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum InnerSchedule {
    /// Half a cosine down to the floor (Loshchilov and Hutter 2017, arXiv 1608.03983).
    #[default]
    Cosine,
    /// A straight line down to the floor.
    Linear,
    /// The peak until the run's last share, then a straight line down to the floor (warm-up, stable, decay: Hu et al. 2024,
    /// arXiv 2404.06395; the line: Hägele et al. 2024, arXiv 2405.18392).
    Wsd {
        /// Share of all rounds in which it falls.
        decay: f32,
    },
    /// The peak to the end.
    Constant,
}

impl InnerOptimizer {
    /// Its name in a run file.
    pub fn name(&self) -> &'static str {
        match self {
            InnerOptimizer::AdamW => "adamw",
            InnerOptimizer::Adam => "adam",
            InnerOptimizer::Sgd { .. } => "sgd",
            InnerOptimizer::RmsProp { .. } => "rmsprop",
            InnerOptimizer::Muon { .. } => "muon",
        }
    }

    /// Whether weight decay shrinks the parameters beside the step, by `lr * weight_decay`. If not, it is L2: the gradient grows
    /// by `weight_decay * params` once it has been clipped.
    pub fn decouples(&self) -> bool {
        matches!(self, InnerOptimizer::AdamW | InnerOptimizer::Muon { .. })
    }

    fn is_usual(&self) -> bool {
        *self == InnerOptimizer::default()
    }

    fn validate(&self) -> Result<(), SpecError> {
        match *self {
            InnerOptimizer::AdamW | InnerOptimizer::Adam => Ok(()),
            InnerOptimizer::Sgd { momentum, nesterov } => {
                share("inner.momentum", momentum)?;
                looks_ahead_along_something(momentum, nesterov)
            }
            InnerOptimizer::RmsProp { alpha, momentum } => {
                share("inner.rms_alpha", alpha)?;
                share("inner.momentum", momentum)
            }
            InnerOptimizer::Muon { lr, momentum, nesterov } => {
                above_0("inner.muon_lr", lr)?;
                share("inner.momentum", momentum)?;
                looks_ahead_along_something(momentum, nesterov)
            }
        }
    }
}

impl InnerSchedule {
    /// Its name in a run file.
    pub fn name(&self) -> &'static str {
        match self {
            InnerSchedule::Cosine => "cosine",
            InnerSchedule::Linear => "linear",
            InnerSchedule::Wsd { .. } => "wsd",
            InnerSchedule::Constant => "constant",
        }
    }

    fn is_usual(&self) -> bool {
        *self == InnerSchedule::default()
    }

    fn validate(&self) -> Result<(), SpecError> {
        let InnerSchedule::Wsd { decay } = *self else { return Ok(()) };
        check(decay > 0.0 && decay <= 1.0, "inner.decay_share", || {
            format!("{decay} must be above 0 and at most 1: 0.2 is a fifth of the rounds")
        })
    }
}

impl InnerSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        check((1..=1_000_000).contains(&self.steps), "inner.steps", || {
            "must be 1 to 1000000".into()
        })?;
        check((1..=1 << 16).contains(&self.batch), "inner.batch", || "must be 1 to 65536".into())?;
        share("inner.beta1", self.beta1)?;
        share("inner.beta2", self.beta2)?;
        check((0.0..=1.0).contains(&self.lr_floor), "inner.lr_floor", || {
            "must lie in 0..=1".into()
        })?;
        above_0("inner.lr", self.lr)?;
        above_0("inner.eps", self.eps)?;
        let free = [
            ("inner.weight_decay", self.weight_decay),
            ("inner.l2", self.l2),
            ("inner.clip", self.clip),
        ];
        free.iter().try_for_each(|(key, value)| {
            check(*value >= 0.0 && value.is_finite(), key, || "must not be negative".into())
        })?;
        check(self.l2 == 0.0 || self.optimizer.decouples(), "inner.l2", || {
            let name = self.optimizer.name();
            format!("the weight decay of {name:?} is L2 already: set `weight_decay` instead")
        })?;
        self.optimizer.validate()?;
        self.schedule.validate()
    }
}

fn share(key: &'static str, value: f32) -> Result<(), SpecError> {
    check((0.0..1.0).contains(&value), key, || format!("{value} must be at least 0 and below 1"))
}

fn above_0(key: &'static str, value: f32) -> Result<(), SpecError> {
    check(value > 0.0 && value.is_finite(), key, || "must be above 0".into())
}

fn looks_ahead_along_something(momentum: f32, nesterov: bool) -> Result<(), SpecError> {
    check(!nesterov || momentum > 0.0, "inner.nesterov", || {
        "needs a momentum: set `momentum`, to 0.9 for example, or drop it".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{from_cbor, to_cbor};

    fn spec(optimizer: InnerOptimizer, schedule: InnerSchedule) -> InnerSpec {
        InnerSpec {
            steps: 1,
            batch: 1,
            round_ms: 0,
            lr: 0.1,
            lr_floor: 0.1,
            warmup_rounds: 0,
            schedule,
            optimizer,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            l2: 0.0,
            decays: DecaySpec::default(),
            clip: 1.0,
        }
    }

    #[test]
    fn each_survives_its_bytes_and_the_usual_ones_add_none() {
        let optimizers = [
            InnerOptimizer::AdamW,
            InnerOptimizer::Adam,
            InnerOptimizer::Sgd { momentum: 0.9, nesterov: true },
            InnerOptimizer::RmsProp { alpha: 0.99, momentum: 0.5 },
            InnerOptimizer::Muon { lr: 0.02, momentum: 0.95, nesterov: true },
        ];
        let schedules = [
            InnerSchedule::Cosine,
            InnerSchedule::Linear,
            InnerSchedule::Wsd { decay: 0.2 },
            InnerSchedule::Constant,
        ];
        for optimizer in optimizers {
            for schedule in schedules {
                let spec = spec(optimizer, schedule);
                assert_eq!(spec.validate(), Ok(()));
                let bytes = to_cbor(&spec);
                assert_eq!(from_cbor::<InnerSpec>(&bytes).unwrap(), spec);
                let names = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
                assert_eq!(names(b"optimizer"), optimizer != InnerOptimizer::AdamW);
                assert_eq!(names(b"schedule"), schedule != InnerSchedule::Cosine);
            }
        }
    }

    #[test]
    fn l2_goes_beside_decoupled_decay_alone_and_adds_bytes_only_if_it_is_there() {
        let has = |spec: &InnerSpec, text: &[u8]| {
            to_cbor(spec).windows(text.len()).any(|part| part == text)
        };
        let plain = spec(InnerOptimizer::AdamW, InnerSchedule::Cosine);
        assert!(!has(&plain, b"l2") && !has(&plain, b"decays"));
        let decays = DecaySpec { embeddings: false, norms: true };
        let both = InnerSpec { l2: 0.01, decays, ..plain };
        assert_eq!(from_cbor::<InnerSpec>(&to_cbor(&both)).unwrap(), both);
        assert_eq!(both.validate(), Ok(()));
        let twice = InnerSpec { optimizer: InnerOptimizer::Adam, ..both };
        assert_eq!(twice.validate().unwrap_err().key, "inner.l2");
        let roles = [Role::Embedding, Role::Inner, Role::Residual, Role::Norm];
        assert_eq!(roles.map(|role| decays.acts_on(role)), [false, true, true, true]);
        let usual = DecaySpec::default();
        assert_eq!(roles.map(|role| usual.acts_on(role)), [true, true, true, false]);
    }

    #[test]
    fn what_is_out_of_bounds_is_told_by_its_key() {
        let optimizers = [
            (InnerOptimizer::Sgd { momentum: 1.0, nesterov: false }, "inner.momentum"),
            (InnerOptimizer::Sgd { momentum: 0.0, nesterov: true }, "inner.nesterov"),
            (InnerOptimizer::RmsProp { alpha: -0.1, momentum: 0.0 }, "inner.rms_alpha"),
            (InnerOptimizer::RmsProp { alpha: 0.9, momentum: f32::NAN }, "inner.momentum"),
            (InnerOptimizer::Muon { lr: 0.0, momentum: 0.9, nesterov: false }, "inner.muon_lr"),
            (InnerOptimizer::Muon { lr: 0.1, momentum: 0.0, nesterov: true }, "inner.nesterov"),
        ];
        for (optimizer, key) in optimizers {
            let fault = spec(optimizer, InnerSchedule::Cosine).validate().unwrap_err();
            assert_eq!(fault.key, key, "{fault}");
        }
        for decay in [0.0, 1.5, f32::NAN] {
            let fault = spec(InnerOptimizer::AdamW, InnerSchedule::Wsd { decay }).validate();
            assert_eq!(fault.unwrap_err().key, "inner.decay_share");
        }
    }
}
