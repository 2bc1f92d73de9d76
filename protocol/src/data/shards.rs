//! The order of an epoch in two levels, for texts that peers fetch piece by piece: first the shards of the text in a seeded order,
//! then within each shard its sequences. Every sequence comes once an epoch, and neighbouring positions lie in one or two shards.

use super::order::Permutation;
use super::rng::mix;
use crate::run::{Blob, RunSpec};
use crate::wire::PIECE_BYTES;
use std::ops::Range;

/// Most pieces of a shard: 8 MiB. Guess: a lease of a small model fits, and a home's link brings it in a few seconds.
const SHARD_PIECES_MAX: u64 = 8;
/// Shards that a small text is cut into, if it has as many pieces: with fewer the order would be no order. Guess.
const SHARDS_LEAST: u64 = 16;
/// Keeps the order within shards apart from the order of shards.
const WITHIN: u64 = 0x5348_4152_4453;

/// Which sequence each position of a run's data is.
#[derive(Clone, Debug)]
pub struct Order {
    samples: u64,
    seed: u64,
    /// Sequences of a shard, but for the text's last.
    per_shard: u64,
    epoch: Epoch,
    shard: Within,
}

/// The order of an epoch's shards.
#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    order: Permutation,
    /// The place of the text's last shard, which may be shorter than the others.
    last_at: u64,
}

/// The order in a shard.
#[derive(Clone, Debug)]
struct Within {
    of: (u64, u64),
    order: Permutation,
}

/// The shard that a position lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number in the text.
    pub shard: u64,
    /// Its positions.
    pub positions: Range<u64>,
}

impl Order {
    /// The order of a run's data: in two levels if peers can fetch the text from each other, else over the whole text.
    pub fn of(spec: &RunSpec) -> Order {
        let samples = spec.data.samples();
        match spec.text() {
            Some(text) => Order::new(samples, per_shard(spec, &text), spec.seed),
            None => Order::new(samples, samples, spec.seed),
        }
    }

    /// An order of so many sequences, so many of them a shard.
    pub fn new(samples: u64, per_shard: u64, seed: u64) -> Order {
        let (samples, per_shard) = (samples.max(1), per_shard.clamp(1, samples.max(1)));
        let (none, order) = (u64::MAX, Permutation::new(1, 0, 0));
        let epoch = Epoch { number: none, order: order.clone(), last_at: 0 };
        Order { samples, seed, per_shard, epoch, shard: Within { of: (none, none), order } }
    }

    /// Shards of the text.
    pub fn shards(&self) -> u64 {
        self.samples.div_ceil(self.per_shard)
    }

    /// The sequences of a shard, as they follow one another in the text.
    pub fn sequences(&self, shard: u64) -> Range<u64> {
        let start = shard.saturating_mul(self.per_shard).min(self.samples);
        start..(start + self.per_shard).min(self.samples)
    }

    /// The sequence at a position.
    pub fn sequence(&mut self, position: u64) -> u64 {
        let place = self.place(position);
        let sequences = self.sequences(place.shard);
        let epoch = position / self.samples;
        if self.shard.of != (epoch, place.shard) {
            let seed = self.seed_within(place.shard);
            let order = Permutation::new(sequences.end - sequences.start, seed, epoch);
            self.shard = Within { of: (epoch, place.shard), order };
        }
        sequences.start + self.shard.order.get(position - place.positions.start)
    }

    /// One shard is the whole text: its order is that of runs without shards.
    fn seed_within(&self, shard: u64) -> u64 {
        if self.shards() == 1 { self.seed } else { mix(self.seed ^ WITHIN).wrapping_add(shard) }
    }

    /// The shard that a position lies in.
    pub fn place(&mut self, position: u64) -> Place {
        let (number, within) = (position / self.samples, position % self.samples);
        self.turn_to(number);
        let (per, last) = (self.per_shard, self.shards() - 1);
        let short = self.sequences(last);
        let before = self.epoch.last_at * per;
        let (at, start) = match within.checked_sub(before) {
            None => (within / per, within / per * per),
            Some(over) => match over.checked_sub(short.end - short.start) {
                None => (self.epoch.last_at, before),
                Some(over) => {
                    let shards = over / per;
                    (self.epoch.last_at + 1 + shards, within - over % per)
                }
            },
        };
        let shard = self.epoch.order.get(at);
        let sequences = self.sequences(shard);
        let start = number * self.samples + start;
        Place { shard, positions: start..start + (sequences.end - sequences.start) }
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

/// Sequences of a shard of a text that is fetched piece by piece.
fn per_shard(spec: &RunSpec, text: &Blob) -> u64 {
    let pieces = (u64::from(text.pieces()) / SHARDS_LEAST).clamp(1, SHARD_PIECES_MAX);
    let bytes = pieces * PIECE_BYTES as u64;
    match spec.token_bytes() {
        Some(token) => bytes / (token * u64::from(spec.model.context)),
        // As many as there are on average.
        None => {
            (u128::from(spec.data.samples()) * u128::from(bytes) / u128::from(text.bytes)) as u64
        }
    }
    .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once_an_epoch_and_a_shard_s_come_together() {
        for samples in (1..40).chain([100, 127, 128, 1000]) {
            for per_shard in [1, 2, 3, 7, 16, 128, 999, 5000] {
                for seed in 0..3 {
                    check(samples, per_shard, seed);
                }
            }
        }
    }

    fn check(samples: u64, per_shard: u64, seed: u64) {
        let mut order = Order::new(samples, per_shard, seed);
        for epoch in [0, 1, 9] {
            let positions = epoch * samples..(epoch + 1) * samples;
            let mut seen: Vec<u64> = positions.clone().map(|at| order.sequence(at)).collect();
            let mut at = positions.start;
            while at < positions.end {
                let place = order.place(at);
                assert_eq!(place.positions.start, at, "{samples} by {per_shard}");
                let mut shard: Vec<u64> =
                    place.positions.clone().map(|p| order.sequence(p)).collect();
                shard.sort_unstable();
                assert!(shard.into_iter().eq(order.sequences(place.shard)));
                assert!(place.positions.clone().all(|p| order.place(p) == place));
                at = place.positions.end;
            }
            assert_eq!(at, positions.end);
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..samples), "{samples} by {per_shard}");
        }
    }

    #[test]
    fn without_shards_the_order_is_the_old_one() {
        let mut order = Order::new(100, 100, 7);
        for position in [0, 5, 99, 100, 250] {
            let old = Permutation::new(100, 7, position / 100);
            assert_eq!(order.sequence(position), old.get(position % 100));
        }
    }

    #[test]
    fn the_order_is_this_on_every_machine() {
        let mut order = Order::new(10, 4, 1);
        let all: Vec<u64> = (0..10).map(|at| order.sequence(at)).collect();
        let shards: Vec<u64> = (0..10).map(|at| order.place(at).shard).collect();
        assert_eq!(all, [6, 4, 5, 7, 9, 8, 0, 3, 1, 2]);
        assert_eq!(shards, [1, 1, 1, 1, 2, 2, 0, 0, 0, 0]);
    }
}
