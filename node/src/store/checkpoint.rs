//! Checkpoints: a folder a round, written aside and renamed into place, used only if every file's BLAKE3 fits.
//!
//! ```text
//! checkpoints/best           link to the round of the lowest agreed held-out loss, if the run's spec asks for it
//! checkpoints/round-00000012/
//!   manifest.json          round, digest, spec, losses; size and BLAKE3 of every other file
//!   model.safetensors      outer parameters under Hugging Face's names
//!   momentum.safetensors   outer momentum, the same names; absent if there is none
//!   second-moment.safetensors   the outer optimiser's second vector; absent if it has only one
//!   extra-NAME             whatever else the caller keeps
//!   local-NAME             what only this node has a use for, and can do without: if torn, it alone is passed over
//! ```

use super::best;
use super::disk;
use super::error::StoreError;
use super::manifest::{FORMAT, FileEntry, Manifest};
use super::tensors;
use crate::model::Layout;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::run::RunSpec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The parameters' file name.
pub const MODEL: &str = "model.safetensors";
/// The outer momentum's file name.
pub const MOMENTUM: &str = "momentum.safetensors";
/// The file name of an outer optimiser's second vector.
const SECOND: &str = "second-moment.safetensors";
/// Before the names of the caller's own files.
const EXTRA: &str = "extra-";
/// Before the names of what can be done without.
const LOCAL: &str = "local-";
/// Before the names of folders that are not finished.
const PARTIAL: &str = ".partial-";

/// A committed state and what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The committed round.
    pub round: Round,
    /// The state's digest as the peers agreed on it.
    pub digest: Digest,
    /// What all peers agree on.
    pub spec: RunSpec,
    /// Outer parameters, `[params]`; what the state has behind them is an extra: see [`super::committed`].
    pub params: Vec<f32>,
    /// The outer optimiser's vectors one after the other, `[params]` each, or empty.
    pub momentum: Vec<f32>,
    /// The caller's own bytes by name (lower-case letters, digits, `-`, `_`, `.`).
    pub extras: BTreeMap<String, Vec<u8>>,
    /// Bytes that can be done without, by name; those that are torn on disk are absent.
    pub local: BTreeMap<String, Arc<Vec<u8>>>,
    /// Held-out losses so far, by round.
    pub losses: Vec<(Round, f64)>,
}

/// A checkpoint and where it lay.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
}

/// The folder of a round's checkpoint below `dir`.
pub fn folder(dir: &Path, round: Round) -> PathBuf {
    dir.join(format!("round-{round:08}"))
}

/// Writes a checkpoint below `dir`, then removes all but the newest `keep` (at least 1), the best one and those that the
/// caller holds. Returns its folder.
///
/// # Errors
/// The data do not fit together, or the disk is full or closed to us; the checkpoints there are then as they were.
pub fn save(
    dir: &Path,
    checkpoint: &Checkpoint,
    keep: usize,
    holds: impl Fn(Round) -> bool,
) -> Result<PathBuf, StoreError> {
    check(checkpoint)?;
    disk::make_folder(dir)?;
    let partial = dir.join(format!("{PARTIAL}{:08}-{}", checkpoint.round, std::process::id()));
    let _ = std::fs::remove_dir_all(&partial);
    let target = folder(dir, checkpoint.round);
    let written = write_files(&partial, checkpoint).and_then(|()| put_in_place(&partial, &target));
    if let Err(error) = written {
        // Best effort: the error that matters is the one at hand.
        let _ = std::fs::remove_dir_all(&partial);
        return Err(error);
    }
    disk::flush_folder(dir)?;
    prune(dir, keep.max(1), holds)?;
    Ok(target)
}

/// Reads a checkpoint's folder, verifying every file.
///
/// # Errors
/// Which file is absent or not intact, and why.
pub fn load(path: &Path) -> Result<Checkpoint, StoreError> {
    let manifest = Manifest::read(path)?;
    for (name, entry) in &manifest.files {
        entry.verify(&path.join(name))?;
    }
    let layout = Layout::new(&manifest.spec.model);
    let mut momentum = Vec::new();
    for name in [MOMENTUM, SECOND].iter().filter(|name| manifest.files.contains_key(**name)) {
        momentum.extend(tensors::read(&path.join(name), &layout)?);
    }
    Ok(Checkpoint {
        round: manifest.round,
        digest: manifest.state_digest(path)?,
        params: tensors::read(&path.join(MODEL), &layout)?,
        momentum,
        extras: read_extras(path, &manifest)?,
        local: read_local(path, &manifest),
        losses: manifest.losses,
        spec: manifest.spec,
    })
}

/// The newest checkpoint below `dir` whose every file is intact; `None` without any. A torn one is logged and passed over.
///
/// # Errors
/// The folder is there but cannot be listed.
pub fn newest_intact(dir: &Path) -> Result<Option<Found>, StoreError> {
    for (_, path) in rounds(dir)?.into_iter().rev() {
        match load(&path) {
            Ok(checkpoint) => return Ok(Some(Found { path, checkpoint })),
            Err(error) => {
                tracing::warn!(checkpoint = %path.display(), %error, "passing over a checkpoint: the one before it is used");
            }
        }
    }
    Ok(None)
}

/// The checkpoints below `dir`, oldest first, intact or not; empty if there is no such folder.
///
/// # Errors
/// The folder is there but cannot be listed.
pub fn rounds(dir: &Path) -> Result<BTreeMap<Round, PathBuf>, StoreError> {
    if !dir.exists() {
        return Ok(BTreeMap::new());
    }
    let listing = dir.read_dir().map_err(StoreError::io("listing", dir))?;
    let numbered = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("round-")?.parse().ok().map(|round| (round, path))
    };
    Ok(listing.flatten().map(|entry| entry.path()).filter_map(numbered).collect())
}

fn check(checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let params = checkpoint.spec.model.params();
    let wrong = |what: &str, len: usize| {
        Err(StoreError::Invalid(format!("{len} {what} were given, the model has {params}")))
    };
    let (got, momentum) = (checkpoint.params.len(), checkpoint.momentum.len());
    if got as u64 != params {
        return wrong("parameters", got);
    }
    if momentum != 0 && momentum as u64 != params * checkpoint.spec.outer_states() as u64 {
        return wrong("elements of momentum", momentum);
    }
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
    let mut names = checkpoint.extras.keys().chain(checkpoint.local.keys());
    match names.find(|name| name.is_empty() || !name.bytes().all(plain)) {
        Some(name) => Err(StoreError::Invalid(format!("{name:?} cannot name a file"))),
        None => Ok(()),
    }
}

fn write_files(folder: &Path, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    disk::make_folder(folder)?;
    let layout = Layout::new(&checkpoint.spec.model);
    let mut names = vec![MODEL.to_owned()];
    tensors::write(&folder.join(MODEL), &layout, &checkpoint.params)?;
    for (name, vector) in [MOMENTUM, SECOND].iter().zip(checkpoint.momentum.chunks(layout.len())) {
        tensors::write(&folder.join(name), &layout, vector)?;
        names.push((*name).to_owned());
    }
    for (name, bytes) in &checkpoint.extras {
        let name = format!("{EXTRA}{name}");
        disk::write_flushed(&folder.join(&name), bytes)?;
        names.push(name);
    }
    let local: Vec<String> = checkpoint.local.keys().map(|name| format!("{LOCAL}{name}")).collect();
    for (name, bytes) in local.iter().zip(checkpoint.local.values()) {
        disk::write_flushed(&folder.join(name), bytes)?;
    }
    manifest(folder, checkpoint, names, local)?.write(folder)?;
    disk::flush_folder(folder)
}

fn manifest(
    folder: &Path,
    checkpoint: &Checkpoint,
    names: Vec<String>,
    local: Vec<String>,
) -> Result<Manifest, StoreError> {
    let entry = |name: String| FileEntry::of(&folder.join(&name)).map(|entry| (name, entry));
    Ok(Manifest {
        format: FORMAT,
        round: checkpoint.round,
        digest: checkpoint.digest.to_string(),
        run_id: checkpoint.spec.id().to_string(),
        spec: checkpoint.spec.clone(),
        // JSON knows no NaN.
        losses: checkpoint.losses.iter().copied().filter(|(_, loss)| loss.is_finite()).collect(),
        files: names.into_iter().map(entry).collect::<Result<_, _>>()?,
        local: local.into_iter().map(entry).collect::<Result<_, _>>()?,
        check: String::new(),
    })
}

/// Renames the finished folder to its name; one that has the name already steps aside first and goes afterwards.
fn put_in_place(partial: &Path, target: &Path) -> Result<(), StoreError> {
    let aside = partial.with_extension("replaced");
    let replaces = target.exists();
    if replaces {
        std::fs::rename(target, &aside).map_err(StoreError::io("renaming", target))?;
    }
    std::fs::rename(partial, target).map_err(StoreError::io("renaming", partial))?;
    if replaces {
        std::fs::remove_dir_all(&aside).map_err(StoreError::io("removing", &aside))?;
    }
    Ok(())
}

/// Removes all but the newest `keep` checkpoints, the best and those that are held, and what writers that died have left.
fn prune(dir: &Path, keep: usize, holds: impl Fn(Round) -> bool) -> Result<(), StoreError> {
    let (all, best) = (rounds(dir)?, best::pointed_at(dir));
    let old = all.iter().take(all.len().saturating_sub(keep));
    let old = old.filter(|(round, path)| !holds(**round) && best.as_ref() != Some(*path));
    let old = old.map(|(_, path)| path.clone());
    let listing = dir.read_dir().map_err(StoreError::io("listing", dir))?;
    let stale = listing.flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL))
    });
    for path in old.chain(stale) {
        std::fs::remove_dir_all(&path).map_err(StoreError::io("removing", &path))?;
    }
    Ok(())
}

fn read_extras(
    folder: &Path,
    manifest: &Manifest,
) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let names = manifest.files.keys().filter_map(|name| name.strip_prefix(EXTRA));
    names
        .map(|name| {
            let path = folder.join(format!("{EXTRA}{name}"));
            let bytes = std::fs::read(&path).map_err(StoreError::io("reading", &path))?;
            Ok((name.to_owned(), bytes))
        })
        .collect()
}

/// What can be done without, as far as it is intact.
fn read_local(folder: &Path, manifest: &Manifest) -> BTreeMap<String, Arc<Vec<u8>>> {
    let read = |name: &String, entry: &FileEntry| {
        let path = folder.join(name);
        entry.verify(&path)?;
        std::fs::read(&path).map_err(StoreError::io("reading", &path))
    };
    let mut local = BTreeMap::new();
    for (name, entry) in &manifest.local {
        match read(name, entry) {
            Ok(bytes) => {
                let name = name.strip_prefix(LOCAL).unwrap_or(name);
                local.insert(name.to_owned(), Arc::new(bytes));
            }
            Err(error) => tracing::warn!(%error, "going on without a part of the checkpoint"),
        }
    }
    local
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
