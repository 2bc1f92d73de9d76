//! A teacher: a model that others learn from, out of a checkpoint or a Hugging Face folder, known by its digest.

use super::checkpoint::Checkpoint;
use super::error::StoreError;
use super::floats::{bytes_of, bytes_of_mut};
use super::hf;
use super::place;
use shoal_protocol::id::Digest;
use shoal_protocol::run::ModelSpec;
use shoal_protocol::wire::{from_cbor_head, to_cbor};
use std::path::Path;

/// A model and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Teacher {
    /// The architecture.
    pub model: ModelSpec,
    /// `[params]`, in the layout's order.
    pub params: Vec<f32>,
}

impl Teacher {
    /// Reads a checkpoint's folder, a folder of checkpoints, a run's or a node's (then the newest intact one), or a Hugging Face folder.
    ///
    /// # Errors
    /// There is none of these, or it is not intact.
    pub fn read(path: &Path) -> Result<Teacher, StoreError> {
        if path.join(hf::config::CONFIG).exists() {
            let hf::Imported { model, params, .. } = hf::import(path)?;
            return Ok(Teacher { model, params });
        }
        let found = place::open(path).map_err(|why| {
            let reason = format!("it is no Hugging Face folder, and as a checkpoint: {why:#}");
            StoreError::unsupported(path, reason)
        })?;
        let Checkpoint { spec, params, .. } = found.checkpoint;
        // How it began is past.
        Ok(Teacher { model: ModelSpec { init_std: None, ..spec.model }, params })
    }

    /// What it is known by: BLAKE3 of [`bytes`](Self::bytes).
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&to_cbor(&self.model));
        hasher.update(bytes_of(&self.params));
        Digest(*hasher.finalize().as_bytes())
    }

    /// The file that peers give each other: the shape's canonical CBOR, then the parameters, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        [&to_cbor(&self.model), bytes_of(&self.params)].concat()
    }

    /// Reads that file.
    ///
    /// # Errors
    /// It is none.
    pub fn of_bytes(bytes: &[u8]) -> Result<Teacher, String> {
        let (model, head) = from_cbor_head::<ModelSpec>(bytes)?;
        let rest = &bytes[head..];
        let mut params = vec![0.0; rest.len() / 4];
        if rest.len() as u64 != 4 * model.params() {
            return Err(format!("{} bytes are not {} numbers", rest.len(), model.params()));
        }
        bytes_of_mut(&mut params).copy_from_slice(rest);
        Ok(Teacher { model, params })
    }

    /// Whether `student` can learn from it.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, student: &ModelSpec) -> Result<(), String> {
        let (own, theirs) = (&self.model, student);
        if own.vocab != theirs.vocab {
            return Err(format!(
                "the teacher has {} tokens, the run {}: take one with the run's tokenizer",
                own.vocab, theirs.vocab
            ));
        }
        if own.context < theirs.context {
            return Err(format!(
                "the teacher knows {} places, the run's sequences have {}: lower `model.context`",
                own.context, theirs.context
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{initial_params, preset};
    use shoal_protocol::run::TokenizerSpec;

    #[test]
    fn it_is_known_by_shape_and_parameters() {
        let model = ModelSpec { init_std: None, ..preset("1m").unwrap() };
        let teacher = Teacher { params: initial_params(&model, 1), model: model.clone() };
        let dir = tempfile::tempdir().unwrap();
        hf::export(&model, &teacher.params, &TokenizerSpec::Bytes, None, dir.path()).unwrap();
        let read = Teacher::read(dir.path()).unwrap();
        assert_eq!((read.digest(), &read), (teacher.digest(), &teacher));
        let mut other = teacher.clone();
        other.params[0] += 1.0;
        assert_ne!(other.digest(), teacher.digest());
        let wider =
            Teacher { model: ModelSpec { rope_theta: 5e5, ..model.clone() }, ..teacher.clone() };
        assert_ne!(wider.digest(), teacher.digest());
        assert_eq!(Digest::of(&teacher.bytes()), teacher.digest());
        assert_eq!(Teacher::of_bytes(&teacher.bytes()), Ok(teacher.clone()));
        assert!(Teacher::of_bytes(&teacher.bytes()[..99]).is_err());
        assert_eq!(teacher.check(&model), Ok(()));
        let long = ModelSpec { context: 4096, ..model.clone() };
        assert!(teacher.check(&long).unwrap_err().contains("places"));
        let wide = ModelSpec { vocab: 300, ..model };
        assert!(teacher.check(&wide).unwrap_err().contains("tokens"));
        let none = tempfile::tempdir().unwrap();
        assert!(
            Teacher::read(none.path()).unwrap_err().to_string().contains("no Hugging Face folder")
        );
    }
}
