//! Deadlines that learn: median + k * MAD of what was seen, between bounds; a guess until enough was seen.

use crate::sabotage::{Bug, planted};
use crate::time::Span;
use std::collections::VecDeque;

/// How many observations are remembered. Guess: a few minutes of rounds.
const WINDOW: usize = 32;
/// Observations before the guess is left.
const ENOUGH: usize = 4;
/// Median absolute deviations above the median. 4 * MAD is 2.7 sigma of a normal distribution.
const K: u64 = 4;

/// How long to wait for one kind of thing.
#[derive(Clone, Debug)]
pub struct Deadline {
    seen: VecDeque<Span>,
    /// What follows from all that was seen; the guess until then. It is asked for far more often than it changes.
    wanted: Span,
    least: Span,
    most: Span,
}

impl Deadline {
    /// A deadline that begins as `guess` and stays within `least..=most`.
    pub fn new(guess: Span, least: Span, most: Span) -> Deadline {
        Deadline { seen: VecDeque::with_capacity(WINDOW), wanted: guess, least, most }
    }

    /// Remembers how long it took this time.
    pub fn observe(&mut self, span: Span) {
        if self.seen.len() == WINDOW {
            self.seen.pop_front();
        }
        self.seen.push_back(span);
        if !self.is_guess() {
            let median = median(self.seen.iter().map(|span| span.0));
            let mad = median_of_deviations(self.seen.iter().map(|span| span.0), median);
            self.wanted = Span(median.saturating_add(mad.saturating_mul(K)));
        }
    }

    /// How long to wait now.
    pub fn span(&self) -> Span {
        let never = if planted(Bug::DeadlineNever) { 1 << 24 } else { 1 };
        Span(self.wanted.clamp(self.least, self.most).0 * never)
    }

    /// Whether too little was seen so far.
    pub fn is_guess(&self) -> bool {
        self.seen.len() < ENOUGH
    }
}

fn median_of_deviations(values: impl Iterator<Item = u64>, middle: u64) -> u64 {
    median(values.map(|value| value.abs_diff(middle)))
}

/// The upper median; 0 of nothing.
pub fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: &[u64], expected: u64) {
        let mut deadline = Deadline::new(Span(100), Span(10), Span(1_000));
        seen.iter().for_each(|&micros| deadline.observe(Span(micros)));
        assert_eq!(deadline.span(), Span(expected), "{seen:?}");
    }

    #[test]
    fn a_guess_until_four_were_seen_then_median_and_spread() {
        check(&[], 100);
        check(&[7, 7, 7], 100);
        check(&[20, 20, 20, 20], 20);
        check(&[20, 22, 24, 26, 28], 24 + 4 * 2);
        check(&[1, 1, 1, 1], 10);
        check(&[5_000, 5_000, 5_000, 5_000], 1_000);
    }

    #[test]
    fn one_outlier_does_not_move_it() {
        check(&[20, 20, 20, 20, 900], 20);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let old = std::iter::repeat_n(900, 32);
        let new = std::iter::repeat_n(30, 32);
        check(&old.chain(new).collect::<Vec<_>>(), 30);
    }
}
