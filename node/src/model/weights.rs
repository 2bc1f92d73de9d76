//! The weights as autograd sees them: leaves that are views of the flat vector (or of its bf16 copy).

use super::layout::{Layout, Role};
use shoal_protocol::run::ModelSpec;
use tch::{Kind, TchError, Tensor};

/// One decoder layer's leaves.
pub(super) struct LayerWeights {
    /// `[(heads + 2 * kv_heads) * head_dim, dim]`: q, k, v below one another.
    pub qkv: Tensor,
    /// `[dim, dim]`
    pub out: Tensor,
    /// `[2 * hidden, dim]`: gate above up.
    pub gate_up: Tensor,
    /// `[dim, hidden]`
    pub down: Tensor,
    /// `[dim]`
    pub attention_norm: Tensor,
    /// `[dim]`
    pub mlp_norm: Tensor,
}

/// All leaves.
pub(super) struct Weights {
    /// `[vocab, dim]`
    pub embedding: Tensor,
    pub layers: Vec<LayerWeights>,
    /// `[dim]`
    pub norm: Tensor,
    /// `[vocab, dim]`; the embedding itself if tied.
    pub head: Tensor,
    tied: bool,
}

impl Weights {
    /// Views of `flat` (f32) for norms and, cut from `half` if given, for matrices.
    pub fn new(spec: &ModelSpec, flat: &Tensor, half: Option<&Tensor>) -> Result<Self, TchError> {
        let layout = Layout::new(spec);
        let mut slots = layout.slots.iter();
        // Views the next `count` slots, neighbours of one width, as one leaf.
        let mut leaf = |count: usize| -> Result<Tensor, TchError> {
            let group: Vec<_> = slots.by_ref().take(count).collect();
            let source = if group[0].role == Role::Norm { flat } else { half.unwrap_or(flat) };
            let elems: usize = group.iter().map(|slot| slot.len()).sum();
            let view = source.f_narrow(0, group[0].offset as i64, elems as i64)?;
            let width = group[0].shape.get(1).map(|width| *width as i64);
            let shaped =
                width.map_or_else(|| view.f_view([-1]), |width| view.f_view([-1, width]))?;
            shaped.f_detach()?.f_set_requires_grad(true)
        };
        let embedding = leaf(1)?;
        let layers =
            (0..spec.layers).map(|_| LayerWeights::cut(&mut leaf)).collect::<Result<_, _>>()?;
        let norm = leaf(1)?;
        let head = if spec.tied { embedding.shallow_clone() } else { leaf(1)? };
        Ok(Weights { embedding, layers, norm, head, tied: spec.tied })
    }

    /// The leaves in flat order.
    pub fn leaves(&self) -> Vec<&Tensor> {
        let mut leaves = vec![&self.embedding];
        leaves.extend(self.layers.iter().flat_map(LayerWeights::leaves));
        leaves.push(&self.norm);
        if !self.tied {
            leaves.push(&self.head);
        }
        leaves
    }
}

impl LayerWeights {
    fn cut(leaf: &mut impl FnMut(usize) -> Result<Tensor, TchError>) -> Result<Self, TchError> {
        Ok(LayerWeights {
            qkv: leaf(3)?,
            out: leaf(1)?,
            gate_up: leaf(2)?,
            down: leaf(1)?,
            attention_norm: leaf(1)?,
            mlp_norm: leaf(1)?,
        })
    }

    fn leaves(&self) -> [&Tensor; 6] {
        [&self.qkv, &self.out, &self.gate_up, &self.down, &self.attention_norm, &self.mlp_norm]
    }
}

/// The gradients of all leaves as one flat f32 vector.
pub(super) fn flatten(gradients: &[Tensor]) -> Result<Tensor, TchError> {
    let rows: Vec<Tensor> = gradients
        .iter()
        .map(|gradient| gradient.f_to_kind(Kind::Float)?.f_reshape([-1]))
        .collect::<Result<_, _>>()?;
    Tensor::f_cat(&rows, 0)
}
