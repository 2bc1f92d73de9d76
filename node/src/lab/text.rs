//! The text that all runs of a lab learn from, and the sequences that all are measured on.

use super::file::{Candidate, LabFile};
use crate::data::{Batch, Corpus, Dataset, Tokenizer};
use anyhow::Context;
use shoal_protocol::id::Digest;
use shoal_protocol::run::{DataSpec, RunSpec, TokenizerSpec};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What texts a lab has.
#[derive(Clone, Debug)]
pub struct Text {
    data: Option<PathBuf>,
    tokenizer: Option<PathBuf>,
    cache: PathBuf,
    vocab: u32,
    tokens: TokenizerSpec,
    described: DataSpec,
    /// Measured after rounds: the same sequences for every run.
    pub heldout: Batch,
    /// Training sequences that are measured beside them; may be none.
    pub training: Batch,
}

impl Text {
    /// Opens the texts: `data` and `heldout` replace what the file names; `cache` is a folder for token files.
    ///
    /// # Errors
    /// A text is unreadable or too short, or does not fit the model.
    pub fn open(
        file: &LabFile,
        data: Option<&Path>,
        heldout: Option<&Path>,
        cache: &Path,
    ) -> anyhow::Result<Text> {
        let run = &file.methods[0].candidates[0].run;
        let resolved = run.resolve(data, None, cache)?;
        let mut text = Text {
            data: resolved.data,
            tokenizer: resolved.tokenizer,
            cache: cache.to_owned(),
            vocab: resolved.spec.model.vocab,
            tokens: resolved.spec.tokenizer.clone(),
            described: resolved.spec.data.clone(),
            heldout: Batch::default(),
            training: Batch::default(),
        };
        let other = heldout.or(file.heldout.as_deref());
        text.heldout = match other {
            Some(path) => text.all_of(path, &resolved.spec, file.heldout_sequences)?,
            None => text.dataset(&resolved.spec)?.heldout_batch(file.heldout_sequences)?,
        };
        // The same ones whatever seed a run has.
        let dataset = text.dataset(&RunSpec { seed: 0, ..resolved.spec.clone() })?;
        text.training = dataset.batch(0..file.training_sequences.min(dataset.samples()))?;
        let what = "nothing is held out: raise `data.heldout_permille`, or name another text under [heldout]";
        anyhow::ensure!(text.heldout.rows > 0, what);
        Ok(text)
    }

    /// Sequences of another text, drawn from all of it.
    fn all_of(&self, path: &Path, spec: &RunSpec, count: u64) -> anyhow::Result<Batch> {
        let corpus = Arc::new(Corpus::open(path)?);
        let tokenizer = Tokenizer::open(&self.tokens, self.tokenizer.as_deref())?;
        let context = spec.model.context;
        let data = Dataset::describe_text(&corpus, &tokenizer, context, 0, &self.cache)
            .with_context(|| format!("measuring on {}", path.display()))?;
        // The same ones whatever seed a run has.
        let spec = RunSpec { data, seed: 0, ..spec.clone() };
        let dataset = Dataset::open(&spec, Some(path), self.tokenizer.as_deref(), &self.cache)?;
        Ok(dataset.batch(0..count.min(dataset.samples()))?)
    }

    /// The spec of a candidate, for the text; seed and rounds are the candidate's own.
    pub fn spec(&self, candidate: &Candidate) -> RunSpec {
        candidate.run.spec(self.vocab, self.tokens.clone(), self.described.clone())
    }

    /// The training text in the order of the spec's seed.
    ///
    /// # Errors
    /// It is not what it was when the lab began.
    pub fn dataset(&self, spec: &RunSpec) -> anyhow::Result<Dataset> {
        let (data, tokenizer) = (self.data.as_deref(), self.tokenizer.as_deref());
        Ok(Dataset::open(spec, data, tokenizer, &self.cache)?)
    }

    /// Names the sequences that are measured.
    pub fn measured_digest(&self) -> Digest {
        let tokens = self.heldout.tokens.iter().chain(&self.training.tokens);
        let bytes: Vec<u8> = tokens.flat_map(|token| token.to_le_bytes()).collect();
        Digest::of(&bytes)
    }
}
