//! What a checkpoint's model is, and the tokenizer that goes with it.

use anyhow::Context;
use shoal_node::data::Tokenizer;
use shoal_node::exchange::average::{AVERAGE, read};
use shoal_node::store::Checkpoint;
use shoal_node::store::hf::export::TOKENIZER;
pub use shoal_node::store::place::open;
use shoal_protocol::run::{RunSpec, TokenizerSpec};
use std::path::{Path, PathBuf};

/// The checkpoint's parameters, or the average of those committed until then.
///
/// # Errors
/// There is no average in it.
pub fn params(checkpoint: &mut Checkpoint, average: bool) -> anyhow::Result<Vec<f32>> {
    if !average {
        return Ok(std::mem::take(&mut checkpoint.params));
    }
    let kept = checkpoint.local.get(AVERAGE).and_then(|bytes| read(bytes));
    let (_, mut params) = kept.context(
        "the checkpoint holds no average: a node keeps one if the run file's [stop] has an `ema` above 0",
    )?;
    anyhow::ensure!(
        params.len() as u64 == checkpoint.spec.elems(),
        "the checkpoint's average is of another model"
    );
    params.truncate(checkpoint.spec.model.params() as usize);
    Ok(params)
}

/// The tokenizer of the run whose checkpoint lies at `found`: `given`, or a tokenizer.json beside or above it.
///
/// # Errors
/// The run's tokenizer is a file and none was found, or it is another.
pub fn tokenizer(spec: &RunSpec, found: &Path, given: Option<&Path>) -> anyhow::Result<Tokenizer> {
    let file = tokenizer_file(spec, found, given);
    Tokenizer::open(&spec.tokenizer, file.as_deref()).with_context(|| {
        format!("the tokenizer of the run `{}` (--tokenizer names its file)", spec.name)
    })
}

/// Where the run's tokenizer lies, if it is a file.
pub fn tokenizer_file(spec: &RunSpec, found: &Path, given: Option<&Path>) -> Option<PathBuf> {
    match spec.tokenizer {
        TokenizerSpec::Bytes => None,
        TokenizerSpec::File { .. } => given.map(Path::to_owned).or_else(|| beside(found)),
    }
}

/// A tokenizer.json in the round's folder, in that of the checkpoints or in that of the run.
fn beside(found: &Path) -> Option<PathBuf> {
    found.ancestors().take(3).map(|folder| folder.join(TOKENIZER)).find(|file| file.exists())
}
