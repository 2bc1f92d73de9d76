//! Muon (Jordan 2024, <https://kellerjordan.github.io/posts/muon/>): momentum, made orthogonal, is the step of a matrix.

use shoal_protocol::math::inner::Pace;
use shoal_protocol::run::{InnerOptimizer, InnerSpec};
use tch::{Kind, TchError, Tensor};

/// The quintic that pushes singular values to 1, and how often: the post's, tuned for few iterations.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;
/// The least norm that a matrix is divided by: PyTorch's.
const NORM_MIN: f64 = 1e-7;

/// One step of a matrix.
pub(super) struct Muon {
    gradient: f64,
    lr: f64,
    weight_decay: f64,
    l2: f64,
    momentum: f64,
    nesterov: bool,
}

impl Muon {
    /// The step that a spec asks for: the schedule's rate is that of AdamW's part, and the matrices' follows it in proportion.
    pub fn new(spec: &InnerSpec, pace: &Pace) -> Muon {
        let InnerOptimizer::Muon { lr, momentum, nesterov } = spec.optimizer else {
            unreachable!("matrices of their own are Muon's alone")
        };
        Muon {
            gradient: pace.gradient,
            lr: pace.lr * (f64::from(lr) / f64::from(spec.lr)),
            weight_decay: f64::from(spec.weight_decay),
            l2: f64::from(spec.l2),
            momentum: f64::from(momentum),
            nesterov,
        }
    }

    /// Moves `params` and `momentum` by `gradient`, `[rows, cols]` f32 each.
    pub fn step(
        &self,
        mut params: Tensor,
        mut momentum: Tensor,
        gradient: &Tensor,
    ) -> Result<(), TchError> {
        let mut gradient = gradient.f_mul_scalar(self.gradient)?;
        if self.l2 > 0.0 {
            let _ = gradient.f_add_(&params.f_mul_scalar(self.l2)?)?;
        }
        let _ = momentum.f_lerp_(&gradient, 1.0 - self.momentum)?;
        let along =
            if self.nesterov { gradient.f_lerp(&momentum, self.momentum)? } else { momentum };
        // Products in bf16, as in the post, where they are fast; few digits do, as the singular values end near 1, not at it.
        let kind = if params.device().is_cuda() { Kind::BFloat16 } else { Kind::Float };
        let along = orthogonal(&along.f_to_kind(kind)?)?.f_to_kind(Kind::Float)?;
        let size = params.size();
        let scale = (size[0] as f64 / size[1] as f64).max(1.0).sqrt();
        let _ = params
            .f_mul_scalar_(1.0 - self.lr * self.weight_decay)?
            .f_add_(&along.f_mul_scalar(-self.lr * scale)?)?;
        Ok(())
    }
}

/// Roughly `U V^T` of a matrix `U S V^T`, by Newton and Schulz's iteration. `[rows, cols]` of any kind of float.
fn orthogonal(matrix: &Tensor) -> Result<Tensor, TchError> {
    let size = matrix.size();
    let tall = size[0] > size[1];
    // The shorter side makes the smaller square.
    let turned = |x: &Tensor| if tall { x.f_transpose(0, 1) } else { Ok(x.shallow_clone()) };
    let (a, b, c) = COEFFICIENTS;
    let norm = matrix.f_norm()?.f_clamp_min(NORM_MIN)?;
    let mut x = turned(&matrix.f_div(&norm)?)?;
    for _ in 0..ITERATIONS {
        let gram = x.f_matmul(&x.f_transpose(0, 1)?)?;
        let update = gram.f_mul_scalar(b)?.f_add(&gram.f_matmul(&gram)?.f_mul_scalar(c)?)?;
        x = x.f_mul_scalar(a)?.f_add(&update.f_matmul(&x)?)?;
    }
    turned(&x)
}
