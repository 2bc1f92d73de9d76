//! Files that are there whole or not at all: written aside, flushed to the disk, renamed into place.

use super::error::StoreError;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a file beside `path`, flushes it and renames it into place.
///
/// # Errors
/// The operating system's, with the path and the mend; `path` is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_atomic_by(path, |out| out.write_all(bytes))
}

/// The same with bytes that come one after the other, so that they are never in memory together.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let written = write_flushed_by(&partial, write).and_then(|()| {
        std::fs::rename(&partial, path).map_err(StoreError::io("renaming", &partial))
    });
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&partial);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    flush_folder(folder.unwrap_or(Path::new(".")))
}

/// Writes a file and flushes it to the disk.
pub(super) fn write_flushed(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_flushed_by(path, |out| out.write_all(bytes))
}

fn write_flushed_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let mut file = BufWriter::new(File::create(path).map_err(StoreError::io("writing", path))?);
    write(&mut file).and_then(|()| file.flush()).map_err(StoreError::io("writing", path))?;
    file.get_ref().sync_all().map_err(StoreError::io("flushing", path))
}

/// Flushes a file that somebody else has written.
pub(super) fn flush_file(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io("opening", path))?;
    file.sync_all().map_err(StoreError::io("flushing", path))
}

/// Flushes a folder's entries, so that a rename in it outlasts a power cut.
pub(super) fn flush_folder(path: &Path) -> Result<(), StoreError> {
    flush_file(path)
}

/// Makes a folder and those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(StoreError::io("making", path))
}

/// Maps a file for reading.
pub(super) fn map(path: &Path) -> Result<memmap2::Mmap, StoreError> {
    let file = File::open(path).map_err(StoreError::io("opening", path))?;
    // SAFETY: the map is only read. Files here are replaced by rename, never changed in place.
    unsafe { memmap2::Mmap::map(&file) }.map_err(StoreError::io("mapping", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for text in ["one", "two"] {
            write_atomic(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = write_atomic(&dir.path().join("no/where"), b"x").unwrap_err().to_string();
        assert!(error.starts_with("writing ") && error.contains("no/where"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_with_the_mend() {
        // Every write to it fails for want of space.
        let Err(error) = write_flushed(Path::new("/dev/full"), b"x") else { return };
        let error = error.to_string();
        assert!(error.contains("/dev/full") && error.contains("--home"), "{error}");
    }
}
