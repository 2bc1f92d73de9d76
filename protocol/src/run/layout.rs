//! Which weight lies where in the flat vector of parameters.
//!
//! The order is the one of a Hugging Face `LlamaForCausalLM` state dict, and part of what peers agree on: embedding; per
//! layer q, k, v, o, gate, up, down, input norm, post-attention norm; final norm; head if untied. Each weight is
//! row-major `[out, in]`. Since q, k, v (and gate, up) are neighbours, each group is one matrix to multiply with.

use super::{DecaySpec, ModelSpec};
use std::ops::Range;

/// What a weight is for, which decides how it is initialised and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Token embedding or head.
    Embedding,
    /// A matrix whose output stays inside its block.
    Inner,
    /// A matrix whose output is added to the residual stream.
    Residual,
    /// A norm's gain, 1-D.
    Norm,
}

/// One named weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in a Hugging Face state dict.
    pub name: String,
    /// `[out, in]`, or `[dim]` for a norm.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Index of its first element in the flat vector.
    pub offset: usize,
}

impl Slot {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing; no slot of a valid spec does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its place in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// All weights in flat order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The weights, in flat order and without gaps.
    pub slots: Vec<Slot>,
}

impl Layout {
    /// The layout of a model.
    pub fn new(spec: &ModelSpec) -> Layout {
        let [vocab, dim] = [spec.vocab, spec.dim].map(|n| n as usize);
        let mut layout = Layout { slots: Vec::new() };
        layout.push("model.embed_tokens.weight".into(), vec![vocab, dim], Role::Embedding);
        (0..spec.layers).for_each(|layer| layout.push_layer(spec, layer));
        layout.push("model.norm.weight".into(), vec![dim], Role::Norm);
        if !spec.tied {
            layout.push("lm_head.weight".into(), vec![vocab, dim], Role::Embedding);
        }
        layout
    }

    /// Number of elements of the flat vector.
    pub fn len(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.range().end)
    }

    /// Whether there are no weights; never so for a valid spec.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs of elements of the weights chosen by `of`, in flat order, each with whether weight decay acts on it.
    pub fn decay_runs(
        &self,
        decay: DecaySpec,
        of: impl Fn(&Slot) -> bool,
    ) -> Vec<(Range<usize>, bool)> {
        let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
        for slot in self.slots.iter().filter(|slot| of(slot)) {
            let decays = decay.acts_on(slot.role);
            match runs.last_mut() {
                Some((run, same)) if *same == decays && run.end == slot.offset => {
                    run.end = slot.range().end;
                }
                _ => runs.push((slot.range(), decays)),
            }
        }
        runs
    }

    fn push_layer(&mut self, spec: &ModelSpec, layer: u32) {
        let [dim, hidden] = [spec.dim, spec.hidden].map(|n| n as usize);
        let [q_dim, kv_dim] = [spec.heads, spec.kv_heads].map(|n| (spec.head_dim() * n) as usize);
        let weights = [
            ("self_attn.q_proj", vec![q_dim, dim], Role::Inner),
            ("self_attn.k_proj", vec![kv_dim, dim], Role::Inner),
            ("self_attn.v_proj", vec![kv_dim, dim], Role::Inner),
            ("self_attn.o_proj", vec![dim, q_dim], Role::Residual),
            ("mlp.gate_proj", vec![hidden, dim], Role::Inner),
            ("mlp.up_proj", vec![hidden, dim], Role::Inner),
            ("mlp.down_proj", vec![dim, hidden], Role::Residual),
            ("input_layernorm", vec![dim], Role::Norm),
            ("post_attention_layernorm", vec![dim], Role::Norm),
        ];
        for (name, shape, role) in weights {
            self.push(format!("model.layers.{layer}.{name}.weight"), shape, role);
        }
    }

    fn push(&mut self, name: String, shape: Vec<usize>, role: Role) {
        let offset = self.len();
        self.slots.push(Slot { name, shape, role, offset });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kv_heads: u32, tied: bool) -> ModelSpec {
        ModelSpec {
            vocab: 256,
            dim: 128,
            layers: 5,
            heads: 4,
            kv_heads,
            hidden: 352,
            context: 64,
            head_width: None,
            tied,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            init_std: None,
        }
    }

    #[test]
    fn covers_exactly_the_spec_s_parameters() {
        for (kv_heads, tied) in [(1, true), (2, false), (4, true)] {
            let spec = spec(kv_heads, tied);
            assert_eq!(Layout::new(&spec).len() as u64, spec.params());
            // A model that has lost a head of four.
            let less = ModelSpec { heads: 3, kv_heads: 1, head_width: Some(32), ..spec };
            assert_eq!(Layout::new(&less).len() as u64, less.params());
        }
    }

    #[test]
    fn slots_follow_one_another_under_hugging_face_s_names() {
        let layout = Layout::new(&spec(4, true));
        let names: Vec<&str> = layout.slots.iter().map(|slot| slot.name.as_str()).collect();
        assert_eq!(names[0], "model.embed_tokens.weight");
        assert_eq!(names[1], "model.layers.0.self_attn.q_proj.weight");
        assert_eq!(names[8], "model.layers.0.input_layernorm.weight");
        assert_eq!(names.last(), Some(&"model.norm.weight"));
        assert!(layout.slots.windows(2).all(|pair| pair[0].range().end == pair[1].offset));
    }

    #[test]
    fn decay_spares_the_norms() {
        let layout = Layout::new(&spec(4, true));
        let usual = DecaySpec::default();
        let runs = layout.decay_runs(usual, |_| true);
        assert_eq!(runs.iter().map(|(run, _)| run.len()).sum::<usize>(), layout.len());
        let spared: usize =
            runs.iter().filter(|(_, decays)| !decays).map(|(run, _)| run.len()).sum();
        assert_eq!(spared, (2 * 5 + 1) * 128);
        let chosen = layout.decay_runs(usual, |slot| slot.offset == 0 || slot.role == Role::Norm);
        let layers = |run: &Range<usize>| run.len() == 2 * 128;
        assert_eq!(chosen.iter().filter(|(run, _)| layers(run)).count(), 4);
        assert_eq!((chosen[0].1, chosen.len()), (true, 6));
        let matrices = DecaySpec { embeddings: false, norms: false };
        let runs = layout.decay_runs(matrices, |_| true);
        assert_eq!((runs[0].0.clone(), runs[0].1), (layout.slots[0].range(), false));
        let all = layout.decay_runs(DecaySpec { embeddings: true, norms: true }, |_| true);
        assert_eq!(all, [(0..layout.len(), true)]);
    }
}
