//! The Python on the PATH: asked for its torch, and used for its pip and zip reader.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Prints where the `torch` package lies, if it can be imported.
const FIND_TORCH: &str = "import torch; print(torch.__path__[0])";

/// Prints how many bytes are free where the folder lies.
const FREE_BYTES: &str = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";

/// A Python interpreter that starts.
pub struct Python(&'static str);

impl Python {
    /// The first of `python3` and `python` that is a Python 3.
    pub fn find() -> Option<Self> {
        ["python3", "python"]
            .into_iter()
            .map(Self)
            .find(|python| python.answers("import sys; assert sys.version_info > (3, 6)"))
    }

    /// The folder of the importable `torch` package.
    pub fn torch(&self) -> Option<PathBuf> {
        self.told(self.command().args(["-c", FIND_TORCH])).map(PathBuf::from)
    }

    /// Whether `python -m pip` works.
    pub fn has_pip(&self) -> bool {
        self.answers("import pip")
    }

    /// Free bytes on the disk that holds the folder.
    pub fn free_bytes(&self, folder: &Path) -> Option<u64> {
        self.told(self.command().args(["-c", FREE_BYTES]).arg(folder))?.parse().ok()
    }

    /// A command that runs this interpreter.
    pub fn command(&self) -> Command {
        Command::new(self.0)
    }

    fn answers(&self, script: &str) -> bool {
        self.told(self.command().args(["-c", script])).is_some()
    }

    /// What the command printed, if it ended well.
    fn told(&self, command: &mut Command) -> Option<String> {
        let output = command.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }
}
