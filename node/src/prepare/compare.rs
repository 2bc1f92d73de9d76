//! The second pass: documents that are duplicates, or copied, are struck out.

use super::clean::beginning;
use super::error::PrepareError;
use super::near::{Marks, Twins, Verdict};
use super::passes::Preparation;
use super::read::Amount;
use super::spool::{self, Growing, Texts};
use super::state::State;
use super::watch::{Unit, Watch};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// A byte for each document: 0 if it stays.
const STRUCK: &str = "struck";
/// Documents between two looks at the clock.
const LOOK_EVERY: u64 = 1024;

/// Finds what goes and leaves a file that says so. Counts are the state's; an interrupted comparison begins anew.
pub(super) fn compare(
    preparation: &Preparation,
    work: &Path,
    state: &mut State,
    watch: &mut dyn Watch,
) -> Result<(), PrepareError> {
    let folder = work.join("sorting");
    // What an interruption left.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(PrepareError::io("making", &folder))?;
    let (marks, path) = spool::marks(work)?;
    let mut strike = Strike {
        out: Growing::open(work.join(STRUCK), 0)?,
        marks: &marks,
        path: &path,
        texts: Texts::open(work)?,
    };
    let all = state.documents;
    if preparation.search.exact || preparation.search.near.is_some() {
        watch.begin("comparing", Unit::Documents);
        let twins = Twins::new(preparation.search, &marks, &path, all);
        let report = &mut state.report;
        let look = |done: u64| {
            if done.is_multiple_of(LOOK_EVERY) {
                watch.at(Amount { done, all }, done);
                if watch.stop() {
                    return Err(PrepareError::Interrupted(work.to_owned()));
                }
            }
            Ok(())
        };
        twins
            .find(&folder, all, look, |document, verdict| strike.out(document, verdict, report))?;
    }
    strike.pad(all)?;
    strike.out.flush()?;
    if let Some(against) = &preparation.against {
        against.strike(work, state, watch)?;
    }
    std::fs::remove_dir_all(&folder).map_err(PrepareError::io("removing", &folder))
}

struct Strike<'a> {
    out: Growing,
    marks: &'a Marks,
    path: &'a Path,
    texts: Texts,
}

impl Strike<'_> {
    fn out(
        &mut self,
        document: u64,
        verdict: Verdict,
        report: &mut super::report::Report,
    ) -> Result<(), PrepareError> {
        self.pad(document)?;
        self.out.write(&[1])?;
        let (bytes, text) = self.text(document)?;
        let (rule, example) = match verdict {
            Verdict::Exact { .. } => ("duplicate", beginning(&text)),
            Verdict::Near { of, similarity } => {
                let of = beginning(&self.text(of)?.1);
                let text = beginning(&text);
                ("near-duplicate", format!("similarity {similarity:.2}: {text} ~ {of}"))
            }
        };
        report.unkeep(rule, bytes, || example);
        Ok(())
    }

    fn pad(&mut self, document: u64) -> Result<(), PrepareError> {
        while self.out.len < document {
            self.out.write(&[0])?;
        }
        Ok(())
    }

    fn text(&self, document: u64) -> Result<(u64, String), PrepareError> {
        let mark = self.marks.get(document).map_err(PrepareError::io("reading", self.path))?;
        self.texts.beginning(mark.at)
    }
}

/// Which documents are struck out, in order.
pub(super) struct Struck(BufReader<File>, std::path::PathBuf);

impl Struck {
    /// From document `start` on.
    pub(super) fn open(work: &Path, start: u64) -> Result<Struck, PrepareError> {
        let path = work.join(STRUCK);
        let mut file = File::open(&path).map_err(PrepareError::io("opening", &path))?;
        let sought = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start));
        sought.map_err(PrepareError::io("reading", &path))?;
        Ok(Struck(BufReader::new(file), path))
    }

    /// Whether the next document is.
    pub(super) fn next_is(&mut self) -> Result<bool, PrepareError> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).map_err(PrepareError::io("reading", &self.1))?;
        Ok(byte[0] != 0)
    }
}

/// Strikes one more document out.
pub(super) fn strike_one(work: &Path, document: u64) -> Result<(), PrepareError> {
    use std::os::unix::fs::FileExt;
    let path = work.join(STRUCK);
    let file =
        File::options().write(true).open(&path).map_err(PrepareError::io("opening", &path))?;
    file.write_all_at(&[1], document).map_err(PrepareError::io("writing", &path))
}
