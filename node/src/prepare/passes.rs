//! A preparation from beginning to end: read and judge, compare with one another, tokenise and write shards.
//!
//! Memory holds a batch of documents, the sorters' buffers and a bit for each document, whatever the input's size; the disk
//! holds the kept text once more meanwhile. Everything follows from input and settings: the same command gives the same bytes,
//! whether it was interrupted or not.

use super::clean::{Anonymise, Cleaner, Outcome};
use super::error::PrepareError;
use super::filter::Rules;
use super::manifest::{KIND, MANIFEST, Manifest, Shard, VERSION};
use super::near::Search;
use super::read::{Record, Records, Source};
use super::report::{REPORT_JSON, REPORT_MD, Report};
use super::spool::Spool;
use super::state::{Pass, State, WORK, write_whole};
use super::synth::Against;
use super::tokenise::{Choice, entry, token_width};
use super::watch::{Unit, Watch};
use super::{compare, write};
use crate::data::Tokenizer;
use rayon::prelude::*;
use shoal_protocol::id::Digest;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is to be prepared, and how.
pub struct Preparation<'a> {
    /// Where from.
    pub source: &'a dyn Source,
    /// The folder for shards, manifest and report.
    pub output: PathBuf,
    /// The filters.
    pub rules: Rules,
    /// Which duplicates go.
    pub search: Search,
    /// What masks personal data.
    pub anonymise: Option<&'a dyn Anonymise>,
    /// The tokenizer.
    pub tokenizer: Choice,
    /// Most bytes of a shard.
    pub shard_bytes: u64,
    /// Text that is held and worked on at a time, in bytes, roughly. It makes no difference to the result.
    pub batch_bytes: usize,
    /// The text that made text is compared with.
    pub against: Option<Against>,
    /// Files in folders that are of no kind that is read: for the report.
    pub passed_over: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The manifest.
    pub manifest: Manifest,
    /// What was read, dropped and kept.
    pub report: Report,
    /// Whether it was all there before.
    pub before: bool,
}

/// The state is saved this often: what an interruption that nobody announces costs at most.
const SAVE_EVERY: Duration = Duration::from_secs(10);

impl Preparation<'_> {
    /// Does it, or goes on with it.
    ///
    /// # Errors
    /// The disk's, a setting's, an interruption, or nothing was kept. Never for a bad record.
    pub fn run(&self, watch: &mut dyn Watch) -> Result<Prepared, PrepareError> {
        let begun = self.begun()?;
        if let Some(prepared) = self.finished(&begun)? {
            return Ok(prepared);
        }
        let work = self.output.join(WORK);
        std::fs::create_dir_all(&work).map_err(PrepareError::io("making", &work))?;
        let mut state = State::open(&work, begun)?;
        if state.pass == Pass::Read {
            self.read(&work, &mut state, watch)?;
        }
        if state.pass == Pass::Compare {
            compare::compare(self, &work, &mut state, watch)?;
            state.pass = Pass::Learn;
            state.save(&work)?;
        }
        if state.report.kept.documents == 0 {
            return Err(self.nothing_kept(&work, &state.report));
        }
        if state.pass == Pass::Learn {
            watch.begin("learning tokens", Unit::Documents);
        }
        let tokenizer = write::tokenizer(self, &work, &state)?;
        state.pass = Pass::Write;
        write::write(self, &work, &tokenizer, &mut state, watch)?;
        self.finish(&work, &tokenizer, state)
    }

    /// The report before anything was read.
    fn begun(&self) -> Result<Report, PrepareError> {
        let settings = self.settings()?;
        let command = Digest::of(settings.join("\n").as_bytes()).to_string();
        let (units, passed_over) = (self.source.units() as u64, self.passed_over);
        Ok(Report { command, settings, units, passed_over, ..Report::default() })
    }

    /// Everything that the result follows from, in words.
    fn settings(&self) -> Result<Vec<String>, PrepareError> {
        let duplicates = match (self.search.exact, self.search.near) {
            (false, None) => "duplicates: kept".into(),
            (true, None) => "duplicates: the same text".into(),
            (_, Some(near)) => {
                format!("duplicates: the same text, and from a similarity of {near}")
            }
        };
        let masking = self.anonymise.map_or("none".into(), Anonymise::identity);
        let mut settings = vec![
            format!("input: {}", self.source.identity()),
            self.rules.identity(),
            duplicates,
            format!("personal data: {masking}"),
            self.tokenizer.identity()?,
            format!("shards: {} bytes at most", self.shard_bytes),
        ];
        settings.extend(self.against.as_ref().map(Against::identity));
        Ok(settings)
    }

    /// What an earlier run of the same command left, if it came to the end.
    fn finished(&self, begun: &Report) -> Result<Option<Prepared>, PrepareError> {
        let taken = |reason| PrepareError::Taken { folder: self.output.clone(), reason };
        if self.output.join(MANIFEST).exists() {
            let report = std::fs::read(self.output.join(REPORT_JSON)).ok();
            let report = report.and_then(|text| serde_json::from_slice::<Report>(&text).ok());
            return match report.filter(|report| report.command == begun.command) {
                Some(report) => {
                    let manifest = Manifest::load(&self.output)?;
                    Ok(Some(Prepared { manifest, report, before: true }))
                }
                None => Err(taken("holds data that were prepared otherwise")),
            };
        }
        match !self.output.join(WORK).exists() && holds_other(&self.output) {
            true => Err(taken("holds other files")),
            false => Ok(None),
        }
    }

    /// Reads, cleans and judges every record that is not yet in the spool.
    fn read(
        &self,
        work: &Path,
        state: &mut State,
        watch: &mut dyn Watch,
    ) -> Result<(), PrepareError> {
        watch.begin("reading", self.source.unit());
        let mut spool = Spool::open(work, state.documents, state.text_bytes)?;
        let near = self.search.near.is_some();
        let cleaner = Cleaner { rules: &self.rules, anonymise: self.anonymise, near };
        let mut saved = Instant::now();
        while state.unit < self.source.units() {
            let mut records = self.source.open(state.unit, state.record)?;
            let mut more = true;
            while more {
                let batch;
                (batch, more) = take_batch(&mut records, self.source.batch(), self.batch_bytes);
                state.record += batch.len() as u64;
                let outcomes: Vec<Outcome> =
                    batch.into_par_iter().map(|record| cleaner.clean(record)).collect();
                outcomes.into_iter().try_for_each(|outcome| keep(outcome, &mut spool, state))?;
                watch.at(self.source.progress(), state.report.read.documents);
                let fault = self.source.fault();
                let stop = watch.stop() || fault.is_some();
                if stop || saved.elapsed() > SAVE_EVERY {
                    save(&mut spool, state, work)?;
                    saved = Instant::now();
                }
                if stop {
                    let interrupted = || PrepareError::Interrupted(work.to_owned());
                    return Err(fault.unwrap_or_else(interrupted));
                }
            }
            (state.unit, state.record) = (state.unit + 1, 0);
        }
        state.pass = Pass::Compare;
        save(&mut spool, state, work)
    }

    fn nothing_kept(&self, work: &Path, report: &Report) -> PrepareError {
        let path = self.output.join(REPORT_MD);
        // Best effort: the error that matters is that nothing was kept.
        let _ = std::fs::write(&path, report.markdown("nothing"));
        let _ = std::fs::remove_dir_all(work);
        let rule = report.worst().unwrap_or("nothing: the input is empty").to_owned();
        PrepareError::NothingKept { read: report.read.documents, rule, report: path }
    }

    /// Writes report and manifest, the manifest last, and clears the work folder away.
    fn finish(
        &self,
        work: &Path,
        tokenizer: &Tokenizer,
        state: State,
    ) -> Result<Prepared, PrepareError> {
        let State { shards, report, .. } = state;
        let sum = |of: fn(&Shard) -> u64| shards.iter().map(of).sum();
        let manifest = Manifest {
            kind: KIND.into(),
            version: VERSION,
            tokenizer: entry(tokenizer),
            width: token_width(tokenizer),
            bytes: sum(|shard| shard.bytes),
            tokens: sum(|shard| shard.tokens),
            documents: sum(|shard| shard.documents),
            shards,
        };
        let name = manifest.digest().to_string();
        write_whole(&self.output.join(REPORT_JSON), &report.json())?;
        write_whole(&self.output.join(REPORT_MD), report.markdown(&name).as_bytes())?;
        write_whole(&self.output.join(MANIFEST), &manifest.canonical())?;
        std::fs::remove_dir_all(work).map_err(PrepareError::io("removing", work))?;
        Ok(Prepared { manifest, report, before: false })
    }
}

/// Whether there is more than the report of a preparation that kept nothing.
fn holds_other(folder: &Path) -> bool {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name() != REPORT_MD)
}

/// The next records, and whether there may be more.
fn take_batch(records: &mut Records, most: usize, bytes_max: usize) -> (Vec<Record>, bool) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max && batch.len() < most {
        let Some(record) = records.next() else { return (batch, false) };
        if let Record::Text(text) = &record {
            bytes += text.len();
        }
        batch.push(record);
    }
    (batch, true)
}

fn keep(mut outcome: Outcome, spool: &mut Spool, state: &mut State) -> Result<(), PrepareError> {
    state.report.count(&outcome);
    if let Outcome::Kept(kept) = &mut outcome {
        spool.push(kept)?;
        state.documents += 1;
    }
    Ok(())
}

fn save(spool: &mut Spool, state: &mut State, work: &Path) -> Result<(), PrepareError> {
    state.text_bytes = spool.flush()?;
    state.save(work)
}
