//! Finds libtorch, or fetches it, and links it as `.libtorch`, where `.cargo/config.toml` has every build look.
//!
//! The order: Python's torch if `LIBTORCH_USE_PYTORCH` asks for it; `LIBTORCH`; the link as it stands; an
//! importable torch of the right version; the cache that all clones share; the package index.

mod cache;
mod fetch;
mod install;
mod link;
mod python;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cargo::announce;
use crate::fault::Fault;
use crate::repository;
use install::Flaw;
use python::Python;

/// The version that tch 0.24 is written for; its build script refuses any other.
const VERSION: &str = "2.11.0";

/// Whether a link that already stands is good enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Use the link if it leads to a sound libtorch.
    KeepLink,
    /// Look again, since a better one may have been installed.
    Anew,
}

/// Leaves a libtorch of the right version where the build finds it, or says why it cannot.
pub fn provision(search: Search) -> Result<(), Fault> {
    let link = link_path();
    if let Some(folder) = required_by_environment(&link)? {
        return link::point(&link, &folder);
    }
    if search == Search::KeepLink && install::examine(&link).is_ok() {
        return Ok(());
    }
    link::point(&link, &found_or_fetched()?)
}

/// Where this clone's link to libtorch stands.
pub fn link_path() -> PathBuf {
    repository::root().join(".libtorch")
}

/// The libtorch that the user's variables name, which must then be sound.
fn required_by_environment(link: &Path) -> Result<Option<PathBuf>, Fault> {
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return torch_of_python().map(Some);
    }
    let Some(folder) = exported(env::var_os("LIBTORCH"), link) else {
        return Ok(None);
    };
    let lenient = env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some();
    accept_exported(&folder, install::examine(&folder), lenient)?;
    Ok(Some(folder))
}

/// `LIBTORCH` as the user exported it: cargo sets it to our own link for whatever it runs, and that says nothing.
fn exported(libtorch: Option<OsString>, link: &Path) -> Option<PathBuf> {
    let value = libtorch.filter(|value| !value.is_empty() && value != link.as_os_str())?;
    Some(PathBuf::from(value))
}

fn accept_exported(folder: &Path, examined: Result<(), Flaw>, lenient: bool) -> Result<(), Fault> {
    let name = format!("LIBTORCH={}", folder.display());
    if !folder.is_absolute() {
        return Err(Fault::new(
            format!("{name} is relative, and builds run elsewhere"),
            "give the absolute path",
        ));
    }
    match examined {
        Err(flaw) if !(lenient && flaw.is_about_version()) => Err(Fault::new(
            format!("{name} {flaw}"),
            format!("point it at a libtorch {VERSION}, or unset it to have one found or fetched"),
        )),
        _ => Ok(()),
    }
}

fn torch_of_python() -> Result<PathBuf, Fault> {
    let mend =
        format!("`pip install torch=={VERSION}` for that Python, or unset LIBTORCH_USE_PYTORCH");
    let fault =
        |what: String| Fault::new(format!("LIBTORCH_USE_PYTORCH is set, but {what}"), &mend);
    let python = Python::find().ok_or_else(|| fault("there is no Python".into()))?;
    let torch = python.torch().ok_or_else(|| fault("Python cannot import torch".into()))?;
    install::examine(&torch).map_err(|flaw| fault(format!("{} {flaw}", torch.display())))?;
    Ok(torch)
}

fn found_or_fetched() -> Result<PathBuf, Fault> {
    if let Some(torch) = importable_torch() {
        return Ok(torch);
    }
    let cache = cache::folder(|name| env::var_os(name)).ok_or_else(|| {
        Fault::new(
            "there is no folder to keep libtorch in",
            "set HOME, or SHOAL_CACHE to a folder with 1.5 GB free",
        )
    })?;
    let cached = cache.join(format!("libtorch-{VERSION}-cpu"));
    if install::examine(&cached).is_err() {
        fetch::fetch(&cache, &cached)?;
    }
    Ok(cached)
}

fn importable_torch() -> Option<PathBuf> {
    let torch = Python::find()?.torch()?;
    match install::examine(&torch) {
        Ok(()) => Some(torch),
        Err(flaw) => {
            announce(&format!("passing over Python's torch, for {} {flaw}", torch.display()));
            None
        }
    }
}

/// The mend that always works.
fn set_libtorch() -> String {
    format!("set LIBTORCH to a folder with the include/ and lib/ of a libtorch {VERSION}")
}

/// The file name of a shared library here.
fn library(name: impl AsRef<OsStr>) -> String {
    format!(
        "{}{}{}",
        env::consts::DLL_PREFIX,
        name.as_ref().to_string_lossy(),
        env::consts::DLL_SUFFIX
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "/clone/.libtorch";

    #[test]
    fn our_own_link_is_not_the_users_wish() {
        let exported = |value: Option<&str>| exported(value.map(OsString::from), Path::new(LINK));
        assert_eq!(exported(None), None);
        assert_eq!(exported(Some("")), None);
        assert_eq!(exported(Some(LINK)), None);
        assert_eq!(exported(Some("/opt/libtorch")), Some(PathBuf::from("/opt/libtorch")));
    }

    #[test]
    fn a_wrong_version_is_refused_in_one_sentence() {
        let examined = Err(Flaw::OtherVersion("2.3.0".into()));
        let fault = accept_exported(Path::new("/opt/libtorch"), examined, false).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "LIBTORCH=/opt/libtorch holds libtorch 2.3.0 where 2.11.0 is needed: point it at a libtorch 2.11.0, \
             or unset it to have one found or fetched."
        );
    }

    #[test]
    fn the_bypass_excuses_the_version_and_nothing_else() {
        let accept =
            |flaw, lenient| accept_exported(Path::new("/opt/libtorch"), Err(flaw), lenient).is_ok();
        assert!(accept(Flaw::OtherVersion("2.3.0".into()), true));
        assert!(accept(Flaw::UnknownVersion, true));
        assert!(!accept(Flaw::UnknownVersion, false));
        assert!(!accept(Flaw::Lacks("lib".into()), true));
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(accept_exported(Path::new("libtorch"), Ok(()), true).is_err());
    }
}
