//! The decoder: RMSNorm, RoPE in Hugging Face's `rotate_half` form, grouped-query attention, SwiGLU; no biases.
//!
//! Source: Touvron et al. 2023 (arXiv 2302.13971), section 2.2; `LlamaForCausalLM` in `transformers` gives the same logits.

use super::cache::Cache;
use super::weights::{LayerWeights, Weights, flatten};
use shoal_protocol::run::ModelSpec;
use tch::{Device, Kind, Reduction, TchError, Tensor, no_grad};

/// A model on a device.
pub struct Llama {
    spec: ModelSpec,
    device: Device,
    /// `[params]` f32: the master copy, in the order of [`super::Layout`].
    flat: Tensor,
    /// `[params]` bf16: what matrices are multiplied with on CUDA.
    half: Option<Tensor>,
    weights: Weights,
    rope: Rope,
}

/// RoPE's factors, `[1, context, 1, head_dim]` f32; `sin` has the sign of `rotate_half` in it.
struct Rope {
    cos: Tensor,
    sin: Tensor,
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
        let rope = Rope::new(spec, device)?;
        Ok(Llama { spec: spec.clone(), device, flat, half, weights, rope })
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

    /// Mean cross-entropy in nats, a scalar. `inputs` and `targets`: `[B, T]` i64, T at most the context.
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

    /// The gradient of `loss` by all parameters, `[params]` f32 in flat order.
    ///
    /// # Errors
    /// The device failed.
    pub fn gradient(&self, loss: &Tensor) -> Result<Tensor, TchError> {
        let gradients = Tensor::f_run_backward(&[loss], &self.weights.leaves(), false, false)?;
        no_grad(|| flatten(&gradients))
    }

    /// Logits of the next token at every place, `[B, T, vocab]`. `inputs`: `[B, T]` i64, T at most the context.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn logits(&self, inputs: &Tensor) -> Result<Tensor, TchError> {
        self.head(&self.body(inputs, None)?)
    }

    /// Logits after the last of `inputs`, `[B, vocab]`; `inputs`, `[B, T]` i64, follow what `cache` has seen.
    ///
    /// # Errors
    /// More tokens than the context holds, or the device failed.
    pub fn next_logits(&self, inputs: &Tensor, cache: &mut Cache) -> Result<Tensor, TchError> {
        let x = self.body(inputs, Some(cache))?;
        self.head(&x.f_select(1, -1)?)?.f_to_kind(Kind::Float)
    }

    /// The residual stream after all layers, `[B, T, dim]`.
    fn body(&self, inputs: &Tensor, mut cache: Option<&mut Cache>) -> Result<Tensor, TchError> {
        let seen = cache.as_ref().map_or(0, |cache| cache.seen());
        let new = inputs.size()[1];
        let rope = self.rope.at(seen, new)?;
        // The residual stream is f32 whatever the matrices are.
        let mut x = Tensor::f_embedding(&self.weights.embedding, inputs, -1, false, false)?
            .f_to_kind(Kind::Float)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let slot = cache.as_deref_mut().map(|cache| (cache, index));
            x = x.f_add(&self.attention(layer, &x, &rope, slot)?)?;
            x = x.f_add(&self.mlp(layer, &x)?)?;
        }
        if let Some(cache) = cache {
            cache.advance(new);
        }
        Ok(x)
    }

    /// `x`: `[.., dim]` -> `[.., vocab]`
    fn head(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.norm(x, &self.weights.norm)?.f_linear(&self.weights.head, NO_TENSOR)
    }

    /// `x`: `[B, T, dim]` -> `[B, T, dim]`
    fn attention(
        &self,
        layer: &LayerWeights,
        x: &Tensor,
        rope: &Rope,
        cache: Option<(&mut Cache, usize)>,
    ) -> Result<Tensor, TchError> {
        let [heads, kv_heads] = [self.spec.heads, self.spec.kv_heads].map(i64::from);
        let size = x.size();
        let qkv = self
            .norm(x, &layer.attention_norm)?
            .f_linear(&layer.qkv, NO_TENSOR)?
            .f_view([size[0], size[1], heads + 2 * kv_heads, -1])?;
        let parts = qkv.f_split_with_sizes([heads + kv_heads, kv_heads], 2)?;
        let turned = rope.turn(&parts[0])?;
        let parts =
            [turned.f_split_with_sizes([heads, kv_heads], 2)?, vec![parts[1].shallow_clone()]];
        // Each `[B, heads or kv_heads, T, head_dim]`.
        let mut by_head = parts.iter().flatten().map(|part| part.f_transpose(1, 2));
        let (q, k, v) = match (by_head.next(), by_head.next(), by_head.next()) {
            (Some(q), Some(k), Some(v)) => (q?, k?, v?),
            _ => unreachable!("two splits of two and one give three parts"),
        };
        let causal = size[1] > 1;
        let (k, v) = match cache {
            Some((cache, index)) => cache.extend(index, k, v)?,
            None => (k, v),
        };
        let (k, v) = (share_heads(&k, heads / kv_heads)?, share_heads(&v, heads / kv_heads)?);
        Tensor::f_scaled_dot_product_attention(&q, &k, &v, NO_TENSOR, 0.0, causal, None, false)?
            .f_transpose(1, 2)?
            .f_reshape([size[0], size[1], -1])?
            .f_linear(&layer.out, NO_TENSOR)
    }

    /// SwiGLU, `x`: `[B, T, dim]` -> `[B, T, dim]`
    fn mlp(&self, layer: &LayerWeights, x: &Tensor) -> Result<Tensor, TchError> {
        let both = self.norm(x, &layer.mlp_norm)?.f_linear(&layer.gate_up, NO_TENSOR)?;
        let parts = both.f_chunk(2, -1)?;
        parts[0].f_silu()?.f_mul(&parts[1])?.f_linear(&layer.down, NO_TENSOR)
    }

    /// RMSNorm in f32, handed on in the kind that the matrices have.
    fn norm(&self, x: &Tensor, gain: &Tensor) -> Result<Tensor, TchError> {
        let eps = f64::from(self.spec.norm_eps);
        let normed = x.f_rms_norm([i64::from(self.spec.dim)], Some(gain), eps)?;
        match &self.half {
            Some(half) => normed.f_to_kind(half.kind()),
            None => Ok(normed),
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

impl Rope {
    fn new(spec: &ModelSpec, device: Device) -> Result<Rope, TchError> {
        let half = spec.head_dim() as i64 / 2;
        let options = (Kind::Float, device);
        let exponents =
            Tensor::f_arange(half, options)?.f_mul_scalar(2.0 / f64::from(spec.head_dim()))?;
        let rates = Tensor::f_pow_scalar(f64::from(spec.rope_theta), &exponents)?.f_reciprocal()?;
        let places = Tensor::f_arange(i64::from(spec.context), options)?;
        let angles = places.f_outer(&rates)?;
        let shape = [1, i64::from(spec.context), 1, 2 * half];
        let (cos, sin) = (angles.f_cos()?, angles.f_sin()?);
        Ok(Rope {
            cos: Tensor::f_cat(&[&cos, &cos], 1)?.f_view(shape)?,
            sin: Tensor::f_cat(&[&sin.f_neg()?, &sin], 1)?.f_view(shape)?,
        })
    }

    /// The factors of `new` places after `seen`.
    fn at(&self, seen: i64, new: i64) -> Result<Rope, TchError> {
        Ok(Rope { cos: self.cos.f_narrow(1, seen, new)?, sin: self.sin.f_narrow(1, seen, new)? })
    }

    /// `x * cos + rotate_half(x) * sin`, with `rotate_half` as a roll by half a head and a sign. `x`: `[B, T, n, head_dim]`
    fn turn(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let kind = x.kind();
        let half = x.size()[3] / 2;
        let turned = x.f_mul(&self.cos)?.f_addcmul(&x.f_roll([half], [3])?, &self.sin)?;
        turned.f_to_kind(kind)
    }
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
