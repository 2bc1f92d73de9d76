//! Gradients against PyTorch's (`fixtures/regularised.py` makes them), and of micro-batches and recomputation against whole ones.

use super::*;
use crate::model::init::initial_params;
use serde_json::Value;
use shoal_protocol::run::{DropoutSpec, ModelSpec};
use tch::Device;

fn tiny(kv_heads: u32, tied: bool) -> ModelSpec {
    ModelSpec {
        vocab: 11,
        dim: 16,
        layers: 3,
        heads: 4,
        kv_heads,
        hidden: 24,
        context: 8,
        tied,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: None,
        head_width: None,
    }
}

/// Larger weights than the run's, so that every part of the model weighs in the gradient.
fn model(spec: &ModelSpec) -> Llama {
    let loud = |w: &f32| if *w == 1.0 { 1.0 } else { w * 10.0 };
    let params: Vec<f32> = initial_params(spec, 3).iter().map(loud).collect();
    let mut model = Llama::new(spec, Device::Cpu).unwrap();
    model.load_flat(&params).unwrap();
    model
}

/// Five sequences of seven tokens.
fn lesson(dropout: Option<DropoutSpec>, label_smoothing: f64) -> Lesson {
    let row = |start: i64| (0..8).map(move |place| (start * 3 + place * place) % 11);
    let tokens: Vec<i64> = (0..5).flat_map(row).collect();
    let tokens = Tensor::from_slice(&tokens).view([5, 8]);
    let (inputs, targets) = (tokens.narrow(1, 0, 7), tokens.narrow(1, 1, 7));
    let dropout = dropout.map(|shares| Dropout::new(shares, 5, &[3, 1, 4, 1_000_000_007, 9]));
    Lesson { inputs, targets, dropout, label_smoothing }
}

const EVERYWHERE: DropoutSpec = DropoutSpec { embedding: 0.1, attention: 0.2, residual: 0.3 };

/// The distance of two vectors over the length of the second.
fn off(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).norm() / b.norm()).double_value(&[])
}

#[test]
fn thrift_changes_nothing_but_rounding() {
    for (kv_heads, tied, dropout, smoothing) in
        [(4, true, None, 0.0), (2, false, Some(EVERYWHERE), 0.0), (2, true, Some(EVERYWHERE), 0.1)]
    {
        let model = model(&tiny(kv_heads, tied));
        let lesson = lesson(dropout, smoothing);
        let whole = model.learn(&lesson, Thrift::default()).unwrap();
        for (micro_batch, recompute) in
            [(None, true), (Some(2), false), (Some(2), true), (Some(1), true), (Some(99), false)]
        {
            let thrift = Thrift { micro_batch, recompute };
            let got = model.learn(&lesson, thrift).unwrap();
            assert!(off(&got.gradient, &whole.gradient) < 1e-6, "{thrift:?}");
            assert!((got.loss - whole.loss).abs() < 1e-6, "{thrift:?}");
        }
    }
}

#[test]
fn recomputation_repeats_the_very_bits() {
    let model = model(&tiny(2, true));
    let lesson = lesson(Some(EVERYWHERE), 0.1);
    let of = |recompute| {
        let thrift = Thrift { micro_batch: None, recompute };
        Vec::<f32>::try_from(model.learn(&lesson, thrift).unwrap().gradient).unwrap()
    };
    assert_eq!(of(true), of(true));
    assert_eq!(of(false), of(false));
}

#[test]
fn without_dropout_and_smoothing_the_loss_is_the_evaluation_s() {
    let model = model(&tiny(2, false));
    let plain = lesson(None, 0.0);
    let evaluated = no_grad(|| model.loss(&plain.inputs, &plain.targets)).unwrap();
    let learned = |lesson: Lesson| model.learn(&lesson, Thrift::default()).unwrap();
    assert_eq!(learned(lesson(None, 0.0)).loss, evaluated.double_value(&[]));
    let smoothed = learned(lesson(None, 0.3));
    assert_eq!(smoothed.loss, evaluated.double_value(&[]), "it is told without smoothing");
    assert!(off(&smoothed.gradient, &learned(plain).gradient) > 0.01);
    assert_ne!(learned(lesson(Some(EVERYWHERE), 0.0)).loss, evaluated.double_value(&[]));
}

#[test]
fn bf16_matrices_recompute_as_well() {
    let mut model = Llama::with_kind(&tiny(2, false), Device::Cpu, Kind::BFloat16).unwrap();
    let params = initial_params(model.spec(), 3);
    model.load_flat(&params).unwrap();
    let lesson = lesson(Some(EVERYWHERE), 0.0);
    let of =
        |recompute| model.learn(&lesson, Thrift { micro_batch: None, recompute }).unwrap().gradient;
    assert!(off(&of(true), &of(false)) < 1e-2);
}

fn row(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn gradients_with_dropout_and_smoothing_are_torch_s() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/regularised.json")).unwrap();
    let spec: ModelSpec = serde_json::from_value(fixture["model"].clone()).unwrap();
    let mut model = Llama::new(&spec, Device::Cpu).unwrap();
    model.load_flat(&row(&fixture["params"])).unwrap();
    let numbers = |key: &str| -> Vec<i64> {
        fixture[key].as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
    };
    let positions: Vec<u64> = numbers("positions").into_iter().map(|at| at as u64).collect();
    let tokens = Tensor::from_slice(&numbers("tokens")).view([positions.len() as i64, -1]);
    let len = tokens.size()[1] - 1;
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let shares: DropoutSpec = serde_json::from_value(case["dropout"].clone()).unwrap();
        let seed = fixture["seed"].as_u64().unwrap();
        let lesson = Lesson {
            inputs: tokens.narrow(1, 0, len),
            targets: tokens.narrow(1, 1, len),
            dropout: (!shares.is_none()).then(|| Dropout::new(shares, seed, &positions)),
            label_smoothing: case["label_smoothing"].as_f64().unwrap(),
        };
        let learned = model.learn(&lesson, Thrift::default()).unwrap();
        let expected = Tensor::from_slice(&row(&case["gradient"]));
        let distance = off(&learned.gradient, &expected);
        assert!(distance < 1e-5, "{distance} with {shares:?}");
        assert!((learned.loss - case["loss"].as_f64().unwrap()).abs() < 1e-5, "{shares:?}");
    }
}
