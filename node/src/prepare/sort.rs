//! Sorting more pairs of numbers than memory holds: sorted runs on disk, merged (Knuth, volume 3, section 5.4).

use super::error::PrepareError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What is sorted.
pub type Pair = (u64, u64);

/// Bytes of a pair on disk.
const PAIR_BYTES: usize = 16;
/// Runs that are merged at a time: few enough open files, and few enough merges of merges.
const FAN_IN: usize = 64;
/// Read ahead of each run.
const RUN_BUFFER: usize = 1 << 16;

/// Takes pairs in any order.
pub struct Sorter {
    folder: PathBuf,
    name: &'static str,
    pairs: Vec<Pair>,
    pairs_max: usize,
    runs: Vec<PathBuf>,
    made: usize,
}

/// Gives pairs in ascending order; the runs' files go with it.
pub struct Sorted {
    heap: BinaryHeap<Reverse<(Pair, usize)>>,
    runs: Vec<Run>,
}

struct Run {
    path: PathBuf,
    reader: BufReader<File>,
}

impl Sorter {
    /// Keeps at most `memory` bytes of pairs in memory, and runs named after `name` in `folder`.
    pub fn new(folder: &Path, name: &'static str, memory: usize) -> Sorter {
        let pairs_max = (memory / PAIR_BYTES).max(1);
        Sorter {
            folder: folder.to_owned(),
            name,
            pairs: Vec::new(),
            pairs_max,
            runs: Vec::new(),
            made: 0,
        }
    }

    /// One more pair.
    ///
    /// # Errors
    /// A run cannot be written.
    pub fn push(&mut self, pair: Pair) -> Result<(), PrepareError> {
        if self.pairs.len() == self.pairs_max {
            self.spill()?;
        }
        self.pairs.push(pair);
        Ok(())
    }

    /// All pairs in order.
    ///
    /// # Errors
    /// A run cannot be written or read.
    pub fn sorted(mut self) -> Result<Sorted, PrepareError> {
        self.spill()?;
        self.pairs = Vec::new();
        while self.runs.len() > FAN_IN {
            let first: Vec<PathBuf> = self.runs.drain(..FAN_IN).collect();
            let merged = Sorted::open(first)?;
            self.write_run(merged)?;
        }
        Sorted::open(self.runs)
    }

    fn spill(&mut self) -> Result<(), PrepareError> {
        if self.pairs.is_empty() {
            return Ok(());
        }
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.sort_unstable();
        self.write_run(pairs.iter().map(|pair| Ok(*pair)))?;
        pairs.clear();
        self.pairs = pairs;
        Ok(())
    }

    fn write_run(
        &mut self,
        pairs: impl Iterator<Item = Result<Pair, PrepareError>>,
    ) -> Result<(), PrepareError> {
        let path = self.folder.join(format!("{}-{:05}.run", self.name, self.made));
        self.made += 1;
        let file = File::create(&path).map_err(PrepareError::io("writing", &path))?;
        let mut out = BufWriter::with_capacity(RUN_BUFFER, file);
        for pair in pairs {
            out.write_all(&to_bytes(pair?)).map_err(PrepareError::io("writing", &path))?;
        }
        out.flush().map_err(PrepareError::io("writing", &path))?;
        self.runs.push(path);
        Ok(())
    }
}

impl Sorted {
    fn open(paths: Vec<PathBuf>) -> Result<Sorted, PrepareError> {
        let mut sorted = Sorted { heap: BinaryHeap::new(), runs: Vec::new() };
        for (index, path) in paths.into_iter().enumerate() {
            let file = File::open(&path).map_err(PrepareError::io("opening", &path))?;
            let reader = BufReader::with_capacity(RUN_BUFFER, file);
            sorted.runs.push(Run { path, reader });
            sorted.refill(index)?;
        }
        Ok(sorted)
    }

    fn refill(&mut self, index: usize) -> Result<(), PrepareError> {
        let run = &mut self.runs[index];
        let mut bytes = [0; PAIR_BYTES];
        match run.reader.read_exact(&mut bytes) {
            Ok(()) => self.heap.push(Reverse((from_bytes(bytes), index))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                // Best effort: the work folder goes at the end anyway.
                let _ = std::fs::remove_file(&run.path);
            }
            Err(error) => return Err(PrepareError::io("reading", &run.path)(error)),
        }
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = Result<Pair, PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((pair, index)) = self.heap.pop()?;
        Some(self.refill(index).map(|()| pair))
    }
}

fn to_bytes((a, b): Pair) -> [u8; PAIR_BYTES] {
    ((u128::from(a) << 64) | u128::from(b)).to_be_bytes()
}

fn from_bytes(bytes: [u8; PAIR_BYTES]) -> Pair {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rng::Rng;

    #[test]
    fn runs_and_merges_of_runs_come_out_in_order() {
        // Room for 10 pairs: 0, 1 and 200 runs, the last of which need merges of merges.
        for count in [0, 7, 2000] {
            let dir = tempfile::tempdir().unwrap();
            let mut rng = Rng::new(count);
            let pairs: Vec<Pair> = (0..count).map(|_| (rng.below(50), rng.next())).collect();
            let mut sorter = Sorter::new(dir.path(), "test", 160);
            pairs.iter().for_each(|pair| sorter.push(*pair).unwrap());
            let got: Vec<Pair> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            let mut expected = pairs;
            expected.sort_unstable();
            assert_eq!(got, expected);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no run is left");
        }
    }
}
