//! `shoal eval`: held-out loss and perplexity.

use super::checkpoint;
use super::device::{self, DeviceName};
use super::place;
use anyhow::bail;
use clap::Args;
use shoal_node::data::{Batch, Corpus, Dataset};
use shoal_node::model::Llama;
use shoal_node::store::gguf::{self, Encoding};
use shoal_node::store::hf::{self, Bits};
use shoal_node::store::{Checkpoint, Found};
use shoal_node::train::{set_threads, trainer::evaluate};
use shoal_protocol::run::{DataSpec, RunSpec};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sequences that go through the model at once.
const ROWS: usize = 8;

/// Measures a checkpoint's model: held-out loss and perplexity.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Eval {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// A text: the run's (its held-out part is measured), or any other (all of it is); not needed if the run makes its text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Sequences to measure, spread evenly [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sequences: Option<u64>,
    /// As an export in these weights has it: f16, bf16, q8_0, q4_0, q4_k (--gguf), int8, int4 (--hf) [default: f32]
    #[arg(long, value_name = "KIND", default_value = "f32")]
    weights: String,
    /// Where to compute: cpu or cuda:N [default: the first CUDA device, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// The run's tokenizer.json, if it has one [default: looked for beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal eval ~/.local/share/shoal --data corpus/
  shoal eval checkpoints/round-00000100 --data corpus/ --sequences 200";

impl Eval {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let device = device::first(self.device)?;
        let found = checkpoint::open(&self.checkpoint)?;
        let (what, batch) = self.batch(&found)?;
        let checkpoint = &found.checkpoint;
        set_threads(super::flags::cores());
        let mut model = Llama::new(&checkpoint.spec.model, device)?;
        model.load_flat(&self.as_exported(checkpoint)?)?;
        let loss = evaluate(&model, &batch, ROWS)?;
        let tokens = batch.tokens.len() - batch.rows;
        super::say(&format!(
            "checkpoint  {}\nmeasured    {what}: {} sequences, {tokens} tokens\nloss        {loss:.4} nats per token\nperplexity  {:.3}\n",
            found.path.display(),
            batch.rows,
            loss.exp()
        ));
        Ok(())
    }

    /// The parameters, as an export has them if one was named.
    fn as_exported(&self, checkpoint: &Checkpoint) -> anyhow::Result<Vec<f32>> {
        let (model, params) = (&checkpoint.spec.model, &checkpoint.params);
        let encoding = Encoding::ALL.into_iter().find(|encoding| encoding.name() == self.weights);
        match (encoding, Bits::named(&self.weights)) {
            (Some(encoding), _) => Ok(gguf::as_read(model, params, encoding)),
            (None, Some(bits)) => Ok(hf::quantised::as_read(bits, model, params)),
            (None, None) => bail!("--weights {}: `shoal export` knows no such kind", self.weights),
        }
    }

    /// What is measured, in words and as tokens.
    fn batch(&self, found: &Found) -> anyhow::Result<(&'static str, Batch)> {
        let count = self.sequences.unwrap_or(u64::MAX);
        let (dataset, is_runs) = dataset(found, self.data.as_deref(), self.tokenizer.as_deref())?;
        if is_runs {
            return Ok(("the held-out part of the run's text", dataset.heldout_batch(count)?));
        }
        Ok(("another text than the run's", dataset.batch(0..count.min(dataset.samples()))?))
    }
}

/// The run's text or the one given, and whether it is the run's.
///
/// # Errors
/// It is not there, or the tokenizer is not.
pub fn dataset(
    found: &Found,
    data: Option<&Path>,
    tokenizer: Option<&Path>,
) -> anyhow::Result<(Dataset, bool)> {
    let spec = &found.checkpoint.spec;
    let tokenizer = checkpoint::tokenizer(spec, &found.path, tokenizer)?;
    let cache = place::default_home().join("cache");
    let open = |spec: &RunSpec| Dataset::open(spec, data, tokenizer.path(), &cache);
    let Some(path) = data else {
        if matches!(spec.data, DataSpec::Text { .. }) {
            bail!(
                "the run's text is not kept with the checkpoint: name it, or any other text, with --data"
            );
        }
        return Ok((open(spec)?, true));
    };
    let corpus = Arc::new(Corpus::open(path)?);
    if matches!(&spec.data, DataSpec::Text { digest, .. } if *digest == corpus.digest()) {
        return Ok((open(spec)?, true));
    }
    let data = Dataset::describe_text(&corpus, &tokenizer, spec.model.context, 0, &cache)?;
    Ok((open(&RunSpec { data, ..spec.clone() })?, false))
}
