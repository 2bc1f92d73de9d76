//! What stops a preparation, each with what mends it. A bad record never does: it is counted (see [`super::report`]).

use super::manifest::ManifestError;
use crate::data::DataError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why data cannot be prepared, looked at or used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The operating system said no.
    #[error("{action} {path} failed: {source}{}", mend(source))]
    Io {
        /// What was tried, like `writing`.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No file that can be read as text.
    #[error(
        "{0} holds no file that can be read: give .txt, .md, .jsonl or .parquet files (the first three also as .gz or .zst), or folders of them"
    )]
    NoInput(PathBuf),
    /// The output folder holds something else.
    #[error("{folder} {reason}: give another folder with -o, or empty it")]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        reason: &'static str,
    },
    /// Everything was dropped.
    #[error(
        "of {read} documents none was kept; most were dropped by {rule}. {report} shows examples, `--without RULE` switches a rule off"
    )]
    NothingKept {
        /// Documents that were read.
        read: u64,
        /// The rule that dropped most of them, or what was wrong with them.
        rule: String,
        /// The report.
        report: PathBuf,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; what is done is kept in {0}: the same command goes on from there")]
    Interrupted(PathBuf),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A file of the work folder is not what was written.
    #[error("{path} is not intact ({reason}): remove {folder} and start again")]
    Torn {
        /// The file at fault.
        path: PathBuf,
        /// What does not fit.
        reason: String,
        /// The work folder.
        folder: PathBuf,
    },
    /// The manifest or a shard is at fault.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The tokenizer is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer could not be trained.
    #[error("training the tokenizer failed: {0}")]
    Training(String),
    /// What makes the text failed.
    #[error("making text failed: {0}")]
    Making(String),
}

impl PrepareError {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> PrepareError {
        let path = path.to_owned();
        move |source| PrepareError::Io { action, path, source }
    }
}

fn mend(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space or choose another folder with -o, then give the same command again: it goes on"
        }
        ErrorKind::PermissionDenied => "; give this user the right to it",
        _ => "",
    }
}
