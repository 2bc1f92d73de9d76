//! A corpus as token ids: read straight from the text for bytes, else from a cache file that is made once.

use super::corpus::Corpus;
use super::error::DataError;
use super::tokenizer::Tokenizer;
use crate::blob::PieceStore;
use memmap2::Mmap;
use rayon::prelude::*;
use shoal_protocol::run::TokenizerSpec;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Token ids of a whole text.
pub struct Tokens(Kind);

enum Kind {
    Bytes(Arc<Corpus>),
    /// Bytes that peers give, piece by piece.
    Pieces(Arc<PieceStore>),
    /// Little-endian ids of `width` bytes each, 2 or 4.
    Mapped {
        map: Mmap,
        width: usize,
    },
}

/// A piece of text that is tokenised on its own ends at the first line end after this many bytes. Part of what peers agree
/// on, since the ids around a cut depend on it.
const PIECE_BYTES: usize = 1 << 16;
/// Changes whenever the same text and tokenizer would give other ids than before.
const CACHE_VERSION: u8 = 1;

impl Tokens {
    /// The tokens of `corpus`. A tokenizer other than bytes leaves a cache file in the folder `cache`, and uses it next time.
    ///
    /// # Errors
    /// The tokenizer fails, or the cache cannot be written or read.
    pub fn new(
        corpus: Arc<Corpus>,
        tokenizer: &Tokenizer,
        cache: &Path,
    ) -> Result<Tokens, DataError> {
        let TokenizerSpec::File { digest, .. } = tokenizer.spec() else {
            return Ok(Tokens(Kind::Bytes(corpus)));
        };
        let width = if tokenizer.vocab() <= 1 << 16 { 2 } else { 4 };
        let key = blake3::Hasher::new()
            .update(&corpus.digest().0)
            .update(&digest.0)
            .update(&[CACHE_VERSION])
            .finalize();
        let path = cache.join(format!("tokens-{}.u{}", &key.to_hex()[..16], 8 * width));
        if !path.exists() {
            write_cache(&corpus, tokenizer, width, &path)?;
        }
        let file = File::open(&path).map_err(DataError::io("opening", &path))?;
        // SAFETY: the map is only read, and the file was renamed into place whole.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("mapping", &path))?;
        Ok(Tokens(Kind::Mapped { map, width }))
    }

    /// The bytes of a text that peers give.
    pub fn of_pieces(store: Arc<PieceStore>) -> Tokens {
        Tokens(Kind::Pieces(store))
    }

    /// Number of tokens.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Bytes(corpus) => corpus.len(),
            Kind::Pieces(store) => store.blob().bytes,
            Kind::Mapped { map, width } => (map.len() / width) as u64,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the `count` tokens from `start` on, which must exist, to `into`.
    ///
    /// # Errors
    /// They lie in a piece that is not here yet.
    pub fn extend(&self, start: u64, count: usize, into: &mut Vec<i64>) -> Result<(), DataError> {
        match &self.0 {
            Kind::Bytes(corpus) => {
                let mut bytes = vec![0; count];
                let got = corpus.read(start, &mut bytes);
                into.extend(bytes[..got].iter().map(|byte| i64::from(*byte)));
            }
            Kind::Pieces(store) => {
                let mut bytes = vec![0; count];
                let got = store.read(start, &mut bytes)?;
                into.extend(bytes[..got].iter().map(|byte| i64::from(*byte)));
            }
            Kind::Mapped { map, width } => {
                let first = start as usize * width;
                let ids = map[first..first + count * width].chunks_exact(*width);
                into.extend(ids.map(little_endian));
            }
        }
        Ok(())
    }
}

fn little_endian(bytes: &[u8]) -> i64 {
    bytes.iter().rev().fold(0, |id, byte| id << 8 | i64::from(*byte))
}

/// Tokenises into a neighbour of `path` and renames it into place.
fn write_cache(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    width: usize,
    path: &Path,
) -> Result<(), DataError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(DataError::io("making", folder))?;
    let partial: PathBuf = path.with_extension(format!("partial-{}", std::process::id()));
    let file = File::create(&partial).map_err(DataError::io("writing", &partial))?;
    let mut out = BufWriter::new(file);
    for text in corpus.pieces() {
        // Enough pieces at a time to keep all cores busy, few enough to keep memory small.
        for group in pieces(text).chunks(256) {
            for ids in encode(tokenizer, group)? {
                let bytes: Vec<u8> =
                    ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect();
                out.write_all(&bytes).map_err(DataError::io("writing", &partial))?;
            }
        }
    }
    out.flush().map_err(DataError::io("writing", &partial))?;
    std::fs::rename(&partial, path).map_err(DataError::io("renaming", &partial))
}

fn encode(tokenizer: &Tokenizer, group: &[&[u8]]) -> Result<Vec<Vec<u32>>, DataError> {
    group.par_iter().map(|piece| tokenizer.encode(&String::from_utf8_lossy(piece))).collect()
}

/// Cuts a text at the first line end after every [`PIECE_BYTES`].
fn pieces(text: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE_BYTES {
        let line_end = rest[PIECE_BYTES..].iter().position(|byte| *byte == b'\n');
        let Some(end) = line_end else { break };
        let (piece, after) = rest.split_at(PIECE_BYTES + end + 1);
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of whole words.
    const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"<unk>":0,"the":1,"fish":2,"swim":3},"unk_token":"<unk>"}}"#;

    #[test]
    fn a_file_s_tokens_are_cached_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, WORDS).unwrap();
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        assert_eq!(tokenizer.vocab(), 4);
        let corpus = Arc::new(Corpus::from_bytes(b"the fish swim\nthe shark\n".to_vec()));
        for _ in 0..2 {
            let tokens =
                Tokens::new(corpus.clone(), &tokenizer, &dir.path().join("cache")).unwrap();
            let mut ids = Vec::new();
            tokens.extend(1, 4, &mut ids).unwrap();
            assert_eq!((tokens.len(), ids), (5, vec![2, 3, 1, 0]));
        }
        let files = std::fs::read_dir(dir.path().join("cache")).unwrap().count();
        assert_eq!(files, 1, "one cache file, nothing partial");
    }

    #[test]
    fn pieces_end_at_line_ends_and_lose_nothing() {
        let text: Vec<u8> =
            (0..200_000u32).map(|i| if i % 70 == 69 { b'\n' } else { b'a' }).collect();
        let cut = pieces(&text);
        assert_eq!(cut.concat(), text);
        assert!(cut.len() > 2 && cut[..cut.len() - 1].iter().all(|piece| piece.ends_with(b"\n")));
    }
}
