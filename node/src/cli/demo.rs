//! `shoal demo`: a stand-in that shows nothing.

/// Trains a small model with several nodes on this machine, and shows it.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE\n  shoal demo --nodes 4")]
pub struct Demo {}

impl Demo {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not yet")
    }
}
