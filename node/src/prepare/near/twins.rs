//! Which documents are dropped because an earlier one that is kept is the same, or nearly.
//!
//! Keys of all documents are sorted on disk; documents with the same key are candidates, sorted and rid of repetitions on disk
//! as well; each pair is then compared by its marks, in the order of the later document. In memory are the sorters' buffers and
//! one bit for each document.

use super::bands::Bands;
use super::marks::{Mark, Marks};
use crate::prepare::error::PrepareError;
use crate::prepare::sort::{Pair, Sorter};
use std::path::{Path, PathBuf};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Whether documents of the same text go.
    pub exact: bool,
    /// Documents of at least this similarity go; none if there is none.
    pub near: Option<f64>,
    /// Bytes of memory for each of two sorters.
    pub memory: usize,
}

/// Why a document goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Its text was there before.
    Exact {
        /// The document with the same text.
        of: u64,
    },
    /// Nearly its text was there before.
    Near {
        /// The earlier document.
        of: u64,
        /// The estimated similarity.
        similarity: f64,
    },
}

/// How many of the first, and of the latest, documents with a key a further one is compared with: all of a bucket would be its
/// size squared. A guess; buckets of more than four are nearly always of one text.
const FIRST: usize = 2;
const LATEST: usize = 2;

/// The search under way.
pub struct Twins<'a> {
    search: Search,
    marks: &'a Marks,
    path: PathBuf,
    gone: Vec<u64>,
}

impl<'a> Twins<'a> {
    /// Begins with all documents kept. `path` names the file of marks, for errors.
    pub fn new(search: Search, marks: &'a Marks, path: &Path, documents: u64) -> Twins<'a> {
        let gone = vec![0; (documents / 64 + 1) as usize];
        Twins { search, marks, path: path.to_owned(), gone }
    }

    /// Tells which of the `documents` go, each once and in no order but by document. Runs are sorted in `folder`; `progress`
    /// hears the documents done and may stop the search.
    ///
    /// # Errors
    /// The disk's, or what `progress` says.
    pub fn find(
        mut self,
        folder: &Path,
        documents: u64,
        mut progress: impl FnMut(u64) -> Result<(), PrepareError>,
        mut tell: impl FnMut(u64, Verdict) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let mut keys = Sorter::new(folder, "keys", self.search.memory);
        for document in 0..documents {
            self.push_keys(document, &mut keys)?;
            progress(document)?;
        }
        let mut later: Option<(u64, Mark)> = None;
        for pair in self.candidates(folder, keys)?.sorted()?.dedup_pairs() {
            let (document, of) = pair?;
            progress(document)?;
            if self.is_gone(of) || self.is_gone(document) {
                continue;
            }
            let mark = match later.take() {
                Some((held, mark)) if held == document => mark,
                _ => self.mark(document)?,
            };
            if let Some(verdict) = self.compare(&mark, of)? {
                self.gone[(document / 64) as usize] |= 1 << (document % 64);
                tell(document, verdict)?;
            }
            later = Some((document, mark));
        }
        Ok(())
    }

    fn push_keys(&self, document: u64, keys: &mut Sorter) -> Result<(), PrepareError> {
        let mark = self.mark(document)?;
        if self.search.exact {
            let [a, b, c, d, e, f, g, h, ..] = mark.digest;
            keys.push((u64::from_be_bytes([a, b, c, d, e, f, g, h]), document))?;
        }
        if let Some(threshold) = self.search.near {
            for key in Bands::new(threshold).keys(&mark.signature) {
                keys.push((key, document))?;
            }
        }
        Ok(())
    }

    /// Pairs (later, earlier) of documents that share a key.
    fn candidates(&self, folder: &Path, keys: Sorter) -> Result<Sorter, PrepareError> {
        let mut pairs = Sorter::new(folder, "pairs", self.search.memory);
        let (mut key, mut bucket) = (None, Bucket::default());
        for pair in keys.sorted()? {
            let (next, document) = pair?;
            if key != Some(next) {
                (key, bucket) = (Some(next), Bucket::default());
            }
            for earlier in bucket.members() {
                pairs.push((document, earlier))?;
            }
            bucket.push(document);
        }
        Ok(pairs)
    }

    fn compare(&self, mark: &Mark, of: u64) -> Result<Option<Verdict>, PrepareError> {
        let other = self.mark(of)?;
        if self.search.exact && mark.digest == other.digest {
            return Ok(Some(Verdict::Exact { of }));
        }
        let similarity = mark.similarity(&other);
        let near = self.search.near.is_some_and(|threshold| similarity >= threshold);
        Ok(near.then_some(Verdict::Near { of, similarity }))
    }

    fn mark(&self, document: u64) -> Result<Mark, PrepareError> {
        self.marks.get(document).map_err(PrepareError::io("reading", &self.path))
    }

    fn is_gone(&self, document: u64) -> bool {
        self.gone[(document / 64) as usize] >> (document % 64) & 1 == 1
    }
}

/// The first and the latest documents with a key.
#[derive(Default)]
struct Bucket {
    first: Vec<u64>,
    latest: Vec<u64>,
}

impl Bucket {
    fn push(&mut self, document: u64) {
        if self.first.len() < FIRST {
            return self.first.push(document);
        }
        if self.latest.len() == LATEST {
            self.latest.remove(0);
        }
        self.latest.push(document);
    }

    fn members(&self) -> impl Iterator<Item = u64> + '_ {
        self.first.iter().chain(&self.latest).copied()
    }
}

/// Leaves out pairs that are the same as the one before.
trait DedupPairs: Iterator<Item = Result<Pair, PrepareError>> + Sized {
    fn dedup_pairs(self) -> impl Iterator<Item = Result<Pair, PrepareError>> {
        let mut last = None;
        self.filter(move |pair| match pair {
            Ok(pair) => last.replace(*pair) != Some(*pair),
            Err(_) => true,
        })
    }
}

impl<I: Iterator<Item = Result<Pair, PrepareError>>> DedupPairs for I {}
