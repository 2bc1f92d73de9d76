//! `shoal data`: text made ready for training, looked into, verified, made.

mod flags;
mod inspect;
mod personal;
mod prepare;
mod progress;
mod synth;
mod verify;

use clap::Subcommand;

/// What is done with data.
#[derive(Debug, Subcommand)]
pub enum Data {
    Prepare(prepare::Prepare),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Synth(synth::Synth),
}

/// For the help.
pub const EXAMPLE: &str = "\
EXAMPLE
  shoal data prepare corpus/ -o ready --bpe 8192 --language en
  shoal data inspect ready
  shoal data verify ready
  shoal data synth -o made --documents 20000

Then set `text = \"ready\"` under [data] of a run file.";

impl Data {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Data::Prepare(prepare) => prepare.run(),
            Data::Inspect(inspect) => inspect.run(),
            Data::Verify(verify) => verify.run(),
            Data::Synth(synth) => synth.run(),
        }
    }
}
