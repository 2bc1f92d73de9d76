//! The tokenizer of prepared data: bytes, a given file, or byte pairs learned from the data itself.

use super::error::PrepareError;
use super::manifest::{SEPARATOR, TOKENIZER, TokenizerEntry, width};
use super::state::write_whole;
use crate::data::Tokenizer;
use shoal_protocol::id::Digest;
use shoal_protocol::run::TokenizerSpec;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerBuilder,
    TokenizerImpl,
};

/// Which tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One token per byte.
    Bytes,
    /// A `tokenizer.json`, which is copied.
    File(PathBuf),
    /// Byte pairs, learned from the documents that are kept.
    Bpe {
        /// Tokens of the vocabulary.
        vocab: u32,
    },
}

/// Text that byte pairs are learned from at most: every so-manieth document of more. A guess; a vocabulary of 32 k words hardly
/// changes beyond it, and the counts of words must stay in memory.
pub const LEARN_BYTES_MAX: u64 = 64 << 20;

impl Choice {
    /// What names the choice among the settings.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn identity(&self) -> Result<String, PrepareError> {
        Ok(match self {
            Choice::Bytes => "tokenizer: bytes".into(),
            Choice::Bpe { vocab } => format!("tokenizer: {vocab} byte pairs learned from the data"),
            Choice::File(path) => {
                let text = std::fs::read(path).map_err(PrepareError::io("reading", path))?;
                format!("tokenizer: the file with BLAKE3 {}", Digest::of(&text))
            }
        })
    }

    /// The tokenizer, with its file in `folder` if it is one. `texts` gives the documents to learn from, if it comes to that.
    ///
    /// # Errors
    /// The file cannot be read, written or understood, or there is too little to learn from.
    pub fn place<I: Iterator<Item = String> + Send>(
        &self,
        folder: &Path,
        texts: impl FnOnce() -> Result<I, PrepareError>,
    ) -> Result<Tokenizer, PrepareError> {
        let path = folder.join(TOKENIZER);
        match self {
            Choice::Bytes => return Ok(Tokenizer::Bytes),
            // It is written whole, and by this command alone.
            Choice::Bpe { .. } if path.exists() => {}
            Choice::Bpe { vocab } => write_whole(&path, learn(*vocab, texts()?)?.as_bytes())?,
            Choice::File(from) => {
                Tokenizer::from_file(from)?;
                let text = std::fs::read(from).map_err(PrepareError::io("reading", from))?;
                write_whole(&path, &text)?;
            }
        }
        Ok(Tokenizer::from_file(&path)?)
    }
}

/// Byte-level byte pair encoding (Radford et al. 2019, section 2.2), as a `tokenizer.json`. The same texts give the same file.
fn learn(vocab: u32, texts: impl Iterator<Item = String> + Send) -> Result<String, PrepareError> {
    let failed = |error: tokenizers::Error| PrepareError::Training(error.to_string());
    let level = ByteLevel::new(false, true, true);
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(level)))
        .with_post_processor(None)
        .with_decoder(Some(DecoderWrapper::ByteLevel(level)))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab as usize)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    tokenizer.to_string(false).map_err(failed)
}

/// What a manifest says of a tokenizer.
pub fn entry(tokenizer: &Tokenizer) -> TokenizerEntry {
    match tokenizer.spec() {
        TokenizerSpec::Bytes => TokenizerEntry::Bytes,
        TokenizerSpec::File { digest, .. } => {
            TokenizerEntry::File { blake3: digest.to_string(), vocab: tokenizer.vocab() }
        }
    }
}

/// Bytes of a token.
pub fn token_width(tokenizer: &Tokenizer) -> u32 {
    match tokenizer.spec() {
        TokenizerSpec::Bytes => 1,
        TokenizerSpec::File { .. } => width(tokenizer.vocab()),
    }
}

/// A document as the bytes of its token ids, with the empty line that ends it.
///
/// # Errors
/// The tokenizer does not know what to do with it.
pub fn encode(tokenizer: &Tokenizer, mut text: String) -> Result<Vec<u8>, PrepareError> {
    text.push_str(SEPARATOR);
    if tokenizer.spec() == TokenizerSpec::Bytes {
        return Ok(text.into_bytes());
    }
    let width = token_width(tokenizer) as usize;
    let ids = tokenizer.encode(&text)?;
    Ok(ids.into_iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = String> + Send {
        (0..200).map(|n| format!("The fish number {n} swims with the shoal, déjà vu: {}", n * n))
    }

    #[test]
    fn byte_pairs_are_the_same_twice_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = learn(400, texts()).unwrap();
        assert_eq!(file, learn(400, texts()).unwrap());
        let tokenizer = Choice::Bpe { vocab: 400 }.place(dir.path(), || Ok(texts())).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(TOKENIZER)).unwrap(), file);
        assert!((257..=400).contains(&tokenizer.vocab()), "{}", tokenizer.vocab());
        let text = "Wholly unseen: \u{1f41f} «naïve» shoal.\n\tTabs.";
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.len() < text.len());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn ids_take_as_many_bytes_as_the_vocabulary_needs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(encode(&Tokenizer::Bytes, "né".into()).unwrap(), b"n\xc3\xa9\n\n");
        let tokenizer = Choice::Bpe { vocab: 300 }.place(dir.path(), || Ok(texts())).unwrap();
        let bytes = encode(&tokenizer, "The shoal".into()).unwrap();
        let ids: Vec<u32> =
            bytes.chunks(2).map(|two| u32::from(u16::from_le_bytes([two[0], two[1]]))).collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "The shoal\n\n");
    }
}
