//! The folder that all clones on a machine share, so that libtorch is fetched once.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Begins the name of a folder in which a fetch is at work.
const AT_WORK: &str = ".fetching-";

/// A fetch that began this long ago was killed; a slow line needs hours, not a day.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// `$SHOAL_CACHE`, else `$XDG_CACHE_HOME/shoal`, else `~/.cache/shoal`; empty variables count as unset.
pub fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SHOAL_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("shoal")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/shoal")))
}

/// A private folder inside the cache, removed with all it holds when dropped.
pub struct Workplace(PathBuf);

impl Workplace {
    /// Makes the folder, and clears away those of fetches that were killed.
    pub fn open(cache: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(cache)?;
        sweep(cache);
        let folder = cache.join(format!("{AT_WORK}{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// A folder of this name inside, made on the spot.
    pub fn subfolder(&self, name: &str) -> std::io::Result<PathBuf> {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sweep(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let at_work = entry.file_name().to_string_lossy().starts_with(AT_WORK);
        let age = entry.metadata().ok().and_then(|meta| meta.modified().ok()?.elapsed().ok());
        if at_work && age.is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(set: &[(&str, &str)]) -> Option<PathBuf> {
        folder(|name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_nearest_variable_wins() {
        let all = [("SHOAL_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(folder_with(&all), Some(PathBuf::from("/a")));
        assert_eq!(folder_with(&all[1..]), Some(PathBuf::from("/b/shoal")));
        assert_eq!(folder_with(&all[2..]), Some(PathBuf::from("/c/.cache/shoal")));
        assert_eq!(
            folder_with(&[("SHOAL_CACHE", ""), ("HOME", "/c")]),
            Some(PathBuf::from("/c/.cache/shoal"))
        );
        assert_eq!(folder_with(&[]), None);
    }

    #[test]
    fn a_workplace_goes_with_its_owner_and_leaves_others_alone() {
        let cache = std::env::temp_dir().join(format!("xtask-cache-{}", std::process::id()));
        let other = cache.join(".fetching-other");
        fs::create_dir_all(&other).unwrap();
        let inside = Workplace::open(&cache).unwrap().subfolder("wheels").unwrap();
        assert!(!inside.exists());
        assert!(other.exists(), "a fetch that began just now is at work, not abandoned");
        fs::remove_dir_all(&cache).unwrap();
    }
}
