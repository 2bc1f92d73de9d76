//! Files that a command leaves behind.

use std::path::Path;

/// Writes a file.
///
/// # Errors
/// The file, the reason and the mend.
pub fn file(path: &Path, text: &str) -> Result<(), String> {
    write(path, text, "file")
}

/// Writes files by their names into a folder, which is made if it is not there.
///
/// # Errors
/// The file or folder, the reason and the mend.
pub fn folder(dir: &Path, files: &[(&str, String)]) -> Result<(), String> {
    std::fs::create_dir_all(dir)
        .map_err(|why| format!("{}: {why}: choose a folder that can be made", dir.display()))?;
    files.iter().try_for_each(|(name, text)| write(&dir.join(name), text, "folder"))
}

fn write(path: &Path, text: &str, choose: &str) -> Result<(), String> {
    std::fs::write(path, text)
        .map_err(|why| format!("{}: {why}: choose a {choose} that can be written", path.display()))
}
