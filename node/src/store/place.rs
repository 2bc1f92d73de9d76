//! Finding a checkpoint: its own folder, a folder of them, a run's folder, or a node's home.

use super::best::BEST;
use super::checkpoint::{Found, load, newest_intact, rounds};
use super::manifest::MANIFEST;
use anyhow::{Context, bail};
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
