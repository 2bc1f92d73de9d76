//! Out in few bits: the `pack-quantized` form of the `compressed-tensors` package, which transformers and vLLM load, on a CPU as well.
//!
//! A linear layer's weight, `[out, in]`, becomes whole numbers of 4 or 8 bits packed into words of 32, each group of elements of a
//! row with a scale of its own: `weight = scale * q`. Embedding, norms and head stay in f32.
//! Source: `compressed_tensors/compressors/pack_quantized` and `quant_scheme.py` of compressed-tensors.

use crate::model::{Layout, Role, Slot};
use crate::store::disk;
use crate::store::error::StoreError;
use crate::store::floats::bytes_of;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use shoal_protocol::run::ModelSpec;
use std::collections::HashMap;
use std::path::Path;

/// How many bits the weights of linear layers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 32: nothing is lost.
    All,
    /// 8, a scale a row.
    Eight,
    /// 4, a scale for every 32 elements of a row, or for the row if that does not divide.
    Four,
}

/// Elements that share a scale at four bits.
const GROUP: usize = 32;

impl Bits {
    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Bits> {
        match name {
            "f32" => Some(Bits::All),
            "int8" => Some(Bits::Eight),
            "int4" => Some(Bits::Four),
            _ => None,
        }
    }

    fn count(self) -> u32 {
        match self {
            Bits::All => 32,
            Bits::Eight => 8,
            Bits::Four => 4,
        }
    }

    /// Elements that share a scale; `None` where a row does.
    fn group(self, layout: &Layout) -> Option<usize> {
        let divides = |slot: &Slot| slot.shape[1].is_multiple_of(GROUP);
        let whole = layout.slots.iter().filter(|slot| is_linear(slot)).all(divides);
        (self == Bits::Four && whole).then_some(GROUP)
    }

    /// `quantization_config` of `config.json`.
    pub(super) fn config(self, layout: &Layout) -> Value {
        let group = self.group(layout);
        let weights = json!({
            "num_bits": self.count(),
            "type": "int",
            "symmetric": true,
            "strategy": if group.is_some() { "group" } else { "channel" },
            "group_size": group,
            "dynamic": false,
        });
        json!({
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": { "group_0": {
                "targets": ["Linear"], "weights": weights, "input_activations": null, "output_activations": null,
            }},
        })
    }
}

/// A weight of a linear layer other than the head.
fn is_linear(slot: &Slot) -> bool {
    matches!(slot.role, Role::Inner | Role::Residual)
}

/// A tensor of the file.
struct Part {
    name: String,
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes `params`, `[params]` in the layout's order, flushed to the disk.
pub(super) fn write(
    path: &Path,
    bits: Bits,
    layout: &Layout,
    params: &[f32],
) -> Result<(), StoreError> {
    let group = bits.group(layout);
    let parts: Vec<Part> =
        layout.slots.iter().flat_map(|slot| parts(slot, bits.count(), group, params)).collect();
    let views = parts.iter().map(|part| {
        let view = TensorView::new(part.kind, part.shape.clone(), &part.bytes);
        view.map(|view| (part.name.as_str(), view))
            .map_err(|e| StoreError::torn(path, e.to_string()))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(notes), path)
        .map_err(|error| StoreError::torn(path, error.to_string()))?;
    disk::flush_file(path)
}

/// `params` as a reader of such a file has them.
pub fn as_read(bits: Bits, model: &ModelSpec, params: &[f32]) -> Vec<f32> {
    let layout = Layout::new(model);
    let (group, mut read) = (bits.group(&layout), params.to_vec());
    for slot in layout.slots.iter().filter(|slot| bits != Bits::All && is_linear(slot)) {
        let (row, weight) = (slot.shape[1], &mut read[slot.range()]);
        let group = group.unwrap_or(row);
        let (words, scales) = pack(weight, row, bits.count(), group);
        unpack(&words, &scales, weight, (row, bits.count(), group));
    }
    read
}

fn parts(slot: &Slot, bits: u32, group: Option<usize>, params: &[f32]) -> Vec<Part> {
    let weight = &params[slot.range()];
    let part = |ending: &str, kind, shape: Vec<usize>, bytes| Part {
        name: slot.name.clone() + ending,
        kind,
        shape,
        bytes,
    };
    if !is_linear(slot) {
        return vec![part("", Dtype::F32, slot.shape.clone(), bytes_of(weight).to_vec())];
    }
    let (rows, row) = (slot.shape[0], slot.shape[1]);
    let (words, scales) = pack(weight, row, bits, group.unwrap_or(row));
    let shape: Vec<u8> = slot.shape.iter().flat_map(|side| (*side as i64).to_le_bytes()).collect();
    let words_shape = vec![rows, words.len() / rows];
    let words = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![
        part("_packed", Dtype::I32, words_shape, words),
        part("_scale", Dtype::F32, vec![rows, scales.len() / rows], bytes_of(&scales).to_vec()),
        part("_shape", Dtype::I64, vec![2], shape),
    ]
}

/// Rows of `row` elements as words, the first element in the lowest bits, and their scales.
fn pack(weight: &[f32], row: usize, bits: u32, group: usize) -> (Vec<u32>, Vec<f32>) {
    let half = (1i32 << (bits - 1)) as f32;
    let (mut words, mut scales) = (Vec::new(), Vec::new());
    for elements in weight.chunks(row) {
        let mut levels: Vec<u32> = Vec::with_capacity(row);
        for group in elements.chunks(group) {
            let most = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            // Never zero, as readers divide by it.
            let scale = (most / (half - 0.5)).max(f32::MIN_POSITIVE);
            let level = |x: &f32| (x / scale).round().clamp(-half, half - 1.0) + half;
            levels.extend(group.iter().map(|x| level(x) as u32));
            scales.push(scale);
        }
        let word = |part: &[u32]| part.iter().rev().fold(0, |word, level| word << bits | level);
        words.extend(levels.chunks((32 / bits) as usize).map(word));
    }
    (words, scales)
}

/// The other way.
fn unpack(
    words: &[u32],
    scales: &[f32],
    weight: &mut [f32],
    (row, bits, group): (usize, u32, usize),
) {
    let (each, half) = ((32 / bits) as usize, (1i32 << (bits - 1)) as f32);
    let (words_a_row, groups_a_row) = (row.div_ceil(each), row.div_ceil(group));
    for (i, x) in weight.iter_mut().enumerate() {
        let (line, at) = (i / row, i % row);
        let word = words[line * words_a_row + at / each];
        let level = word >> (at % each * bits as usize) & ((1u32 << bits) - 1);
        *x = scales[line * groups_a_row + at / group] * (level as f32 - half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_within_half_a_step() {
        let row: Vec<f32> = (0..99).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        for (bits, group) in [(4, 33), (8, 33), (4, 11)] {
            let (words, scales) = pack(&row, 33, bits, group);
            let mut read = vec![0.0; 99];
            unpack(&words, &scales, &mut read, (33, bits, group));
            for (i, (x, y)) in row.iter().zip(&read).enumerate() {
                let scale = scales[i / 33 * (33 / group) + i % 33 / group];
                assert!((x - y).abs() <= scale * 0.501, "{i}: {x} became {y}");
            }
        }
    }

    #[test]
    fn words_are_packed_from_the_lowest_bits() {
        // Scale 7.5 / 7.5 = 1.
        let row = [7.5, -7.0, 0.0, 1.0, 2.0, 3.0, -1.0, -7.5, 4.0];
        let (words, scales) = pack(&row, 9, 4, 9);
        assert_eq!((words, scales), (vec![0x07ba_981f, 0xc], vec![1.0]));
        let (words, scales) = pack(&[127.5, -1.0, 0.0, 63.75, 0.0, 0.0], 6, 8, 2);
        assert_eq!(words, [0xff80_7fff, 0x8080]);
        assert_eq!(scales, [1.0, 0.5, f32::MIN_POSITIVE]);
    }

    #[test]
    fn four_bits_come_in_groups_where_rows_divide() {
        let layout = |hidden| {
            let spec = crate::model::preset("1m").unwrap();
            Layout::new(&shoal_protocol::run::ModelSpec { hidden, ..spec })
        };
        let strategy = |bits: Bits, hidden| {
            bits.config(&layout(hidden))["config_groups"]["group_0"]["weights"]["strategy"].clone()
        };
        assert_eq!(strategy(Bits::Four, 352), "group");
        assert_eq!(strategy(Bits::Four, 350), "channel");
        assert_eq!(strategy(Bits::Eight, 352), "channel");
    }
}
