//! The outer optimisers: what is done with the mean pseudo-gradient once a round is committed.
//!
//! Elementwise, each operation rounded on its own, so that every peer that applies the same mean to the same state
//! holds the same bits afterwards.

use super::inner::{Pace, Rule, STATES_MAX, clip_factor};
use super::prune;
use super::schedule::Schedule;
use crate::id::Round;
use crate::run::layout::Layout;
use crate::run::{InnerSpec, OuterKind, OuterSpec, RunSpec};
use std::ops::Range;

/// The outer step of one round.
///
/// `delta` is the committed mean pseudo-gradient: outer parameters minus local ones after the inner steps, so that
/// subtracting it moves towards the peers; or the mean gradient, if that is what local work gives. The optimiser's vectors start at 0.
///
/// Nesterov is the form of DiLoCo (arXiv 2311.08105, algorithm 1; lr 0.7 and momentum 0.9 in OpenDiLoCo, arXiv
/// 2407.07852), which is that of `torch.optim.SGD(nesterov=True)`:
/// `m = mu * m + delta; theta = theta - alpha * (delta + mu * m)`.
#[derive(Clone, Debug)]
pub struct OuterStep {
    kind: OuterKind,
    lr: f32,
    momentum: f32,
    inner: InnerSpec,
    rate: f64,
    round: Round,
    /// Whether weight decay acts, by runs of the flat vector.
    decays: Vec<(Range<usize>, bool)>,
    gradient: f64,
    /// Where zeros stay zero.
    pruned: Vec<Range<usize>>,
    /// Elements of the model: what lies behind them was measured.
    model: usize,
}

impl OuterStep {
    /// The step of `round`.
    pub fn new(spec: &RunSpec, round: Round) -> OuterStep {
        let plain = OuterSpec { kind: OuterKind::Sgd, lr: 1.0, momentum: 0.0 };
        let OuterSpec { kind, lr, momentum } =
            if spec.ends_with(round) { plain } else { spec.outer.clone() };
        // A run's first round only deals out leases.
        let trains = spec.rounds.saturating_sub(1).max(1);
        let schedule = Schedule::over(&spec.inner, trains);
        let rate = schedule.rate(round.saturating_sub(1).max(1), 0, 1);
        let layout = || Layout::new(&spec.model).decay_runs(spec.inner.decays, |_| true);
        OuterStep {
            kind,
            lr: if kind == OuterKind::Sign { lr * (rate / schedule.peak()) as f32 } else { lr },
            momentum,
            inner: spec.inner.clone(),
            rate,
            round,
            decays: if kind == OuterKind::Inner { layout() } else { Vec::new() },
            gradient: 1.0,
            pruned: match spec.prune {
                Some(prune) if prune.holds(round) => prune::ranges(&spec.model),
                _ => Vec::new(),
            },
            model: spec.model.params() as usize,
        }
    }

    /// Whether the mean's norm has a part in the step: see [`OuterStep::clip`].
    pub fn needs_norm(&self) -> bool {
        self.kind == OuterKind::Inner && self.inner.clip > 0.0
    }

    /// Takes into account that the whole mean has this norm: the sum of its squares in order, in f64, and the root of that.
    pub fn clip(&mut self, norm: f64) {
        self.gradient = clip_factor(norm, f64::from(self.inner.clip));
    }

    /// Moves elements of the flat vector from `start` on, in place. `state` is the optimiser's vectors, of the same elements; those
    /// that it does not have may be empty.
    ///
    /// # Panics
    /// If the slices differ in length: a caller's fault that no peer can provoke.
    pub fn take(
        &self,
        start: usize,
        params: &mut [f32],
        state: [&mut [f32]; STATES_MAX],
        delta: &[f32],
    ) {
        assert_eq!(params.len(), delta.len(), "parameters and pseudo-gradient differ in length");
        let [first, second] = state;
        match self.kind {
            OuterKind::Sgd => sgd(self.lr, params, delta),
            OuterKind::Sign => sign(self.lr, params, delta),
            OuterKind::Nesterov => {
                assert_eq!(params.len(), first.len(), "parameters and momentum differ in length");
                nesterov(self.lr, self.momentum, params, first, delta);
            }
            OuterKind::Inner => self.inner_step(start, params, [first, second], delta),
        }
    }

    /// Moves the elements `range` of a state in place: `params`, `[params]`, and the optimiser's vectors one after the other, `[params]`
    /// each. `delta` is the part of the mean. What was measured beside the model becomes what the members measured.
    ///
    /// # Panics
    /// If the lengths do not go together: a caller's fault that no peer can provoke.
    pub fn take_range(
        &self,
        range: Range<usize>,
        params: &mut [f32],
        momentum: &mut [f32],
        delta: &[f32],
    ) {
        let model = range.start.min(self.model)..range.end.min(self.model);
        let (delta, measured) = delta.split_at(model.len());
        sgd(1.0, &mut params[range.start.max(self.model).min(range.end)..range.end], measured);
        let range = model;
        let zeros = self.zeros(&range, params);
        let (first, second) = momentum.split_at_mut(params.len());
        let second = second.get_mut(range.clone()).unwrap_or_default();
        let state = [&mut first[range.clone()], second];
        self.take(range.start, &mut params[range], state, delta);
        for place in zeros {
            let vectors = momentum.chunks_exact_mut(params.len());
            vectors.for_each(|vector| vector[place] = 0.0);
            params[place] = 0.0;
        }
    }

    /// The pruned weights of a range, by their places in the flat vector.
    fn zeros(&self, range: &Range<usize>, params: &[f32]) -> Vec<usize> {
        let runs = self.pruned.iter();
        let within = runs.map(|run| run.start.max(range.start)..run.end.min(range.end));
        within.flatten().filter(|place| params[*place] == 0.0).collect()
    }

    fn inner_step(
        &self,
        start: usize,
        params: &mut [f32],
        [first, second]: [&mut [f32]; STATES_MAX],
        delta: &[f32],
    ) {
        let step = self.round.saturating_sub(1).max(1);
        for (run, decays) in &self.decays {
            let at = run.start.max(start)..run.end.min(start + params.len());
            if at.is_empty() {
                continue;
            }
            let at = at.start - start..at.end - start;
            let pace = Pace { lr: self.rate, step, gradient: self.gradient, decays: *decays };
            let cut = |vector: &mut [f32]| at.clone().end <= vector.len();
            let state = [
                if cut(first) { &mut first[at.clone()] } else { &mut [] },
                if cut(second) { &mut second[at.clone()] } else { &mut [] },
            ];
            Rule::new(&self.inner, &pace).step(&mut params[at.clone()], state, &delta[at]);
        }
    }
}

/// The outer step of a round on a whole state, in place, with its whole mean, `[params]`: of the round's fragment alone.
///
/// # Panics
/// As [`OuterStep::take_range`].
pub fn step(spec: &RunSpec, round: Round, params: &mut [f32], momentum: &mut [f32], mean: &[f32]) {
    let mut step = OuterStep::new(spec, round);
    if step.needs_norm() {
        let mut squares = 0.0;
        add_squares(&mut squares, mean);
        step.clip(squares.sqrt());
    }
    for range in spec.ranges_in(round) {
        step.take_range(range.clone(), params, momentum, &mean[range]);
    }
    prune::after_step(spec, round, params, momentum);
}

/// The sum of squares of a part of the mean, added to that of the parts before: see [`OuterStep::clip`].
pub fn add_squares(sum: &mut f64, delta: &[f32]) {
    delta.iter().for_each(|x| *sum += f64::from(*x) * f64::from(*x));
}

wide! {
    fn sgd(lr: f32, params: &mut [f32], delta: &[f32]) {
        for (p, d) in params.iter_mut().zip(delta) {
            *p -= lr * d;
        }
    }
}

wide! {
    fn sign(lr: f32, params: &mut [f32], delta: &[f32]) {
        for (p, d) in params.iter_mut().zip(delta) {
            *p -= if *d > 0.0 { lr } else if *d < 0.0 { -lr } else { 0.0 };
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
    use crate::run::{PruneKind, PruneMethod, PruneSpec};
    use crate::session::tests::spec;

    fn step((kind, lr, momentum): (OuterKind, f32, f32)) -> OuterStep {
        OuterStep::new(&RunSpec { outer: OuterSpec { kind, lr, momentum }, ..spec() }, 2)
    }

    /// Steps once from `(params, momentum)` with `delta` and compares with `want` bit for bit.
    fn check(
        spec: (OuterKind, f32, f32),
        from: (&[f32], &[f32]),
        delta: &[f32],
        want: (&[f32], &[f32]),
    ) {
        let (mut p, mut m) = (from.0.to_vec(), from.1.to_vec());
        step(spec).take(0, &mut p, [&mut m, &mut []], delta);
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
        let step = step((OuterKind::Nesterov, 0.7, 0.9));
        let (mut p, mut m) = ([1.0_f32], [0.0_f32]);
        for (delta, want) in [(0.1, 0.867), (-0.2, 1.0763), (0.3, 0.73967)] {
            step.take(0, &mut p, [&mut m, &mut []], &[delta]);
            assert!((p[0] - want).abs() < 2e-7, "{} is not {want}", p[0]);
        }
    }

    #[test]
    fn every_length_takes_the_same_path_to_the_same_bits() {
        let step = step((OuterKind::Nesterov, 0.7, 0.9));
        let delta: Vec<f32> = (0..67).map(|i| (i as f32 - 31.5) * 1.37e-3).collect();
        let (mut p, mut m) = (vec![0.3; 67], vec![0.01; 67]);
        step.take(0, &mut p, [&mut m, &mut []], &delta);
        for (i, d) in delta.iter().enumerate() {
            let (mut one_p, mut one_m) = ([0.3], [0.01]);
            step.take(i, &mut one_p, [&mut one_m, &mut []], &[*d]);
            assert_eq!((p[i].to_bits(), m[i].to_bits()), (one_p[0].to_bits(), one_m[0].to_bits()));
        }
    }

    /// Chunks that lie in the model, behind it, and across its end: all as in one piece.
    #[test]
    fn what_is_measured_is_averaged_in_whatever_chunks() {
        let mut run = spec();
        let (kind, method) = (PruneKind::Share { sparsity: 0.5 }, PruneMethod::Wanda);
        run.prune = Some(PruneSpec { kind, from: 5, until: 5, method });
        run.outer = OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.9 };
        let (n, model) = (run.elems() as usize, run.model.params() as usize);
        let delta: Vec<f32> = (0..n).map(|i| (i as f32 - 100.0) * 1e-3).collect();
        let moved = |size: usize| {
            let (mut params, mut momentum) = (vec![0.5; n], vec![0.25; n]);
            let step = OuterStep::new(&run, 2);
            for start in (0..n).step_by(size) {
                let range = start..(start + size).min(n);
                step.take_range(range.clone(), &mut params, &mut momentum, &delta[range]);
            }
            (params, momentum)
        };
        let whole = moved(n);
        assert!((model..n).all(|i| (whole.0[i], whole.1[i]) == (0.5 - delta[i], 0.25)));
        assert!(whole.1[..model].iter().filter(|m| **m != 0.25).count() >= model - 1);
        for size in [1, 7, 512] {
            assert_eq!(moved(size), whole, "{size}");
        }
    }

    #[test]
    fn a_last_round_with_a_codec_of_its_own_averages() {
        let mut run = spec();
        run.outer = OuterSpec { kind: OuterKind::Nesterov, lr: 0.5, momentum: 0.5 };
        run.exchange.last = Some(crate::math::Codec::F32);
        let moved = |round| {
            let (mut p, mut m) = ([1.0], [2.0]);
            OuterStep::new(&run, round).take(0, &mut p, [&mut m, &mut []], &[2.0]);
            (p[0], m[0])
        };
        assert_eq!(moved(run.rounds), (-1.0, 2.0));
        // m = 0.5 * 2 + 2 = 3; theta = 1 - 0.5 * (2 + 0.5 * 3)
        assert_eq!(moved(run.rounds - 1), (-0.75, 3.0));
    }

    #[test]
    fn sign_moves_by_the_rate_of_the_schedule() {
        // The test's schedule has a warm-up of no rounds and falls over all of them.
        let spec = spec();
        let schedule = Schedule::over(&spec.inner, spec.rounds - 1);
        let height = schedule.rate(1, 0, 1) / f64::from(spec.inner.lr);
        let lr = 0.5 * height as f32;
        check(
            (OuterKind::Sign, 0.5, 0.0),
            (&[1.0; 3], &[7.0; 3]),
            &[2.0, -1e-9, 0.0],
            (&[1.0 - lr, 1.0 + lr, 1.0], &[7.0; 3]),
        );
    }

    /// The inner optimiser's own step on the whole vector, with the decay that each weight has.
    #[test]
    fn inner_is_the_inner_optimisers_step_in_whatever_pieces() {
        let mut run = spec();
        run.outer.kind = OuterKind::Inner;
        run.inner.weight_decay = 0.1;
        let n = run.elems() as usize;
        let delta: Vec<f32> = (0..n).map(|i| (i as f32 - 100.0) * 1e-3).collect();
        let mut squares = 0.0;
        add_squares(&mut squares, &delta);
        let mut step = OuterStep::new(&run, 2);
        step.clip(squares.sqrt());
        let (mut p, mut m, mut v) = (vec![0.3; n], vec![0.0; n], vec![0.0; n]);
        for start in (0..n).step_by(50) {
            let at = start..(start + 50).min(n);
            let state = [&mut m[at.clone()], &mut v[at.clone()]];
            step.take(start, &mut p[at.clone()], state, &delta[at]);
        }
        let (mut whole, mut first, mut second) = (vec![0.3; n], vec![0.0; n], vec![0.0; n]);
        let gradient = clip_factor(squares.sqrt(), f64::from(run.inner.clip));
        let lr = Schedule::over(&run.inner, run.rounds - 1).rate(1, 0, 1);
        for (at, decays) in Layout::new(&run.model).decay_runs(run.inner.decays, |_| true) {
            let rule = Rule::new(&run.inner, &Pace { lr, step: 1, gradient, decays });
            let state = [&mut first[at.clone()], &mut second[at.clone()]];
            rule.step(&mut whole[at.clone()], state, &delta[at]);
        }
        assert_eq!((p, m, v), (whole, first, second));
        assert!(gradient < 1.0);
    }
}
