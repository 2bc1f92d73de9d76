//! `shoal generate`: text from a model.

use super::checkpoint;
use super::device::{self, DeviceName};
use clap::Args;
use shoal_node::model::Llama;
use shoal_node::train::{SampleSpec, sample, set_threads};
use std::path::PathBuf;

/// Makes text with a checkpoint's model.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Generate {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one; RUN/best is that of the lowest
    /// held-out loss, if the run's spec has [stop]
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// What the text begins with
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Tokens to add
    #[arg(long, value_name = "N", default_value_t = 300)]
    tokens: usize,
    /// 0 takes the likeliest token each time, 1 draws as the model weighs
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = temperature)]
    temperature: f64,
    /// Draw only from the likeliest tokens that make up this share
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    top_p: f64,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to compute: cpu or cuda:N [default: the first CUDA device, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// The moving average of the committed parameters instead of the last ones, if the run's [stop] has `ema`
    #[arg(long)]
    average: bool,
    /// The run's tokenizer.json, if it has one [default: looked for beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal generate ~/.local/share/shoal --prompt 'Once upon a time'
  shoal generate checkpoints/round-00000100 --prompt 'One day' --tokens 100 --temperature 0";

impl Generate {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let device = device::first(self.device)?;
        let mut found = checkpoint::open(&self.checkpoint)?;
        let params = checkpoint::params(&mut found.checkpoint, self.average)?;
        let checkpoint = &found.checkpoint;
        let tokenizer =
            checkpoint::tokenizer(&checkpoint.spec, &found.path, self.tokenizer.as_deref())?;
        set_threads(super::flags::cores());
        let mut model = Llama::new(&checkpoint.spec.model, device)?;
        model.load_flat(&params)?;
        let wanted = SampleSpec {
            prompt: self.prompt,
            tokens: self.tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
        };
        let text = sample(&model, &tokenizer, &wanted)?;
        super::say(&format!("{}{text}\n", wanted.prompt));
        Ok(())
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text, 0.0, 100.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("give a number from {least} to {most}"))
}
