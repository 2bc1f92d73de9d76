//! What a checkpoint's folder holds, with a BLAKE3 of every file and of the manifest itself.

use super::disk;
use super::error::StoreError;
use serde::{Deserialize, Serialize};
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::run::RunSpec;
use std::collections::BTreeMap;
use std::path::Path;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// Changes when older programs would misread a folder.
pub const FORMAT: u32 = 1;

/// A checkpoint's table of contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The committed round.
    pub round: Round,
    /// The state's digest as the peers agreed on it, in hex.
    pub digest: String,
    /// The run's id, in hex.
    pub run_id: String,
    /// What all peers agree on.
    pub spec: RunSpec,
    /// Held-out losses so far, by round.
    pub losses: Vec<(Round, f64)>,
    /// Every other file that has to be there, by name.
    pub files: BTreeMap<String, FileEntry>,
    /// The files that can be done without, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub local: BTreeMap<String, FileEntry>,
    /// BLAKE3 of this manifest's JSON with this field empty, in hex.
    pub check: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3, in hex.
    pub blake3: String,
}

impl FileEntry {
    /// The entry of a file as it lies there.
    pub(super) fn of(path: &Path) -> Result<FileEntry, StoreError> {
        let size = path.metadata().map_err(StoreError::io("reading", path))?.len();
        // An empty file cannot be mapped.
        let digest = if size == 0 { Digest::of(&[]) } else { Digest::of(&disk::map(path)?) };
        Ok(FileEntry { bytes: size, blake3: digest.to_string() })
    }

    /// Compares a file with its entry.
    ///
    /// # Errors
    /// The file is absent, or is not what was written.
    pub fn verify(&self, path: &Path) -> Result<(), StoreError> {
        let got = FileEntry::of(path)?;
        if got.bytes != self.bytes {
            let reason = format!("it has {} bytes, the manifest says {}", got.bytes, self.bytes);
            return Err(StoreError::torn(path, reason));
        }
        if got.blake3 != self.blake3 {
            return Err(StoreError::torn(path, "its BLAKE3 is not the manifest's"));
        }
        Ok(())
    }
}

impl Manifest {
    /// Reads and checks a folder's manifest.
    ///
    /// # Errors
    /// Absent, altered, of a newer format, or of a spec that is not the run's.
    pub fn read(folder: &Path) -> Result<Manifest, StoreError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(StoreError::io("reading", &path))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| StoreError::torn(&path, format!("it is no manifest: {error}")))?;
        if manifest.format != FORMAT {
            let reason = format!("its format is {}, this program reads {FORMAT}", manifest.format);
            return Err(StoreError::unsupported(&path, reason));
        }
        if manifest.clone().sealed().check != manifest.check {
            return Err(StoreError::torn(&path, "its own BLAKE3 does not fit"));
        }
        if manifest.spec.id().to_string() != manifest.run_id {
            return Err(StoreError::torn(&path, "its spec is not the run's that it names"));
        }
        Ok(manifest)
    }

    /// Writes it, sealed and flushed.
    pub(super) fn write(self, folder: &Path) -> Result<(), StoreError> {
        let sealed = self.sealed();
        // Maps with string keys and finite numbers only: JSON can say it.
        let text = serde_json::to_vec_pretty(&sealed)
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        disk::write_flushed(&folder.join(MANIFEST), &text)
    }

    /// The state's digest.
    ///
    /// # Errors
    /// It is not 64 hex digits.
    pub fn state_digest(&self, folder: &Path) -> Result<Digest, StoreError> {
        Digest::from_hex(&self.digest).ok_or_else(|| {
            StoreError::torn(&folder.join(MANIFEST), "its digest is not 64 hex digits")
        })
    }

    fn sealed(mut self) -> Manifest {
        self.check.clear();
        let text = serde_json::to_vec(&self).unwrap_or_default();
        self.check = Digest::of(&text).to_string();
        self
    }
}
