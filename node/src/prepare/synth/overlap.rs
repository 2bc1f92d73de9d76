//! How much of made text was copied from the text its model learned from: the share of its runs of words that occur there.
//!
//! Runs of 8 words, as GPT-3's and later checks for contamination look for 8 to 13 (Brown et al. 2020, appendix C; Chowdhery et
//! al. 2022, section 8). Words are runs of letters and digits in lower case.

use crate::data::{Corpus, Tokenizer};
use crate::prepare::clean::beginning;
use crate::prepare::compare::{Struck, strike_one};
use crate::prepare::error::PrepareError;
use crate::prepare::filter::Words;
use crate::prepare::manifest::{Manifest, TOKENIZER, TokenizerEntry};
use crate::prepare::read::Amount;
use crate::prepare::spool::{InOrder, Texts};
use crate::prepare::state::State;
use crate::prepare::watch::{Unit, Watch};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Words of a run.
const RUN: usize = 8;
/// Runs of made text that are looked for at a time: what bounds memory. The training text is read once for each so many.
const RUNS_MAX: usize = 4 << 20;
/// Training text that is looked at at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// What made text is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Against {
    /// The text that the model learned from: a prepared folder, or text as a run takes it.
    pub folder: PathBuf,
    /// A document with a greater share of its runs in it goes.
    pub overlap_max: f64,
}

/// How much was copied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlaps {
    /// Documents that were compared.
    pub documents: u64,
    /// The greatest share that was let through.
    pub limit: f64,
    /// The mean share of a document's runs that occur in the training text, before any was dropped.
    pub mean: f64,
    /// The greatest.
    pub greatest: f64,
    /// Documents by tenths: at place n those with a share from n / 10 up, at place 10 those wholly copied.
    pub tenths: Vec<u64>,
}

impl Overlaps {
    /// For people.
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "\n## In common with the training text\n\nRuns of {RUN} words; {} documents, mean share {:.3}, greatest {:.3}; above {} a document is dropped.\n\n| share | documents |\n|---|---:|\n",
            self.documents, self.mean, self.greatest, self.limit
        );
        for (place, count) in self.tenths.iter().enumerate().filter(|(_, count)| **count > 0) {
            let _ = writeln!(out, "| from {:.1} | {count} |", place as f64 / 10.0);
        }
        out
    }

    fn add(&mut self, share: f64) {
        self.tenths.resize(11, 0);
        self.tenths[(share * 10.0) as usize] += 1;
        // A running mean: no sum to keep.
        self.documents += 1;
        self.mean += (share - self.mean) / self.documents as f64;
        self.greatest = self.greatest.max(share);
    }
}

/// Some made documents and their runs.
#[derive(Default)]
struct Block {
    /// Each document's number, where it lies, and its runs' hashes.
    documents: Vec<(u64, String, u64, Vec<u64>)>,
    /// Whether a run occurs in the training text.
    found: HashMap<u64, bool>,
}

impl Against {
    /// What names the comparison among the settings.
    pub fn identity(&self) -> String {
        format!("against: {:?}, at most {} in common", self.folder, self.overlap_max)
    }

    /// Compares the documents that are not struck out yet, and strikes those that were copied.
    pub(in crate::prepare) fn strike(
        &self,
        work: &Path,
        state: &mut State,
        watch: &mut dyn Watch,
    ) -> Result<(), PrepareError> {
        watch.begin("looking for copies", Unit::Documents);
        let mut texts = Texts::open(work)?.from(0)?;
        let mut struck = Struck::open(work, 0)?;
        let mut overlaps = Overlaps { limit: self.overlap_max, ..Overlaps::default() };
        let (mut next, all) = (0, state.documents);
        while next < all {
            let mut block = Block::default();
            block.fill(&mut texts, &mut struck, &mut next, all)?;
            self.each_window(|text| {
                block.look(text);
                match watch.stop() {
                    true => Err(PrepareError::Interrupted(work.to_owned())),
                    false => Ok(()),
                }
            })?;
            self.drop_copies(&block, work, state, &mut overlaps)?;
            watch.at(Amount { done: next, all }, next);
        }
        state.report.overlaps = Some(overlaps);
        Ok(())
    }

    fn drop_copies(
        &self,
        block: &Block,
        work: &Path,
        state: &mut State,
        overlaps: &mut Overlaps,
    ) -> Result<(), PrepareError> {
        for (document, start, bytes, runs) in &block.documents {
            let common = runs.iter().filter(|run| block.found.get(run) == Some(&true)).count();
            let share = common as f64 / runs.len().max(1) as f64;
            overlaps.add(share);
            if share > self.overlap_max {
                strike_one(work, *document)?;
                let example = || format!("{share:.2} of its runs of {RUN} words: {start}");
                state.report.unkeep("copied", *bytes, example);
            }
        }
        Ok(())
    }

    /// The training text in windows that overlap by more than a run of words.
    fn each_window(
        &self,
        mut look: impl FnMut(&str) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let corpus = Corpus::open(&self.folder)?;
        let (width, tokenizer) = self.tokenizer()?;
        let (mut at, mut window) = (0, vec![0; WINDOW_BYTES * width]);
        let mut before = String::new();
        while at < corpus.len() {
            let got = corpus.read(at, &mut window);
            at += got as u64;
            let text = decode(&tokenizer, width, &window[..got])?;
            let both = before + &text;
            look(&both)?;
            before = tail(&both).to_owned();
        }
        Ok(())
    }

    fn tokenizer(&self) -> Result<(usize, Tokenizer), PrepareError> {
        if !Manifest::is_in(&self.folder) {
            return Ok((1, Tokenizer::Bytes));
        }
        let manifest = Manifest::load(&self.folder)?;
        Ok(match manifest.tokenizer {
            TokenizerEntry::Bytes => (1, Tokenizer::Bytes),
            TokenizerEntry::File { .. } => {
                let tokenizer = Tokenizer::from_file(&self.folder.join(TOKENIZER))?;
                (manifest.width as usize, tokenizer)
            }
        })
    }
}

impl Block {
    fn fill(
        &mut self,
        texts: &mut InOrder,
        struck: &mut Struck,
        next: &mut u64,
        all: u64,
    ) -> Result<(), PrepareError> {
        while *next < all && self.found.len() < RUNS_MAX {
            let text = texts.next_text()?;
            if !struck.next_is()? {
                let mut hashes = Vec::new();
                runs(&text, |run| hashes.push(run));
                self.found.extend(hashes.iter().map(|run| (*run, false)));
                self.documents.push((*next, beginning(&text), text.len() as u64, hashes));
            }
            *next += 1;
        }
        Ok(())
    }

    fn look(&mut self, text: &str) {
        runs(text, |run| {
            if let Some(found) = self.found.get_mut(&run) {
                *found = true;
            }
        });
    }
}

/// The hash of each run of words.
fn runs(text: &str, mut each: impl FnMut(u64)) {
    let lower = text.to_lowercase();
    let mut run = VecDeque::with_capacity(RUN);
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if run.len() == RUN {
            run.pop_front();
        }
        run.push_back(Words::hash(word));
        if run.len() == RUN {
            each(run.iter().fold(0, |key, word| crate::data::rng::mix(key ^ word)));
        }
    }
}

fn decode(tokenizer: &Tokenizer, width: usize, bytes: &[u8]) -> Result<String, PrepareError> {
    if width == 1 {
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    let id = |bytes: &[u8]| bytes.iter().rev().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let ids: Vec<u32> = bytes.chunks_exact(width).map(id).collect();
    Ok(tokenizer.decode(&ids)?)
}

/// The last words of a window, with the one that may go on in the next.
fn tail(text: &str) -> &str {
    let spaces = text.char_indices().rev().filter(|(_, c)| c.is_whitespace());
    spaces.map(|(at, _)| at).nth(RUN).map_or(text, |at| &text[at..])
}
