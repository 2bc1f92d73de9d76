//! The order of an epoch: a permutation that is computed, not stored.
//!
//! A balanced Feistel network over the next even power of two, walked along its cycle until it lands inside (Black and
//! Rogaway 2002, "Ciphers with arbitrary finite domains"): a bijection on 0..n for every key, less than four steps on average.

use super::rng::mix;

/// Feistel rounds; four already give a strong pseudo-random permutation (Luby and Rackoff 1988), six cost nothing.
const FEISTEL_ROUNDS: u64 = 6;

/// A permutation of 0..n, keyed by a seed and an epoch.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// The permutation of 0..n for one epoch of a run's seed.
    pub fn new(n: u64, seed: u64, epoch: u64) -> Permutation {
        let bits = 64 - n.saturating_sub(1).leading_zeros();
        Permutation { n, half_bits: bits.div_ceil(2).max(1), key: mix(mix(seed) ^ epoch) }
    }

    /// Where `index` (below n) goes; below n too.
    pub fn get(&self, index: u64) -> u64 {
        debug_assert!(index < self.n, "{index} is not below {}", self.n);
        let mut at = self.network(index);
        while at >= self.n {
            at = self.network(at);
        }
        at
    }

    fn network(&self, index: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (index >> self.half_bits, index & mask);
        for round in 0..FEISTEL_ROUNDS {
            let mixed = mix(self.key ^ mix((round << 56) ^ right));
            (left, right) = (right, left ^ (mixed & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_bijection_for_every_size() {
        for n in (1..200).chain([1000, 4096, 4097, 65_537]) {
            let order = Permutation::new(n, 5, 1);
            let mut seen: Vec<u64> = (0..n).map(|index| order.get(index)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n}");
        }
    }

    #[test]
    fn seeds_and_epochs_give_other_orders_that_stay() {
        let order = |seed, epoch| {
            let order = Permutation::new(1000, seed, epoch);
            (0..1000).map(|index| order.get(index)).collect::<Vec<_>>()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let fixed = order(1, 0).iter().zip(0..).filter(|(at, index)| **at == *index).count();
        assert!(fixed < 10, "{fixed}");
    }

    #[test]
    fn the_order_is_this_on_every_machine() {
        let order = Permutation::new(10, 1, 0);
        let all: Vec<u64> = (0..10).map(|index| order.get(index)).collect();
        assert_eq!(all, [4, 2, 1, 9, 8, 0, 3, 5, 6, 7]);
    }

    #[test]
    fn huge_sizes_stay_inside() {
        let n = (1 << 47) + 12_345;
        let order = Permutation::new(n, 9, 3);
        assert!((0..1000).map(|i| order.get(n - 1 - i * 1_000_003)).all(|at| at < n));
    }
}
