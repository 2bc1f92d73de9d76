//! Out: a file that llama.cpp loads as a Llama.

use super::blocks::Encoding;
use super::file::{Entry, Value, head, pad};
use super::tokenizer::{self, Keys};
use crate::model::{Layout, Role, Slot};
use crate::store::error::StoreError;
use crate::store::{disk, hf};
use rayon::prelude::*;
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Bytes of the file.
    pub bytes: u64,
    /// Weights that are written otherwise than asked, since their rows are no whole blocks.
    pub otherwise: usize,
}

/// Writes a model and its tokenizer into `path`. `tokenizer_file` is the run's `tokenizer.json` if it is not the byte tokenizer.
///
/// Norms stay in f32; with four bits an element, embedding and head have eight.
///
/// # Errors
/// `params` has another length than the model, llama.cpp does not know the tokenizer, or the file cannot be written.
pub fn export(
    name: &str,
    model: &ModelSpec,
    params: &[f32],
    (tokenizer, tokenizer_file): (&TokenizerSpec, Option<&Path>),
    weights: Encoding,
    path: &Path,
) -> Result<Exported, StoreError> {
    let layout = Layout::new(model);
    if params.len() != layout.len() {
        let (got, expected) = (params.len(), layout.len());
        return Err(StoreError::Invalid(format!("{got} parameters, the model has {expected}")));
    }
    let mut values = model_keys(name, model, weights);
    let file = tokenizer_file.unwrap_or(Path::new("tokenizer.json"));
    values.extend(tokenizer::keys(
        file,
        &hf::tokenizer::json(tokenizer, tokenizer_file)?,
        model.vocab,
    )?);
    let entries: Vec<Entry> = layout.slots.iter().map(|slot| entry(slot, weights)).collect();
    let head = head(&values, &entries);
    let bytes = entries.iter().map(|entry| entry.bytes().next_multiple_of(super::file::ALIGNMENT));
    let bytes = (head.len() + bytes.sum::<usize>()) as u64;
    let wanted = |slot: &Slot, entry: &Entry| entry.encoding == usual(slot.role, weights);
    let as_asked =
        layout.slots.iter().zip(&entries).filter(|(slot, entry)| wanted(slot, entry)).count();
    disk::write_atomic_by(path, |out| {
        out.write_all(&head)?;
        let both = layout.slots.iter().zip(&entries);
        both.map(|(slot, entry)| encode(model, slot, entry.encoding, params))
            .try_for_each(|bytes| out.write_all(&bytes))
    })?;
    Ok(Exported { bytes, otherwise: entries.len() - as_asked })
}

/// `params` as a reader of such a file has them.
pub fn as_read(model: &ModelSpec, params: &[f32], weights: Encoding) -> Vec<f32> {
    let read = |slot: &Slot| {
        let encoding = entry(slot, weights).encoding;
        let mut bytes = Vec::new();
        encoding.encode(&params[slot.range()], &mut bytes);
        encoding.decode(&bytes)
    };
    let read: Vec<Vec<f32>> = Layout::new(model).slots.par_iter().map(read).collect();
    read.concat()
}

/// What llama.cpp has to know of the model.
fn model_keys(name: &str, model: &ModelSpec, weights: Encoding) -> Keys {
    let head_dim = model.head_dim();
    vec![
        ("general.architecture", Value::Text("llama".into())),
        ("general.name", Value::Text(name.into())),
        ("general.file_type", Value::Whole(weights.file_type())),
        ("general.quantization_version", Value::Whole(2)),
        ("llama.vocab_size", Value::Whole(model.vocab)),
        ("llama.context_length", Value::Whole(model.context)),
        ("llama.embedding_length", Value::Whole(model.dim)),
        ("llama.block_count", Value::Whole(model.layers)),
        ("llama.feed_forward_length", Value::Whole(model.hidden)),
        ("llama.attention.head_count", Value::Whole(model.heads)),
        ("llama.attention.head_count_kv", Value::Whole(model.kv_heads)),
        ("llama.attention.key_length", Value::Whole(head_dim)),
        ("llama.attention.value_length", Value::Whole(head_dim)),
        ("llama.attention.layer_norm_rms_epsilon", Value::Number(model.norm_eps)),
        ("llama.rope.dimension_count", Value::Whole(head_dim)),
        ("llama.rope.freq_base", Value::Number(model.rope_theta)),
    ]
}

/// What weights of a role are written in.
fn usual(role: Role, weights: Encoding) -> Encoding {
    match (role, weights) {
        (Role::Norm, _) => Encoding::F32,
        (Role::Embedding, Encoding::Q4_0 | Encoding::Q4K) => Encoding::Q8_0,
        _ => weights,
    }
}

fn entry(slot: &Slot, weights: Encoding) -> Entry {
    let row = slot.shape[slot.shape.len() - 1];
    let encodings = [usual(slot.role, weights), Encoding::Q4_0, Encoding::F16];
    let encoding = encodings.into_iter().find(|encoding| row.is_multiple_of(encoding.block()));
    Entry {
        name: renamed(&slot.name),
        shape: slot.shape.clone(),
        encoding: encoding.unwrap_or(Encoding::F16),
    }
}

/// llama.cpp's name for a weight.
fn renamed(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let parts = [
        ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ];
    parts.iter().fold(name.to_owned(), |name, (theirs, ours)| name.replace(theirs, ours))
}

/// A weight's bytes, padded.
fn encode(model: &ModelSpec, slot: &Slot, encoding: Encoding, params: &[f32]) -> Vec<u8> {
    let row = slot.shape[slot.shape.len() - 1];
    let weight = in_pairs(model, slot, &params[slot.range()]);
    let rows: Vec<Vec<u8>> = weight
        .par_chunks(row * 64)
        .map(|rows| {
            let mut bytes = Vec::with_capacity(encoding.bytes(rows.len()));
            rows.chunks(row).for_each(|row| encoding.encode(row, &mut bytes));
            bytes
        })
        .collect();
    let mut bytes = rows.concat();
    pad(&mut bytes);
    bytes
}

/// llama.cpp turns neighbours of a head where Hugging Face turns element i with element i + head_dim / 2: rows of q and k change
/// places (its converter's `permute`).
fn in_pairs<'a>(model: &ModelSpec, slot: &Slot, weight: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
    if !slot.name.contains("q_proj") && !slot.name.contains("k_proj") {
        return weight.into();
    }
    let (row, head) = (slot.shape[1], model.head_dim() as usize);
    let from = |to: usize| to / head * head + to % head / 2 + to % 2 * (head / 2);
    let rows = (0..slot.shape[0]).map(|to| &weight[from(to) * row..(from(to) + 1) * row]);
    rows.collect::<Vec<_>>().concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    #[test]
    fn names_are_llama_cpps() {
        let rows = [
            ("model.layers.12.self_attn.o_proj.weight", "blk.12.attn_output.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
            ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
            ("lm_head.weight", "output.weight"),
        ];
        rows.iter().for_each(|(theirs, ours)| assert_eq!(renamed(theirs), *ours));
    }

    #[test]
    fn rows_of_a_head_become_neighbours() {
        let model = ModelSpec { dim: 8, heads: 2, kv_heads: 1, ..preset("1m").unwrap() };
        let layout = Layout::new(&model);
        let weight = |slot: &Slot| {
            let values: Vec<f32> = (0..slot.len()).map(|i| (i / slot.shape[1]) as f32).collect();
            in_pairs(&model, slot, &values).chunks(slot.shape[1]).map(|row| row[0]).collect()
        };
        let all: Vec<Vec<f32>> = layout.slots[1..4].iter().map(weight).collect();
        assert_eq!(all[0], [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(all[1], [0.0, 2.0, 1.0, 3.0]);
        assert_eq!(all[2], [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_are_written_otherwise() {
        let slot = |role, row| Slot { name: "x".into(), shape: vec![2, row], role, offset: 0 };
        let rows = [
            (Role::Inner, 256, Encoding::Q4K, Encoding::Q4K),
            (Role::Inner, 96, Encoding::Q4K, Encoding::Q4_0),
            (Role::Inner, 36, Encoding::Q4K, Encoding::F16),
            (Role::Inner, 36, Encoding::F32, Encoding::F32),
            (Role::Embedding, 96, Encoding::Q4_0, Encoding::Q8_0),
            (Role::Norm, 96, Encoding::Q4_0, Encoding::F32),
        ];
        for (role, row, asked, written) in rows {
            assert_eq!(entry(&slot(role, row), asked).encoding, written);
        }
    }

    #[test]
    fn the_file_is_as_long_as_told_and_its_weights_are_in_it() {
        let model = preset("1m").unwrap();
        let params: Vec<f32> = (0..model.params()).map(|i| (i % 91) as f32 - 45.0).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let tokenizer = (&TokenizerSpec::Bytes, None);
        for weights in Encoding::ALL {
            let exported = export("m", &model, &params, tokenizer, weights, &path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, exported.bytes);
            // The last weight is a norm of 128.
            let last = &params[params.len() - 128..];
            assert_eq!(Encoding::F32.decode(&bytes[bytes.len() - 512..]), last);
            assert_eq!(exported.otherwise, if weights == Encoding::Q4K { 35 } else { 0 });
        }
        let error = export("m", &model, &params[1..], tokenizer, Encoding::F32, &path).unwrap_err();
        assert!(error.to_string().contains("parameters"), "{error}");
    }
}
