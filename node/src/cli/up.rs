//! `shoal up`: a node for the run of a run file.

use super::flags::{NodeFlags, announce};
use clap::Args;
use shoal_node::blob::first;
use shoal_node::node;
use shoal_node::runfile::RunFile;
use shoal_node::settings::RUNS;
use std::path::PathBuf;

/// Starts a node for a run: alone or with whoever is there. Resumes from its last committed round.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Up {
    /// The run file, as `shoal new` writes it
    #[arg(value_name = "RUN_FILE")]
    file: PathBuf,
    #[command(flatten)]
    flags: NodeFlags,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal up run.toml
  shoal up run.toml --data corpus/ --device cuda:0 --device cuda:1 --listen 0.0.0.0:4001
  shoal up run.toml --home /tmp/second --peer 192.0.2.7:4001
  shoal up run.toml --record life.rec      then: shoal sim replay life.rec

It goes on until Ctrl-C or SIGTERM. --data replaces the text that the run file names: with another text it is another run.";

impl Up {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let mut file = RunFile::read(&self.file)?;
        if let (Some(lesson), Some(teacher)) = (&mut file.lesson, &self.flags.teacher) {
            lesson.teacher = teacher.clone();
        }
        let (data, tokenizer) = (self.flags.data.as_deref(), self.flags.tokenizer.as_deref());
        let made = file.resolve(data, tokenizer, &self.flags.cache())?;
        let made = made.as_begun(&self.flags.home().join(RUNS));
        let run = format!("{} ({})", made.spec.id(), made.spec.name);
        let settings = self.flags.settings(made.spec, made.data, made.tokenizer, made.teacher)?;
        let wanted = settings.spec.first_blobs();
        for (blob, bytes) in made.first.iter().filter(|(blob, _)| wanted.contains(blob)) {
            first::keep(&settings.fetched(), *blob, bytes)?;
        }
        node::run(settings, move |started| announce(&run, started))
    }
}
