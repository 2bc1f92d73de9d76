//! Tells a sound libtorch folder from an unsound one.

use std::fmt;
use std::fs;
use std::path::Path;

use super::{VERSION, library};

/// Why a folder is no libtorch that can be built against.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A file that every libtorch has is not there.
    Lacks(String),
    /// It is a libtorch of another version.
    OtherVersion(String),
    /// It does not tell its version.
    UnknownVersion,
}

impl Flaw {
    /// Whether the files are there and only the version is in doubt.
    pub fn is_about_version(&self) -> bool {
        !matches!(self, Self::Lacks(_))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(file) => write!(f, "has no {file}"),
            Self::OtherVersion(version) => {
                write!(f, "holds libtorch {version} where {VERSION} is needed")
            }
            Self::UnknownVersion => write!(f, "does not tell its version, and {VERSION} is needed"),
        }
    }
}

/// Checks that the folder holds headers and libraries of the right version. An unpacked C++ archive, Python's
/// `torch` package and our own cache all have this layout.
pub fn examine(folder: &Path) -> Result<(), Flaw> {
    let torch_cpu = if cfg!(windows) { "torch_cpu.lib".into() } else { library("torch_cpu") };
    for file in ["include/torch/csrc/api/include/torch/torch.h".into(), format!("lib/{torch_cpu}")]
    {
        if !folder.join(&file).is_file() {
            return Err(Flaw::Lacks(file));
        }
    }
    match version(folder) {
        None => Err(Flaw::UnknownVersion),
        Some(version) if version == VERSION => Ok(()),
        Some(version) => Err(Flaw::OtherVersion(version)),
    }
}

/// What the folder says of itself: archives have a `build-version`, all have a header.
fn version(folder: &Path) -> Option<String> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    if let Some(text) = read("build-version") {
        return Some(release(&text));
    }
    ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"]
        .iter()
        .find_map(|header| version_in_header(&read(header)?))
}

/// `2.11.0+cu130` is release 2.11.0.
fn release(text: &str) -> String {
    text.trim().split('+').next().unwrap_or_default().to_owned()
}

fn version_in_header(header: &str) -> Option<String> {
    let part = |name: &str| {
        header.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let found = words.next() == Some("#define") && words.next() == Some(name);
            if found { words.next() } else { None }
        })
    };
    let [major, minor, patch] =
        ["MAJOR", "MINOR", "PATCH"].map(|name| part(&format!("TORCH_VERSION_{name}")));
    Some(format!("{}.{}.{}", major?, minor?, patch?))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const HEADER: &str = "include/torch/headeronly/version.h";
    const DEFINES: &str = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 3\n#define TORCH_VERSION_PATCH 1\n";

    fn libtorch_with(name: &str, extra: &[(&str, &str)]) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("xtask-install-{}-{name}", std::process::id()));
        let library = format!("lib/{}", library("torch_cpu"));
        let usual = [("include/torch/csrc/api/include/torch/torch.h", ""), (library.as_str(), "")];
        for (file, text) in usual.iter().chain(extra) {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn examined(name: &str, extra: &[(&str, &str)]) -> Result<(), Flaw> {
        let folder = libtorch_with(name, extra);
        let result = examine(&folder);
        fs::remove_dir_all(folder).unwrap();
        result
    }

    #[test]
    fn the_version_decides() {
        assert_eq!(examined("plain", &[("build-version", "2.11.0\n")]), Ok(()));
        assert_eq!(examined("local", &[("build-version", "2.11.0+cu130")]), Ok(()));
        assert_eq!(
            examined("old", &[("build-version", "2.3.0")]),
            Err(Flaw::OtherVersion("2.3.0".into()))
        );
        assert_eq!(
            examined("header", &[(HEADER, DEFINES)]),
            Err(Flaw::OtherVersion("2.3.1".into()))
        );
        assert_eq!(examined("silent", &[]), Err(Flaw::UnknownVersion));
    }

    #[test]
    fn an_empty_folder_lacks_headers() {
        let flaw = examine(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(&flaw, Flaw::Lacks(file) if file.ends_with("torch.h")), "{flaw}");
    }
}
