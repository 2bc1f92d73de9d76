//! `shoal data synth`: new text, from the grammar of stories or from a trained model, as a prepared folder.

use super::flags::{BATCH_BYTES, Filters, Making, told};
use super::progress::Progress;
use crate::cli::checkpoint;
use crate::cli::device::{self, DeviceName};
use anyhow::bail;
use clap::Args;
use shoal_node::data::{Tokenizer, rng};
use shoal_node::model::Llama;
use shoal_node::prepare::filter::Rules;
use shoal_node::prepare::read::Source;
use shoal_node::prepare::synth::{Against, Made, stories};
use shoal_node::prepare::{Preparation, PrepareError};
use shoal_node::train::{SampleSpec, sample, set_threads};
use std::path::PathBuf;

/// Makes new text: stories of a grammar, or what a trained model says.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Synth {
    /// Documents to make; those that are dropped are not made up for
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    documents: u64,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Let the model of this checkpoint write, instead of the grammar
    #[arg(long, value_name = "CHECKPOINT")]
    from: Option<PathBuf>,
    #[command(flatten)]
    sampling: Sampling,
    /// The text that the model learned from: documents with much of it in them are dropped
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// The greatest share of a document's runs of 8 words that may occur there
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    max_overlap: f64,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    making: Making,
}

/// How a model writes.
#[derive(Args, Clone, Debug)]
struct Sampling {
    /// What each document begins with
    #[arg(long, value_name = "TEXT", default_value = "Once upon a time")]
    prompt: String,
    /// Tokens of a document after the prompt; with an empty line before, it ends there
    #[arg(long, value_name = "N", default_value_t = 400)]
    tokens: usize,
    /// 0 takes the likeliest token each time, 1 draws as the model weighs
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = share)]
    temperature: f64,
    /// Draw only from the likeliest tokens that make up this share
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    top_p: f64,
    /// Where to compute: cpu or cuda:N [default: the first CUDA device, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// The model's tokenizer.json, if it has one [default: looked for beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    model_tokenizer: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal data synth -o made --documents 20000 --seed 7
  shoal data synth -o made --from ~/.local/share/shoal --documents 500 --against ready --max-overlap 0.1

Without --from no rule is on but those that --with names, and only documents of the same text are dropped.";

/// A model that writes.
struct Writer {
    model: Llama,
    tokenizer: Tokenizer,
    sampling: Sampling,
    seed: u64,
}

impl Synth {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        if let (Some(_), None) = (&self.against, &self.from) {
            bail!(
                "--against compares what a model wrote with what it learned from: name the model with --from"
            );
        }
        let Some(from) = &self.from else {
            let source = stories(self.seed, self.documents);
            return self.make(&source, Rules::none(), None);
        };
        let (writer, identity) = Writer::open(from, self.sampling.clone(), self.seed)?;
        let source = Made::new(identity, self.documents, |number| writer.document(number));
        self.make(&source, Rules::default(), Some(0.8))
    }

    fn make(&self, source: &dyn Source, rules: Rules, near: Option<f64>) -> anyhow::Result<()> {
        let making = &self.making;
        let against = self.against.clone();
        let preparation = Preparation {
            passed_over: 0,
            source,
            output: making.output.clone(),
            rules: self.filters.rules(rules)?,
            search: making.search(near),
            anonymise: None,
            tokenizer: making.tokenizer(),
            shard_bytes: making.shard_bytes(),
            batch_bytes: BATCH_BYTES,
            against: against.map(|folder| Against { folder, overlap_max: self.max_overlap }),
        };
        let prepared = preparation.run(&mut Progress::start())?;
        crate::cli::say(&told(&prepared, &making.output));
        Ok(())
    }
}

impl Writer {
    /// Loads the model; tells also what its documents follow from.
    fn open(
        from: &std::path::Path,
        sampling: Sampling,
        seed: u64,
    ) -> anyhow::Result<(Writer, String)> {
        let device = device::first(sampling.device)?;
        let found = checkpoint::open(from)?;
        let spec = &found.checkpoint.spec;
        let given = sampling.model_tokenizer.as_deref();
        let tokenizer = checkpoint::tokenizer(spec, &found.path, given)?;
        set_threads(crate::cli::flags::cores());
        let mut model = Llama::new(&spec.model, device)?;
        model.load_flat(&found.checkpoint.params)?;
        let identity = format!(
            "documents of the model at {}, prompt {:?}, {} tokens, temperature {}, top-p {}, seed {seed}",
            found.path.display(),
            sampling.prompt,
            sampling.tokens,
            sampling.temperature,
            sampling.top_p
        );
        Ok((Writer { model, tokenizer, sampling, seed }, identity))
    }

    /// A document, which ends where the model puts an empty line.
    fn document(&self, number: u64) -> Result<String, PrepareError> {
        let spec = SampleSpec {
            prompt: self.sampling.prompt.clone(),
            tokens: self.sampling.tokens,
            temperature: self.sampling.temperature,
            top_p: self.sampling.top_p,
            seed: rng::mix(self.seed) ^ rng::mix(!number),
        };
        let text = sample(&self.model, &self.tokenizer, &spec)
            .map_err(|error| PrepareError::Making(error.to_string()))?;
        let whole = format!("{}{text}", spec.prompt);
        Ok(whole.split_once("\n\n").map_or(whole.clone(), |(document, _)| document.to_owned()))
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "give a number from 0 to 1".into())
}
