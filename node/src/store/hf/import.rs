//! Back: any folder that holds a Llama in f32, bf16 or f16, in one safetensors file or several.

use super::config::{CONFIG, from_json};
use super::export::TOKENIZER;
use super::tokenizer::byte_tokenizer;
use crate::model::{Layout, Slot};
use crate::store::checkpoint::MODEL;
use crate::store::error::StoreError;
use crate::store::{disk, tensors};
use serde_json::Value;
use shoal_protocol::id::Digest;
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The list of files of a model in several.
const INDEX: &str = "model.safetensors.index.json";

/// A model from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The architecture.
    pub model: ModelSpec,
    /// `[params]`, in the layout's order.
    pub params: Vec<f32>,
    /// The folder's tokenizer; bytes if it is the byte tokenizer of an exported folder, or if there is none.
    pub tokenizer: TokenizerSpec,
    /// Where the tokenizer's file lies, if it is one.
    pub tokenizer_file: Option<PathBuf>,
}

/// Reads a folder.
///
/// # Errors
/// A file is absent or broken, or the model is not one that this program computes.
pub fn import(dir: &Path) -> Result<Imported, StoreError> {
    let path = dir.join(CONFIG);
    let mut model = from_json(&path, &read_json(&path)?)?;
    let mut files = weight_files(dir, &model)?;
    // Some untied configurations come with the embedding only: then the head is the embedding.
    if !model.tied && !files.values().flatten().any(|slot| slot.name == "lm_head.weight") {
        model.tied = true;
        files = weight_files(dir, &model)?;
    }
    let mut params = vec![0.0; Layout::new(&model).len()];
    for (file, slots) in &files {
        read_weights(file, slots, &mut params)?;
    }
    let (tokenizer, tokenizer_file) = read_tokenizer(dir)?;
    Ok(Imported { model, params, tokenizer, tokenizer_file })
}

/// Which weights are to be read from which file.
fn weight_files(dir: &Path, model: &ModelSpec) -> Result<BTreeMap<PathBuf, Vec<Slot>>, StoreError> {
    let slots = Layout::new(model).slots;
    let index = dir.join(INDEX);
    if !index.exists() {
        let path = dir.join(MODEL);
        let map = disk::map(&path)?;
        let there = tensors::parse(&path, &map)?;
        let head = |slot: &Slot| slot.name != "lm_head.weight" || there.tensor(&slot.name).is_ok();
        return Ok(BTreeMap::from([(path, slots.into_iter().filter(head).collect())]));
    }
    let json = read_json(&index)?;
    let mut files: BTreeMap<PathBuf, Vec<Slot>> = BTreeMap::new();
    for slot in slots {
        match json["weight_map"][&slot.name].as_str() {
            Some(name) => files.entry(beside(&index, name)?).or_default().push(slot),
            None if slot.name == "lm_head.weight" => {}
            None => {
                let reason = format!("it names no file for {}", slot.name);
                return Err(StoreError::unsupported(&index, reason));
            }
        }
    }
    Ok(files)
}

/// The file `name` in the index's own folder, and nowhere else.
fn beside(index: &Path, name: &str) -> Result<PathBuf, StoreError> {
    if Path::new(name).file_name().is_none_or(|file| file != name) {
        return Err(StoreError::unsupported(index, format!("{name:?} is no file name")));
    }
    Ok(index.with_file_name(name))
}

fn read_weights(file: &Path, slots: &[Slot], params: &mut [f32]) -> Result<(), StoreError> {
    let map = disk::map(file)?;
    let tensors = tensors::parse(file, &map)?;
    slots.iter().try_for_each(|slot| tensors::copy(file, &tensors, slot, &mut params[slot.range()]))
}

fn read_tokenizer(dir: &Path) -> Result<(TokenizerSpec, Option<PathBuf>), StoreError> {
    let path = dir.join(TOKENIZER);
    if !path.exists() || read_json(&path)? == byte_tokenizer() {
        return Ok((TokenizerSpec::Bytes, None));
    }
    let bytes = std::fs::read(&path).map_err(StoreError::io("reading", &path))?;
    Ok((TokenizerSpec::File { digest: Digest::of(&bytes), pieces: None }, Some(path)))
}

pub(super) fn read_json(path: &Path) -> Result<Value, StoreError> {
    let bytes = std::fs::read(path).map_err(StoreError::io("reading", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::unsupported(path, format!("it is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_params;
    use crate::store::hf::export;
    use crate::train::trainer::test_spec;

    fn exported(model: &ModelSpec) -> (tempfile::TempDir, Vec<f32>) {
        let dir = tempfile::tempdir().unwrap();
        let params = initial_params(model, 5);
        export(model, &params, &TokenizerSpec::Bytes, None, dir.path()).unwrap();
        (dir, params)
    }

    #[test]
    fn comes_back_as_it_went() {
        for tied in [true, false] {
            let model = ModelSpec { tied, ..test_spec().model };
            let (dir, params) = exported(&model);
            let expected =
                Imported { model, params, tokenizer: TokenizerSpec::Bytes, tokenizer_file: None };
            assert_eq!(import(dir.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_head_is_the_embedding() {
        let (dir, params) = exported(&test_spec().model);
        let path = dir.path().join(CONFIG);
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            config.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"),
        )
        .unwrap();
        let imported = import(dir.path()).unwrap();
        assert!(imported.model.tied && imported.params == params);
    }

    #[test]
    fn several_files_are_read_by_their_index() {
        let model = test_spec().model;
        let (dir, params) = exported(&model);
        let names = Layout::new(&model).slots;
        let map: BTreeMap<&str, &str> =
            names.iter().map(|slot| (slot.name.as_str(), "part-1.safetensors")).collect();
        let write = |map: &BTreeMap<&str, &str>| {
            let json = serde_json::json!({ "weight_map": map });
            std::fs::write(dir.path().join(INDEX), json.to_string()).unwrap();
        };
        std::fs::rename(dir.path().join(MODEL), dir.path().join("part-1.safetensors")).unwrap();
        write(&map);
        assert_eq!(import(dir.path()).unwrap().params, params);
        write(&BTreeMap::from([("model.embed_tokens.weight", "../../etc/passwd")]));
        assert!(import(dir.path()).unwrap_err().to_string().contains("is no file name"));
        write(&BTreeMap::new());
        assert!(import(dir.path()).unwrap_err().to_string().contains("names no file"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let (dir, _) = exported(&test_spec().model);
        std::fs::remove_file(dir.path().join(MODEL)).unwrap();
        assert!(import(dir.path()).unwrap_err().to_string().contains(MODEL));
        std::fs::write(dir.path().join(MODEL), b"not tensors").unwrap();
        assert!(import(dir.path()).unwrap_err().to_string().contains("no safetensors file"));
        std::fs::remove_file(dir.path().join(CONFIG)).unwrap();
        assert!(import(dir.path()).unwrap_err().to_string().contains(CONFIG));
    }
}
