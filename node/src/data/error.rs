//! What can be wrong with the text a person brings, each with what mends it.

use crate::prepare::manifest::ManifestError;
use std::path::PathBuf;

/// Why a text cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// What was tried, like `opening`.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A folder or file without any text.
    #[error("{0} holds no text: give a text file, or a folder with text files in it")]
    Empty(PathBuf),
    /// Another text than the run's.
    #[error(
        "{what} is not the one that the run was made with: BLAKE3 {got}, expected {expected}; bring the same files with --data"
    )]
    Other {
        /// `the text` or `the tokenizer file`.
        what: &'static str,
        /// Its digest.
        got: String,
        /// The run's.
        expected: String,
    },
    /// The run's text was not given.
    #[error(
        "the run learns from a text of {bytes} bytes that each peer brings: name it with --data"
    )]
    Missing {
        /// Length of the text.
        bytes: u64,
    },
    /// The run's tokenizer was not given.
    #[error("the run's tokenizer is a file that each peer brings: name its tokenizer.json")]
    MissingTokenizer,
    /// The same text gives another number of samples.
    #[error(
        "the text gives {got} samples, the run's spec says {expected}: the spec was not made from this text and context"
    )]
    Samples {
        /// Samples of this text.
        got: u64,
        /// Samples that the spec names.
        expected: u64,
    },
    /// Less text than one sequence.
    #[error(
        "{tokens} tokens are less than one sequence of {context} and its target: bring more text, or lower `model.context`"
    )]
    Short {
        /// Tokens in the training part.
        tokens: u64,
        /// The model's context.
        context: u32,
    },
    /// A part of the text that peers have not given yet.
    #[error("piece {piece} of the run's data is not here yet: peers that hold it are asked")]
    Absent {
        /// The piece.
        piece: u32,
    },
    /// Less disk than the run needs.
    #[error(
        "{cap} bytes are less than the run's data need at the least: raise --data-cap to {least} or more"
    )]
    Cap {
        /// What is given.
        cap: u64,
        /// What it takes.
        least: u64,
    },
    /// The tokenizer failed.
    #[error("the tokenizer {path} failed: {reason}")]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// In the tokenizer's words.
        reason: String,
    },
    /// The tokenizer makes tokens that the model has no row for.
    #[error(
        "token {token} of the tokenizer is outside the model's vocabulary of {vocab}: raise `model.vocab`"
    )]
    Vocab {
        /// The token.
        token: u32,
        /// The model's vocabulary.
        vocab: u32,
    },
    /// A prepared folder is altered, or does not fit the run.
    #[error(transparent)]
    Prepared(#[from] ManifestError),
    /// A prepared folder was tokenised otherwise than the run wants it.
    #[error(
        "{folder} was prepared with {got}, the run's tokenizer is {expected}: take the folder's own tokenizer, or prepare the data again"
    )]
    Tokenised {
        /// The folder.
        folder: PathBuf,
        /// Its tokenizer.
        got: String,
        /// The run's.
        expected: String,
    },
}

impl DataError {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> DataError {
        let path = path.to_owned();
        move |source| DataError::Io { action, path, source }
    }
}
