//! Text to tokens and back: bytes as they are, or a Hugging Face `tokenizer.json`.

use super::error::DataError;
use crate::prepare::manifest::{Manifest, TOKENIZER};
use shoal_protocol::id::Digest;
use shoal_protocol::run::{Blob, TokenizerSpec};
use shoal_protocol::wire::PIECE_BYTES;
use std::path::{Path, PathBuf};

/// A tokenizer.
pub enum Tokenizer {
    /// One token per byte.
    Bytes,
    /// A Hugging Face tokenizer from a file.
    File(Box<FileTokenizer>),
}

/// A Hugging Face tokenizer and the file it came from.
pub struct FileTokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    digest: Digest,
    pieces: Option<Blob>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, or is no tokenizer that the `tokenizers` library understands.
    pub fn from_file(path: &Path) -> Result<Tokenizer, DataError> {
        let bytes = std::fs::read(path).map_err(DataError::io("reading", path))?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| failed(path, &e))?;
        let digest = Digest::of(&bytes);
        let list: Vec<Digest> = bytes.chunks(PIECE_BYTES).map(Digest::of).collect();
        let pieces = Blob::of(&list, bytes.len() as u64);
        let file = FileTokenizer { inner, path: path.to_owned(), digest, pieces };
        Ok(Tokenizer::File(Box::new(file)))
    }

    /// The file that lies in a prepared folder, if it was tokenised with one.
    pub fn prepared(folder: &Path) -> Option<PathBuf> {
        let manifest = Manifest::is_in(folder).then(|| Manifest::load(folder).ok())??;
        manifest.tokenizer_digest().map(|_| folder.join(TOKENIZER))
    }

    /// The tokenizer that a run asks for; `file` is where the person keeps it, if it is a file.
    ///
    /// # Errors
    /// No file given, not readable, or another file than the run's.
    pub fn open(spec: &TokenizerSpec, file: Option<&Path>) -> Result<Tokenizer, DataError> {
        let TokenizerSpec::File { digest, .. } = spec else { return Ok(Tokenizer::Bytes) };
        let tokenizer = Tokenizer::from_file(file.ok_or(DataError::MissingTokenizer)?)?;
        match tokenizer.spec() {
            TokenizerSpec::File { digest: got, .. } if got != *digest => Err(DataError::Other {
                what: "the tokenizer file",
                got: got.to_string(),
                expected: digest.to_string(),
            }),
            _ => Ok(tokenizer),
        }
    }

    /// What a run's spec says of it.
    pub fn spec(&self) -> TokenizerSpec {
        match self {
            Tokenizer::Bytes => TokenizerSpec::Bytes,
            Tokenizer::File(file) => {
                TokenizerSpec::File { digest: file.digest, pieces: file.pieces }
            }
        }
    }

    /// The file it came from, if any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Tokenizer::Bytes => None,
            Tokenizer::File(file) => Some(&file.path),
        }
    }

    /// Rows that a model's embedding needs: one more than the largest token.
    pub fn vocab(&self) -> u32 {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::File(file) => {
                file.inner.get_vocab(true).values().max().map_or(0, |largest| largest + 1)
            }
        }
    }

    /// The tokens of a text, without special tokens around it.
    ///
    /// # Errors
    /// The tokenizer does not know what to do with it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Tokenizer::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Tokenizer::File(file) => {
                let encoding = file.inner.encode_fast(text, false);
                Ok(encoding.map_err(|e| failed(&file.path, &e))?.get_ids().to_vec())
            }
        }
    }

    /// The text of tokens; bytes that are no UTF-8 become replacement characters, as do tokens outside the vocabulary.
    ///
    /// # Errors
    /// The tokenizer does not know what to do with them.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, DataError> {
        match self {
            Tokenizer::Bytes => {
                let bytes: Vec<u8> =
                    tokens.iter().map(|t| u8::try_from(*t).unwrap_or(0xff)).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Tokenizer::File(file) => {
                file.inner.decode(tokens, false).map_err(|e| failed(&file.path, &e))
            }
        }
    }
}

fn failed(path: &Path, reason: &tokenizers::Error) -> DataError {
    DataError::Tokenizer { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_and_out() {
        let tokens = Tokenizer::Bytes.encode("né").unwrap();
        assert_eq!(tokens, [110, 195, 169]);
        assert_eq!(Tokenizer::Bytes.decode(&tokens).unwrap(), "né");
        assert_eq!(Tokenizer::Bytes.decode(&[110, 195, 900]).unwrap(), "n\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_run_s_file_is_asked_for_and_checked() {
        let spec = TokenizerSpec::File { digest: Digest::of(b"another"), pieces: None };
        assert!(matches!(Tokenizer::open(&spec, None), Err(DataError::MissingTokenizer)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Tokenizer::open(&spec, Some(&path)), Err(DataError::Tokenizer { .. })));
    }
}
