//! Finding a checkpoint: its own folder, a folder of them, a run's folder, or a node's home.

use anyhow::{Context, bail};
use shoal_node::data::Tokenizer;
use shoal_node::exchange::average::{AVERAGE, read};
use shoal_node::store::best::BEST;
use shoal_node::store::checkpoint::rounds;
use shoal_node::store::hf::export::TOKENIZER;
use shoal_node::store::manifest::MANIFEST;
use shoal_node::store::{Checkpoint, Found, load, newest_intact};
use shoal_protocol::run::{RunSpec, TokenizerSpec};
use std::path::{Path, PathBuf};

/// What a path that was given for a checkpoint is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// One round's folder.
    One(PathBuf),
    /// A folder of such folders.
    Many(PathBuf),
}

/// What `path` is.
///
/// # Errors
/// There is nothing, or there are several runs.
pub fn locate(path: &Path) -> anyhow::Result<Place> {
    if let Some(best) = best_below(path) {
        return Ok(Place::One(best));
    }
    if !path.is_dir() {
        bail!(
            "{} is no folder: give a checkpoint's, a run's or a node's (see `shoal status --json`)",
            path.display()
        );
    }
    if path.join(MANIFEST).exists() {
        return Ok(Place::One(path.to_owned()));
    }
    let candidates = [path.to_owned(), path.join("checkpoints")];
    if let Some(folder) = candidates.into_iter().find(|folder| has_rounds(folder)) {
        return Ok(Place::Many(folder));
    }
    let mut runs = runs(path);
    match (runs.pop(), runs.is_empty()) {
        (Some(run), true) => Ok(Place::Many(run.join("checkpoints"))),
        (Some(last), false) => {
            runs.push(last);
            let names: Vec<String> =
                runs.iter().map(|run| format!("\n  {}", run.display())).collect();
            bail!("{} holds several runs; give one of them:{}", path.display(), names.concat())
        }
        (None, _) => bail!(
            "{} holds no checkpoint: a node writes one after each round, below its --home",
            path.display()
        ),
    }
}

/// The checkpoint at `path`, every file of it verified; the newest intact one if there are several.
///
/// # Errors
/// There is none, there are several runs, or none is intact.
pub fn open(path: &Path) -> anyhow::Result<Found> {
    match locate(path)? {
        Place::One(path) => Ok(Found { checkpoint: load(&path)?, path }),
        Place::Many(folder) => newest_intact(&folder)?
            .with_context(|| format!("no checkpoint in {} is intact", folder.display())),
    }
}

/// `RUN/best` names the best checkpoint of a run, or of a node's only run.
fn best_below(path: &Path) -> Option<PathBuf> {
    if path.exists() || path.file_name()? != BEST {
        return None;
    }
    match locate(path.parent()?).ok()? {
        Place::Many(folder) => Some(folder.join(BEST)).filter(|best| best.exists()),
        Place::One(_) => None,
    }
}

/// The checkpoint's parameters, or the average of those committed until then.
///
/// # Errors
/// There is no average in it.
pub fn params(checkpoint: &mut Checkpoint, average: bool) -> anyhow::Result<Vec<f32>> {
    if !average {
        return Ok(std::mem::take(&mut checkpoint.params));
    }
    let kept = checkpoint.local.get(AVERAGE).and_then(|bytes| read(bytes));
    let (_, params) = kept.context(
        "the checkpoint holds no average: a node keeps one if the run file's [stop] has an `ema` above 0",
    )?;
    anyhow::ensure!(
        params.len() as u64 == checkpoint.spec.elems(),
        "the checkpoint's average is of another model"
    );
    Ok(params)
}

/// The tokenizer of the run whose checkpoint lies at `found`: `given`, or a tokenizer.json beside or above it.
///
/// # Errors
/// The run's tokenizer is a file and none was found, or it is another.
pub fn tokenizer(spec: &RunSpec, found: &Path, given: Option<&Path>) -> anyhow::Result<Tokenizer> {
    let file = tokenizer_file(spec, found, given);
    Tokenizer::open(&spec.tokenizer, file.as_deref()).with_context(|| {
        format!("the tokenizer of the run `{}` (--tokenizer names its file)", spec.name)
    })
}

/// Where the run's tokenizer lies, if it is a file.
pub fn tokenizer_file(spec: &RunSpec, found: &Path, given: Option<&Path>) -> Option<PathBuf> {
    match spec.tokenizer {
        TokenizerSpec::Bytes => None,
        TokenizerSpec::File { .. } => given.map(Path::to_owned).or_else(|| beside(found)),
    }
}

/// A tokenizer.json in the round's folder, in that of the checkpoints or in that of the run.
fn beside(found: &Path) -> Option<PathBuf> {
    found.ancestors().take(3).map(|folder| folder.join(TOKENIZER)).find(|file| file.exists())
}

fn has_rounds(folder: &Path) -> bool {
    rounds(folder).is_ok_and(|rounds| !rounds.is_empty())
}

/// The runs of a node's home that have checkpoints, in name order.
fn runs(home: &Path) -> Vec<PathBuf> {
    let below = |folder: PathBuf| {
        folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let mut runs: Vec<PathBuf> = below(home.join("runs")).chain(below(home.to_owned())).collect();
    runs.retain(|run| has_rounds(&run.join("checkpoints")));
    runs.sort();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_found_from_every_height() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("home/runs/ab");
        let round = run.join("checkpoints/round-00000003");
        std::fs::create_dir_all(&round).unwrap();
        std::fs::write(round.join(MANIFEST), "").unwrap();
        assert_eq!(locate(&round).unwrap(), Place::One(round.clone()));
        let many = Place::Many(run.join("checkpoints"));
        for place in [
            &run.join("checkpoints"),
            &run,
            &dir.path().join("home/runs"),
            &dir.path().join("home"),
        ] {
            assert_eq!(locate(place).unwrap(), many);
        }
        std::fs::create_dir_all(dir.path().join("home/runs/cd/checkpoints/round-00000001"))
            .unwrap();
        let error = locate(&dir.path().join("home")).unwrap_err().to_string();
        assert!(error.contains("runs/ab") && error.contains("runs/cd"), "{error}");
        std::os::unix::fs::symlink("round-00000003", run.join("checkpoints/best")).unwrap();
        for place in [run.join("best"), run.join("checkpoints/best")] {
            let best = Place::One(run.join("checkpoints/best"));
            assert_eq!(locate(&place).unwrap(), best);
        }
        assert!(locate(&dir.path().join("best")).unwrap_err().to_string().contains("no folder"));
        assert!(locate(dir.path()).unwrap_err().to_string().contains("no checkpoint"));
        assert!(locate(&dir.path().join("none")).unwrap_err().to_string().contains("no folder"));
    }
}
