//! Against torch's numbers (`fixtures/adamw.py` makes them), on both of the optimiser's paths.

use super::*;

fn fixture() -> serde_json::Value {
    serde_json::from_str(include_str!("fixtures/adamw.json")).unwrap()
}

fn row(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn optimiser(fixture: &serde_json::Value) -> AdamW {
    let number = |key: &str| fixture[key].as_f64().unwrap() as f32;
    let betas = row(&fixture["betas"]);
    let spec = InnerSpec {
        steps: 1,
        batch: 1,
        round_ms: 0,
        lr: 0.1,
        lr_floor: 0.0,
        warmup_rounds: 0,
        beta1: betas[0],
        beta2: betas[1],
        eps: number("eps"),
        weight_decay: number("weight_decay"),
        clip: number("clip"),
    };
    AdamW::new(&spec, vec![(0..4, true), (4..6, false)], 6, Device::Cpu).unwrap()
}

fn close(got: &[f32], expected: &[f32]) {
    let near = got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 2e-6 * (1.0 + e.abs()));
    assert!(near && got.len() == expected.len(), "{got:?}\n{expected:?}");
}

#[test]
fn steps_are_torch_s() {
    let fixture = fixture();
    let mut adamw = optimiser(&fixture);
    let mut params = Tensor::from_slice(&row(&fixture["start"]));
    for (step, lr) in row(&fixture["lr"]).into_iter().enumerate() {
        let gradient = Tensor::from_slice(&row(&fixture["gradients"][step]));
        let norm = adamw.step(&mut params, &gradient, f64::from(lr)).unwrap();
        close(&[norm as f32], &[fixture["norms"][step].as_f64().unwrap() as f32]);
        close(&Vec::<f32>::try_from(&params).unwrap(), &row(&fixture["after"][step]));
    }
    assert_eq!(adamw.steps(), 4);
}

#[test]
fn both_paths_agree() {
    let factors =
        Factors { gradient: 0.5, betas: (0.9, 0.99), rate: 0.1, root: 3.0, eps: 1e-8, keep: 0.99 };
    let rows = || {
        [[0.3f32, -2.0, 1.0], [0.1, 0.0, -0.2], [0.5, 0.0, 0.01]].map(|r| Tensor::from_slice(&r))
    };
    let gradient = Tensor::from_slice(&[0.2f32, -0.7, 0.0]);
    let (mut one, mut other) = (rows(), rows());
    step_on_cpu(&mut one, &gradient, factors);
    step_on_device(&mut other, &gradient, factors).unwrap();
    for (a, b) in one.iter().zip(&other) {
        close(&Vec::<f32>::try_from(a).unwrap(), &Vec::<f32>::try_from(b).unwrap());
    }
}
