//! Distillation: what peers learn from a teacher beside the text. The teacher is not part of the run's state: each peer has it, by its
//! digest, brought or fetched from others, and computes with it.

use super::{Blob, SpecError, check};
use crate::id::Digest;
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
}

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
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        let DistillSpec { temperature, weight, hidden, .. } = *self;
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_by_their_keys() {
        let plain = DistillSpec {
            teacher: Digest::default(),
            pieces: None,
            temperature: 2.0,
            weight: 0.5,
            direction: Direction::Forward,
            hidden: 0.0,
        };
        assert_eq!(plain.validate(), Ok(()));
        for (spec, key) in [
            (DistillSpec { temperature: 0.0, ..plain.clone() }, "distill.temperature"),
            (DistillSpec { weight: 1.5, ..plain.clone() }, "distill.weight"),
            (DistillSpec { weight: 0.0, ..plain.clone() }, "distill.weight"),
            (DistillSpec { hidden: f32::NAN, ..plain.clone() }, "distill.hidden"),
        ] {
            assert_eq!(spec.validate().unwrap_err().key, key);
        }
    }
}
