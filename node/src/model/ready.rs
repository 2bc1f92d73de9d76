//! The weights as the forward pass multiplies with them.
//!
//! Two rewritings that leave the result as it is and save passes over activations, which are larger than weights:
//! - `(x / rms(x) * gain) W^T = (x / rms(x)) (W * gain)^T`, so a norm's gain goes into the matrix after it;
//! - RoPE turns element i of a head with element i + head_dim / 2. With the rows of q and k in the order 0, h, 1, h + 1, ...
//!   (h = head_dim / 2) the two are neighbours, one complex number, and turning is one multiplication; q and k are
//!   reordered alike, so their products stay.

use super::weights::{LayerWeights, Weights};
use shoal_protocol::run::ModelSpec;
use tch::{TchError, Tensor};

/// One layer's matrices.
pub(super) struct ReadyLayer {
    /// `[heads * head_dim, dim]`, rows in RoPE's pairs.
    pub q: Tensor,
    /// `[kv_heads * head_dim, dim]`, rows in RoPE's pairs.
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
}

/// All matrices.
pub(super) struct Ready {
    /// `[vocab, dim]`
    pub embedding: Tensor,
    pub layers: Vec<ReadyLayer>,
    /// `[vocab, dim]`
    pub head: Tensor,
}

impl Ready {
    /// Rewrites the weights; autograd carries gradients back through it.
    pub fn new(spec: &ModelSpec, weights: &Weights) -> Result<Ready, TchError> {
        let layer = |layer| ReadyLayer::new(spec, layer);
        Ok(Ready {
            embedding: weights.embedding.shallow_clone(),
            layers: weights.layers.iter().map(layer).collect::<Result<_, _>>()?,
            head: with_gain(&weights.head, &weights.norm)?,
        })
    }
}

impl ReadyLayer {
    pub fn new(spec: &ModelSpec, layer: &LayerWeights) -> Result<ReadyLayer, TchError> {
        let head_dim = i64::from(spec.head_dim());
        Ok(ReadyLayer {
            q: in_pairs(&with_gain(&layer.q, &layer.attention_norm)?, head_dim)?,
            k: in_pairs(&with_gain(&layer.k, &layer.attention_norm)?, head_dim)?,
            v: with_gain(&layer.v, &layer.attention_norm)?,
            out: layer.out.shallow_clone(),
            gate: with_gain(&layer.gate, &layer.mlp_norm)?,
            up: with_gain(&layer.up, &layer.mlp_norm)?,
            down: layer.down.shallow_clone(),
        })
    }
}

/// `weight`: `[out, dim]`, `gain`: `[dim]` -> `[out, dim]` of the weight's kind
fn with_gain(weight: &Tensor, gain: &Tensor) -> Result<Tensor, TchError> {
    weight.f_mul(gain)?.f_to_kind(weight.kind())
}

/// Brings the rows of each head into the order 0, h, 1, h + 1, ...; `weight`: `[n * head_dim, dim]`
fn in_pairs(weight: &Tensor, head_dim: i64) -> Result<Tensor, TchError> {
    let size = weight.size();
    weight.f_view([-1, 2, head_dim / 2, size[1]])?.f_transpose(1, 2)?.f_reshape(size)
}
