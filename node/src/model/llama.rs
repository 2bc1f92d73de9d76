//! The decoder: RMSNorm, RoPE in Hugging Face's `rotate_half` form, grouped-query attention, SwiGLU; no biases.
//!
//! Source: Touvron et al. 2023 (arXiv 2302.13971), section 2.2; `LlamaForCausalLM` in `transformers` gives the same logits.

use super::cache::{Cache, Past};
use super::dropout::{Dropout, Site};
use super::linear::linear;
use super::ready::{Ready, ReadyLayer};
use super::weights::Weights;
use shoal_protocol::run::ModelSpec;
use tch::{Device, Kind, Reduction, TchError, Tensor, no_grad};

/// A model on a device.
pub struct Llama {
    pub(super) spec: ModelSpec,
    device: Device,
    /// `[params]` f32: the master copy, in the order of [`super::Layout`].
    flat: Tensor,
    /// `[params]` bf16: what matrices are multiplied with on CUDA.
    half: Option<Tensor>,
    pub(super) weights: Weights,
    /// RoPE's turns, `[context, 1, head_dim / 2]` complex: e^(i * place * theta^(-2 j / head_dim)).
    pub(super) turns: Tensor,
}

const NO_TENSOR: Option<Tensor> = None;

impl Llama {
    /// A model of zeros on `device`; matrices are multiplied in bf16 on CUDA, in f32 elsewhere.
    ///
    /// # Errors
    /// The device is absent or has too little memory.
    pub fn new(spec: &ModelSpec, device: Device) -> Result<Llama, TchError> {
        let kind = if device.is_cuda() { Kind::BFloat16 } else { Kind::Float };
        Llama::with_kind(spec, device, kind)
    }

    /// A model of zeros whose matrices are multiplied in `kind`, f32 or bf16.
    ///
    /// # Errors
    /// The device is absent or has too little memory.
    pub fn with_kind(spec: &ModelSpec, device: Device, kind: Kind) -> Result<Llama, TchError> {
        let flat = Tensor::f_zeros([spec.params() as i64], (Kind::Float, device))?;
        let half = (kind != Kind::Float).then(|| flat.f_to_kind(kind)).transpose()?;
        let weights = Weights::new(spec, &flat, half.as_ref())?;
        let turns = turns(spec, device)?;
        Ok(Llama { spec: spec.clone(), device, flat, half, weights, turns })
    }

    /// The architecture.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The master copy, `[params]` f32. After changing it, call [`Llama::refresh`].
    pub fn flat_mut(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// Brings the copies that compute in line with the master copy.
    ///
    /// # Errors
    /// The device failed.
    pub fn refresh(&mut self) -> Result<(), TchError> {
        match &mut self.half {
            Some(half) => no_grad(|| half.f_copy_(&self.flat)),
            None => Ok(()),
        }
    }

    /// Takes over all parameters, in flat order.
    ///
    /// # Errors
    /// `params` has another length than the model, or the device failed.
    pub fn load_flat(&mut self, params: &[f32]) -> Result<(), TchError> {
        self.check_len(params.len())?;
        // SAFETY: the view lives only for this copy, while `params` is borrowed, and is only read.
        let view = unsafe { blob(params.as_ptr(), params.len()) }?;
        no_grad(|| self.flat.f_copy_(&view))?;
        self.refresh()
    }

    /// Writes all parameters out, in flat order.
    ///
    /// # Errors
    /// `params` has another length than the model, or the device failed.
    pub fn write_flat(&self, params: &mut [f32]) -> Result<(), TchError> {
        self.check_len(params.len())?;
        // SAFETY: the view lives only for this copy, while `params` is borrowed mutably.
        let mut view = unsafe { blob(params.as_mut_ptr(), params.len()) }?;
        no_grad(|| view.f_copy_(&self.flat))
    }

    /// Mean cross-entropy in nats, a scalar, with nothing dropped. `inputs` and `targets`: `[B, T]` i64, T at most the context.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn loss(&self, inputs: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let logits = self.logits(inputs)?.f_to_kind(Kind::Float)?;
        logits.f_view([-1, i64::from(self.spec.vocab)])?.f_cross_entropy_loss(
            &targets.f_reshape([-1])?,
            NO_TENSOR,
            Reduction::Mean,
            -100,
            0.0,
        )
    }

    /// Logits of the next token at every place, `[B, T, vocab]`. `inputs`: `[B, T]` i64, T at most the context.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn logits(&self, inputs: &Tensor) -> Result<Tensor, TchError> {
        let ready = Ready::new(&self.spec, &self.weights)?;
        let x = self.body(&ready, inputs, None, None)?;
        linear(&self.unit(&x)?, &ready.head)
    }

    /// The last hidden states, `[B, T, dim]` without the last norm's gain, and the logits, `[B, T, vocab]`.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn hidden_and_logits(&self, inputs: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let ready = Ready::new(&self.spec, &self.weights)?;
        let hidden = self.unit(&self.body(&ready, inputs, None, None)?)?;
        let logits = linear(&hidden, &ready.head)?;
        Ok((hidden, logits))
    }

    /// An empty cache for [`Llama::next_logits`], of the parameters that the model has now.
    ///
    /// # Errors
    /// The device failed.
    pub fn cache(&self) -> Result<Cache, TchError> {
        no_grad(|| Ready::new(&self.spec, &self.weights)).map(Cache::new)
    }

    /// Logits after the last of `inputs`, `[B, vocab]` f32; `inputs`, `[B, T]` i64, follow what `cache` has seen. Either the
    /// cache is empty or T is 1.
    ///
    /// # Errors
    /// More tokens than the context holds, or the device failed.
    pub fn next_logits(&self, inputs: &Tensor, cache: &mut Cache) -> Result<Tensor, TchError> {
        let Cache { ready, past } = cache;
        no_grad(|| {
            let last = self.body(ready, inputs, Some(past), None)?.f_select(1, -1)?;
            linear(&self.unit(&last)?, &ready.head)?.f_to_kind(Kind::Float)
        })
    }

    /// The residual stream after all layers, `[B, T, dim]` f32 whatever the matrices are.
    pub(super) fn body(
        &self,
        ready: &Ready,
        inputs: &Tensor,
        mut past: Option<&mut Past>,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor, TchError> {
        let seen = past.as_ref().map_or(0, |past| past.seen());
        let new = inputs.size()[1];
        let turns = self.turns(seen, new)?;
        let mut x = embed(&ready.embedding, inputs, dropout)?;
        for (index, layer) in ready.layers.iter().enumerate() {
            let slot = past.as_deref_mut().map(|past| (past, index));
            x = self.layer(layer, &x, &turns, slot, dropout.map(|dropout| (dropout, index)))?;
        }
        if let Some(past) = past {
            past.advance(new);
        }
        Ok(x)
    }

    /// RoPE's turns of `new` places after the first `seen`.
    pub(super) fn turns(&self, seen: i64, new: i64) -> Result<Tensor, TchError> {
        self.turns.f_narrow(0, seen, new)
    }

    /// One decoder layer, `x`: `[B, T, dim]` -> `[B, T, dim]`; `dropout` with the layer's number.
    pub(super) fn layer(
        &self,
        layer: &ReadyLayer,
        x: &Tensor,
        turns: &Tensor,
        slot: Option<(&mut Past, usize)>,
        dropout: Option<(&Dropout, usize)>,
    ) -> Result<Tensor, TchError> {
        let thinned = |site: fn(usize) -> Site, x| match dropout {
            Some((dropout, index)) => dropout.apply(site(index), x),
            None => Ok(x),
        };
        let attention = self.attention(layer, x, turns, slot, dropout)?;
        let x = x.f_add(&thinned(Site::Attention, attention)?)?;
        let mlp = self.mlp(layer, &x)?;
        x.f_add(&thinned(Site::Mlp, mlp)?)
    }

    /// `x`: `[B, T, dim]` -> `[B, T, dim]`
    pub(super) fn attention(
        &self,
        layer: &ReadyLayer,
        x: &Tensor,
        turns: &Tensor,
        past: Option<(&mut Past, usize)>,
        dropout: Option<(&Dropout, usize)>,
    ) -> Result<Tensor, TchError> {
        let (size, unit) = (x.size(), self.unit(x)?);
        let causal = size[1] > 1;
        // Each `[B, heads or kv_heads, T, head_dim]`.
        let q = turn(&self.heads(&unit, &layer.q)?, turns)?.f_transpose(1, 2)?;
        let k = turn(&self.heads(&unit, &layer.k)?, turns)?.f_transpose(1, 2)?;
        let v = self.heads(&unit, &layer.v)?.f_transpose(1, 2)?;
        let (k, v) = match past {
            Some((past, index)) => past.extend(index, k, v)?,
            None => (k, v),
        };
        let group = i64::from(self.spec.heads / self.spec.kv_heads);
        let (k, v) = (share_heads(&k, group)?, share_heads(&v, group)?);
        let mixed = match dropout.filter(|(dropout, _)| dropout.thins_attention()) {
            Some((dropout, index)) => thinned_attention(&q, &k, &v, dropout, index)?,
            None => Tensor::f_scaled_dot_product_attention(
                &q, &k, &v, NO_TENSOR, 0.0, causal, None, false,
            )?,
        };
        linear(&mixed.f_transpose(1, 2)?.f_reshape([size[0], size[1], -1])?, &layer.out)
    }

    /// `x`: `[B, T, dim]`, `weight`: `[n * head_dim, dim]` -> `[B, T, n, head_dim]`
    fn heads(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
        let size = x.size();
        let head_dim = i64::from(self.spec.head_dim());
        linear(x, weight)?.f_view([size[0], size[1], -1, head_dim])
    }

    /// SwiGLU, `x`: `[B, T, dim]` -> `[B, T, dim]`
    pub(super) fn mlp(&self, layer: &ReadyLayer, x: &Tensor) -> Result<Tensor, TchError> {
        let unit = self.unit(x)?;
        let gate = linear(&unit, &layer.gate)?.f_silu()?;
        linear(&gate.f_mul(&linear(&unit, &layer.up)?)?, &layer.down)
    }

    /// RMSNorm without its gain, in f32, handed on in the kind that the matrices have. `x`: `[.., dim]`
    pub(super) fn unit(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (dim, eps) = (f64::from(self.spec.dim), f64::from(self.spec.norm_eps));
        let norm = x.f_norm_scalaropt_dim(2.0, [-1], true)?;
        let scale = norm.f_square()?.f_mul_scalar(1.0 / dim)?.f_add_scalar(eps)?.f_rsqrt()?;
        let unit = x.f_mul(&scale)?;
        match &self.half {
            Some(half) => unit.f_to_kind(half.kind()),
            None => Ok(unit),
        }
    }

    fn check_len(&self, len: usize) -> Result<(), TchError> {
        let params = self.spec.params();
        if len as u64 == params {
            return Ok(());
        }
        Err(TchError::Shape(format!("{len} parameters given, the model has {params}")))
    }
}

/// RoPE's turns of every place, `[context, 1, head_dim / 2]` complex.
fn turns(spec: &ModelSpec, device: Device) -> Result<Tensor, TchError> {
    let half = i64::from(spec.head_dim()) / 2;
    let options = (Kind::Float, device);
    let exponents = Tensor::f_arange(half, options)?.f_mul_scalar(-1.0 / half as f64)?;
    let rates = Tensor::f_pow_scalar(f64::from(spec.rope_theta), &exponents)?;
    let angles = Tensor::f_arange(i64::from(spec.context), options)?.f_outer(&rates)?;
    Tensor::f_polar(&angles.f_ones_like()?, &angles)?.f_unsqueeze(1)
}

/// The tokens' embeddings, `[B, T, dim]` f32. `embedding`: `[vocab, dim]`, `inputs`: `[B, T]` i64
pub(super) fn embed(
    embedding: &Tensor,
    inputs: &Tensor,
    dropout: Option<&Dropout>,
) -> Result<Tensor, TchError> {
    let x = Tensor::f_embedding(embedding, inputs, -1, false, false)?.f_to_kind(Kind::Float)?;
    match dropout {
        Some(dropout) => dropout.apply(Site::Embedding, x),
        None => Ok(x),
    }
}

/// Causal attention some of whose weights are dropped; libtorch's own would draw them from its generator. `q`, `k`, `v`:
/// `[B, heads, T, head_dim]` -> `[B, heads, T, head_dim]`
fn thinned_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    dropout: &Dropout,
    layer: usize,
) -> Result<Tensor, TchError> {
    let size = q.size();
    let later = Tensor::f_ones([size[2], size[2]], (Kind::Bool, q.device()))?.f_triu(1)?;
    let scale = 1.0 / (size[3] as f64).sqrt();
    let scores = q.f_matmul(&k.f_transpose(-2, -1)?)?.f_to_kind(Kind::Float)?;
    let scores = scores.f_mul_scalar(scale)?.f_masked_fill(&later, f64::NEG_INFINITY)?;
    let weights = dropout.apply(Site::Weights(layer), scores.f_softmax(-1, None)?)?;
    weights.f_to_kind(v.kind())?.f_matmul(v)
}

/// RoPE on heads whose pairs are neighbours. `x`: `[B, T, n, head_dim]`, `turns`: `[T, 1, head_dim / 2]` complex
fn turn(x: &Tensor, turns: &Tensor) -> Result<Tensor, TchError> {
    let pairs = x.f_to_kind(Kind::Float)?.f_unflatten(-1, [-1, 2])?.f_view_as_complex()?;
    pairs.f_mul(turns)?.f_view_as_real()?.f_flatten(-2, -1)?.f_to_kind(x.kind())
}

/// Repeats each key or value head for the `group` query heads that share it, `[B, kv_heads, T, head_dim]`.
fn share_heads(x: &Tensor, group: i64) -> Result<Tensor, TchError> {
    if group == 1 {
        return Ok(x.shallow_clone());
    }
    let size = x.size();
    x.f_unsqueeze(2)?.f_expand([size[0], size[1], group, size[2], size[3]], false)?.f_reshape([
        size[0],
        size[1] * group,
        size[2],
        size[3],
    ])
}

/// A CPU tensor over memory that somebody else owns.
///
/// # Safety
/// `data` must point to `len` floats that outlive the tensor, and be writable if the tensor is written.
unsafe fn blob(data: *const f32, len: usize) -> Result<Tensor, TchError> {
    let shape = [len as i64];
    // SAFETY: handed on from this function's own contract.
    unsafe { Tensor::f_from_blob(data.cast(), &shape, &[1], Kind::Float, Device::Cpu) }
}

#[cfg(test)]
#[path = "llama_tests.rs"]
mod tests;
