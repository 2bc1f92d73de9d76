//! `shoal prune`: a smaller model out of a checkpoint.

use super::checkpoint;
use super::device::{self, DeviceName};
use super::eval;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use shoal_node::prune::calibrate::Passage;
use shoal_node::prune::{Calibration, Cut, Method, Which, cut, prune};
use shoal_node::store::checkpoint::rounds;
use shoal_node::store::hf::export::TOKENIZER;
use shoal_node::store::{Checkpoint, Found, StateBytes, save};
use shoal_node::train::set_threads;
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::prune::ranges;
use shoal_protocol::run::layout::Layout;
use shoal_protocol::run::prune::is_pruned;
use shoal_protocol::run::{ModelSpec, RunSpec};
use shoal_protocol::wire;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Sequences that go through the model at once.
const ROWS: usize = 8;

/// Makes a checkpoint's model smaller: weights that become zero, or heads, channels and layers that go.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Prune {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The folder to write the smaller checkpoint into
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// By what weights are judged: by themselves, or by what goes into them as well, for which a text goes through the model
    #[arg(long, value_enum, default_value = "magnitude")]
    method: By,
    /// Share of each layer's matrices that becomes zero
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "pattern")]
    sparsity: Option<f64>,
    /// Of M neighbours in a row N stay, like 2:4 or 4:8
    #[arg(long, value_name = "N:M", value_parser = pattern)]
    pattern: Option<(usize, usize)>,
    /// Share of heads and feed-forward channels that go, the same number in every layer; the model is really smaller then
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["sparsity", "pattern"])]
    structured: Option<f64>,
    /// Whole layers that go
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["sparsity", "pattern"])]
    drop_layers: u32,
    /// The text for --method wanda, the run's or any other; not needed if the run makes its text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Sequences of it
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..))]
    sequences: u64,
    /// Where to compute: cpu or cuda:N [default: the first CUDA device, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// The run's tokenizer.json, if it has one [default: looked for beside the checkpoint]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
}

/// By what weights are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Magnitude alone.
    Magnitude,
    /// Magnitude times the norm of what goes in (arXiv 2306.11695).
    Wanda,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal prune ~/.local/share/shoal -o half --method wanda --sparsity 0.5
  shoal prune ~/.local/share/shoal -o two-of-four --pattern 2:4
  shoal prune ~/.local/share/shoal -o small --method wanda --structured 0.3 --drop-layers 1
  shoal eval half";

impl Prune {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        ensure!(
            rounds(&self.output)?.is_empty(),
            "{} holds checkpoints already: choose another folder with -o",
            self.output.display()
        );
        set_threads(super::flags::cores());
        let found = checkpoint::open(&self.checkpoint)?;
        let (model, params) = self.smaller(&found)?;
        let before = &found.checkpoint.params;
        let told = tell(before, &model, &params);
        let spec = RunSpec { model, prune: None, distill: None, ..found.checkpoint.spec.clone() };
        let path = save(&self.output, &checkpoint_of(spec, params)?, 1, |_| false)?;
        self.keep_tokenizer(&found)?;
        super::say(&format!("{} {told}\n", path.display()));
        Ok(())
    }

    fn smaller(&self, found: &Found) -> anyhow::Result<(ModelSpec, Vec<f32>)> {
        let Checkpoint { spec, params, .. } = &found.checkpoint;
        if let Some(which) = self.which(&spec.model)? {
            let method = match self.method {
                By::Magnitude => Method::Magnitude,
                By::Wanda => Method::Wanda(Box::new(self.calibration(found)?)),
            };
            let (mut params, layers) = (params.clone(), spec.model.layers);
            prune(&spec.model, &mut params, which, method, |layer| progress(layer, layers))?;
            return Ok((spec.model.clone(), params));
        }
        if self.structured.is_none() && self.drop_layers == 0 {
            bail!("say what shall go: --sparsity, --pattern, --structured or --drop-layers");
        }
        let asked = Cut::share(&spec.model, self.structured.unwrap_or(0.0), self.drop_layers);
        ensure!(
            asked.kv_heads + asked.channels + asked.layers > 0,
            "a share of {} is no whole head and no block of 32 channels: take more",
            self.structured.unwrap_or(0.0)
        );
        let passages = match self.method {
            By::Magnitude => None,
            By::Wanda => Some(self.passages(found)?),
        };
        cut(&spec.model, params, asked, passages.as_deref()).map_err(anyhow::Error::msg)
    }

    /// Which single weights go, if such were asked for.
    fn which(&self, model: &ModelSpec) -> anyhow::Result<Option<Which>> {
        let Some((keep, of)) = self.pattern else { return Ok(self.sparsity.map(Which::Share)) };
        let slots = Layout::new(model).slots.into_iter();
        let uneven = slots.filter(is_pruned).find(|slot| !slot.shape[1].is_multiple_of(of));
        if let Some(slot) = uneven {
            bail!(
                "--pattern: {of} does not divide the rows of {}, {} long",
                slot.name,
                slot.shape[1]
            );
        }
        Ok(Some(Which::Pattern { keep, of }))
    }

    fn calibration(&self, found: &Found) -> anyhow::Result<Calibration> {
        let device = device::first(self.device)?;
        let data = self.data.as_deref();
        let (dataset, _) = eval::dataset(found, data, self.tokenizer.as_deref())?;
        let batch = dataset.batch(0..self.sequences.min(dataset.samples()))?;
        let Checkpoint { spec, params, .. } = &found.checkpoint;
        Ok(Calibration::new(&spec.model, params, &batch, ROWS, device)?)
    }

    /// What each layer does to the text.
    fn passages(&self, found: &Found) -> anyhow::Result<Vec<Passage>> {
        let mut calibration = self.calibration(found)?;
        let Checkpoint { spec, params, .. } = &found.checkpoint;
        let look = |layer| -> anyhow::Result<Passage> {
            let passage = calibration.look()?;
            calibration.step(params)?;
            progress(layer, spec.model.layers);
            Ok(passage)
        };
        (0..spec.model.layers as usize).map(look).collect()
    }

    /// A checkpoint without its tokenizer makes no text, so it is kept above it, where others look.
    fn keep_tokenizer(&self, found: &Found) -> anyhow::Result<()> {
        let given = self.tokenizer.as_deref();
        let file = checkpoint::tokenizer_file(&found.checkpoint.spec, &found.path, given);
        let Some(file) = file else { return Ok(()) };
        let to = self.output.join(TOKENIZER);
        std::fs::copy(&file, &to)
            .with_context(|| format!("{} cannot be copied to {}", file.display(), to.display()))?;
        Ok(())
    }
}

fn progress(layer: usize, layers: u32) {
    eprintln!("layer {} of {layers} is done", layer + 1);
}

/// The model as round 0 of a run that only holds it.
fn checkpoint_of(spec: RunSpec, params: Vec<f32>) -> anyhow::Result<Checkpoint> {
    spec.validate()?;
    let zeros = vec![0.0; params.len() * spec.outer_states()];
    let state = state_root(&StateBytes::new(&params, &zeros).chunk_digests());
    let record = Record::genesis(spec.id(), state);
    Ok(Checkpoint {
        round: 0,
        digest: record.digest(),
        spec,
        params,
        momentum: Vec::new(),
        extras: BTreeMap::from([("record".to_owned(), wire::to_cbor(&record))]),
        local: BTreeMap::new(),
        losses: Vec::new(),
    })
}

/// How much smaller it is.
fn tell(before: &[f32], model: &ModelSpec, params: &[f32]) -> String {
    let (all, left) = (before.len(), params.len());
    if left < all {
        return format!(
            "holds {left} parameters of {all}: {} layers of {} heads ({} of keys) and {} channels",
            model.layers, model.heads, model.kv_heads, model.hidden
        );
    }
    let of: usize = ranges(model).iter().map(|range| range.len()).sum();
    let matrices = ranges(model).into_iter().flat_map(|range| &params[range]);
    let zeros = matrices.filter(|w| **w == 0.0).count();
    format!("holds {left} parameters; {zeros} of {of} in the layers' matrices are zero")
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "give a share above 0 and below 1, like 0.5".into())
}

fn pattern(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(':').and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)));
    let right = parts.filter(|(keep, of)| 0 < *keep && keep < of && *of <= 255);
    right.ok_or_else(|| "give how many stay of how many neighbours, like 2:4".into())
}
