//! Where the repository lies.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root folder. Asked at run time first, since a clone may have moved since xtask was built.
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}
