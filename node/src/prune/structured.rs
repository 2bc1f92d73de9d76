//! Whole heads, feed-forward channels and layers go: the model that is left has a smaller shape, and is a Llama like any other.
//!
//! Every layer loses as many heads and channels as every other, so that one shape says it all. With shared keys and values a key
//! head goes together with the query heads that use it.

use super::calibrate::Passage;
use crate::model::activations::Inputs;
use crate::model::{Layout, Slot};
use shoal_protocol::run::ModelSpec;
use std::ops::Range;

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Key heads of each layer, with their query heads.
    pub kv_heads: u32,
    /// Feed-forward channels of each layer.
    pub channels: u32,
    /// Whole layers.
    pub layers: u32,
}

/// Channels that are left are a multiple of this, where there are as many: what blocks of few bits need.
const BLOCK: u32 = 32;

impl Cut {
    /// This share of heads and channels, rounded so that no more goes, and `layers` whole layers.
    pub fn share(spec: &ModelSpec, share: f64, layers: u32) -> Cut {
        let left = ((1.0 - share) * f64::from(spec.hidden)).ceil() as u32;
        let left = left.next_multiple_of(BLOCK).min(spec.hidden);
        Cut {
            kv_heads: (share * f64::from(spec.kv_heads)) as u32,
            channels: spec.hidden - left,
            layers,
        }
    }

    /// The shape that is left.
    fn shape(self, spec: &ModelSpec) -> ModelSpec {
        let group = spec.heads / spec.kv_heads;
        let kv_heads = spec.kv_heads - self.kv_heads;
        let heads = kv_heads * group;
        let width = spec.head_dim();
        ModelSpec {
            layers: spec.layers - self.layers,
            heads,
            kv_heads,
            hidden: spec.hidden - self.channels,
            head_width: (heads * width != spec.dim).then_some(width),
            ..spec.clone()
        }
    }
}

/// The smaller model and its parameters. `passages`: what each layer does to a text, if one is to judge by that; otherwise by weights
/// alone, and the last layers but one go.
///
/// A head or a channel counts for the norm of what it adds to the residual stream: the sum over its columns of the block's last
/// matrix of squared weights times the squares of what goes in (Wanda's score, summed).
///
/// # Errors
/// What was asked leaves nothing.
pub fn cut(
    spec: &ModelSpec,
    params: &[f32],
    cut: Cut,
    passages: Option<&[Passage]>,
) -> Result<(ModelSpec, Vec<f32>), String> {
    if cut.kv_heads >= spec.kv_heads || cut.channels >= spec.hidden || cut.layers >= spec.layers {
        return Err(format!(
            "of {} key heads, {} channels and {} layers some of each must be left: take a smaller share",
            spec.kv_heads, spec.hidden, spec.layers
        ));
    }
    let layout = Layout::new(spec);
    let mut left = Vec::new();
    for slot in layout.slots.iter().filter(|slot| !slot.name.starts_with("model.layers.")) {
        left.push((slot.name.clone(), params[slot.range()].to_vec()));
    }
    let kept = layers(spec, cut.layers, passages);
    for (new, old) in kept.iter().enumerate() {
        let inputs = passages.map(|passages| &passages[*old].inputs);
        left.extend(layer(spec, &layout, params, (*old, new), cut, inputs));
    }
    let small = cut.shape(spec);
    let mut flat = Vec::with_capacity(small.params() as usize);
    for slot in Layout::new(&small).slots {
        let weight = left.iter().find(|(name, _)| *name == slot.name).map(|(_, weight)| weight);
        let weight = weight.filter(|weight| weight.len() == slot.len());
        flat.extend(weight.ok_or_else(|| format!("{} does not fit", slot.name))?);
    }
    Ok((small, flat))
}

/// The layers that stay: those that change the residual stream most.
fn layers(spec: &ModelSpec, gone: u32, passages: Option<&[Passage]>) -> Vec<usize> {
    let count = spec.layers as usize;
    let mut order: Vec<usize> = (0..count).collect();
    match passages {
        // Of equal ones the first stay.
        Some(passages) => order.sort_by(|a, b| passages[*a].cosine.total_cmp(&passages[*b].cosine)),
        // The last one stays, of those before it the first ones.
        None => order.rotate_right(1),
    }
    order.truncate(count - gone as usize);
    order.sort_unstable();
    order
}

/// A layer's weights under its new number.
fn layer(
    spec: &ModelSpec,
    layout: &Layout,
    params: &[f32],
    (old, new): (usize, usize),
    cut: Cut,
    inputs: Option<&Inputs>,
) -> Vec<(String, Vec<f32>)> {
    let prefix = format!("model.layers.{old}.");
    let slots: Vec<&Slot> =
        layout.slots.iter().filter(|slot| slot.name.starts_with(&prefix)).collect();
    let last = |name: &str| slots.iter().find(|slot| slot.name.contains(name));
    let score = |name: &str| match last(name) {
        Some(slot) => columns(slot, params, inputs.map(|inputs| inputs.of(name))),
        None => Vec::new(),
    };
    let width = spec.head_dim() as usize;
    let group = (spec.heads / spec.kv_heads) as usize;
    let groups = best(&score("o_proj"), group * width, spec.kv_heads - cut.kv_heads);
    let channels = best(&score("down_proj"), 1, spec.hidden - cut.channels);
    let of_size = |size: usize| groups.iter().map(|g| g * size..(g + 1) * size).collect::<Vec<_>>();
    let (query, key) = (of_size(group * width), of_size(width));
    let channels: Vec<Range<usize>> = channels.iter().map(|c| *c..c + 1).collect();
    let renamed = |slot: &Slot| slot.name.replacen(&prefix, &format!("model.layers.{new}."), 1);
    let part = |slot: &Slot| {
        let weight = &params[slot.range()];
        match slot.name.trim_start_matches(&prefix) {
            "self_attn.q_proj.weight" => rows(weight, slot.shape[1], &query),
            "self_attn.k_proj.weight" | "self_attn.v_proj.weight" => {
                rows(weight, slot.shape[1], &key)
            }
            "self_attn.o_proj.weight" => cells(weight, slot.shape[1], &query),
            "mlp.gate_proj.weight" | "mlp.up_proj.weight" => rows(weight, slot.shape[1], &channels),
            "mlp.down_proj.weight" => cells(weight, slot.shape[1], &channels),
            _ => weight.to_vec(),
        }
    };
    slots.iter().map(|slot| (renamed(slot), part(slot))).collect()
}

/// What each input feature of a matrix adds: squared weights of its column, times the squares of what goes in.
fn columns(slot: &Slot, params: &[f32], squares: Option<&[f64]>) -> Vec<f64> {
    let width = slot.shape[1];
    let mut sums = vec![0.0; width];
    for row in params[slot.range()].chunks(width) {
        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*w) * f64::from(*w));
    }
    if let Some(squares) = squares {
        sums.iter_mut().zip(squares).for_each(|(sum, square)| *sum *= square);
    }
    sums
}

/// The `count` runs of `size` neighbours of the largest sums, in order; of equal ones the first.
fn best(scores: &[f64], size: usize, count: u32) -> Vec<usize> {
    let sums: Vec<f64> = scores.chunks(size).map(|run| run.iter().sum()).collect();
    let mut order: Vec<usize> = (0..sums.len()).collect();
    order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
    order.truncate(count as usize);
    order.sort_unstable();
    order
}

/// These rows of a matrix whose rows are `width` long.
fn rows(weight: &[f32], width: usize, kept: &[Range<usize>]) -> Vec<f32> {
    kept.iter().flat_map(|range| &weight[range.start * width..range.end * width]).copied().collect()
}

/// These columns.
fn cells(weight: &[f32], width: usize, kept: &[Range<usize>]) -> Vec<f32> {
    let of_row = |row| kept.iter().flat_map(move |range: &Range<usize>| slice(row, range));
    weight.chunks(width).flat_map(of_row).copied().collect()
}

fn slice<'a>(row: &'a [f32], range: &Range<usize>) -> &'a [f32] {
    &row[range.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Llama, initial_params, preset};
    use tch::{Device, Tensor, no_grad};

    #[test]
    fn shares_leave_whole_blocks() {
        let spec = preset("60m").unwrap();
        let some = Cut::share(&spec, 0.3, 2);
        // 12 heads of 64, four of keys; 2,304 channels, of which 70 % are 1,613.
        assert_eq!(some, Cut { kv_heads: 1, channels: 2304 - 1632, layers: 2 });
        let small = some.shape(&spec);
        assert_eq!((small.heads, small.kv_heads, small.head_width), (9, 3, Some(64)));
        assert_eq!((small.hidden, small.layers), (1632, 6));
        assert_eq!(Cut::share(&spec, 0.0, 0).shape(&spec), spec);
    }

    #[test]
    fn the_largest_runs_stay_in_order() {
        assert_eq!(best(&[1.0, 5.0, 0.0, 0.5, 3.0, 3.0], 2, 2), [0, 2]);
        assert_eq!(best(&[1.0, 1.0, 1.0], 1, 2), [0, 1]);
        let second = std::iter::once(1..2).collect::<Vec<_>>();
        assert_eq!(rows(&[1.0, 2.0, 3.0, 4.0], 2, &second), [3.0, 4.0]);
        assert_eq!(cells(&[1.0, 2.0, 3.0, 4.0], 2, &second), [2.0, 4.0]);
    }

    /// What adds nothing can go without a trace: the smaller model gives the same logits.
    #[test]
    fn what_adds_nothing_goes_without_a_trace() {
        let spec = ModelSpec { kv_heads: 2, tied: false, ..preset("1m").unwrap() };
        let mut params: Vec<f32> = initial_params(&spec, 1).iter().map(|w| w * 3.0).collect();
        let layout = Layout::new(&spec);
        for slot in &layout.slots {
            let silent = |column: usize| match slot.name.rsplit('.').nth(1) {
                // The first pair of query heads, every third channel, the whole of layer 2.
                Some("o_proj") => slot.name.contains("layers.2.") || column < 64,
                Some("down_proj") => slot.name.contains("layers.2.") || column.is_multiple_of(3),
                _ => false,
            };
            let width = slot.shape[slot.shape.len() - 1];
            let weights = params[slot.range()].iter_mut().enumerate();
            weights.filter(|(i, _)| silent(i % width)).for_each(|(_, w)| *w = 0.0);
        }
        let asked = Cut { kv_heads: 1, channels: 96, layers: 0 };
        let (small, left) = cut(&spec, &params, asked, None).unwrap();
        assert_eq!((small.heads, small.head_width, small.hidden), (2, Some(32), 256));
        let tokens = Tensor::from_slice(&[5i64, 9, 200, 31]).view([1, 4]);
        let logits = |spec: &ModelSpec, params: &[f32]| {
            let mut model = Llama::new(spec, Device::Cpu).unwrap();
            model.load_flat(params).unwrap();
            no_grad(|| model.logits(&tokens)).unwrap()
        };
        let whole = logits(&spec, &params);
        let off = (&whole - logits(&small, &left)).abs().max().double_value(&[]);
        assert!(off < 1e-4 && whole.abs().max().double_value(&[]) > 0.1, "{off}");
        let passage = |cosine| Passage { inputs: Inputs::default(), cosine };
        let near: Vec<Passage> = [0.5, 0.9, 1.0, 0.8, 0.7].map(passage).into();
        assert_eq!(layers(&spec, 2, Some(&near)), [0, 3, 4]);
        assert_eq!(layers(&spec, 2, None), [0, 1, 4]);
        let all = Cut { kv_heads: 2, ..asked };
        assert!(cut(&spec, &params, all, None).unwrap_err().contains("must be left"));
    }
}
