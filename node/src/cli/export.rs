//! `shoal export`: a folder that Hugging Face `transformers` loads.

use super::checkpoint;
use anyhow::bail;
use clap::Args;
use shoal_node::store::checkpoint::MODEL;
use shoal_node::store::hf;
use std::path::{Path, PathBuf};

/// Writes a checkpoint's model as a folder that Hugging Face transformers loads as LlamaForCausalLM.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Export {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one; RUN/best is that of the lowest
    /// held-out loss, if the run's spec has [stop]
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The folder to write: config.json, model.safetensors, tokenizer files
    #[arg(long, value_name = "DIR")]
    hf: PathBuf,
    /// The moving average of the committed parameters instead of the last ones, if the run's [stop] has `ema`
    #[arg(long)]
    average: bool,
    /// The run's tokenizer.json, if it has one [default: looked for beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Write over a model that is there
    #[arg(long)]
    force: bool,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal export ~/.local/share/shoal --hf my-model
  python3 -c \"from transformers import pipeline; print(pipeline('text-generation', 'my-model')('Once'))\"";

impl Export {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        if !self.force && holds_model(&self.hf) {
            bail!(
                "{} holds a model already: choose another folder, or write over it with --force",
                self.hf.display()
            );
        }
        let mut found = checkpoint::open(&self.checkpoint)?;
        let params = checkpoint::params(&mut found.checkpoint, self.average)?;
        let checkpoint = &found.checkpoint;
        let tokenizer =
            checkpoint::tokenizer(&checkpoint.spec, &found.path, self.tokenizer.as_deref())?;
        let file = tokenizer.path();
        hf::export(&checkpoint.spec.model, &params, &tokenizer.spec(), file, &self.hf)?;
        super::say(&format!(
            "{} holds round {} of `{}`\n",
            self.hf.display(),
            checkpoint.round,
            checkpoint.spec.name
        ));
        Ok(())
    }
}

fn holds_model(folder: &Path) -> bool {
    ["config.json", MODEL].iter().any(|name| folder.join(name).exists())
}
