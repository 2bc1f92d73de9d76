//! Local parameters that outlast rounds: of a model that is exchanged a fragment at a time, or that is trained on while an
//! exchange is under way.
//!
//! What local parameters have learned is offered to a round of its fragment, and from then on they take for granted that the
//! committed parameters will be where they are themselves. When the committed ones come they are somewhere else, and a [`Merge`]
//! makes that good: by the difference, so that exactly what was learned since stays ([`Overlap::Delayed`] with nothing kept and
//! [`Overlap::Eager`]), or as Streaming DiLoCo does it, by a mean of both (arXiv 2501.18512, section 2.3).
//!
//! | vector | holds |
//! |---|---|
//! | `local` | local parameters; while a lease is trained on, where that began, moved along by every merge since |
//! | `expected` | the committed parameters that `local` takes for granted |
//! | `drift` | what was learned and not offered yet: it is in `local`, and minus it in no committed parameters |
//!
//! None of this is committed; peers agree on none of it.

use crate::math::vector;
use crate::run::Overlap;
use std::ops::Range;

/// Local parameters of `n` elements. All vectors have length `n`.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    local: Vec<f32>,
    expected: Vec<f32>,
    drift: Vec<f32>,
}

/// What local parameters become when committed ones arrive: `x = keep * x + add`, in some ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    keep: f32,
    ranges: Vec<Range<usize>>,
    /// For the ranges one after the other.
    add: Vec<f32>,
}

impl Replica {
    /// At committed parameters, `[n]`, with nothing learned.
    pub fn new(params: &[f32]) -> Replica {
        let (local, expected) = (params.to_vec(), params.to_vec());
        Replica { local, expected, drift: vec![0.0; params.len()] }
    }

    /// Where training goes on from, `[n]`.
    pub fn local(&self) -> &[f32] {
        &self.local
    }

    /// What was learned and not offered yet, `[n]`.
    pub fn drift(&self) -> &[f32] {
        &self.drift
    }

    /// A lease has been trained on: where it began, moved along by every merge since, minus where it ended, `[n]`.
    pub fn learned(&mut self, delta: &[f32]) {
        vector::add_scaled(&mut self.local, -1.0, delta);
        vector::add(&mut self.drift, delta);
    }

    /// Adds what was learned in these ranges to `delta`, `[n]`: it is offered, and taken for granted.
    pub fn offer(&mut self, ranges: &[Range<usize>], delta: &mut [f32]) {
        for range in ranges {
            vector::add(&mut delta[range.clone()], &self.drift[range.clone()]);
            self.drift[range.clone()].fill(0.0);
            self.expected[range.clone()].copy_from_slice(&self.local[range.clone()]);
        }
    }

    /// Takes for granted that the committed parameters will be `guess`, `[n]`, in these ranges, and goes on from there.
    pub fn guess(&mut self, ranges: &[Range<usize>], guess: &[f32]) {
        self.move_to(ranges, guess);
    }

    /// A round with these ranges is committed, or a whole state has been taken over (all of it): `params`, `[n]`, are the committed
    /// parameters. What it does to local parameters is done, and returned for whoever trains on them.
    pub fn arrive(&mut self, overlap: Overlap, ranges: &[Range<usize>], params: &[f32]) -> Merge {
        match overlap {
            Overlap::Delayed { keep } if keep > 0.0 => self.mix_with(keep, ranges, params),
            _ => self.move_to(ranges, params),
        }
    }

    /// By the difference from what was expected.
    fn move_to(&mut self, ranges: &[Range<usize>], params: &[f32]) -> Merge {
        let mut add = Vec::new();
        for range in ranges {
            let moved = self.expected[range.clone()].iter_mut().zip(&params[range.clone()]);
            add.extend(moved.map(|(expected, now)| now - std::mem::replace(expected, *now)));
        }
        let merge = Merge { keep: 1.0, ranges: ranges.to_vec(), add };
        merge.apply(&mut self.local);
        merge
    }

    /// To a mean of both. What is left of the way from the committed parameters has not been offered.
    fn mix_with(&mut self, keep: f32, ranges: &[Range<usize>], params: &[f32]) -> Merge {
        let ours = ranges.iter().flat_map(|range| &params[range.clone()]);
        let add = ours.map(|p| (1.0 - keep) * p).collect();
        let merge = Merge { keep, ranges: ranges.to_vec(), add };
        merge.apply(&mut self.local);
        for range in ranges {
            let now = &params[range.clone()];
            self.expected[range.clone()].copy_from_slice(now);
            let drift = self.drift[range.clone()].iter_mut().zip(now);
            drift.zip(&self.local[range.clone()]).for_each(|((d, p), local)| *d = p - local);
        }
        merge
    }
}

impl Merge {
    /// Merges into local parameters, `[n]`.
    pub fn apply(&self, local: &mut [f32]) {
        let mut add = self.add.iter();
        for range in &self.ranges {
            let keep = self.keep;
            local[range.clone()].iter_mut().zip(&mut add).for_each(|(x, add)| *x = keep * *x + add);
        }
    }

    /// What becomes of a pseudo-gradient, `[n]`, of work that ended before the merge.
    pub fn shrink(&self, delta: &mut [f32]) {
        if self.keep != 1.0 {
            self.ranges
                .iter()
                .for_each(|range| vector::scale(&mut delta[range.clone()], self.keep));
        }
    }
}

/// What the others brought to the last round: with a peer's own work of this one the freshest estimate of the mean to come (Eager
/// updates, arXiv 2502.12996, algorithm 1). Before there was a round it is that all have gone the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Others {
    rest: Vec<f32>,
    share: f32,
}

impl Others {
    /// Before there was a round, of `n` elements.
    pub fn new(n: usize) -> Others {
        Others { rest: vec![0.0; n], share: 1.0 }
    }

    /// A round's mean, `[n]`, in which this peer's own work had this share.
    pub fn note(&mut self, mean: &[f32], own: &[f32], share: f32) {
        self.share = share;
        self.rest.copy_from_slice(mean);
        vector::add_scaled(&mut self.rest, -share, own);
    }

    /// The mean, `[n]`, if the others brought what they brought last time, and this peer `own`.
    pub fn estimate(&self, own: &[f32]) -> Vec<f32> {
        let mut mean = self.rest.clone();
        vector::add_scaled(&mut mean, self.share, own);
        mean
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    const DELAYED: Overlap = Overlap::Delayed { keep: 0.0 };

    #[test]
    fn what_was_learned_since_the_offer_stays_when_the_result_comes() {
        let mut replica = Replica::new(&[10.0, 20.0]);
        let mut delta = [0.0; 2];
        replica.learned(&[1.0, 2.0]);
        replica.offer(&[0..2], &mut delta);
        assert_eq!((delta, replica.local()), ([1.0, 2.0], &[9.0, 18.0][..]));
        replica.learned(&[0.5, 0.0]);
        // The mean of all moved the committed parameters by 3 and by 1.
        replica.arrive(DELAYED, &[0..2], &[7.0, 19.0]);
        assert_eq!((replica.local(), replica.drift()), (&[6.5, 19.0][..], &[0.5, 0.0][..]));
        replica.offer(&[0..2], &mut delta);
        assert_eq!(delta, [1.5, 2.0]);
    }

    #[test]
    fn a_fragment_is_offered_apart() {
        let mut replica = Replica::new(&[0.0; 4]);
        let mut delta = [0.0; 4];
        replica.learned(&[1.0; 4]);
        replica.offer(&[1..2, 3..4], &mut delta);
        assert_eq!(delta, [0.0, 1.0, 0.0, 1.0]);
        let merge = replica.arrive(DELAYED, &[1..2, 3..4], &[0.0, -2.0, 0.0, -1.0]);
        assert_eq!(replica.local(), [-1.0, -2.0, -1.0, -1.0]);
        let mut training = [5.0; 4];
        merge.apply(&mut training);
        assert_eq!(training, [5.0, 4.0, 5.0, 5.0]);
    }

    #[test]
    fn half_and_half_leaves_half_of_the_way_to_be_offered() {
        let mut replica = Replica::new(&[8.0]);
        let mut delta = [0.0];
        replica.learned(&[2.0]);
        replica.offer(&[0..1], &mut delta);
        let merge = replica.arrive(Overlap::Delayed { keep: 0.5 }, &[0..1], &[4.0]);
        assert_eq!((replica.local(), replica.drift()), (&[5.0][..], &[-1.0][..]));
        let mut learned = [2.0];
        merge.shrink(&mut learned);
        assert_eq!(learned, [1.0]);
        // Whether work ends before or after the merge, it leads to the same place.
        let mut trained = [6.0 - 2.0];
        merge.apply(&mut trained);
        replica.learned(&learned);
        assert_eq!(replica.local(), trained);
    }

    #[test]
    fn a_guess_is_made_good() {
        let mut replica = Replica::new(&[8.0]);
        replica.learned(&[2.0]);
        replica.offer(&[0..1], &mut [0.0]);
        replica.guess(&[0..1], &[3.0]);
        replica.learned(&[1.0]);
        assert_eq!(replica.local(), [2.0]);
        replica.arrive(Overlap::Eager, &[0..1], &[4.0]);
        assert_eq!(replica.local(), [3.0]);
    }

    #[test]
    fn the_others_are_taken_to_bring_the_same_again() {
        let mut others = Others::new(1);
        assert_eq!(others.estimate(&[3.0]), [3.0]);
        others.note(&[4.0], &[2.0], 0.25);
        assert_eq!(others.estimate(&[2.0]), [4.0]);
        assert_eq!(others.estimate(&[6.0]), [5.0]);
    }
}
