//! The weights as autograd sees them: leaves that are views of the flat vector (or of its bf16 copy).

use super::{Layout, Role};
use shoal_protocol::run::ModelSpec;
use tch::{Kind, TchError, Tensor};

/// One decoder layer's leaves, in flat order.
pub(super) struct LayerWeights {
    /// `[heads * head_dim, dim]`
    pub q: Tensor,
    /// `[kv_heads * head_dim, dim]`
    pub k: Tensor,
    /// `[kv_heads * head_dim, dim]`
    pub v: Tensor,
    /// `[dim, heads * head_dim]`
    pub out: Tensor,
    /// `[hidden, dim]`
    pub gate: Tensor,
    /// `[hidden, dim]`
    pub up: Tensor,
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
        let mut leaf = || -> Result<Tensor, TchError> {
            let slot = slots.next().ok_or_else(|| TchError::Shape("too few slots".into()))?;
            let source = if slot.role == Role::Norm { flat } else { half.unwrap_or(flat) };
            let shape: Vec<i64> = slot.shape.iter().map(|side| *side as i64).collect();
            let view =
                source.f_narrow(0, slot.offset as i64, slot.len() as i64)?.f_view(&shape[..])?;
            view.f_detach()?.f_set_requires_grad(true)
        };
        let embedding = leaf()?;
        let layers =
            (0..spec.layers).map(|_| LayerWeights::cut(&mut leaf)).collect::<Result<_, _>>()?;
        let norm = leaf()?;
        let head = if spec.tied { embedding.shallow_clone() } else { leaf()? };
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
    fn cut(leaf: &mut impl FnMut() -> Result<Tensor, TchError>) -> Result<Self, TchError> {
        Ok(LayerWeights {
            q: leaf()?,
            k: leaf()?,
            v: leaf()?,
            out: leaf()?,
            gate: leaf()?,
            up: leaf()?,
            down: leaf()?,
            attention_norm: leaf()?,
            mlp_norm: leaf()?,
        })
    }

    /// In flat order.
    pub fn leaves(&self) -> [&Tensor; 9] {
        let LayerWeights { q, k, v, out, gate, up, down, attention_norm, mlp_norm } = self;
        [q, k, v, out, gate, up, down, attention_norm, mlp_norm]
    }
}

/// Adds the gradients of all leaves, in flat order, to one flat f32 vector, which they become if there is none.
pub(super) fn add_flat(sum: &mut Option<Tensor>, gradients: Vec<Tensor>) -> Result<(), TchError> {
    let flat = |gradient: &Tensor| gradient.f_to_kind(Kind::Float)?.f_reshape([-1]);
    let Some(sum) = sum else {
        let rows = gradients.iter().map(flat).collect::<Result<Vec<_>, _>>()?;
        *sum = Some(Tensor::f_cat(&rows, 0)?);
        return Ok(());
    };
    let mut offset = 0;
    for gradient in gradients {
        let row = flat(&gradient)?;
        let len = row.numel() as i64;
        let _ = sum.f_narrow(0, offset, len)?.f_add_(&row)?;
        offset += len;
    }
    Ok(())
}
