//! How a signature is cut into bands: two documents are compared if they agree in all rows of any band.

use super::minhash::{HASHES, Signature};
use crate::data::rng::mix;

/// Bands of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Bands.
    pub bands: usize,
    /// Rows of a band.
    pub rows: usize,
}

impl Bands {
    /// The longest rows with which nine in ten pairs of the similarity `threshold` share a band: fewest pairs to look at.
    pub fn new(threshold: f64) -> Bands {
        let cut = |rows| Bands { bands: HASHES / rows, rows };
        let good = |bands: &Bands| bands.chance(threshold) >= 0.9;
        (1..=32).rev().map(cut).find(good).unwrap_or(cut(1))
    }

    /// The chance that two documents of a Jaccard similarity share a band: 1 - (1 - s^rows)^bands.
    pub fn chance(self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }

    /// A key for each band.
    pub fn keys(self, signature: &Signature) -> impl Iterator<Item = u64> + '_ {
        let key = move |(band, rows): (usize, &[u16])| {
            rows.iter().fold(mix(band as u64), |key, value| mix(key ^ u64::from(*value)))
        };
        signature.0.chunks_exact(self.rows).enumerate().map(key)
    }
}
