//! `shoal import`: a checkpoint from a Hugging Face folder.

use anyhow::{Context, bail};
use clap::Args;
use shoal_node::runfile::{RunFile, Template, template};
use shoal_node::store::checkpoint::rounds;
use shoal_node::store::hf::export::TOKENIZER;
use shoal_node::store::hf::{self, Imported};
use shoal_node::store::{Checkpoint, StateBytes, save};
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::run::{DataSpec, RunSpec};
use shoal_protocol::wire;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Makes a checkpoint of a Hugging Face folder that holds a Llama.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Import {
    /// The folder to read: config.json, model.safetensors (or several with their index), tokenizer.json
    #[arg(long, value_name = "DIR")]
    hf: PathBuf,
    /// The folder to write the checkpoint into
    #[arg(short, long, value_name = "DIR", default_value = "imported")]
    output: PathBuf,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal import --hf my-model -o my-checkpoint
  shoal generate my-checkpoint --prompt 'Once upon a time'";

impl Import {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        if rounds(&self.output)?.is_empty() {
            let imported = hf::import(&self.hf)?;
            let path = save(&self.output, &checkpoint(&imported, &self.hf)?, 1, |_| false)?;
            keep_tokenizer(&imported, &self.output)?;
            super::say(&format!("{} holds {} parameters\n", path.display(), imported.params.len()));
            return Ok(());
        }
        bail!("{} holds checkpoints already: choose another folder with -o", self.output.display())
    }
}

/// The model as round 0 of a run that only holds it: nobody has its text.
fn checkpoint(imported: &Imported, from: &Path) -> anyhow::Result<Checkpoint> {
    let spec = spec(imported, from)?;
    let params = imported.params.clone();
    // Momentum that is not kept is zero.
    let zeros = vec![0.0; params.len()];
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

/// A run file's usual values around the model.
fn spec(imported: &Imported, from: &Path) -> anyhow::Result<RunSpec> {
    let new = Template { name: &name(from), creator: PeerId::default(), preset: "1m" };
    let usual = RunFile::parse(&template(&new).context("there is no such preset")?, from)?;
    let file = RunFile { model: imported.model.clone(), ..usual };
    let data = DataSpec::Text {
        digest: Digest::default(),
        bytes: 0,
        samples: 1,
        heldout_permille: 0,
        pieces: None,
        id_bytes: None,
        window: None,
    };
    let spec = file.spec(imported.model.vocab, imported.tokenizer.clone(), data);
    spec.validate()?;
    Ok(spec)
}

/// A run's name of at most 64 bytes after the folder's.
fn name(from: &Path) -> String {
    let folder = from.canonicalize().unwrap_or_else(|_| from.to_owned());
    let name = folder.file_name().map(|name| name.to_string_lossy().chars().take(16).collect());
    name.unwrap_or_else(|| "imported".into())
}

/// A checkpoint without its tokenizer makes no text, so it is kept above it, where `shoal generate` looks.
fn keep_tokenizer(imported: &Imported, output: &Path) -> anyhow::Result<()> {
    let Some(file) = &imported.tokenizer_file else { return Ok(()) };
    std::fs::copy(file, output.join(TOKENIZER))
        .with_context(|| format!("{} cannot be copied to {}", file.display(), output.display()))?;
    Ok(())
}
