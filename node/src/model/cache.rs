//! Keys and values of the tokens seen so far, so that one more token costs one column of attention.

use tch::{TchError, Tensor};

/// Per layer the keys and values of the tokens so far, each `[B, kv_heads, seen, head_dim]`.
pub struct Cache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    seen: i64,
}

impl Cache {
    /// An empty cache for `layers` layers.
    pub fn new(layers: u32) -> Cache {
        Cache { layers: (0..layers).map(|_| None).collect(), seen: 0 }
    }

    /// Tokens seen so far.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Appends `k` and `v`, `[B, kv_heads, new, head_dim]`, to a layer's and returns all of them.
    pub(super) fn extend(
        &mut self,
        layer: usize,
        k: Tensor,
        v: Tensor,
    ) -> Result<(Tensor, Tensor), TchError> {
        let all = match &self.layers[layer] {
            Some((keys, values)) => {
                (Tensor::f_cat(&[keys, &k], 2)?, Tensor::f_cat(&[values, &v], 2)?)
            }
            None => (k, v),
        };
        self.layers[layer] = Some((all.0.shallow_clone(), all.1.shallow_clone()));
        Ok(all)
    }

    /// Notes that all layers have seen `new` more tokens.
    pub(super) fn advance(&mut self, new: i64) {
        self.seen += new;
    }
}
