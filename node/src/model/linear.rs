//! `x W^T` by whichever of libtorch's two matrix libraries is faster on this machine.
//!
//! `linear` multiplies f32 with MKL, which on some CPUs that are not Intel's leaves AVX-512 unused. A 1x1 convolution in
//! channels-last order is the same product, without a copy, and libtorch gives that to oneDNN, which uses what the CPU has:
//! measured on an AMD Zen 5, 205-225 GFLOP/s a core against 100, forward and backward. So both are timed once a process, in turns and
//! by processor time: on a machine that is shared, chance would choose, for as long as the process lives.

use crate::processor::process_s;
use std::sync::OnceLock;
use std::time::Instant;
use tch::{Device, Kind, TchError, Tensor, with_grad};

/// Rows are dealt into this many images: with fewer libtorch does not take oneDNN on one thread.
const IMAGES: i64 = 16;
/// oneDNN is taken if it is faster by this factor, so that noise does not decide where both are alike.
const CLEARLY: f64 = 1.15;
/// How often each is timed: a fifth of a second on an old core.
const TURNS: usize = 6;

const NO_TENSOR: Option<Tensor> = None;

/// `x`: `[.., in]`, `weight`: `[out, in]` -> `[.., out]`
pub(super) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
    let fits = x.device() == Device::Cpu && x.kind() == Kind::Float;
    let rows = x.numel() as i64 / weight.size()[1];
    if fits && rows % IMAGES == 0 && rows >= 4 * IMAGES && by_convolution() {
        return convolution(x, weight);
    }
    x.f_linear(weight, NO_TENSOR)
}

/// The machine's f32 products by the faster library: `[side, side]` squared, in GFLOP/s.
///
/// # Errors
/// libtorch is out of memory.
pub fn gemm_gflops(side: i64) -> Result<f64, TchError> {
    let a = Tensor::f_rand([side, side], (Kind::Float, Device::Cpu))?;
    let best = seconds(&a, &a, |x, w| x.f_linear(w, NO_TENSOR))?.min(seconds(&a, &a, convolution)?);
    Ok(2.0 * (side as f64).powi(3) / best / 1e9)
}

/// The product as a 1x1 convolution, shapes as in [`linear`]; the rows must divide into [`IMAGES`].
fn convolution(x: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
    let (mut shape, size) = (x.size(), weight.size());
    // Channels last: the permutation is only a view.
    let images = x.f_reshape([IMAGES, -1, 1, size[1]])?.f_permute([0, 3, 1, 2])?;
    let kernel = weight.f_view([size[0], size[1], 1, 1])?;
    let out = images.f_conv2d(&kernel, NO_TENSOR, [1, 1], [0, 0], [1, 1], 1)?;
    if let Some(last) = shape.last_mut() {
        *last = size[0];
    }
    out.f_permute([0, 2, 3, 1])?.f_reshape(shape)
}

/// Whether oneDNN is clearly faster here; measured once.
fn by_convolution() -> bool {
    static FASTER: OnceLock<bool> = OnceLock::new();
    *FASTER.get_or_init(|| with_grad(measure).is_ok_and(|turns| pays(&turns)))
}

/// What each of both takes, turn by turn: `linear`, and the convolution.
fn measure() -> Result<[(f64, f64); TURNS], TchError> {
    let random = || Tensor::f_rand([512, 512], (Kind::Float, Device::Cpu));
    let (x, weight) = (random()?.set_requires_grad(true), random()?.set_requires_grad(true));
    let mut turns = [(0.0, 0.0); TURNS];
    for turn in &mut turns {
        let plain = processor_seconds(&x, &weight, |x, w| x.f_linear(w, NO_TENSOR))?;
        *turn = (plain, processor_seconds(&x, &weight, convolution)?);
    }
    Ok(turns)
}

/// Whether the second of each turn is clearly faster, whatever came between some of the turns.
fn pays(turns: &[(f64, f64)]) -> bool {
    let least = |of: fn(&(f64, f64)) -> f64| turns.iter().map(of).fold(f64::INFINITY, f64::min);
    least(|turn| turn.0) > CLEARLY * least(|turn| turn.1)
}

/// Processor seconds that a product and its gradients take, of all threads.
fn processor_seconds(
    x: &Tensor,
    weight: &Tensor,
    product: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> Result<f64, TchError> {
    let start = process_s();
    let loss = product(x, weight)?.f_square()?.f_sum(Kind::Float)?;
    drop(Tensor::f_run_backward(&[loss], &[x, weight], false, false)?);
    Ok(process_s() - start)
}

/// The shortest of a few runs.
fn seconds(
    x: &Tensor,
    weight: &Tensor,
    product: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> Result<f64, TchError> {
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let start = Instant::now();
        drop(product(x, weight)?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_others_disturb_does_not_choose() {
        assert!(pays(&[(10.0, 5.0), (10.0, 60.0)]));
        assert!(!pays(&[(90.0, 15.0), (10.0, 15.0), (80.0, 15.0)]));
        assert!(!pays(&[(10.0, 9.5), (10.5, 9.0)]));
    }

    #[test]
    fn a_product_takes_processor_time_with_its_gradients() {
        let turns = with_grad(measure).unwrap();
        assert!(turns.iter().all(|(plain, other)| *plain > 0.0 && *other > 0.0));
    }

    #[test]
    fn both_ways_give_the_same_product_and_gradients() {
        let x = Tensor::rand([8, 16, 24], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let weight = Tensor::rand([40, 24], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let weigh = Tensor::rand([8, 16, 40], (Kind::Float, Device::Cpu));
        let run = |y: Tensor| {
            assert_eq!(y.size(), [8, 16, 40]);
            let loss = (&y * &weigh).sum(Kind::Float);
            let mut all = Tensor::run_backward(&[loss], &[&x, &weight], false, false);
            all.push(y);
            all
        };
        let one = run(x.f_linear(&weight, NO_TENSOR).unwrap());
        let other = run(convolution(&x, &weight).unwrap());
        for (a, b) in one.iter().zip(&other) {
            assert!((a - b).abs().max().double_value(&[]) < 1e-4 * b.abs().max().double_value(&[]));
        }
    }
}
