//! The order of an epoch in two levels, for texts that peers fetch piece by piece: first the shards of the text in a seeded order,
//! so many of them a window, then within each window its sequences. Every sequence comes once an epoch, and neighbouring positions lie
//! in one or two windows.
//!
//! A text's parts differ (authors, subjects, languages). In windows of one shard all peers learn from one part at a time, and the
//! model ends near the last one; in wider ones each step sees parts from all over the text, and a peer needs more of it at a time.

use super::order::Permutation;
use super::rng::mix;
use crate::run::{Blob, RunSpec};
use crate::wire::PIECE_BYTES;
use std::ops::Range;

/// Pieces of a window if nobody says otherwise: a text of up to 32 MiB is shuffled whole, and it takes 13 s to fetch at 20 Mbit/s. Guess.
pub const WINDOW_PIECES: u32 = 32;
/// Most shards of a window: parts of the text that lie apart. Guess.
const WINDOW_SHARDS: u64 = 8;
/// Most pieces of a shard in runs without windows: 8 MiB.
const SHARD_PIECES_MAX: u64 = 8;
/// Shards that a small text is cut into in runs without windows, if it has as many pieces.
const SHARDS_LEAST: u64 = 16;
/// Keeps the order within windows apart from the order of shards.
const WITHIN: u64 = 0x5348_4152_4453;

/// Which sequence each position of a run's data is.
#[derive(Clone, Debug)]
pub struct Order {
    samples: u64,
    seed: u64,
    cut: Cut,
    epoch: Epoch,
    within: Within,
}

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Sequences of a shard, but for the text's last.
    pub sequences: u64,
    /// Shards of a window, but for the epoch's last.
    pub shards: u64,
}

/// The order of an epoch's shards.
#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    order: Permutation,
    /// The place of the text's last shard, which may be shorter than the others.
    last_at: u64,
}

/// The order in a window, which begins with a shard.
#[derive(Clone, Debug)]
struct Within {
    of: (u64, u64),
    order: Permutation,
}

/// The window that a position lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The numbers of its shards in the text.
    pub shards: Vec<u64>,
    /// Its positions.
    pub positions: Range<u64>,
}

impl Order {
    /// The order of a run's data: in two levels if peers can fetch the text from each other, else over the whole text.
    pub fn of(spec: &RunSpec) -> Order {
        let samples = spec.data.samples();
        let whole = Cut { sequences: samples, shards: 1 };
        Order::new(samples, spec.text().map_or(whole, |text| cut(spec, &text)), spec.seed)
    }

    /// An order of so many sequences.
    pub fn new(samples: u64, cut: Cut, seed: u64) -> Order {
        let samples = samples.max(1);
        let sequences = cut.sequences.clamp(1, samples);
        let cut = Cut { sequences, shards: cut.shards.clamp(1, samples.div_ceil(sequences)) };
        let (none, order) = (u64::MAX, Permutation::new(1, 0, 0));
        let epoch = Epoch { number: none, order: order.clone(), last_at: 0 };
        Order { samples, seed, cut, epoch, within: Within { of: (none, none), order } }
    }

    /// Shards of the text.
    fn shards(&self) -> u64 {
        self.samples.div_ceil(self.cut.sequences)
    }

    /// Windows of an epoch.
    pub fn windows(&self) -> u64 {
        self.shards().div_ceil(self.cut.shards)
    }

    /// Most shards of a window.
    pub fn window_shards(&self) -> u64 {
        self.cut.shards
    }

    /// The sequences of a shard, as they follow one another in the text.
    pub fn sequences(&self, shard: u64) -> Range<u64> {
        let start = shard.saturating_mul(self.cut.sequences).min(self.samples);
        start..(start + self.cut.sequences).min(self.samples)
    }

    /// The sequence at a position.
    pub fn sequence(&mut self, position: u64) -> u64 {
        let (epoch, place) = (position / self.samples, position % self.samples);
        self.turn_to(epoch);
        let window = self.window_at(place);
        let (start, end) = (self.begins(window), self.begins(window + 1));
        let first = self.epoch.order.get(window * self.cut.shards);
        if self.within.of != (epoch, first) {
            let order = Permutation::new(end - start, self.seed_within(first), epoch);
            self.within = Within { of: (epoch, first), order };
        }
        let (at, offset) = self.shard_at(start + self.within.order.get(place - start));
        self.sequences(self.epoch.order.get(at)).start + offset
    }

    /// The window that a position lies in.
    pub fn window(&mut self, position: u64) -> Window {
        let (epoch, place) = (position / self.samples, position % self.samples);
        self.turn_to(epoch);
        let window = self.window_at(place);
        let ends = [window, window + 1].map(|w| epoch * self.samples + self.begins(w));
        let places = window * self.cut.shards..(window + 1) * self.cut.shards;
        let places = places.start..places.end.min(self.shards());
        let shards = places.map(|at| self.epoch.order.get(at)).collect();
        Window { shards, positions: ends[0]..ends[1] }
    }

    /// One shard is the whole text: its order is that of runs without shards.
    fn seed_within(&self, first: u64) -> u64 {
        if self.shards() == 1 { self.seed } else { mix(self.seed ^ WITHIN).wrapping_add(first) }
    }

    /// The window that a place in the epoch lies in.
    fn window_at(&self, place: u64) -> u64 {
        // The shorter shard moves the windows behind it by less than one.
        let guess = place / (self.cut.shards * self.cut.sequences);
        guess + u64::from(place >= self.begins(guess + 1))
    }

    /// The place in the epoch at which a window begins.
    fn begins(&self, window: u64) -> u64 {
        let shards = window * self.cut.shards;
        if shards >= self.shards() {
            return self.samples;
        }
        let missing = self.shards() * self.cut.sequences - self.samples;
        shards * self.cut.sequences - if self.epoch.last_at < shards { missing } else { 0 }
    }

    /// The place among the epoch's shards, and in that shard, if no shard were shuffled.
    fn shard_at(&self, place: u64) -> (u64, u64) {
        let per = self.cut.sequences;
        let last = self.sequences(self.shards() - 1);
        let Some(over) = place.checked_sub(self.epoch.last_at * per) else {
            return (place / per, place % per);
        };
        match over.checked_sub(last.end - last.start) {
            None => (self.epoch.last_at, over),
            Some(behind) => (self.epoch.last_at + 1 + behind / per, behind % per),
        }
    }

    fn turn_to(&mut self, number: u64) {
        if self.epoch.number == number {
            return;
        }
        let shards = self.shards();
        let order = Permutation::new(shards, self.seed, number);
        let last_at = (0..shards).find(|at| order.get(*at) == shards - 1).unwrap_or(0);
        self.epoch = Epoch { number, order, last_at };
    }
}

/// How a text is cut that is fetched piece by piece.
fn cut(spec: &RunSpec, text: &Blob) -> Cut {
    let (pieces, shards) = match spec.data.window().map(u64::from) {
        Some(window) => {
            let pieces = window.div_ceil(WINDOW_SHARDS);
            (pieces, window.div_ceil(pieces.max(1)))
        }
        None => ((u64::from(text.pieces()) / SHARDS_LEAST).clamp(1, SHARD_PIECES_MAX), 1),
    };
    let bytes = pieces * PIECE_BYTES as u64;
    let sequences = match spec.token_bytes() {
        Some(token) => bytes / (token * u64::from(spec.model.context)),
        // As many as there are on average.
        None => {
            (u128::from(spec.data.samples()) * u128::from(bytes) / u128::from(text.bytes)) as u64
        }
    };
    Cut { sequences: sequences.max(1), shards }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once_an_epoch_and_a_window_s_come_together() {
        for samples in (1..40).chain([100, 127, 128, 1000]) {
            for sequences in [1, 2, 3, 7, 16, 128, 999, 5000] {
                for shards in [1, 2, 3, 8] {
                    (0..3).for_each(|seed| check(samples, Cut { sequences, shards }, seed));
                }
            }
        }
    }

    fn check(samples: u64, cut: Cut, seed: u64) {
        let mut order = Order::new(samples, cut, seed);
        for epoch in [0, 1, 9] {
            let positions = epoch * samples..(epoch + 1) * samples;
            let mut seen: Vec<u64> = positions.clone().map(|at| order.sequence(at)).collect();
            let (mut at, mut windows) = (positions.start, 0);
            while at < positions.end {
                let window = order.window(at);
                assert_eq!(window.positions.start, at, "{samples} by {cut:?}");
                let mut came: Vec<u64> =
                    window.positions.clone().map(|p| order.sequence(p)).collect();
                came.sort_unstable();
                let mut shards = window.shards.clone();
                shards.sort_unstable();
                assert!(came.into_iter().eq(shards.into_iter().flat_map(|s| order.sequences(s))));
                assert!(window.positions.clone().all(|p| order.window(p) == window));
                (at, windows) = (window.positions.end, windows + 1);
            }
            assert_eq!((at, windows), (positions.end, order.windows()));
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..samples), "{samples} by {cut:?}");
        }
    }

    #[test]
    fn without_shards_the_order_is_the_old_one() {
        let mut order = Order::new(100, Cut { sequences: 100, shards: 8 }, 7);
        for position in [0, 5, 99, 100, 250] {
            let old = Permutation::new(100, 7, position / 100);
            assert_eq!(order.sequence(position), old.get(position % 100));
        }
    }

    #[test]
    fn the_order_is_this_on_every_machine() {
        let all = |shards| {
            let mut order = Order::new(10, Cut { sequences: 4, shards }, 1);
            let shards: Vec<u64> = (0..10).map(|at| order.window(at).shards[0]).collect();
            ((0..10).map(|at| order.sequence(at)).collect::<Vec<u64>>(), shards)
        };
        let shards = vec![1, 1, 1, 1, 2, 2, 0, 0, 0, 0];
        assert_eq!(all(1), (vec![6, 4, 5, 7, 9, 8, 0, 3, 1, 2], shards));
        let shards = vec![1, 1, 1, 1, 1, 1, 0, 0, 0, 0];
        assert_eq!(all(2), (vec![5, 4, 9, 6, 8, 7, 0, 3, 1, 2], shards));
    }
}
