//! The outer optimisers: what is done with the mean pseudo-gradient once a round is committed.
//!
//! Elementwise, each operation rounded on its own, so that every peer that applies the same mean to the same state
//! holds the same bits afterwards.

use crate::run::{OuterKind, OuterSpec};

/// One outer step, in place.
///
/// `delta` is the committed mean pseudo-gradient: outer parameters minus local ones after the inner steps, so that
/// subtracting it moves towards the peers. All slices have the fragment's length; [`OuterKind::Sgd`] does not touch
/// `momentum`. Momentum starts at 0.
///
/// Nesterov is the form of DiLoCo (arXiv 2311.08105, algorithm 1; lr 0.7 and momentum 0.9 in OpenDiLoCo, arXiv
/// 2407.07852), which is that of `torch.optim.SGD(nesterov=True)`:
/// `m = mu * m + delta; theta = theta - alpha * (delta + mu * m)`.
///
/// # Panics
/// If the slices differ in length: a caller's fault that no peer can provoke.
pub fn step(spec: &OuterSpec, params: &mut [f32], momentum: &mut [f32], delta: &[f32]) {
    assert_eq!(params.len(), delta.len(), "parameters and pseudo-gradient differ in length");
    match spec.kind {
        OuterKind::Sgd => sgd(spec.lr, params, delta),
        OuterKind::Nesterov => {
            assert_eq!(params.len(), momentum.len(), "parameters and momentum differ in length");
            nesterov(spec.lr, spec.momentum, params, momentum, delta);
        }
    }
}

wide! {
    fn sgd(lr: f32, params: &mut [f32], delta: &[f32]) {
        for (p, d) in params.iter_mut().zip(delta) {
            *p -= lr * d;
        }
    }
}

wide! {
    fn nesterov(lr: f32, mu: f32, params: &mut [f32], momentum: &mut [f32], delta: &[f32]) {
        for ((p, m), d) in params.iter_mut().zip(momentum).zip(delta) {
            *m = mu * *m + d;
            *p -= lr * (d + mu * *m);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps once from `(params, momentum)` with `delta` and compares with `want` bit for bit.
    fn check(
        spec: (OuterKind, f32, f32),
        from: (&[f32], &[f32]),
        delta: &[f32],
        want: (&[f32], &[f32]),
    ) {
        let (kind, lr, momentum) = spec;
        let (mut p, mut m) = (from.0.to_vec(), from.1.to_vec());
        step(&OuterSpec { kind, lr, momentum }, &mut p, &mut m, delta);
        assert_eq!((p.as_slice(), m.as_slice()), want, "{spec:?} {delta:?}");
    }

    #[test]
    fn sgd_subtracts_and_leaves_momentum() {
        let spec = (OuterKind::Sgd, 0.5, 0.9);
        check(
            spec,
            (&[1.0, -2.0, 0.0], &[7.0; 3]),
            &[2.0, 4.0, -1.0],
            (&[0.0, -4.0, 0.5], &[7.0; 3]),
        );
        check(spec, (&[1.0], &[]), &[2.0], (&[0.0], &[]));
        check(spec, (&[], &[]), &[], (&[], &[]));
    }

    #[test]
    fn nesterov_by_hand() {
        let spec = (OuterKind::Nesterov, 0.5, 0.5);
        // m = 0.5 * 0 + 2 = 2; theta = 1 - 0.5 * (2 + 0.5 * 2) = -0.5
        check(spec, (&[1.0], &[0.0]), &[2.0], (&[-0.5], &[2.0]));
        // m = 0.5 * 2 - 4 = -3; theta = -0.5 - 0.5 * (-4 + 0.5 * -3) = 2.25
        check(spec, (&[-0.5], &[2.0]), &[-4.0], (&[2.25], &[-3.0]));
    }

    /// Three steps of `torch.optim.SGD([p], lr=0.7, momentum=0.9, nesterov=True)` from p = 1 with gradients
    /// 0.1, -0.2, 0.3: buf = 0.1, -0.11, 0.201; p moves by -0.7 * (g + 0.9 buf) = -0.133, +0.2093, -0.33663.
    #[test]
    fn nesterov_is_torchs() {
        let spec = OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.9 };
        let (mut p, mut m) = ([1.0_f32], [0.0_f32]);
        for (delta, want) in [(0.1, 0.867), (-0.2, 1.0763), (0.3, 0.73967)] {
            step(&spec, &mut p, &mut m, &[delta]);
            assert!((p[0] - want).abs() < 2e-7, "{} is not {want}", p[0]);
        }
    }

    #[test]
    fn every_length_takes_the_same_path_to_the_same_bits() {
        let spec = OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.9 };
        let delta: Vec<f32> = (0..67).map(|i| (i as f32 - 31.5) * 1.37e-3).collect();
        let (mut p, mut m) = (vec![0.3; 67], vec![0.01; 67]);
        step(&spec, &mut p, &mut m, &delta);
        for (i, d) in delta.iter().enumerate() {
            let (mut one_p, mut one_m) = ([0.3], [0.01]);
            step(&spec, &mut one_p, &mut one_m, &[*d]);
            assert_eq!((p[i].to_bits(), m[i].to_bits()), (one_p[0].to_bits(), one_m[0].to_bits()));
        }
    }
}
