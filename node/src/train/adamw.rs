//! AdamW (Loshchilov and Hutter 2019) on the flat vector, with gradient clipping by norm.
//!
//! On a CPU one pass of plain Rust reads gradient and state and writes state and parameters; on other devices the same
//! arithmetic is a few operations on whole vectors. Weight decay spares the norms.

use rayon::prelude::*;
use shoal_protocol::run::InnerSpec;
use std::ops::Range;
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// Elements that one task updates.
const CHUNK: usize = 1 << 16;

/// The optimiser's settings and state.
pub struct AdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    clip: f64,
    /// Runs of elements, each with whether it decays.
    runs: Vec<(Range<usize>, bool)>,
    /// First and second moments, `[params]` f32 each.
    moments: (Tensor, Tensor),
    steps: i32,
}

/// What one step needs beside the vectors.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    betas: (f32, f32),
    /// `lr / (1 - beta1^t)`
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`
    root: f32,
    eps: f32,
    /// What a parameter keeps of itself.
    keep: f32,
}

impl AdamW {
    /// An optimiser without history for `params` elements on `device`.
    ///
    /// # Errors
    /// The device has too little memory.
    pub fn new(
        spec: &InnerSpec,
        runs: Vec<(Range<usize>, bool)>,
        params: usize,
        device: Device,
    ) -> Result<AdamW, TchError> {
        let zeros = || Tensor::f_zeros([params as i64], (Kind::Float, device));
        Ok(AdamW {
            betas: (f64::from(spec.beta1), f64::from(spec.beta2)),
            eps: f64::from(spec.eps),
            weight_decay: f64::from(spec.weight_decay),
            clip: f64::from(spec.clip),
            runs,
            moments: (zeros()?, zeros()?),
            steps: 0,
        })
    }

    /// Steps taken since the beginning.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// Moves `params` by `gradient`, both `[params]` f32, and returns the gradient's norm before clipping.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(
        &mut self,
        params: &mut Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<f64, TchError> {
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        let over = self.clip > 0.0 && norm > self.clip;
        // The 1e-6 is PyTorch's, in clip_grad_norm_.
        let scale = if over { self.clip / (norm + 1e-6) } else { 1.0 };
        self.steps += 1;
        for (run, decays) in self.runs.clone() {
            let factors = self.factors(lr, scale, decays);
            no_grad(|| self.step_run(params, gradient, run, factors))?;
        }
        Ok(norm)
    }

    fn factors(&self, lr: f64, gradient: f64, decays: bool) -> Factors {
        let (beta1, beta2) = self.betas;
        let decay = if decays { self.weight_decay } else { 0.0 };
        Factors {
            gradient: gradient as f32,
            betas: (beta1 as f32, beta2 as f32),
            rate: (lr / (1.0 - beta1.powi(self.steps))) as f32,
            root: (1.0 / (1.0 - beta2.powi(self.steps)).sqrt()) as f32,
            eps: self.eps as f32,
            keep: (1.0 - lr * decay) as f32,
        }
    }

    fn step_run(
        &mut self,
        params: &Tensor,
        gradient: &Tensor,
        run: Range<usize>,
        factors: Factors,
    ) -> Result<(), TchError> {
        let cut = |tensor: &Tensor| tensor.f_narrow(0, run.start as i64, run.len() as i64);
        let mut rows = [cut(params)?, cut(&self.moments.0)?, cut(&self.moments.1)?];
        let gradient = cut(gradient)?;
        match params.device() {
            Device::Cpu => step_on_cpu(&mut rows, &gradient, factors),
            _ => return step_on_device(&mut rows, &gradient, factors),
        }
        Ok(())
    }
}

/// `rows`: parameters, first and second moments.
fn step_on_cpu(rows: &mut [Tensor; 3], gradient: &Tensor, factors: Factors) {
    let [params, first, second] = rows;
    // SAFETY: four different tensors, each alive and not otherwise used during this function.
    let (params, first, second, gradient) =
        unsafe { (floats(params), floats(first), floats(second), floats(gradient)) };
    let chunks = params
        .par_chunks_mut(CHUNK)
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks_mut(CHUNK));
    if tch::get_num_threads() > 1 {
        chunks.for_each(|(((p, m), v), g)| update(p, m, v, g, factors));
    } else {
        update(params, first, second, gradient, factors);
    }
}

/// The one pass: `[n]` each.
fn update(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], f: Factors) {
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * f.gradient;
        *m += (g - *m) * (1.0 - f.betas.0);
        *v = *v * f.betas.1 + g * g * (1.0 - f.betas.1);
        *p = *p * f.keep - f.rate * *m / (v.sqrt() * f.root + f.eps);
    }
}

/// The same in whole-vector operations; `rows` as in [`step_on_cpu`].
fn step_on_device(rows: &mut [Tensor; 3], gradient: &Tensor, f: Factors) -> Result<(), TchError> {
    let [params, first, second] = rows;
    let gradient = gradient.f_mul_scalar(f64::from(f.gradient))?;
    let _ = first.f_lerp_(&gradient, 1.0 - f64::from(f.betas.0))?;
    let square = gradient.f_square()?.f_mul_scalar(1.0 - f64::from(f.betas.1))?;
    let _ = second.f_mul_scalar_(f64::from(f.betas.1))?.f_add_(&square)?;
    let root =
        second.f_sqrt()?.f_mul_scalar_(f64::from(f.root))?.f_add_scalar_(f64::from(f.eps))?;
    let move_by = first.f_div(&root)?.f_mul_scalar_(f64::from(-f.rate))?;
    let _ = params.f_mul_scalar_(f64::from(f.keep))?.f_add_(&move_by)?;
    Ok(())
}

/// The elements of a contiguous f32 tensor on the CPU.
///
/// # Safety
/// Nothing else may use the tensor's elements while the slice lives.
#[allow(clippy::mut_from_ref)]
unsafe fn floats(tensor: &Tensor) -> &mut [f32] {
    debug_assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float);
    // SAFETY: contiguous f32 memory of that many elements; uniqueness is this function's own contract.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

#[cfg(test)]
#[path = "adamw_tests.rs"]
mod tests;
