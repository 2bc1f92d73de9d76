//! The protocol's seeded generator with the draws that a simulation needs.

use shoal_protocol::data::rng;
use shoal_protocol::time::Span;

pub use rng::finalise as mix;

/// All chance in a test comes from one of these.
#[derive(Clone, Debug)]
pub struct Rng(rng::Rng);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(rng::Rng::new(seed))
    }

    /// A generator of its own for one purpose.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// Below `n`; 0 if `n` is 0. The remainder, not the protocol's multiplication: all traces follow from these draws.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }

    /// From `low` up to, but not including, `high` milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Span {
        Span(low * 1000 + self.below((high - low) * 1000))
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// The numbers below `n` in random order.
    #[cfg(test)]
    pub fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.index(i + 1));
        }
        order
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let draw = |seed| {
        let mut rng = Rng::new(seed);
        (rng.next(), rng.below(10), rng.shuffled(5), rng.bytes(3))
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}
