//! Out: a folder that `transformers` loads as `LlamaForCausalLM`.

use super::config::{CONFIG, to_json};
use super::quantised::{self, Bits};
use super::tokenizer::{byte_tokenizer, tokenizer_config};
use crate::model::Layout;
use crate::store::checkpoint::MODEL;
use crate::store::error::StoreError;
use crate::store::{disk, tensors};
use serde_json::{Value, json};
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;

/// The tokenizer's file name.
pub const TOKENIZER: &str = "tokenizer.json";

/// Writes a model and its tokenizer into `dir`. `tokenizer_file` is the run's `tokenizer.json` if it is not the byte tokenizer;
/// without it the folder has no tokenizer.
///
/// # Errors
/// `params` has another length than the model, or the folder cannot be written.
pub fn export(
    model: &ModelSpec,
    params: &[f32],
    tokenizer: &TokenizerSpec,
    tokenizer_file: Option<&Path>,
    dir: &Path,
) -> Result<(), StoreError> {
    export_in(Bits::All, model, params, (tokenizer, tokenizer_file), dir)
}

/// The same with the weights of linear layers in so many bits.
///
/// # Errors
/// As [`export`].
pub fn export_in(
    bits: Bits,
    model: &ModelSpec,
    params: &[f32],
    (tokenizer, tokenizer_file): (&TokenizerSpec, Option<&Path>),
    dir: &Path,
) -> Result<(), StoreError> {
    let layout = Layout::new(model);
    if params.len() != layout.len() {
        let (got, expected) = (params.len(), layout.len());
        return Err(StoreError::Invalid(format!("{got} parameters, the model has {expected}")));
    }
    disk::make_folder(dir)?;
    let mut config = to_json(model);
    if bits == Bits::All {
        tensors::write(&dir.join(MODEL), &layout, params)?;
    } else {
        quantised::write(&dir.join(MODEL), bits, &layout, params)?;
        config["quantization_config"] = bits.config(&layout);
    }
    write_json(dir, CONFIG, &config)?;
    write_json(
        dir,
        "generation_config.json",
        &json!({"do_sample": true, "temperature": 0.7, "top_p": 0.95}),
    )?;
    write_tokenizer(model, tokenizer, tokenizer_file, dir)
}

fn write_tokenizer(
    model: &ModelSpec,
    tokenizer: &TokenizerSpec,
    file: Option<&Path>,
    dir: &Path,
) -> Result<(), StoreError> {
    match (tokenizer, file) {
        (TokenizerSpec::Bytes, _) => write_json(dir, TOKENIZER, &byte_tokenizer())?,
        (TokenizerSpec::File { .. }, Some(file)) => {
            let bytes = std::fs::read(file).map_err(StoreError::io("reading", file))?;
            disk::write_atomic(&dir.join(TOKENIZER), &bytes)?;
        }
        (TokenizerSpec::File { .. }, None) => return Ok(()),
    }
    write_json(dir, "tokenizer_config.json", &tokenizer_config(model.context))?;
    write_json(dir, "special_tokens_map.json", &json!({}))
}

fn write_json(dir: &Path, name: &str, value: &Value) -> Result<(), StoreError> {
    disk::write_atomic(&dir.join(name), format!("{value:#}\n").as_bytes())
}
