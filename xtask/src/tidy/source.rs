//! A source file, read and masked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mask;
use crate::fault::Fault;

/// A file under inspection.
pub struct Source {
    /// Its path from the repository's root, with `/` between the parts.
    pub path: String,
    /// The text as it stands.
    pub text: String,
    /// The text with comments and literals blanked; lines are where they were.
    pub code: String,
    without_tests: String,
}

impl Source {
    /// A source from its path and text. Comments of a Cargo.toml are blanked too.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = if path.ends_with(".rs") {
            mask::comments_and_literals(&text)
        } else {
            mask::toml_comments(&text)
        };
        let without_tests = mask::test_items(&code);
        Self { path, text, code, without_tests }
    }

    /// Whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The code with what stands under `#[cfg(test)]` blanked.
    pub fn code_without_tests(&self) -> &str {
        &self.without_tests
    }

    /// How many lines the file has without its `#[cfg(test)]` parts.
    pub fn lines_without_tests(&self) -> usize {
        let kept =
            self.code.lines().zip(self.without_tests.lines()).filter(|(code, kept)| code == kept);
        kept.count()
    }
}

/// The Rust files and the manifest of a crate, in order of path.
pub fn sources_of(root: &Path, package: &str) -> Result<Vec<Source>, Fault> {
    let mut paths = Vec::new();
    let read = collect(&root.join(package), &mut paths).and_then(|()| {
        paths.sort();
        paths
            .iter()
            .map(|path| Ok(Source::new(name(root, path), fs::read_to_string(path)?)))
            .collect()
    });
    read.map_err(|error: io::Error| {
        Fault::new(
            format!("the sources of {package} cannot be read ({error})"),
            "check the files' permissions",
        )
    })
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && file_name != "target" {
            collect(&path, paths)?;
        } else if file_name.ends_with(".rs") || file_name == "Cargo.toml" {
            paths.push(path);
        }
    }
    Ok(())
}

fn name(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_do_not_count_as_length() {
        let text = "//! Doc.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(Source::new("x/src/a.rs", text).lines_without_tests(), 3);
    }

    #[test]
    fn a_file_among_the_tests_is_a_test() {
        assert!(Source::new("node/tests/mesh.rs", "").is_test());
        assert!(Source::new("protocol/src/round/tests.rs", "").is_test());
        assert!(!Source::new("node/src/contests.rs", "").is_test());
    }
}
