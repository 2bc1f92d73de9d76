//! How far a preparation has come, saved now and then, so that it goes on after an interruption and ends with the same bytes.

use super::error::PrepareError;
use super::manifest::Shard;
use super::report::Report;
use crate::store::disk::write_atomic;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The work folder below the output; hidden, so that nothing takes it for text.
pub const WORK: &str = ".prepare";
const STATE: &str = "state.json";
/// Changes when older programs would misread a work folder.
const VERSION: u32 = 1;

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The pass that is under way.
    pub pass: Pass,
    /// The next record: of which unit.
    pub unit: usize,
    /// The next record: its number.
    pub record: u64,
    /// Documents in the spool.
    pub documents: u64,
    /// Bytes of text in the spool.
    pub text_bytes: u64,
    /// Shards that are finished.
    pub shards: Vec<Shard>,
    /// The first document that is in none of them.
    pub next: u64,
    /// Where its text lies in the spool.
    pub next_at: u64,
    /// What was counted so far.
    pub report: Report,
}

/// A pass over the documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pass {
    /// Reading and judging one by one.
    #[default]
    Read,
    /// Comparing with one another.
    Compare,
    /// Learning a tokenizer.
    Learn,
    /// Writing shards.
    Write,
}

impl State {
    /// The state of `command` in a work folder, or a new one.
    ///
    /// # Errors
    /// The folder is of another command, or cannot be read.
    pub fn open(work: &Path, report: Report) -> Result<State, PrepareError> {
        let path = work.join(STATE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(State { version: VERSION, report, ..State::default() });
            }
            Err(error) => return Err(PrepareError::io("reading", &path)(error)),
        };
        let folder = work.to_owned();
        let state: State = serde_json::from_slice(&text).map_err(|error| PrepareError::Torn {
            path,
            reason: error.to_string(),
            folder: folder.clone(),
        })?;
        if state.version != VERSION || state.report.command != report.command {
            let reason = "holds an unfinished preparation of other input or with other flags";
            return Err(PrepareError::Taken { folder, reason });
        }
        Ok(state)
    }

    /// Saves it.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, work: &Path) -> Result<(), PrepareError> {
        // Numbers and strings: JSON can say it.
        let text = serde_json::to_vec(self).unwrap_or_default();
        write_whole(&work.join(STATE), &text)
    }
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), PrepareError> {
    write_atomic(path, bytes).map_err(|error| match error {
        crate::store::StoreError::Io { action, path, source } => {
            PrepareError::Io { action, path, source }
        }
        other => PrepareError::Setting(other.to_string()),
    })
}
