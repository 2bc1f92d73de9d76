//! The numbers that are averaged: about normal, different for each peer, the same in every run.

use super::BenchAllreduce;
use crate::data::rng::{Rng, mix};

/// Fills `out` with elements `start..` of `rank`'s vector.
pub(super) fn fill(rank: usize, chunk: usize, out: &mut [f32]) {
    let mut rng = Rng::new(mix(rank as u64) ^ chunk as u64);
    for out in out {
        let bits = rng.next();
        // Four 16-bit uniforms: their sum, centred and scaled, has variance 1 (Irwin-Hall).
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        *out = (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt();
    }
}

/// `|got - mean| / |mean|` of `got` against the exact mean of all ranks' vectors.
pub(super) fn relative_error(bench: &BenchAllreduce, got: &[f32]) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    let mut part = vec![0.0; bench.chunk_elems];
    for (chunk, got) in got.chunks(bench.chunk_elems).enumerate() {
        let mut mean = vec![0.0_f64; got.len()];
        for rank in 0..bench.peers {
            fill(rank, chunk, &mut part[..got.len()]);
            mean.iter_mut().zip(&part).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        for (got, sum) in got.iter().zip(mean) {
            let mean = sum / bench.peers as f64;
            off += (f64::from(*got) - mean).powi(2);
            all += mean.powi(2);
        }
    }
    (off / all).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_normal() {
        let mut x = vec![0.0; 100_000];
        fill(3, 1, &mut x);
        let mean = x.iter().sum::<f32>() / 1e5;
        let variance = x.iter().map(|x| x * x).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let mut other = vec![0.0; 100];
        fill(4, 1, &mut other);
        assert_ne!(x[..100], other);
    }
}
