//! Steps by hand; the node's tests hold each optimiser against PyTorch.

use super::*;
use crate::run::InnerSchedule;

fn spec(optimizer: InnerOptimizer) -> InnerSpec {
    InnerSpec {
        steps: 1,
        batch: 1,
        round_ms: 0,
        lr: 0.5,
        lr_floor: 0.0,
        warmup_rounds: 0,
        schedule: InnerSchedule::Cosine,
        optimizer,
        beta1: 0.5,
        beta2: 0.75,
        eps: 1e-8,
        weight_decay: 0.25,
        l2: 0.0,
        decays: Default::default(),
        clip: 0.0,
    }
}

const ALL: [InnerOptimizer; 8] = [
    InnerOptimizer::AdamW,
    InnerOptimizer::Adam,
    InnerOptimizer::Sgd { momentum: 0.0, nesterov: false },
    InnerOptimizer::Sgd { momentum: 0.5, nesterov: false },
    InnerOptimizer::Sgd { momentum: 0.5, nesterov: true },
    InnerOptimizer::RmsProp { alpha: 0.75, momentum: 0.0 },
    InnerOptimizer::RmsProp { alpha: 0.75, momentum: 0.5 },
    InnerOptimizer::Muon { lr: 0.1, momentum: 0.95, nesterov: true },
];

/// Steps from `params` with each of `gradients` in turn, at `lr` 0.5.
fn steps(
    optimizer: InnerOptimizer,
    params: &[f32],
    gradients: &[&[f32]],
    decays: bool,
) -> Vec<f32> {
    let (spec, mut params) = (spec(optimizer), params.to_vec());
    let count = states(&optimizer);
    let vector = |wanted: bool| vec![0.0; if wanted { params.len() } else { 0 }];
    let (mut first, mut second) = (vector(count > 0), vector(count > 1));
    for (gradient, step) in gradients.iter().zip(1..) {
        let pace = Pace { lr: 0.5, step, gradient: 1.0, decays };
        Rule::new(&spec, &pace).step(&mut params, [&mut first, &mut second], gradient);
    }
    params
}

#[test]
fn each_by_hand() {
    // Two steps from 4 with gradients 2 and -1, without and with a decay of 0.25.
    let rows: [(InnerOptimizer, f32, f32); 7] = [
        // 4 - 1 + 0.5 | g = 3: 2.5; g = -0.375: 2.6875
        (ALL[2], 3.5, 2.6875),
        // m = 2: 3; m = 0: 3 | m = 3: 2.5; m = 1.5 - 0.375: 1.9375
        (ALL[3], 3.0, 1.9375),
        // m = 2, 3: 2.5; m = 0, -1: 3 | m = 3, 4.5: 1.75; g = -0.5625, m = 0.9375, -0.09375: 1.796875
        (ALL[4], 3.0, 1.796_875),
        // v = 1: 4 - 1; v = 1: 3.5 | v = 2.25: 3; g = -0.25, v = 1.703125
        (ALL[5], 3.5, 3.0 + 0.125 / 1.703_125_f32.sqrt()),
        // m = 2: 3; m = 0: 3 | m = 2: 3; m = 1 - 0.25 / sqrt(1.703125)
        (ALL[6], 3.0, 2.5 + 0.125 / 1.703_125_f32.sqrt()),
        // m^ = 2, v^ = 4: 3.5; m = 0, m^ = 0: 3.5 | 3.5 * (1 - 0.125)^2 shrinks first: 4 * 0.875 - 0.5 = 3; 2.625
        (ALL[0], 3.5, 2.625),
        // as above | g = 3: 3.5; g = -0.125, m = 0.6875 / 0.75, v = 1.69140625 / 0.4375
        (ALL[1], 3.5, 3.5 - 0.5 * (0.6875 / 0.75) / (1.691_406_2_f32 / 0.4375).sqrt()),
    ];
    for (optimizer, plain, decayed) in rows {
        for (decays, want) in [(false, plain), (true, decayed)] {
            let got = steps(optimizer, &[4.0], &[&[2.0], &[-1.0]], decays)[0];
            assert!((got - want).abs() < 1e-5, "{optimizer:?} {decays}: {got} is not {want}");
        }
    }
}

#[test]
fn every_length_takes_the_same_path_to_the_same_bits() {
    let gradient: Vec<f32> = (0..67).map(|i| (i as f32 - 31.5) * 1.37e-3).collect();
    for optimizer in ALL {
        let all = steps(optimizer, &[0.3; 67], &[&gradient, &gradient], true);
        for (i, g) in gradient.iter().enumerate() {
            let one = steps(optimizer, &[0.3], &[&[*g], &[*g]], true);
            assert_eq!(all[i].to_bits(), one[0].to_bits(), "{optimizer:?}");
        }
    }
}

#[test]
fn clipping_is_by_the_norm() {
    assert_eq!(clip_factor(5.0, 0.0), 1.0);
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert!((clip_factor(5.0, 1.0) - 0.2).abs() < 1e-6);
    let pace = Pace { lr: 0.5, step: 1, gradient: clip_factor(5.0, 1.0), decays: false };
    let mut params = [1.0, -1.0];
    Rule::new(&spec(ALL[2]), &pace).step(&mut params, [&mut [], &mut []], &[3.0, 4.0]);
    assert!((params[0] - 0.7f32).abs() < 1e-6 && (params[1] + 1.4f32).abs() < 1e-6);
}

#[test]
fn powers_are_products() {
    for (base, exponent, want) in [(0.5, 0, 1.0), (0.5, 10, 1.0 / 1024.0), (3.0, 13, 1_594_323.0)] {
        assert_eq!(power(base, exponent), want);
    }
    assert_eq!(corrected(0.9, u64::MAX), 1.0);
}
