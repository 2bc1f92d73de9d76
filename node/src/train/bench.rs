//! How fast this machine trains, beside how fast it multiplies matrices.

use super::error::TrainError;
use super::trainer::Trainer;
use super::{peak, return_memory, set_threads};
use crate::data::{Batch, rng::Rng};
use crate::model::{Thrift, initial_params, linear};
use serde_json::{Value, json};
use shoal_protocol::math::schedule::Schedule;
use shoal_protocol::run::{
    InnerOptimizer, InnerSchedule, InnerSpec, ModelSpec, RegularisationSpec,
};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Steps before the clock counts.
const WARM_UP: u32 = 3;
/// Side of the square matrices whose product is the machine's limit.
const GEMM_SIDE: i64 = 2048;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchTrain {
    /// The architecture.
    pub model: ModelSpec,
    /// Sequences in a step, each as long as the context.
    pub batch: u32,
    /// Steps that count.
    pub steps: u32,
    /// Threads for libtorch.
    pub threads: usize,
    /// Where.
    pub device: Device,
    /// What is done for its memory.
    pub thrift: Thrift,
    /// Dropout and label smoothing.
    pub regularisation: RegularisationSpec,
}

/// Measures training: median tokens/s over the steps, and the matrix products per second of the same machine right before and
/// after. One step is batch, forward, backward, clipping and AdamW; the text is random bytes.
///
/// # Errors
/// The device is absent, or failed.
pub fn bench_train(wanted: &BenchTrain) -> Result<Value, TrainError> {
    set_threads(wanted.threads);
    if wanted.thrift != Thrift::default() {
        return_memory();
    }
    let spec = &wanted.model;
    let inner = bench_inner(wanted);
    let schedule = Schedule::over(&inner, 1);
    let mut trainer = Trainer::with(spec, &inner, schedule, wanted.device)?
        .regularised(wanted.regularisation, 1)
        .thrifty(wanted.thrift);
    trainer.load(&initial_params(spec, 1))?;
    let before = gemm_gflops(wanted.device)?;
    // What the start and the product took is no part of training's peak.
    peak::forget();
    let (mut seconds, mut loss) = (Vec::new(), 0.0);
    for step in 0..WARM_UP + wanted.steps {
        let batch = random_batch(spec, wanted.batch, u64::from(step));
        let start = Instant::now();
        loss = trainer.step(&batch, 1e-3)?;
        if step >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let peak = peak::peak_bytes();
    let limit = before.max(gemm_gflops(wanted.device)?);
    Ok(report(wanted, &mut seconds, loss, (limit, peak)))
}

fn report(
    wanted: &BenchTrain,
    seconds: &mut [f64],
    loss: f64,
    (limit, peak): (f64, Option<u64>),
) -> Value {
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
    let tokens = f64::from(wanted.batch) * f64::from(wanted.model.context);
    let gflops = flops_per_token(&wanted.model) * tokens / middle / 1e9;
    json!({
        "bench": "train",
        "params": wanted.model.params(),
        "batch": wanted.batch,
        "context": wanted.model.context,
        "threads": wanted.threads,
        "device": format!("{:?}", wanted.device),
        "step_s": middle,
        "step_s_min": seconds.first(),
        "step_s_max": seconds.last(),
        "tokens_per_s": (tokens / middle).round(),
        "gflops": gflops,
        "machine_gemm_gflops": limit,
        "share_of_machine": gflops / limit,
        "loss": loss,
        "micro_batch": wanted.thrift.micro_batch,
        "recompute": wanted.thrift.recompute,
        "dropout": wanted.regularisation.dropout,
        "peak_bytes": peak,
    })
}

/// Forward and backward: 6 for each parameter, and attention's products with the whole context (PaLM, appendix B).
fn flops_per_token(spec: &ModelSpec) -> f64 {
    let attention = 12.0 * f64::from(spec.layers) * f64::from(spec.dim) * f64::from(spec.context);
    6.0 * spec.params() as f64 + attention
}

/// Billions of operations a second in a square product of the kind that training multiplies with on `device`.
fn gemm_gflops(device: Device) -> Result<f64, TrainError> {
    if !device.is_cuda() {
        return Ok(linear::gemm_gflops(GEMM_SIDE)?);
    }
    let a = Tensor::f_rand([GEMM_SIDE; 2], (Kind::Float, device))?.f_to_kind(Kind::BFloat16)?;
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let start = Instant::now();
        // Reading one element waits for the device.
        let _ = a.f_matmul(&a)?.f_double_value(&[0, 0])?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (GEMM_SIDE as f64).powi(3) / best / 1e9)
}

fn random_batch(spec: &ModelSpec, rows: u32, seed: u64) -> Batch {
    let mut rng = Rng::new(seed);
    let count = rows as usize * (spec.context as usize + 1);
    let tokens = (0..count).map(|_| rng.below(u64::from(spec.vocab)) as i64).collect();
    let positions = (0..u64::from(rows)).map(|row| seed * u64::from(rows) + row).collect();
    Batch { tokens, rows: rows as usize, positions, told: None }
}

fn bench_inner(wanted: &BenchTrain) -> InnerSpec {
    InnerSpec {
        steps: wanted.steps,
        batch: wanted.batch,
        round_ms: 0,
        lr: 1e-3,
        lr_floor: 1.0,
        warmup_rounds: 0,
        schedule: InnerSchedule::Cosine,
        optimizer: InnerOptimizer::AdamW,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        l2: 0.0,
        decays: Default::default(),
        clip: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::test_spec;

    #[test]
    fn reports_what_was_asked() {
        let model = test_spec().model;
        let wanted = BenchTrain {
            model,
            batch: 2,
            steps: 3,
            threads: 1,
            device: Device::Cpu,
            thrift: Thrift::default(),
            regularisation: RegularisationSpec::default(),
        };
        let report = bench_train(&wanted).unwrap();
        assert_eq!((&report["bench"], &report["batch"]), (&json!("train"), &json!(2)));
        for key in ["tokens_per_s", "gflops", "machine_gemm_gflops", "share_of_machine", "loss"] {
            assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
        }
    }
}
