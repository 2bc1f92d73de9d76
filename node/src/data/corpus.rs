//! A text as bytes: one file or all files of a folder in name order, memory-mapped, or bytes made in memory. Of a prepared folder
//! the bytes are those of its shards.

use super::error::DataError;
use crate::prepare::manifest::Manifest;
use memmap2::Mmap;
use rayon::prelude::*;
use shoal_protocol::id::Digest;
use shoal_protocol::run::Blob;
use shoal_protocol::wire::PIECE_BYTES;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A text as one run of bytes.
pub struct Corpus {
    segments: Vec<Segment>,
    len: u64,
    prepared: Option<Box<Prepared>>,
}

/// A folder of shards.
struct Prepared {
    folder: PathBuf,
    manifest: Manifest,
}

struct Segment {
    start: u64,
    bytes: Bytes,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Corpus {
    /// Opens a text file, a folder whose files (sub-folders included, hidden ones not) follow one another in name order, or a
    /// prepared folder, each shard of which is verified.
    ///
    /// # Errors
    /// Nothing there, not readable, no byte in it, or an altered shard.
    pub fn open(path: &Path) -> Result<Corpus, DataError> {
        let mut corpus = Corpus { segments: Vec::new(), len: 0, prepared: None };
        if Manifest::is_in(path) {
            corpus.push_shards(path)?;
        } else {
            let mut files = Vec::new();
            collect(path, &mut files)?;
            files.iter().try_for_each(|file| corpus.push_file(file))?;
        }
        if corpus.len == 0 {
            return Err(DataError::Empty(path.to_owned()));
        }
        Ok(corpus)
    }

    /// A text that was made in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Corpus {
        let len = bytes.len() as u64;
        let segments = vec![Segment { start: 0, bytes: Bytes::Owned(bytes) }];
        Corpus { segments, len, prepared: None }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the folder was prepared as, if it was.
    pub fn manifest(&self) -> Option<(&Path, &Manifest)> {
        self.prepared.as_ref().map(|prepared| (&*prepared.folder, &prepared.manifest))
    }

    /// BLAKE3 of all bytes; of a prepared folder that of its manifest, which names each shard's.
    pub fn digest(&self) -> Digest {
        if let Some(prepared) = &self.prepared {
            return prepared.manifest.digest();
        }
        let mut hasher = blake3::Hasher::new();
        self.segments.iter().for_each(|segment| {
            hasher.update(segment.bytes.as_slice());
        });
        Digest(*hasher.finalize().as_bytes())
    }

    /// BLAKE3 of each [`PIECE_BYTES`] of the text.
    pub fn piece_digests(&self) -> Vec<Digest> {
        let pieces = self.len.div_ceil(PIECE_BYTES as u64);
        let digest = |index: u64| {
            let start = index * PIECE_BYTES as u64;
            let mut bytes = vec![0; (self.len - start).min(PIECE_BYTES as u64) as usize];
            self.read(start, &mut bytes);
            Digest::of(&bytes)
        };
        (0..pieces).into_par_iter().map(digest).collect()
    }

    /// The text as a file that peers fetch from each other; `None` if it is too long for that.
    pub fn blob(&self) -> Option<Blob> {
        Blob::of(&self.piece_digests(), self.len)
    }

    /// Whether it is one file.
    pub fn is_one_file(&self) -> bool {
        self.segments.len() == 1
    }

    /// The text's pieces in order, one a file.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| segment.bytes.as_slice())
    }

    /// Copies the bytes from `start` on into `into`, as many as there are, and returns how many.
    pub fn read(&self, start: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        let first = self.segments.partition_point(|segment| segment.start <= start).max(1) - 1;
        for segment in &self.segments[first..] {
            let skip = (start + done as u64 - segment.start) as usize;
            let rest = segment.bytes.as_slice().get(skip..).unwrap_or_default();
            let count = rest.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
            if done == into.len() {
                break;
            }
        }
        done
    }

    fn push_shards(&mut self, folder: &Path) -> Result<(), DataError> {
        let manifest = Manifest::load(folder)?;
        manifest.verify(folder, |_| {})?;
        manifest.shards.iter().try_for_each(|shard| self.push_file(&folder.join(&shard.file)))?;
        self.prepared = Some(Box::new(Prepared { folder: folder.to_owned(), manifest }));
        Ok(())
    }

    fn push_file(&mut self, path: &Path) -> Result<(), DataError> {
        let file = File::open(path).map_err(DataError::io("opening", path))?;
        let size = file.metadata().map_err(DataError::io("reading", path))?.len();
        if size == 0 {
            return Ok(());
        }
        // SAFETY: the map is only read. A person who truncates the text under a running node gets a bus error, as with any map.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("mapping", path))?;
        self.segments.push(Segment { start: self.len, bytes: Bytes::Mapped(map) });
        self.len += size;
        Ok(())
    }
}

/// All files at or below `path`, in name order folder by folder.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    if !path.metadata().map_err(DataError::io("opening", path))?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let listing = path.read_dir().map_err(DataError::io("listing", path))?;
    let mut entries = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(DataError::io("listing", path))?;
    entries.retain(|entry| !hidden(entry));
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, files))
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::manifest::{KIND, MANIFEST, Shard, TokenizerEntry, VERSION};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_reads_as_one_text_in_name_order() {
        let dir = folder(&[
            ("b.txt", "world"),
            ("a.txt", "hello "),
            ("c/d.txt", "!"),
            (".x", "no"),
            ("aa", ""),
        ]);
        let corpus = Corpus::open(dir.path()).unwrap();
        assert_eq!((corpus.len(), corpus.digest()), (12, Digest::of(b"hello world!")));
        let rows =
            [(0, 12, "hello world!"), (4, 4, "o wo"), (6, 5, "world"), (11, 9, "!"), (12, 3, "")];
        for (start, count, expected) in rows {
            let mut into = vec![0; count];
            let got = corpus.read(start, &mut into);
            assert_eq!(&into[..got], expected.as_bytes(), "{start}+{count}");
        }
    }

    #[test]
    fn a_prepared_folder_reads_as_its_shards_and_altered_ones_are_named() {
        let shard = |file: &str, text: &str| Shard {
            file: file.into(),
            bytes: text.len() as u64,
            tokens: text.len() as u64,
            documents: 1,
            blake3: Digest::of(text.as_bytes()).to_string(),
        };
        let manifest = Manifest {
            kind: KIND.into(),
            version: VERSION,
            tokenizer: TokenizerEntry::Bytes,
            width: 1,
            bytes: 5,
            tokens: 5,
            documents: 2,
            shards: vec![shard("b.txt", "one"), shard("a.txt", "2!")],
        };
        let told = String::from_utf8(manifest.canonical()).unwrap();
        let files = [("b.txt", "one"), ("a.txt", "2!"), ("report.md", "#"), (MANIFEST, &told)];
        let dir = folder(&files);
        let corpus = Corpus::open(dir.path()).unwrap();
        assert_eq!((corpus.len(), corpus.digest()), (5, manifest.digest()));
        assert_eq!(corpus.pieces().collect::<Vec<_>>().concat(), b"one2!");
        std::fs::write(dir.path().join("a.txt"), "3!").unwrap();
        let error = Corpus::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("a.txt was altered"), "{error}");
    }

    #[test]
    fn nothing_there_and_nothing_in_it_are_told_apart() {
        let dir = folder(&[("empty.txt", "")]);
        assert!(matches!(Corpus::open(dir.path()), Err(DataError::Empty(_))));
        let error = Corpus::open(&dir.path().join("gone")).err().unwrap().to_string();
        assert!(error.starts_with("opening ") && error.contains("gone"), "{error}");
    }
}
