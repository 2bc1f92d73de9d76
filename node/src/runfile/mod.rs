//! A run file: the form in which people write down what all peers of a run agree on.
//!
//! It is TOML; [`RunFile::parse`] reads it, [`RunFile::resolve`] makes a [`RunSpec`] of it by looking at the text and the
//! tokenizer it names, [`template`] writes a new one. The same file with the same text gives the same run everywhere: paths
//! are not part of the spec, digests are.

mod document;
mod inner;
mod notes;
mod read;
mod reference;
mod smaller;
mod stop;
mod strategy;
mod template;

pub use reference::reference;
pub use template::{Template, template};

use crate::blob::first;
use crate::data::{Corpus, DataError, Dataset, Tokenizer, stories};
use crate::store::StoreError;
use crate::store::floats::bytes_of;
use crate::store::teacher::Teacher;
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::run::{
    Blob, DataSpec, DistillSpec, ExchangeSpec, GossipSpec, GroupSpec, InnerSpec, ModelSpec,
    OuterSpec, PROTOCOL_VERSION, PruneSpec, RegularisationSpec, RunSpec, SpecError, StopSpec,
    StrategySpec, TokenizerSpec,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a run file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a run file says.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFile {
    /// A short name for people.
    pub name: String,
    /// Who made the run; zeros if the file does not say.
    pub creator: PeerId,
    /// Initial parameters and the order of the data follow from it.
    pub seed: u64,
    /// After this round the run is over.
    pub rounds: u64,
    /// The architecture; its vocabulary is the tokenizer's unless `vocab` says otherwise.
    pub model: ModelSpec,
    /// The model that it begins with. None: parameters that follow from the seed.
    pub start: Option<Teacher>,
    /// The vocabulary, if the file gives one.
    pub vocab: Option<u32>,
    /// The tokenizer's file; none for bytes.
    pub tokenizer: Option<PathBuf>,
    /// Where the text comes from.
    pub source: Source,
    /// Held-out share at the text's end, in thousandths.
    pub heldout_permille: u16,
    /// Pieces of a window that is shuffled, of a text that peers fetch from each other.
    pub window: u32,
    /// What each peer does between exchanges.
    pub inner: InnerSpec,
    /// The outer optimiser.
    pub outer: OuterSpec,
    /// How pseudo-gradients travel.
    pub exchange: ExchangeSpec,
    /// Who takes part in a round, and how long it waits.
    pub group: GroupSpec,
    /// What a round is made of beside that.
    pub strategy: StrategySpec,
    /// How peers average in small groups, if the run has no one state for all.
    pub gossip: Option<GossipSpec>,
    /// When it is over before its last round, and the average of its parameters.
    pub stop: Option<StopSpec>,
    /// Dropout and label smoothing.
    pub regularisation: RegularisationSpec,
    /// Weights that become zero in the middle of the run.
    pub prune: Option<PruneSpec>,
    /// What is learned from a teacher.
    pub lesson: Option<Lesson>,
}

/// A teacher, and how one learns from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// A checkpoint's folder or a Hugging Face folder.
    pub teacher: PathBuf,
    /// The rest; its digest is not the teacher's before that is read.
    pub spec: DistillSpec,
}

/// Where a run's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A text file, a folder of them, or a prepared folder.
    Text(PathBuf),
    /// Stories from the node's own generator.
    Stories {
        /// Length of the text in bytes.
        bytes: u64,
        /// Seed of the generator.
        seed: u64,
    },
}

impl Source {
    /// The tokenizer that lies with prepared data.
    fn tokenizer(&self) -> Option<PathBuf> {
        match self {
            Source::Text(path) => Tokenizer::prepared(path),
            Source::Stories { .. } => None,
        }
    }
}

/// A run file as a node is started with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What all peers agree on.
    pub spec: RunSpec,
    /// The text, unless it is made.
    pub data: Option<PathBuf>,
    /// The tokenizer's file, unless it is bytes.
    pub tokenizer: Option<PathBuf>,
    /// The teacher's folder, if there is one.
    pub teacher: Option<PathBuf>,
    /// The files that a node needs before it begins, for others to fetch.
    pub first: Vec<(Blob, Vec<u8>)>,
}

/// A fault in a run file: where, which key, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {reason}", path.display())]
pub struct RunFileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, why, and what would be right.
    pub reason: String,
}

/// Why a run file gives no run.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}; `shoal new -o {}` writes a run file", path.display(), path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What it says is wrong.
    #[error(transparent)]
    File(#[from] RunFileError),
    /// The text or the tokenizer is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The teacher, or the model to begin with, cannot be read.
    #[error(transparent)]
    Teacher(#[from] StoreError),
    /// What it says does not fit the text or the tokenizer.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl Resolved {
    /// A run that an older build began goes on as it was: the latest of those that lie in `runs`.
    #[must_use]
    pub fn as_begun(mut self, runs: &Path) -> Resolved {
        let is_there = |spec: &RunSpec| runs.join(spec.id().to_string()).exists();
        if !is_there(&self.spec) {
            self.spec = self.spec.as_once().into_iter().find(is_there).unwrap_or(self.spec);
        }
        self
    }
}

impl RunFile {
    /// Reads a run file; paths in it count from its folder.
    ///
    /// # Errors
    /// The file cannot be read, or the first fault in it.
    pub fn read(path: &Path) -> Result<RunFile, ResolveError> {
        let failed = |source| ResolveError::Io { path: path.to_owned(), source };
        let size = path.metadata().map_err(failed)?.len();
        if size > FILE_BYTES_MAX {
            let reason = format!("{size} bytes are no run file");
            return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, reason)));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Ok(RunFile::parse(&text, path)?)
    }

    /// Reads the text of the run file at `path`; paths in it count from its folder.
    ///
    /// # Errors
    /// The first fault: syntax, an unknown key, a wrong type, a value out of range.
    pub fn parse(text: &str, path: &Path) -> Result<RunFile, RunFileError> {
        read::parse(text, path)
    }

    /// Looks at the text and the tokenizer and makes the spec. `data` and `tokenizer` replace what the file names; `cache` is a
    /// folder for token files.
    ///
    /// # Errors
    /// The text or the tokenizer is unreadable, too short, or does not fit the model.
    pub fn resolve(
        &self,
        data: Option<&Path>,
        tokenizer: Option<&Path>,
        cache: &Path,
    ) -> Result<Resolved, ResolveError> {
        let source = data.map_or_else(|| self.source.clone(), |path| Source::Text(path.to_owned()));
        let tokenizer_file = tokenizer.map(Path::to_owned).or_else(|| self.tokenizer.clone());
        let tokenizer_file = tokenizer_file.or_else(|| source.tokenizer());
        let tokenizer =
            tokenizer_file.as_deref().map_or(Ok(Tokenizer::Bytes), Tokenizer::from_file)?;
        let described = self.describe(&source, &tokenizer, cache)?;
        let vocab = self.vocab.unwrap_or(tokenizer.vocab());
        if tokenizer.vocab() > vocab {
            let reason =
                format!("{vocab} is less than the tokenizer's {} tokens", tokenizer.vocab());
            return Err(SpecError { key: "model.vocab", reason }.into());
        }
        let mut spec = self.spec(vocab, tokenizer.spec(), described);
        let start = self.start_bytes(&spec.model)?;
        spec.start = start.as_deref().and_then(first::blob);
        spec.validate()?;
        let mut first: Vec<_> = spec.start.zip(start).into_iter().collect();
        if let (Some(lesson), Some(distill)) = (&self.lesson, &mut spec.distill) {
            let teacher = lesson.read(&spec.model)?;
            distill.teacher = Digest::of(&teacher);
            // By gossip nobody fetches files from others yet.
            distill.pieces = first::blob(&teacher).filter(|_| spec.gossip.is_none());
            first.extend(distill.pieces.map(|pieces| (pieces, teacher)));
        }
        let data = match source {
            Source::Text(path) => Some(path),
            Source::Stories { .. } => None,
        };
        let teacher = self.lesson.as_ref().map(|lesson| lesson.teacher.clone());
        Ok(Resolved { spec, data, tokenizer: tokenizer_file, teacher, first })
    }

    fn describe(
        &self,
        source: &Source,
        tokenizer: &Tokenizer,
        cache: &Path,
    ) -> Result<DataSpec, DataError> {
        let describe = |corpus| {
            let (context, heldout) = (self.model.context, self.heldout_permille);
            Dataset::describe_text(&Arc::new(corpus), tokenizer, context, heldout, cache)
        };
        match source {
            Source::Text(path) => {
                let mut described = describe(Corpus::open(path)?)?;
                if let DataSpec::Text { window: Some(window), .. } = &mut described {
                    *window = self.window;
                }
                Ok(described)
            }
            Source::Stories { bytes, seed } => {
                let text = stories::stories(*seed, *bytes);
                let samples = describe(Corpus::from_bytes(text))?.samples();
                let heldout_permille = self.heldout_permille;
                Ok(DataSpec::Stories { seed: *seed, bytes: *bytes, samples, heldout_permille })
            }
        }
    }

    /// The file of the parameters that it begins with, which must be of this shape.
    fn start_bytes(&self, model: &ModelSpec) -> Result<Option<Vec<u8>>, SpecError> {
        let Some(Teacher { model: theirs, params }) = &self.start else { return Ok(None) };
        // How long sequences are does not show in the parameters, nor how they began.
        let ModelSpec { context, init_std, .. } = *model;
        if *model != (ModelSpec { context, init_std, ..theirs.clone() }) {
            let reason = format!(
                "the model there is of another shape ({theirs:?}): leave the other keys of [model] out, but `context`"
            );
            return Err(SpecError { key: "model.start", reason });
        }
        Ok(Some(bytes_of(params).to_vec()))
    }

    /// The spec, given what only the tokenizer and the text can tell. It is not validated.
    pub fn spec(&self, vocab: u32, tokenizer: TokenizerSpec, data: DataSpec) -> RunSpec {
        RunSpec {
            protocol: PROTOCOL_VERSION,
            name: self.name.clone(),
            creator: self.creator,
            seed: self.seed,
            rounds: self.rounds,
            model: ModelSpec { vocab, ..self.model.clone() },
            start: None,
            tokenizer,
            data,
            inner: self.inner.clone(),
            outer: self.outer.clone(),
            exchange: self.exchange.clone(),
            group: self.group.clone(),
            strategy: self.strategy,
            gossip: self.gossip,
            stop: self.stop,
            regularisation: self.regularisation,
            prune: self.prune,
            distill: self.lesson.as_ref().map(|lesson| lesson.spec.clone()),
        }
    }
}

impl Lesson {
    /// Reads the teacher; its file.
    fn read(&self, student: &ModelSpec) -> Result<Vec<u8>, ResolveError> {
        let teacher = Teacher::read(&self.teacher)?;
        let fits = teacher.check(student);
        fits.map_err(|reason| SpecError { key: "distill.teacher", reason })?;
        Ok(teacher.bytes())
    }
}

#[cfg(test)]
mod tests;
