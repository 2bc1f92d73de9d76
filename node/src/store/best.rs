//! The checkpoint of the lowest held-out loss: a link of the name `best` beside the others, which rotation leaves alone.

use super::checkpoint::folder;
use super::error::StoreError;
use super::manifest::Manifest;
use shoal_protocol::id::{Digest, Round};
use std::path::{Path, PathBuf};

/// The link's name.
pub const BEST: &str = "best";

/// Lets the link point at the round's checkpoint below `dir`, if that is of the record with this digest; otherwise there is no link
/// any more: what it pointed at is not the best. Returns the link, if there is one.
///
/// # Errors
/// The folder is closed to us.
pub fn point_at(dir: &Path, round: Round, digest: &Digest) -> Result<Option<PathBuf>, StoreError> {
    let (target, link) = (folder(dir, round), dir.join(BEST));
    let is_it = Manifest::read(&target).is_ok_and(|manifest| manifest.digest == digest.to_string());
    if !is_it {
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("removing", &link)(error));
            }
            _ => return Ok(None),
        }
    }
    let name = target.file_name().unwrap_or_default();
    if std::fs::read_link(&link).is_ok_and(|now| now == Path::new(name)) {
        return Ok(Some(link));
    }
    let new = dir.join(format!(".{BEST}-{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(name, &new).map_err(StoreError::io("linking", &new))?;
    std::fs::rename(&new, &link).map_err(StoreError::io("renaming", &new))?;
    Ok(Some(link))
}

/// The round's folder that the link below `dir` points at, if there is one.
pub fn pointed_at(dir: &Path) -> Option<PathBuf> {
    let name = std::fs::read_link(dir.join(BEST)).ok()?;
    Some(dir.join(name.file_name()?))
}
