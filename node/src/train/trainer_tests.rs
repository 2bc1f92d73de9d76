//! A tiny model on tiny texts: that it learns, gives up when asked, and says what went wrong.

use super::*;
use crate::model::initial_params;
use shoal_protocol::id::PeerId;
use shoal_protocol::math::codec::Codec;
use shoal_protocol::math::{Replica, prune};
use shoal_protocol::run::*;
use std::sync::Arc;

/// A run of a tiny model on a little text.
pub(crate) fn test_spec() -> RunSpec {
    RunSpec {
        protocol: PROTOCOL_VERSION,
        name: "test".into(),
        creator: PeerId([7; 32]),
        seed: 1,
        rounds: 10,
        model: ModelSpec {
            vocab: 256,
            dim: 16,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            hidden: 24,
            context: 16,
            head_width: None,
            tied: true,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            init_std: None,
        },
        start: None,
        tokenizer: TokenizerSpec::Bytes,
        data: DataSpec::Stories { seed: 1, bytes: 20_000, samples: 1187, heldout_permille: 50 },
        inner: InnerSpec {
            steps: 10,
            batch: 4,
            round_ms: 0,
            lr: 0.01,
            lr_floor: 0.1,
            warmup_rounds: 1,
            schedule: InnerSchedule::Cosine,
            optimizer: InnerOptimizer::AdamW,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            l2: 0.0,
            decays: Default::default(),
            clip: 1.0,
        },
        outer: OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.9 },
        exchange: ExchangeSpec::new(Codec::F32, Codec::F32, 1024),
        group: GroupSpec { members_max: 8, quorum_percent: 70, grace_percent: 50 },
        strategy: Default::default(),
        gossip: None,
        stop: None,
        regularisation: Default::default(),
        prune: None,
        distill: None,
    }
}

fn batch(first: i64) -> Batch {
    let row = |start: i64| (0..17).map(move |place| (start * 3 + place) % 13);
    let positions = (0..4).map(|index| (first + index) as u64).collect();
    Batch {
        tokens: (0..4).flat_map(|index| row(first + index)).collect(),
        rows: 4,
        positions,
        told: None,
    }
}

fn trainer() -> (Trainer, Vec<f32>) {
    let spec = test_spec();
    (Trainer::new(&spec, Device::Cpu).unwrap(), initial_params(&spec.model, spec.seed))
}

static GO: AtomicBool = AtomicBool::new(false);

#[test]
fn the_loss_falls() {
    let (mut trainer, outer) = trainer();
    let before = trainer.evaluate(&outer, &batch(99), 2).unwrap();
    let work = Work { round: 2, steps: 60, cancel: &GO, merges: &Merges::default() };
    let done = trainer.work(&outer, (0..60).map(batch).map(Ok), &work).unwrap();
    assert_eq!((done.steps, done.tokens), (60, 60 * 4 * 16));
    let mut local = vec![0.0; outer.len()];
    trainer.model().write_flat(&mut local).unwrap();
    let after = trainer.evaluate(&local, &batch(99), 2).unwrap();
    assert!((before - 256f64.ln()).abs() < 0.1, "a new model knows nothing: {before}");
    assert!(after < before - 2.5, "{before} -> {after}");
    assert!(done.loss_last < done.loss_mean && done.seconds > 0.0);
}

#[test]
fn outer_minus_delta_is_where_it_went() {
    let (mut trainer, outer) = trainer();
    let work = Work { round: 1, steps: 2, cancel: &GO, merges: &Merges::default() };
    trainer.work(&outer, (0..2).map(batch).map(Ok), &work).unwrap();
    let (mut delta, mut local) = (Vec::new(), vec![0.0; outer.len()]);
    trainer.delta(&outer, &mut delta).unwrap();
    trainer.model().write_flat(&mut local).unwrap();
    let expected: Vec<f32> = outer.iter().zip(&local).map(|(o, l)| o - l).collect();
    assert_eq!(delta, expected);
    assert!(delta.iter().any(|x| *x != 0.0));
}

/// With every optimiser, and with a history of steps before weights were pruned.
#[test]
fn pruned_weights_stay_zero_through_local_steps() {
    let muon = InnerOptimizer::Muon { lr: 0.02, momentum: 0.9, nesterov: true };
    for optimizer in [InnerOptimizer::AdamW, muon] {
        let (kind, method) = (PruneKind::Share { sparsity: 0.5 }, PruneMethod::Magnitude);
        let mut spec = test_spec();
        (spec.inner.optimizer, spec.prune) =
            (optimizer, Some(PruneSpec { kind, from: 3, until: 3, method }));
        let mut trainer = Trainer::new(&spec, Device::Cpu).unwrap();
        let mut outer = initial_params(&spec.model, spec.seed);
        let mut moved = |outer: &[f32], round| {
            let work = Work { round, steps: 3, cancel: &GO, merges: &Merges::default() };
            trainer.work(outer, (0..3).map(batch).map(Ok), &work).unwrap();
            let mut delta = Vec::new();
            trainer.delta(outer, &mut delta).unwrap();
            delta
        };
        assert!(moved(&outer, 3).iter().any(|d| *d != 0.0));
        prune::after_step(&spec, 3, &mut outer, &mut []);
        let delta = moved(&outer, 4);
        let (mut zeros, mut still) = (0, 0);
        for place in prune::ranges(&spec.model).into_iter().flatten() {
            zeros += usize::from(outer[place] == 0.0);
            still += usize::from(delta[place] == 0.0);
            assert!(outer[place] != 0.0 || delta[place].to_bits() == 0, "{place}");
        }
        assert!(zeros > 500 && still < zeros + 20, "{zeros} zeros, {still} did not move");
    }
}

#[test]
fn a_student_learns_from_its_teacher_alone() {
    use crate::store::teacher::Teacher;
    use crate::train::distill::Lesson;
    let spec = test_spec();
    let teacher = Teacher {
        model: spec.model.clone(),
        params: initial_params(&spec.model, 5).iter().map(|w| w * 6.0).collect(),
    };
    let distill = DistillSpec {
        teacher: teacher.digest(),
        pieces: None,
        temperature: 1.0,
        weight: 1.0,
        direction: Direction::Forward,
        hidden: 0.1,
        top: None,
    };
    let (mut student, outer) = trainer();
    student.attend(Lesson::new(&teacher, &distill, Device::Cpu).unwrap());
    let work = Work { round: 2, steps: 80, cancel: &GO, merges: &Merges::default() };
    let done = student.work(&outer, (0..80).map(|i| batch(i % 4)).map(Ok), &work).unwrap();
    assert!(done.loss_last < 0.7 * done.loss_mean, "{done:?}");
}

#[test]
fn the_mean_gradient_of_batches_is_that_of_all_their_rows() {
    let (mut trainer, outer) = trainer();
    let merges = Merges::default();
    let work = Work { round: 1, steps: 2, cancel: &GO, merges: &merges };
    let mean = |trainer: &mut Trainer, batches: Vec<Batch>| {
        let mut gradient = Vec::new();
        let done = trainer.mean_gradient(&outer, batches.into_iter().map(Ok), &work, &mut gradient);
        (done.unwrap().tokens, gradient)
    };
    let both = Batch {
        tokens: [batch(0).tokens, batch(1).tokens].concat(),
        rows: batch(0).rows + batch(1).rows,
        positions: [batch(0).positions, batch(1).positions].concat(),
        told: None,
    };
    let (tokens, apart) = mean(&mut trainer, vec![batch(0), batch(1)]);
    let (same, together) = mean(&mut trainer, vec![both]);
    assert_eq!(tokens, same);
    let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let off: Vec<f32> = apart.iter().zip(&together).map(|(a, b)| a - b).collect();
    assert!(norm(&off) < 1e-5 * norm(&together) && norm(&together) > 0.0);
    let mut none = Vec::new();
    let nothing = trainer.mean_gradient(&outer, Vec::new(), &work, &mut none);
    assert!(matches!(nothing, Err(TrainError::NoSamples { round: 1 })));
}

#[test]
fn committed_parameters_that_arrive_move_the_local_ones_between_steps() {
    let (mut trainer, outer) = trainer();
    let merges = Merges::default();
    let mut replica = Replica::new(&outer);
    let committed: Vec<f32> = outer.iter().map(|x| x + 0.25).collect();
    let whole: Vec<_> = std::iter::once(0..outer.len()).collect();
    let delayed = Overlap::Delayed { keep: 0.0 };
    merges.push(Arc::new(replica.arrive(delayed, &whole, &committed)));
    let work = Work { round: 1, steps: 2, cancel: &GO, merges: &merges };
    let done = trainer.work(&outer, (0..2).map(batch).map(Ok), &work).unwrap();
    assert_eq!(done.merged, 1);
    let mut moved = vec![0.0; outer.len()];
    trainer.model().write_flat(&mut moved).unwrap();
    let none = Merges::default();
    let (mut other, _) = self::trainer();
    let work = Work { round: 1, steps: 2, cancel: &GO, merges: &none };
    other.work(&committed, (0..2).map(batch).map(Ok), &work).unwrap();
    let mut expected = vec![0.0; outer.len()];
    other.model().write_flat(&mut expected).unwrap();
    assert_eq!(moved, expected);
}

#[test]
fn the_same_work_gives_the_same_delta() {
    let run = || {
        let (mut trainer, outer) = trainer();
        let work = Work { round: 1, steps: 3, cancel: &GO, merges: &Merges::default() };
        trainer.work(&outer, (0..3).map(batch).map(Ok), &work).unwrap();
        let mut delta = Vec::new();
        trainer.delta(&outer, &mut delta).unwrap();
        delta
    };
    assert_eq!(run(), run());
}

#[test]
fn a_trainer_that_was_saved_goes_on_with_the_same_bits() {
    let optimizers = [
        InnerOptimizer::AdamW,
        InnerOptimizer::Sgd { momentum: 0.9, nesterov: true },
        InnerOptimizer::Muon { lr: 0.02, momentum: 0.95, nesterov: true },
    ];
    for optimizer in optimizers {
        let mut spec = test_spec();
        spec.inner.optimizer = optimizer;
        let outer = initial_params(&spec.model, spec.seed);
        let new = || Trainer::new(&spec, Device::Cpu).unwrap();
        let delta = |trainer: &mut Trainer, round: u64| {
            let work = Work { round, steps: 3, cancel: &GO, merges: &Merges::default() };
            let first = 3 * round as i64;
            trainer.work(&outer, (first..first + 3).map(batch).map(Ok), &work).unwrap();
            let mut delta = Vec::new();
            trainer.delta(&outer, &mut delta).unwrap();
            delta
        };
        let mut one = new();
        delta(&mut one, 1);
        let (state, mut other) = (one.save().unwrap(), new());
        assert_eq!(other.restore(&state).unwrap(), 3);
        let went_on = delta(&mut one, 2);
        assert_eq!(went_on, delta(&mut other, 2), "{optimizer:?}");
        assert_eq!(one.save().unwrap(), other.save().unwrap());
        assert_ne!(went_on, delta(&mut new(), 2), "the state matters");
    }
}

#[test]
fn each_optimiser_learns() {
    let optimizers = [
        (InnerOptimizer::Adam, 0.01),
        (InnerOptimizer::Sgd { momentum: 0.9, nesterov: true }, 0.3),
        (InnerOptimizer::RmsProp { alpha: 0.99, momentum: 0.0 }, 0.01),
        (InnerOptimizer::Muon { lr: 0.02, momentum: 0.95, nesterov: true }, 0.01),
    ];
    for (optimizer, lr) in optimizers {
        let mut spec = test_spec();
        (spec.inner.optimizer, spec.inner.lr, spec.inner.weight_decay) = (optimizer, lr, 0.0);
        let mut trainer = Trainer::new(&spec, Device::Cpu).unwrap();
        let work = Work { round: 2, steps: 60, cancel: &GO, merges: &Merges::default() };
        let outer = initial_params(&spec.model, spec.seed);
        let done = trainer.work(&outer, (0..60).map(batch).map(Ok), &work).unwrap();
        assert!(done.loss_last < 256f64.ln() - 2.0, "{optimizer:?}: {done:?}");
    }
}

#[test]
fn evaluation_does_not_depend_on_how_many_rows_fit() {
    let (mut trainer, outer) = trainer();
    let one = trainer.evaluate(&outer, &batch(5), 1).unwrap();
    let all = trainer.evaluate(&outer, &batch(5), 100).unwrap();
    assert!((one - all).abs() < 1e-6, "{one} {all}");
}

#[test]
fn faults_are_values() {
    let (mut trainer, mut outer) = trainer();
    let work =
        Work { round: 3, steps: 1, cancel: &AtomicBool::new(true), merges: &Merges::default() };
    let error = trainer.work(&outer, [Ok(batch(0))], &work).unwrap_err();
    assert!(matches!(error, TrainError::Cancelled { round: 3, steps: 0 }), "{error}");
    let work = Work { cancel: &GO, ..work };
    let error = trainer.work(&outer, [], &work).unwrap_err();
    assert!(matches!(error, TrainError::NoSamples { round: 3 }), "{error}");
    outer[0] = f32::NAN;
    let error = trainer.work(&outer, [Ok(batch(0))], &work).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { round: 3, step: 1, .. }), "{error}");
    let error = trainer.work(&outer[1..], [Ok(batch(0))], &work).unwrap_err();
    assert!(matches!(error, TrainError::Params { .. }), "{error}");
}
