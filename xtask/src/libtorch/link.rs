//! The clone's link to libtorch.

use std::fs;
use std::io;
use std::path::Path;

use crate::cargo::{self, announce};
use crate::fault::Fault;

/// Points the link at the folder, in one step, so that a build beside us sees the old one or the new one.
pub fn point(link: &Path, folder: &Path) -> Result<(), Fault> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    if real(link).is_some() && real(link) == real(folder) {
        return Ok(());
    }
    let had_one = fs::symlink_metadata(link).is_ok();
    replace(link, folder).map_err(|error| {
        Fault::new(
            format!("{} cannot be linked to {} ({error})", link.display(), folder.display()),
            format!("remove {} and see that its folder can be written to", link.display()),
        )
    })?;
    announce(&format!("using libtorch in {}", folder.display()));
    if had_one {
        forget_old_build();
    }
    Ok(())
}

#[cfg(unix)]
fn replace(link: &Path, folder: &Path) -> io::Result<()> {
    let fresh = link.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&fresh);
    std::os::unix::fs::symlink(folder, &fresh)?;
    fs::rename(&fresh, link).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// Links are a privilege here, so the variable, which wins anyway, stays the only way.
#[cfg(not(unix))]
fn replace(_link: &Path, _folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The path that builds are given stays the same when the link moves, so cargo must be told that what was
/// compiled and linked against the old folder is stale.
fn forget_old_build() {
    for profile in ["dev", "release"] {
        let _ = cargo::command()
            .args(["clean", "--quiet", "--package", "torch-sys", "--profile", profile])
            .status();
    }
}
