//! `shoal data verify`: every digest of a prepared folder.

use clap::Args;
use shoal_node::prepare::Manifest;
use std::path::PathBuf;

/// Verifies every file of a prepared folder and names the first that was altered.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Verify {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal data verify ready

The exit status is 0 if every file is intact, 1 if not.";

impl Verify {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let manifest = Manifest::load(&self.folder)?;
        manifest.verify(&self.folder, |_| {})?;
        let (shards, name) = (manifest.shards.len(), manifest.digest());
        crate::cli::say(&format!("{shards} shards are intact\nname      {name}\n"));
        Ok(())
    }
}
