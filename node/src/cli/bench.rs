//! `shoal bench`: a stand-in that measures nothing.

/// Measures how fast this machine trains, encodes and exchanges.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE\n  shoal bench train")]
pub struct Bench {}

impl Bench {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not yet")
    }
}
