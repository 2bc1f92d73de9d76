//! Where a demo's files lie, and what stays of them.
//!
//! ```text
//! spec.cbor             the run, as the nodes read it
//! node-1/, node-2/ …    each node's home
//! logs/node-1.log …     what each node said
//! local/                where the demo's nodes find each other, and nobody else does
//! checkpoint/           the last committed parameters, once the run is over
//! ```

use super::Plan;
use anyhow::{Context, Result};
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The demo's folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Whether the person named it: then everything in it stays.
    named: bool,
    pictures: PathBuf,
}

impl Folder {
    /// Makes it, and the report's folder.
    pub(super) fn prepare(plan: &Plan) -> Result<Folder> {
        let unnamed = || std::env::temp_dir().join(format!("shoal-demo-{}", std::process::id()));
        let root = plan.home.clone().unwrap_or_else(unnamed);
        let pictures = plan.report.clone().unwrap_or_else(|| root.clone());
        let folder = Folder { root, named: plan.home.is_some(), pictures };
        for path in [&folder.root, &folder.logs(), &folder.local(), &folder.pictures] {
            make(path)?;
        }
        Ok(Folder { root: absolute(folder.root)?, pictures: absolute(folder.pictures)?, ..folder })
    }

    pub(super) fn spec(&self) -> PathBuf {
        self.root.join("spec.cbor")
    }

    pub(super) fn home(&self, node: &str) -> PathBuf {
        self.root.join(node)
    }

    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.logs().join(format!("{node}.log"))
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn local(&self) -> PathBuf {
        self.root.join("local")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where pictures and the report go.
    pub(super) fn pictures(&self) -> &Path {
        &self.pictures
    }

    pub(super) fn write_spec(&self, spec: &RunSpec) -> Result<()> {
        let path = self.spec();
        fs::write(&path, wire::to_cbor(spec)).with_context(|| format!("writing {}", path.display()))
    }

    /// Moves a node's checkpoint to where the person is told that it lies.
    pub(super) fn keep_checkpoint(&self, checkpoint: &Path) -> Result<PathBuf> {
        let kept = self.root.join("checkpoint");
        let _ = fs::remove_dir_all(&kept); // of an earlier demo in the same folder
        fs::rename(checkpoint, &kept)
            .with_context(|| format!("moving {} to {}", checkpoint.display(), kept.display()))?;
        Ok(kept)
    }

    /// Removes what nobody will ask for after a run that went well, unless the person named the folder.
    pub(super) fn tidy(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        let paths = entries.flatten().map(|entry| entry.path());
        let homes = paths.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node-"))
        });
        let spare = [self.logs(), self.local(), self.cache()];
        for path in homes.chain(spare).filter(|_| !self.named) {
            let _ = fs::remove_dir_all(path); // a leftover in a temporary folder harms nobody
        }
        if !self.named {
            let _ = fs::remove_file(self.spec());
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.root); // as above
    }

    /// Where to look when something went wrong.
    pub(super) fn epitaph(&self) -> String {
        match self.logs().exists() {
            true => format!(
                "the demo did not end well; the nodes' logs are in {}",
                self.logs().display()
            ),
            false => "the demo did not end well".into(),
        }
    }
}

fn make(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the folder {}", path.display()))
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("opening {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_checkpoint_and_what_a_person_named() {
        let temp = tempfile::tempdir().unwrap();
        let folder = |named| {
            let root = temp.path().join(if named { "a" } else { "b" });
            make(&root.join("node-1/deep")).unwrap();
            make(&root.join("logs")).unwrap();
            Folder { root: root.clone(), named, pictures: root }
        };
        for named in [true, false] {
            let folder = folder(named);
            let kept = folder.keep_checkpoint(&folder.home("node-1").join("deep")).unwrap();
            folder.tidy();
            assert!(kept.is_dir());
            assert_eq!((folder.home("node-1").exists(), folder.logs().exists()), (named, named));
        }
    }
}
