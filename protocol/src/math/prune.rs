//! Pruning: which weights become zero. The mask is nowhere by itself: in a matrix that is pruned, a weight of the committed
//! parameters is pruned if it is zero, so that whoever holds the parameters has the mask.
//!
//! Elements are compared by score and place, so that every peer that prunes the same parameters finds the same ones.

use crate::id::Round;
use crate::run::layout::Layout;
use crate::run::prune::{PruneMethod, inputs, is_pruned};
use crate::run::{ModelSpec, RunSpec};
use std::ops::Range;

/// Zeros so many elements that at least `count` are zero: those whose scores, not negative, are smallest, of equal ones the first.
/// Zeros count as the smallest. `scores`: as many as weights.
fn smallest(weights: &mut [f32], scores: &[f32], count: usize) {
    let zeros = weights.iter().filter(|w| **w == 0.0).count();
    if zeros >= count || count == 0 {
        return;
    }
    // Of floats that are not negative the bits are in the floats' order. What is zero goes first.
    let rank = |(place, (w, score)): (usize, (&f32, &f32))| {
        let score = if *w == 0.0 { 0 } else { u64::from(score.to_bits()) + 1 };
        (score << 31) | (place as u64 & 0x7fff_ffff)
    };
    let mut ranks: Vec<u64> = weights.iter().zip(scores).enumerate().map(rank).collect();
    let count = count.min(ranks.len());
    let (below, last, _) = ranks.select_nth_unstable(count - 1);
    below.iter().chain([&*last]).for_each(|rank| weights[(rank & 0x7fff_ffff) as usize] = 0.0);
}

/// Of every `of` neighbours zeros all but the `keep` of the largest scores, of equal ones the last. `weights` and `scores` are
/// whole numbers of such groups.
fn pattern(weights: &mut [f32], scores: &[f32], keep: usize, of: usize) {
    let groups = weights.chunks_exact_mut(of).zip(scores.chunks_exact(of));
    groups.for_each(|(group, scores)| smallest(group, scores, of - keep));
}

/// After the outer step of a round, in place: what the spec's schedule wants pruned becomes zero, in the parameters, with what was
/// measured behind them, and in the outer optimiser's vectors, of as many elements, one after the other.
pub fn after_step(spec: &RunSpec, round: Round, params: &mut [f32], momentum: &mut [f32]) {
    let Some(prune) = spec.prune.filter(|prune| round >= prune.from) else { return };
    let elems = params.len();
    let (model, measured) = params.split_at_mut(spec.model.params() as usize);
    for (slot, inputs) in inputs(&spec.model) {
        let range = slot.range();
        let inputs = inputs.start - model.len()..inputs.end - model.len();
        let norms = usable(prune.method, measured.get(inputs).unwrap_or_default());
        matrix(&mut model[range.clone()], &norms, prune.which(round));
        for vector in momentum.chunks_exact_mut(elems) {
            let both = vector[range.clone()].iter_mut().zip(&model[range.clone()]);
            both.filter(|(_, p)| **p == 0.0).for_each(|(m, _)| *m = 0.0);
        }
    }
}

/// Which weights of a matrix become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    /// This share, rounded down.
    Share(f64),
    /// All but `keep` of every `of` neighbours in a row.
    Pattern {
        /// How many stay.
        keep: usize,
        /// Of how many; divides every row.
        of: usize,
    },
}

/// Prunes a matrix, `[out, in]`, in place. `norms`: `[in]`, of what goes into it, not negative: weights are judged by their magnitude
/// times that, each against the others of its row (Wanda, arXiv 2306.11695, equation 1); by their magnitude alone, against all of the
/// matrix, if there are none or all are zero.
pub fn matrix(weights: &mut [f32], norms: &[f32], which: Which) {
    if norms.iter().all(|norm| *norm == 0.0) {
        let scores: Vec<f32> = weights.iter().map(|w| w.abs()).collect();
        return take(weights, &scores, which);
    }
    for row in weights.chunks_exact_mut(norms.len()) {
        let scores: Vec<f32> = row.iter().zip(norms).map(|(w, norm)| w.abs() * norm).collect();
        take(row, &scores, which);
    }
}

fn take(weights: &mut [f32], scores: &[f32], which: Which) {
    match which {
        Which::Share(share) => smallest(weights, scores, (share * weights.len() as f64) as usize),
        Which::Pattern { keep, of } => pattern(weights, scores, keep, of),
    }
}

/// What a peer measured that can be used: lossy codecs may bring what is near zero below it, and who judges by magnitude needs none.
fn usable(method: PruneMethod, norms: &[f32]) -> Vec<f32> {
    match method {
        PruneMethod::Magnitude => Vec::new(),
        PruneMethod::Wanda => {
            norms.iter().map(|norm| if *norm > 0.0 { *norm } else { 0.0 }).collect()
        }
    }
}

/// Where in the flat vector the matrices are that are pruned.
pub fn ranges(model: &ModelSpec) -> Vec<Range<usize>> {
    let slots = Layout::new(model).slots.into_iter();
    slots.filter(is_pruned).map(|slot| slot.range()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::outer;
    use crate::run::OuterKind;
    use crate::run::prune::{PruneKind, PruneSpec};
    use crate::session::tests::spec;
    use proptest::prelude::*;

    fn pruned(weights: &[f32], count: usize) -> Vec<f32> {
        let (mut weights, scores) =
            (weights.to_vec(), weights.iter().map(|w| w.abs()).collect::<Vec<_>>());
        smallest(&mut weights, &scores, count);
        weights
    }

    #[test]
    fn the_smallest_go_and_of_equal_ones_the_first() {
        let rows: [(&[f32], usize, &[f32]); 6] = [
            (&[3.0, -1.0, 2.0, -4.0], 2, &[3.0, 0.0, 0.0, -4.0]),
            (&[1.0, -1.0, 1.0], 2, &[0.0, 0.0, 1.0]),
            (&[1.0, 0.0, 2.0], 1, &[1.0, 0.0, 2.0]),
            (&[1.0, 0.0, 2.0], 2, &[0.0, 0.0, 2.0]),
            (&[1.0, 2.0], 5, &[0.0, 0.0]),
            (&[1.0, f32::NAN, 2.0], 2, &[0.0, f32::NAN, 0.0]),
        ];
        for (from, count, to) in rows {
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&pruned(from, count)), bits(to), "{from:?}");
        }
        // A weight of zero goes first, whatever its score.
        let mut weights = [0.0, 1.0, 1.0];
        smallest(&mut weights, &[9.0, 1.0, 2.0], 2);
        assert_eq!(weights, [0.0, 0.0, 1.0]);
    }

    #[test]
    fn each_group_keeps_its_largest() {
        let mut weights = [1.0, -3.0, 2.0, 0.5, -0.1, 0.2, 0.3, -0.4];
        let scores = weights.map(f32::abs);
        pattern(&mut weights, &scores, 2, 4);
        assert_eq!(weights, [0.0, -3.0, 2.0, 0.0, 0.0, 0.0, 0.3, -0.4]);
        let once = weights;
        pattern(&mut weights, &scores, 2, 4);
        assert_eq!(weights, once);
    }

    fn zeros(spec: &RunSpec, params: &[f32]) -> usize {
        ranges(&spec.model).into_iter().flat_map(|r| &params[r]).filter(|p| **p == 0.0).count()
    }

    /// Whatever the outer optimiser and whatever the peers bring, what was pruned stays zero to the bit, and the rest moves.
    #[test]
    fn what_is_pruned_stays_zero_round_after_round() {
        let kinds = [OuterKind::Sgd, OuterKind::Nesterov, OuterKind::Sign, OuterKind::Inner];
        for kind in kinds {
            let mut spec = spec();
            spec.rounds = 20;
            spec.outer.kind = kind;
            let share = PruneKind::Share { sparsity: 0.5 };
            let method = PruneMethod::Magnitude;
            spec.prune = Some(PruneSpec { kind: share, from: 3, until: 6, method });
            assert_eq!(spec.validate(), Ok(()));
            let n = spec.elems() as usize;
            let all: usize = ranges(&spec.model).iter().map(|range| range.len()).sum();
            let mut params: Vec<f32> =
                (0..n).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.995).collect();
            let mut momentum = vec![0.0; n * spec.outer_states()];
            let mut before: Vec<f32> = Vec::new();
            for round in 2..10 {
                let mean: Vec<f32> = (0..n)
                    .map(|i| ((i as u64 * 13 + round * 7) % 29) as f32 * 1e-3 - 0.0143)
                    .collect();
                outer::step(&spec, round, &mut params, &mut momentum, &mean);
                let share = spec.prune.unwrap().share(round);
                let wanted =
                    ranges(&spec.model).into_iter().map(|r| (share * r.len() as f64) as usize);
                assert!(zeros(&spec, &params) >= wanted.sum());
                if round > 3 {
                    let stay =
                        ranges(&spec.model).into_iter().flatten().filter(|i| before[*i] == 0.0);
                    stay.for_each(|i| {
                        assert_eq!(
                            (params[i].to_bits(), momentum[i].to_bits()),
                            (0, 0),
                            "{kind:?} {round} {i}"
                        );
                    });
                    assert_ne!(before, params);
                }
                before = params.clone();
            }
            assert!(zeros(&spec, &params) < all * 6 / 10);
        }
    }

    /// What is measured becomes the members' mean in one step, whatever the model's rate and momentum; then each row loses what
    /// has the smallest products, and a weight that is small stays where much goes in.
    #[test]
    fn wanda_weighs_by_what_the_members_measured() {
        let mut spec = spec();
        (spec.rounds, spec.outer.kind) = (10, OuterKind::Nesterov);
        let kind = PruneKind::Share { sparsity: 0.5 };
        spec.prune = Some(PruneSpec { kind, from: 3, until: 3, method: PruneMethod::Wanda });
        assert_eq!(spec.validate(), Ok(()));
        let (n, model) = (spec.elems() as usize, spec.model.params() as usize);
        let (slot, range) = inputs(&spec.model).remove(0);
        let mut params: Vec<f32> = (0..n).map(|i| if i < model { 1.0 } else { 0.0 }).collect();
        let width = range.len();
        // In each row weights grow from left to right; the first feature is a hundred times as strong as the others.
        slot.range().for_each(|i| params[i] = 1.0 + ((i - slot.offset) % width) as f32);
        let mut momentum = vec![0.0; n * spec.outer_states()];
        let norm = |i: usize| if i == range.start { 100.0 } else { 1.0 };
        for round in [2, 3] {
            let mean: Vec<f32> =
                (0..n).map(|i| if i < model { 0.0 } else { params[i] - norm(i) }).collect();
            outer::step(&spec, round, &mut params, &mut momentum, &mean);
            assert!((model..n).all(|i| params[i] == norm(i)), "round {round}");
        }
        assert!(momentum.iter().all(|m| *m == 0.0));
        for row in params[slot.range()].chunks(width) {
            let kept: Vec<usize> = (0..width).filter(|i| row[*i] != 0.0).collect();
            let wanted: Vec<usize> = std::iter::once(0).chain(width / 2 + 1..width).collect();
            assert_eq!(kept, wanted);
        }
    }

    /// Before anybody has measured, magnitudes count.
    #[test]
    fn wanda_without_measures_goes_by_magnitude() {
        let mut weights = [3.0, -1.0, 2.0, -4.0];
        matrix(&mut weights, &usable(PruneMethod::Wanda, &[0.0, -1e-9]), Which::Share(0.5));
        assert_eq!(weights, [3.0, 0.0, 0.0, -4.0]);
    }

    proptest! {
        #[test]
        fn exactly_so_many_are_zero_and_none_that_stays_is_smaller(
            weights in prop::collection::vec(-4.0f32..4.0, 1..200), share in 0.0f64..1.0,
        ) {
            let nonzero: Vec<f32> = weights.iter().map(|w| if *w == 0.0 { 0.5 } else { *w }).collect();
            let count = (share * nonzero.len() as f64) as usize;
            let left = pruned(&nonzero, count);
            prop_assert_eq!(left.iter().filter(|w| **w == 0.0).count(), count);
            let gone = nonzero.iter().zip(&left).filter(|(_, l)| **l == 0.0).map(|(w, _)| w.abs());
            let most = gone.fold(0.0, f32::max);
            prop_assert!(left.iter().filter(|w| **w != 0.0).all(|w| w.abs() >= most));
        }
    }
}
