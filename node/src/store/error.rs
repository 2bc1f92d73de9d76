//! What can go wrong on disk, each with what mends it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    /// A file is not what was written.
    #[error("{path} is not intact: {reason}")]
    Torn {
        /// The file at fault.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A folder that is no model this program understands.
    #[error("{path} cannot be used: {reason}")]
    Unsupported {
        /// The file at fault.
        path: PathBuf,
        /// What is missing or unknown, and what would be right.
        reason: String,
    },
    /// The caller's own data do not fit together.
    #[error("the checkpoint cannot be written: {0}")]
    Invalid(String),
}

impl StoreError {
    /// Wraps an I/O error with what was tried.
    pub(super) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    }

    /// A file that does not hold what it should.
    pub(super) fn torn(path: &Path, reason: impl Into<String>) -> StoreError {
        StoreError::Torn { path: path.to_owned(), reason: reason.into() }
    }

    /// A file that says something this program does not know.
    pub(super) fn unsupported(path: &Path, reason: impl Into<String>) -> StoreError {
        StoreError::Unsupported { path: path.to_owned(), reason: reason.into() }
    }
}

fn mend(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space there or choose another folder with --home (what was stored before is intact)"
        }
        ErrorKind::PermissionDenied => {
            "; give this user the right to write there or choose another folder with --home"
        }
        ErrorKind::ReadOnlyFilesystem => "; choose a folder on a writable disk with --home",
        _ => "",
    }
}
