//! Against PyTorch's numbers (`fixtures/inner.py` makes them), on both of the optimiser's paths.

use super::*;
use crate::model::Slot;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/inner.json")).unwrap()
}

fn row(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// The fixture's weights.
fn layout() -> Layout {
    let weights = [
        (vec![3, 2], Role::Embedding),
        (vec![4, 3], Role::Inner),
        (vec![3, 4], Role::Residual),
        (vec![3], Role::Norm),
    ];
    let mut layout = Layout { slots: Vec::new() };
    for (shape, role) in weights {
        let offset = layout.len();
        layout.slots.push(Slot { name: format!("{role:?}"), shape, role, offset });
    }
    layout
}

fn inner(case: &Value) -> Inner {
    let spec: InnerSpec = serde_json::from_value(case["spec"].clone()).unwrap();
    Inner::new(&spec, &layout(), Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor).unwrap()
}

fn close(got: &[f32], expected: &[f32], tolerance: f32) {
    let near = |(g, e): (&f32, &f32)| (g - e).abs() < tolerance * (1.0 + e.abs());
    assert!(got.len() == expected.len(), "{} are not {}", got.len(), expected.len());
    assert!(got.iter().zip(expected).all(near), "{got:?}\n{expected:?}");
}

#[test]
fn steps_are_torch_s() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let (mut inner, mut params) = (inner(case), Tensor::from_slice(&row(&fixture["start"])));
        for (step, lr) in row(&fixture["lr"]).into_iter().enumerate() {
            let gradient = Tensor::from_slice(&row(&fixture["gradients"][step]));
            let norm = inner.step(&mut params, &gradient, f64::from(lr)).unwrap();
            close(&[norm as f32], &row(&case["norms"])[step..=step], 2e-6);
            close(&values(&params), &row(&case["after"][step]), 5e-6);
            if case["after_bf16"].is_array() {
                // What bf16 rounds away of numbers around 1, times the steps' rates.
                close(&values(&params), &row(&case["after_bf16"][step]), 1e-2);
            }
        }
        assert_eq!(inner.steps(), 4);
    }
}

#[test]
fn both_paths_agree() {
    let fixture = fixture();
    for case in fixture["cases"].as_array().unwrap() {
        let spec: InnerSpec = serde_json::from_value(case["spec"].clone()).unwrap();
        let zeros = || (0..states(&spec.optimizer)).map(|_| Tensor::from_slice(&[0.0f32; 33]));
        let start = || Tensor::from_slice(&row(&fixture["start"]));
        let (mut one, mut other) =
            ((start(), zeros().collect::<Vec<_>>()), (start(), zeros().collect::<Vec<_>>()));
        for step in 0..4 {
            let gradient = Tensor::from_slice(&row(&fixture["gradients"][step]));
            let pace = Pace { lr: 0.1, step: step as u64 + 1, gradient: 0.5, decays: true };
            let rule = Rule::new(&spec, &pace);
            step_slices(&rule, &mut one.0, &mut one.1, &gradient);
            whole::step(&rule, &mut other.0, &mut other.1, &gradient).unwrap();
            close(&values(&one.0), &values(&other.0), 2e-6);
        }
        for (a, b) in one.1.iter().zip(&other.1) {
            close(&values(a), &values(b), 2e-6);
        }
    }
}

#[test]
fn chunks_are_cut_alike_whatever_the_state_s_vectors() {
    let case = |kind: InnerOptimizer| {
        let mut spec: InnerSpec =
            serde_json::from_value(fixture()["cases"][0]["spec"].clone()).unwrap();
        spec.optimizer = kind;
        spec
    };
    let kinds = [
        InnerOptimizer::AdamW,
        InnerOptimizer::Sgd { momentum: 0.0, nesterov: false },
        InnerOptimizer::RmsProp { alpha: 0.9, momentum: 0.0 },
    ];
    let len = 2 * CHUNK + 5;
    for kind in kinds {
        let rule = Rule::new(&case(kind), &Pace { lr: 0.1, step: 1, gradient: 1.0, decays: true });
        let mut got = vec![1.0; len];
        let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
        let count = states(&kind);
        let state = [(count > 0).then_some(&mut first[..]), (count > 1).then_some(&mut second[..])];
        step_chunks(&rule, &mut got, state, &vec![0.5; len]);
        assert!(got[0] < 1.0 && got.iter().all(|p| p.to_bits() == got[0].to_bits()), "{kind:?}");
    }
}

#[test]
fn a_state_that_was_saved_goes_on_with_the_same_bits() {
    let fixture = fixture();
    let gradient = |step: usize| Tensor::from_slice(&row(&fixture["gradients"][step]));
    for case in fixture["cases"].as_array().unwrap() {
        let (mut one, mut params) = (inner(case), Tensor::from_slice(&row(&fixture["start"])));
        for step in 0..2 {
            one.step(&mut params, &gradient(step), 0.1).unwrap();
        }
        let (mut other, mut same) = (inner(case), params.copy());
        other.restore(&one.save().unwrap()).unwrap();
        for step in 2..4 {
            one.step(&mut params, &gradient(step), 0.1).unwrap();
            other.step(&mut same, &gradient(step), 0.1).unwrap();
        }
        assert_eq!((one.steps(), values(&params)), (other.steps(), values(&same)));
        assert_eq!(one.save().unwrap(), other.save().unwrap());
    }
}

#[test]
fn bytes_of_something_else_change_nothing() {
    let fixture = fixture();
    let mut adamw = inner(&fixture["cases"][0]);
    let mut params = Tensor::from_slice(&row(&fixture["start"]));
    adamw.step(&mut params, &Tensor::from_slice(&row(&fixture["gradients"][0])), 0.1).unwrap();
    let before = adamw.save().unwrap();
    let (sgd, mut magic) = (inner(&fixture["cases"][2]).save().unwrap(), before.clone());
    magic[5] = b'0';
    for bytes in [&sgd[..], &magic, &before[..before.len() - 4], &[]] {
        let error = adamw.restore(bytes).unwrap_err().to_string();
        assert!(error.contains("no state of this optimiser"), "{error}");
        assert_eq!(adamw.save().unwrap(), before);
    }
}

#[test]
fn muon_keeps_one_vector_for_matrices_and_two_for_the_rest() {
    let muon = inner(&fixture()["cases"][7]);
    let kept: usize = muon.parts.iter().map(|part| part.range.len() * part.state.len()).sum();
    assert_eq!(kept, 24 + 2 * 9);
}
