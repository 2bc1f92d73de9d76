//! What a folder of prepared data holds: its shards with their digests, and the tokenizer. The BLAKE3 of the manifest's
//! canonical form is the data's name.
//!
//! A shard is token ids one after another, little-endian, [`Manifest::width`] bytes each; with byte tokens that is the text
//! itself. Documents follow one another with an empty line between, and do not go over the end of a shard.

use serde::{Deserialize, Serialize};
use shoal_protocol::id::Digest;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// The tokenizer's file name, if there is one.
pub const TOKENIZER: &str = "tokenizer.json";
/// Changes when older programs would misread a folder.
pub const VERSION: u32 = 1;
/// What marks the file as this kind of manifest.
pub const KIND: &str = "shoal prepared data";
/// What stands between two documents, before it is tokenised.
pub const SEPARATOR: &str = "\n\n";
/// Most shards: a manifest that a peer sends stays small enough to hold. 16 TiB at the default size; a guess.
const SHARDS_MAX: usize = 1 << 20;

/// A prepared folder's table of contents. Its canonical form is this struct as JSON, indented by two, with a line end after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`KIND`].
    pub kind: String,
    /// [`VERSION`].
    pub version: u32,
    /// How text became tokens.
    pub tokenizer: TokenizerEntry,
    /// Bytes of a token: 1 for byte tokens, else 2 or 4.
    pub width: u32,
    /// Size of all shards.
    pub bytes: u64,
    /// Tokens of all shards.
    pub tokens: u64,
    /// Documents of all shards.
    pub documents: u64,
    /// The shards in order.
    pub shards: Vec<Shard>,
}

/// The tokenizer of prepared data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum TokenizerEntry {
    /// One token per byte.
    Bytes,
    /// [`TOKENIZER`] in the same folder.
    File {
        /// BLAKE3 of the file, in hex.
        blake3: String,
        /// Rows that a model's embedding needs.
        vocab: u32,
    },
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its file's name.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Tokens in it.
    pub tokens: u64,
    /// Documents in it.
    pub documents: u64,
    /// BLAKE3 of the file, in hex.
    pub blake3: String,
}

/// What is wrong with prepared data.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file could not be read.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No manifest, or one that says what cannot be.
    #[error("the manifest cannot be used: {0}")]
    Invalid(String),
    /// A file is not what the manifest says.
    #[error(
        "{path} was altered: {reason}; prepare the data again, or bring the file from where it is intact"
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl Manifest {
    /// Whether a folder holds prepared data.
    pub fn is_in(folder: &Path) -> bool {
        let Ok(text) = std::fs::read(folder.join(MANIFEST)) else { return false };
        // Other programs' manifests have other fields; this one's is asked for its faults by `load`.
        text.windows(KIND.len()).take(256).any(|window| window == KIND.as_bytes())
    }

    /// Reads a folder's manifest and checks that it makes sense. The shards are not looked at: see [`Manifest::verify`].
    ///
    /// # Errors
    /// Absent, of another version, or saying what cannot be.
    pub fn load(folder: &Path) -> Result<Manifest, ManifestError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(io("reading", &path))?;
        Manifest::parse(&text).map_err(|error| match error {
            ManifestError::Invalid(why) => {
                ManifestError::Invalid(format!("{}: {why}", path.display()))
            }
            other => other,
        })
    }

    /// Reads a manifest from bytes, which may come from a peer.
    ///
    /// # Errors
    /// No manifest, of another version, or saying what cannot be.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let manifest: Manifest = serde_json::from_slice(text)
            .map_err(|error| ManifestError::Invalid(format!("it is none: {error}")))?;
        manifest.check().map_err(ManifestError::Invalid)?;
        Ok(manifest)
    }

    /// The bytes that [`Manifest::digest`] is of; the file holds the same.
    pub fn canonical(&self) -> Vec<u8> {
        // Strings and whole numbers only: JSON can say it.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The data's name: BLAKE3 of the canonical form, which names every shard's.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    /// BLAKE3 of the tokenizer's file; none for bytes.
    pub fn tokenizer_digest(&self) -> Option<Digest> {
        match &self.tokenizer {
            TokenizerEntry::Bytes => None,
            TokenizerEntry::File { blake3, .. } => Digest::from_hex(blake3),
        }
    }

    /// Rows that a model's embedding needs.
    pub fn vocab(&self) -> u32 {
        match self.tokenizer {
            TokenizerEntry::Bytes => 256,
            TokenizerEntry::File { vocab, .. } => vocab,
        }
    }

    /// Reads every file and compares it with the manifest; `progress` hears the bytes of each that is intact.
    ///
    /// # Errors
    /// The first file that is absent or altered, by name.
    pub fn verify(
        &self,
        folder: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ManifestError> {
        if let TokenizerEntry::File { blake3, .. } = &self.tokenizer {
            verify_file(&folder.join(TOKENIZER), None, blake3)?;
        }
        for shard in &self.shards {
            shard.verify(folder)?;
            progress(shard.bytes);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != KIND || self.version != VERSION {
            let (kind, version) = (&self.kind, self.version);
            return Err(format!(
                "it is {kind:?} version {version}, this program reads {KIND:?} version {VERSION}"
            ));
        }
        let width = match &self.tokenizer {
            TokenizerEntry::Bytes => 1,
            TokenizerEntry::File { blake3, .. } if Digest::from_hex(blake3).is_none() => {
                return Err("the tokenizer's digest is not 64 hex digits".into());
            }
            TokenizerEntry::File { vocab, .. } => width(*vocab),
        };
        if self.width != width {
            return Err(format!("tokens have {} bytes, {width} would be right", self.width));
        }
        if self.shards.len() > SHARDS_MAX {
            return Err(format!("{} shards are more than {SHARDS_MAX}", self.shards.len()));
        }
        self.shards.iter().try_for_each(|shard| shard.check(self.width))?;
        self.check_sums()
    }

    fn check_sums(&self) -> Result<(), String> {
        type Of = fn(&Shard) -> u64;
        let sum =
            |of: Of| self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(of(shard)));
        let rows: [(&str, u64, Of); 3] = [
            ("bytes", self.bytes, |shard| shard.bytes),
            ("tokens", self.tokens, |shard| shard.tokens),
            ("documents", self.documents, |shard| shard.documents),
        ];
        match rows.into_iter().find(|(_, told, of)| sum(*of) != Some(*told)) {
            Some((name, told, _)) => Err(format!("its {told} {name} are not the shards' sum")),
            None => Ok(()),
        }
    }
}

/// Bytes of a token of a vocabulary of `vocab` ids.
pub fn width(vocab: u32) -> u32 {
    if vocab <= 1 << 16 { 2 } else { 4 }
}

impl Shard {
    /// Reads the file and compares it.
    ///
    /// # Errors
    /// It is absent or altered.
    pub fn verify(&self, folder: &Path) -> Result<(), ManifestError> {
        verify_file(&folder.join(&self.file), Some(self.bytes), &self.blake3)
    }

    fn check(&self, width: u32) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if self.file.is_empty() || self.file.starts_with('.') || !self.file.chars().all(plain) {
            return Err(format!("{:?} is no shard's name", self.file));
        }
        if Some(self.bytes) != self.tokens.checked_mul(u64::from(width)) {
            return Err(format!("{} says {} bytes, not {width} a token", self.file, self.bytes));
        }
        if Digest::from_hex(&self.blake3).is_none() {
            return Err(format!("the digest of {} is not 64 hex digits", self.file));
        }
        Ok(())
    }
}

fn verify_file(path: &Path, bytes: Option<u64>, blake3: &str) -> Result<(), ManifestError> {
    let altered = |reason: String| ManifestError::Altered { path: path.to_owned(), reason };
    let file = File::open(path).map_err(io("opening", path))?;
    let size = file.metadata().map_err(io("reading", path))?.len();
    if let Some(bytes) = bytes.filter(|bytes| *bytes != size) {
        return Err(altered(format!("it has {size} bytes, the manifest says {bytes}")));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(io("reading", path))?;
    let got = Digest(*hasher.finalize().as_bytes()).to_string();
    match got == blake3 {
        true => Ok(()),
        false => Err(altered(format!("its BLAKE3 is {got}, the manifest says {blake3}"))),
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ManifestError {
    let path = path.to_owned();
    move |source| ManifestError::Io { action, path, source }
}
