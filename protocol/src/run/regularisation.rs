//! What keeps a model from learning its data by heart, beside weight decay: dropout and label smoothing. Off in evaluation.

use super::{SpecError, check};
use serde::{Deserialize, Serialize};

/// Dropout and label smoothing. Without any it is left out of the spec's bytes, so that runs from before there was a choice keep
/// their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegularisationSpec {
    /// What is dropped in training.
    #[serde(default, skip_serializing_if = "DropoutSpec::is_none")]
    pub dropout: DropoutSpec,
    /// Share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    #[serde(default, skip_serializing_if = "is_0")]
    pub label_smoothing: f32,
}

/// Shares of numbers that a training step puts to 0, those left being scaled up by `1 / (1 - share)` (Srivastava et al. 2014), at
/// GPT-2's three places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropoutSpec {
    /// Of the tokens' embeddings.
    #[serde(default, skip_serializing_if = "is_0")]
    pub embedding: f32,
    /// Of the weights of attention, after their softmax.
    #[serde(default, skip_serializing_if = "is_0")]
    pub attention: f32,
    /// Of what attention and feed-forward add to the residual stream.
    #[serde(default, skip_serializing_if = "is_0")]
    pub residual: f32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_0(share: &f32) -> bool {
    *share == 0.0
}

impl DropoutSpec {
    /// Whether nothing is dropped.
    pub fn is_none(&self) -> bool {
        *self == DropoutSpec::default()
    }
}

impl RegularisationSpec {
    pub(super) fn is_usual(&self) -> bool {
        *self == RegularisationSpec::default()
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        let DropoutSpec { embedding, attention, residual } = self.dropout;
        let shares = [
            ("regularisation.dropout_embedding", embedding),
            ("regularisation.dropout_attention", attention),
            ("regularisation.dropout_residual", residual),
            ("regularisation.label_smoothing", self.label_smoothing),
        ];
        shares.iter().try_for_each(|(key, share)| {
            check((0.0..1.0).contains(share), key, || {
                format!("{share} must be at least 0 and below 1: 0.1 is usual, 0 switches it off")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::spec;
    use crate::wire::{from_cbor, to_cbor};

    #[test]
    fn it_survives_its_bytes_and_none_adds_none() {
        let plain = spec();
        let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        assert!(!has(&to_cbor(&plain), b"regularisation"));
        let dropout = DropoutSpec { residual: 0.1, ..DropoutSpec::default() };
        let mut run = plain;
        run.regularisation = RegularisationSpec { dropout, label_smoothing: 0.0 };
        let bytes = to_cbor(&run);
        assert!(has(&bytes, b"residual") && !has(&bytes, b"label_smoothing"));
        assert_eq!(from_cbor::<super::super::RunSpec>(&bytes).unwrap(), run);
        assert_eq!(run.validate(), Ok(()));
    }

    #[test]
    fn shares_out_of_bounds_are_told_by_their_keys() {
        let none = RegularisationSpec::default();
        let dropping = |dropout| RegularisationSpec { dropout, ..none };
        let nothing = DropoutSpec::default();
        let rows = [
            (dropping(DropoutSpec { embedding: 1.0, ..nothing }), "dropout_embedding"),
            (dropping(DropoutSpec { attention: -0.1, ..nothing }), "dropout_attention"),
            (dropping(DropoutSpec { residual: f32::NAN, ..nothing }), "dropout_residual"),
            (RegularisationSpec { label_smoothing: 2.0, ..none }, "label_smoothing"),
        ];
        for (spec, key) in rows {
            assert_eq!(spec.validate().unwrap_err().key, format!("regularisation.{key}"));
        }
    }
}
