//! Distillation: what peers learn from a teacher beside the text. The teacher is not part of the run's state: a peer has it, by its
//! digest, brought or fetched from others, and computes with it; or it learns from what those that have it tell.

use super::{Blob, ModelSpec, SpecError, check};
use crate::id::Digest;
use crate::wire::BULK_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// The loss: `weight * T^2 * KL + (1 - weight) * cross-entropy + hidden * MSE` (Hinton et al. 2015, arXiv 1503.02531, section 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillSpec {
    /// BLAKE3 of the teacher: of its shape's canonical CBOR, followed by its parameters in flat order.
    pub teacher: Digest,
    /// The same file by its pieces: then peers fetch it from each other. Without, each brings it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<Blob>,
    /// What both distributions are softened by.
    pub temperature: f32,
    /// Weight of the teacher's distribution against the text's.
    pub weight: f32,
    /// Which of the two divergences.
    pub direction: Direction,
    /// Weight of the squared distance of the last hidden states, per element; 0 for none.
    pub hidden: f32,
    /// How many of the likeliest tokens those who have the teacher tell those who have not, for each token of a text, with what it gives
    /// them. Without, it is told to nobody, and each peer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
}

/// Bytes of one of the likeliest tokens, at the most: which, and how likely.
const TOLD_BYTES_MAX: u64 = 6;

/// Which Kullback-Leibler divergence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// KL(teacher || student): the student covers all that the teacher may say.
    #[default]
    Forward,
    /// KL(student || teacher): the student keeps to what the teacher is likely to say (MiniLLM, arXiv 2306.08543).
    Reverse,
}

impl DistillSpec {
    pub(super) fn validate(&self, model: &ModelSpec) -> Result<(), SpecError> {
        let DistillSpec { temperature, weight, hidden, top, .. } = *self;
        check((0.05..=100.0).contains(&temperature), "distill.temperature", || {
            format!("{temperature} must lie between 0.05 and 100")
        })?;
        check((0.0..=1.0).contains(&weight), "distill.weight", || {
            format!("{weight} must lie between 0 and 1: the rest is the text's")
        })?;
        check((0.0..=1e6).contains(&hidden), "distill.hidden", || {
            format!("{hidden} must be at least 0")
        })?;
        check(weight > 0.0 || hidden > 0.0, "distill.weight", || {
            "nothing would be learned from the teacher: raise it, or leave [distill] out".into()
        })?;
        top.map_or(Ok(()), |top| self.validate_top(top, model))
    }

    /// What is told of one sequence must fit a frame.
    fn validate_top(&self, top: u32, model: &ModelSpec) -> Result<(), SpecError> {
        let most = BULK_BYTES_MAX as u64 / (TOLD_BYTES_MAX * u64::from(model.context).max(1));
        let most = most.min(model.vocab.into());
        check((1..=most).contains(&top.into()), "distill.top", || {
            format!(
                "{top} must lie between 1 and {most}: the vocabulary, and what of a sequence fits a frame, bound it"
            )
        })?;
        check(self.hidden == 0.0, "distill.top", || {
            "hidden states are told to nobody: leave `hidden` at 0, or `top` out".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::spec;

    #[test]
    fn bounds_are_told_by_their_keys() {
        let plain = DistillSpec {
            teacher: Digest::default(),
            pieces: None,
            temperature: 2.0,
            weight: 0.5,
            direction: Direction::Forward,
            hidden: 0.0,
            top: None,
        };
        let model = spec().model;
        let told = |top| DistillSpec { top: Some(top), ..plain.clone() };
        assert_eq!(plain.validate(&model), Ok(()));
        assert_eq!(told(model.vocab).validate(&model), Ok(()));
        let long = ModelSpec { context: 1 << 20, ..model.clone() };
        assert_eq!(told(1).validate(&long).unwrap_err().key, "distill.top");
        for (spec, key) in [
            (DistillSpec { temperature: 0.0, ..plain.clone() }, "distill.temperature"),
            (DistillSpec { weight: 1.5, ..plain.clone() }, "distill.weight"),
            (DistillSpec { weight: 0.0, ..plain.clone() }, "distill.weight"),
            (DistillSpec { hidden: f32::NAN, ..plain.clone() }, "distill.hidden"),
            (told(0), "distill.top"),
            (told(model.vocab + 1), "distill.top"),
            (DistillSpec { hidden: 1.0, ..told(1) }, "distill.top"),
        ] {
            assert_eq!(spec.validate(&model).unwrap_err().key, key);
        }
    }
}
