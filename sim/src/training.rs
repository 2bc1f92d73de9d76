//! Local work that is under way on one host: which lease, how far it has come, and where it has led. Committed parameters may arrive
//! meanwhile.

use crate::learn::Worker;
use shoal_protocol::id::Round;
use shoal_protocol::math::Merge;
use shoal_protocol::run::LocalWork;
use shoal_protocol::time::Time;
use std::ops::Range;

/// Local work on one lease.
#[derive(Debug, PartialEq)]
pub struct Training {
    pub round: Round,
    pub lease: Vec<Range<u64>>,
    /// When it began.
    pub since: Time,
    /// Samples that have been trained on.
    done: u64,
    /// Where it began, moved along by every merge since, `[elems]`; empty if nothing real is learned.
    origin: Vec<f32>,
    local: Vec<f32>,
    /// False once it has led nowhere.
    sound: bool,
}

impl Training {
    /// From these parameters.
    pub fn new(round: Round, lease: Vec<Range<u64>>, since: Time, params: &[f32]) -> Training {
        let (origin, local) = (params.to_vec(), params.to_vec());
        Training { round, lease, since, done: 0, origin, local, sound: true }
    }

    /// Trains on until so many samples of the lease are done.
    fn reach(&mut self, worker: &mut dyn Worker, samples: u64) {
        let ahead = cut(&self.lease, self.done..samples);
        if self.sound && !ahead.is_empty() {
            self.sound = worker.steps(self.round, &mut self.local, &ahead);
        }
        self.done = self.done.max(samples);
    }

    /// Committed parameters arrive when so many samples are done.
    pub fn merge(&mut self, worker: &mut dyn Worker, samples: u64, merge: &Merge) {
        self.reach(worker, samples);
        merge.apply(&mut self.origin);
        merge.apply(&mut self.local);
    }

    /// The lease is done: what it has taught, `[elems]`; none if it led nowhere.
    pub fn finish(mut self, worker: &mut dyn Worker, work: LocalWork) -> Option<Vec<f32>> {
        if work == LocalWork::Gradient {
            return worker.gradient(&self.origin, &self.lease);
        }
        self.reach(worker, u64::MAX);
        let mut delta = self.origin;
        delta.iter_mut().zip(&self.local).for_each(|(origin, local)| *origin -= local);
        self.sound.then_some(delta)
    }
}

/// The positions of a lease from the `range.start`-th to before the `range.end`-th.
fn cut(lease: &[Range<u64>], range: Range<u64>) -> Vec<Range<u64>> {
    let mut before = 0;
    let mut part = Vec::new();
    for positions in lease {
        let length = positions.end - positions.start;
        let from = range.start.saturating_sub(before).min(length);
        let to = range.end.saturating_sub(before).min(length);
        if from < to {
            part.push(positions.start + from..positions.start + to);
        }
        before += length;
    }
    part
}

#[test]
fn a_lease_is_cut_by_samples() {
    let lease = [10..14, 20..30];
    assert_eq!(cut(&lease, 0..u64::MAX), lease);
    assert_eq!(cut(&lease, 2..6), [12..14, 20..22]);
    assert_eq!(cut(&lease, 4..5), [std::ops::Range { start: 20, end: 21 }]);
    assert!(cut(&lease, 14..99).is_empty() && cut(&lease, 5..5).is_empty());
}
