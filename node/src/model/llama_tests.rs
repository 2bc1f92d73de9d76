//! Tests of the decoder on shapes small enough to compute at once.

use super::*;
use crate::model::init::initial_params;
use crate::model::learn::{Lesson, Thrift};

fn tiny(kv_heads: u32, tied: bool) -> ModelSpec {
    ModelSpec {
        vocab: 11,
        dim: 16,
        layers: 2,
        heads: 4,
        kv_heads,
        hidden: 24,
        context: 8,
        head_width: None,
        tied,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: None,
    }
}

/// Larger weights than the run's, so that every part of the model weighs in the logits.
fn loud(spec: &ModelSpec) -> Vec<f32> {
    initial_params(spec, 3).iter().map(|w| if *w == 1.0 { 1.0 } else { w * 10.0 }).collect()
}

fn model(spec: &ModelSpec) -> Llama {
    let mut model = Llama::new(spec, Device::Cpu).unwrap();
    model.load_flat(&loud(spec)).unwrap();
    model
}

fn tokens(row: &[i64]) -> Tensor {
    Tensor::from_slice(row).view([1, -1])
}

fn gradient(model: &Llama, inputs: Tensor, targets: Tensor) -> Tensor {
    model.learn(&Lesson::plain(inputs, targets), Thrift::default()).unwrap().gradient
}

fn furthest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn flat_goes_in_and_out_unchanged() {
    for (kv_heads, tied) in [(4, true), (2, false), (1, true)] {
        let spec = tiny(kv_heads, tied);
        let params = loud(&spec);
        let mut back = vec![0.0; params.len()];
        model(&spec).write_flat(&mut back).unwrap();
        assert_eq!(params, back);
        let gradient = {
            let model = model(&spec);
            self::gradient(&model, tokens(&[1, 2, 3]), tokens(&[2, 3, 4]))
        };
        assert_eq!(gradient.size(), [spec.params() as i64]);
    }
}

#[test]
fn another_length_is_an_error() {
    let error = model(&tiny(4, true)).load_flat(&[0.0; 3]).unwrap_err().to_string();
    assert!(error.contains("3 parameters given"), "{error}");
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let spec = tiny(2, true);
    let mut model = model(&spec);
    let (inputs, targets) = (tokens(&[1, 5, 2, 7]), tokens(&[5, 2, 7, 0]));
    let gradient = gradient(&model, inputs.shallow_clone(), targets.shallow_clone());
    let mut params = loud(&spec);
    let step = 1e-2;
    for element in (0..params.len()).step_by(params.len() / 23) {
        let kept = params[element];
        let mut at = |value: f32| {
            params[element] = value;
            model.load_flat(&params).unwrap();
            no_grad(|| model.loss(&inputs, &targets)).unwrap().double_value(&[])
        };
        let slope = (at(kept + step) - at(kept - step)) / f64::from(2.0 * step);
        params[element] = kept;
        let given = gradient.double_value(&[element as i64]);
        assert!((slope - given).abs() < 2e-3 + 0.05 * slope.abs(), "{element}: {slope} {given}");
    }
}

#[test]
fn later_tokens_change_nothing_before_them() {
    let model = model(&tiny(2, false));
    let one = model.logits(&tokens(&[1, 2, 3, 4])).unwrap().narrow(1, 0, 3);
    let other = model.logits(&tokens(&[1, 2, 3, 9])).unwrap().narrow(1, 0, 3);
    assert!(furthest(&one, &other) < 1e-6);
}

#[test]
fn the_cache_gives_the_same_logits() {
    let model = model(&tiny(2, false));
    let row = [1, 2, 3, 4, 5, 6];
    let whole = model.logits(&tokens(&row)).unwrap();
    let mut cache = model.cache().unwrap();
    let _ = model.next_logits(&tokens(&row[..3]), &mut cache).unwrap();
    for place in 3..6 {
        let next = model.next_logits(&tokens(&row[place..=place]), &mut cache).unwrap();
        let expected = whole.select(1, place as i64);
        assert!(furthest(&next, &expected) < 1e-5);
    }
    assert_eq!(cache.seen(), 6);
}

#[test]
fn bf16_matrices_come_near_f32() {
    let spec = tiny(2, false);
    let mut half = Llama::with_kind(&spec, Device::Cpu, Kind::BFloat16).unwrap();
    half.load_flat(&loud(&spec)).unwrap();
    let (inputs, targets) = (tokens(&[1, 5, 2, 7]), tokens(&[5, 2, 7, 0]));
    let full = model(&spec);
    let (a, b) = (half.loss(&inputs, &targets).unwrap(), full.loss(&inputs, &targets).unwrap());
    assert!((a.double_value(&[]) - b.double_value(&[])).abs() < 0.05);
    let of = |model: &Llama| gradient(model, inputs.shallow_clone(), targets.shallow_clone());
    let (a, b) = (of(&half), of(&full));
    assert!(((&a - &b).norm() / b.norm()).double_value(&[]) < 0.05);
}
