//! `shoal export`: a model for other programs, in full or in few bits.

use super::checkpoint;
use anyhow::{Context, bail};
use clap::Args;
use shoal_node::store::Checkpoint;
use shoal_node::store::checkpoint::MODEL;
use shoal_node::store::gguf::{self, Encoding, Exported};
use shoal_node::store::hf::{self, Bits};
use std::path::{Path, PathBuf};

/// Writes a checkpoint's model for other programs: a folder that Hugging Face transformers loads, or a file that llama.cpp loads.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Export {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one; RUN/best is that of the lowest
    /// held-out loss, if the run's spec has [stop]
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The folder to write for transformers: config.json, model.safetensors, tokenizer files
    #[arg(long, value_name = "DIR", required_unless_present = "gguf", conflicts_with = "gguf")]
    hf: Option<PathBuf>,
    /// The file to write for llama.cpp
    #[arg(long, value_name = "FILE")]
    gguf: Option<PathBuf>,
    /// How weights are written. --hf: f32, int8 or int4 (these two need Python's compressed-tensors to be loaded); --gguf: f32, f16,
    /// bf16, q8_0, q4_0 or q4_k
    #[arg(long, value_name = "KIND", default_value = "f32")]
    weights: String,
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
  python3 -c \"from transformers import pipeline; print(pipeline('text-generation', 'my-model')('Once'))\"
  shoal export ~/.local/share/shoal --gguf my-model.gguf --weights q8_0
  llama-cli -m my-model.gguf -p 'Once upon a time'";

impl Export {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match (&self.hf, &self.gguf) {
            (_, Some(file)) => self.to_gguf(file),
            (Some(folder), None) => self.to_hf(folder),
            (None, None) => bail!("name what to write: --hf DIR or --gguf FILE"),
        }
    }

    fn to_hf(&self, folder: &Path) -> anyhow::Result<()> {
        let holds = ["config.json", MODEL].iter().any(|name| folder.join(name).exists());
        self.check_free(holds, folder)?;
        let bits = Bits::named(&self.weights).with_context(|| {
            format!("--weights {} is not for --hf: give f32, int8 or int4", self.weights)
        })?;
        let mut found = checkpoint::open(&self.checkpoint)?;
        let params = checkpoint::params(&mut found.checkpoint, self.average)?;
        let checkpoint = &found.checkpoint;
        let tokenizer =
            checkpoint::tokenizer(&checkpoint.spec, &found.path, self.tokenizer.as_deref())?;
        let tokenizer_file = (&tokenizer.spec(), tokenizer.path());
        hf::export_in(bits, &checkpoint.spec.model, &params, tokenizer_file, folder)?;
        tell(folder, checkpoint, "");
        Ok(())
    }

    fn to_gguf(&self, file: &Path) -> anyhow::Result<()> {
        self.check_free(file.exists(), file)?;
        let known = Encoding::ALL.into_iter().find(|encoding| encoding.name() == self.weights);
        let names = Encoding::ALL.map(Encoding::name).join(", ");
        let encoding = known.with_context(|| {
            format!("--weights {} is not for --gguf: give one of {names}", self.weights)
        })?;
        let mut found = checkpoint::open(&self.checkpoint)?;
        let params = checkpoint::params(&mut found.checkpoint, self.average)?;
        let spec = &found.checkpoint.spec;
        let tokenizer = checkpoint::tokenizer(spec, &found.path, self.tokenizer.as_deref())?;
        let tokenizer = (&tokenizer.spec(), tokenizer.path());
        let exported = gguf::export(&spec.name, &spec.model, &params, tokenizer, encoding, file)?;
        tell(file, &found.checkpoint, &sizes(exported, encoding));
        Ok(())
    }

    fn check_free(&self, holds: bool, place: &Path) -> anyhow::Result<()> {
        if holds && !self.force {
            bail!(
                "{} holds a model already: choose another place, or write over it with --force",
                place.display()
            );
        }
        Ok(())
    }
}

fn tell(place: &Path, checkpoint: &Checkpoint, more: &str) {
    let (round, name) = (checkpoint.round, &checkpoint.spec.name);
    super::say(&format!("{} holds round {round} of `{name}`{more}\n", place.display()));
}

fn sizes(Exported { bytes, otherwise }: Exported, encoding: Encoding) -> String {
    let mut text = format!(", {:.1} MB", bytes as f64 / 1e6);
    if otherwise > 0 {
        text += &format!(
            "; {otherwise} weights whose rows are no multiple of {} are in q4_0 or f16",
            encoding.block()
        );
    }
    text
}
