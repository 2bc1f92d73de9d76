//! Keys and values of the tokens seen so far, so that one more token costs one column of attention.

use super::ready::Ready;
use tch::{TchError, Tensor};

/// The weights at hand, and per layer the keys and values of the tokens so far, each `[B, kv_heads, seen, head_dim]`.
///
/// It belongs to the parameters that the model had when the cache was made.
pub struct Cache {
    pub(super) ready: Ready,
    pub(super) past: Past,
}

/// Per layer the keys and values of the tokens so far.
#[derive(Default)]
pub(super) struct Past {
    layers: Vec<Option<(Tensor, Tensor)>>,
    seen: i64,
}

impl Cache {
    pub(super) fn new(ready: Ready) -> Cache {
        Cache { ready, past: Past::default() }
    }

    /// Tokens seen so far.
    pub fn seen(&self) -> i64 {
        self.past.seen
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.past = Past::default();
    }
}

impl Past {
    /// Tokens seen so far.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Appends `k` and `v`, `[B, kv_heads, new, head_dim]`, to a layer's and returns all of them.
    pub fn extend(
        &mut self,
        layer: usize,
        k: Tensor,
        v: Tensor,
    ) -> Result<(Tensor, Tensor), TchError> {
        self.layers.resize_with(self.layers.len().max(layer + 1), || None);
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
    pub fn advance(&mut self, new: i64) {
        self.seen += new;
    }
}
