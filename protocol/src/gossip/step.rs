//! The outer step of a gossip run.
//!
//! NoLoCo (arXiv 2506.10911, section 3): with slow parameters phi, progress D = theta - phi of the local steps and a group of n,
//!
//! ```text
//! v   <- alpha * v + beta * mean(D_j) - gamma * (phi - mean(phi_j))
//! phi <- phi + v
//! ```
//!
//! The group's part is the mean of one vector, x_j = beta * D_j + gamma * phi_j, so that is what travels. With alpha = 0 and beta = gamma = 1
//! the step is phi <- mean(theta_j): Moshpit's plain average.

use crate::math::codec::{BLOCK, Codec, CodecError};
use crate::run::gossip::GossipSpec;
use std::ops::Range;

/// Elements of slice `slice` of `slices`, of a vector of `elems`: whole blocks but for the last. Empty if there are fewer blocks.
pub fn slice(elems: usize, slices: u64, slice: u64) -> Range<usize> {
    let blocks = elems.div_ceil(BLOCK) as u128;
    let end = |n: u64| {
        let block = blocks * u128::from(n.min(slices)) / u128::from(slices.max(1));
        (block as usize * BLOCK).min(elems)
    };
    end(slice)..end(slice.saturating_add(1))
}

/// The mean of a slice, encoded: the same bytes for all. `up` is the codec of parts, `down` that of the mean. `parts` in the group's order; `None` is the owner's own, exact.
///
/// # Errors
/// The first part that does not decode, by its place, and what is wrong with it.
pub fn average(
    (up, down): (Codec, Codec),
    own: &[f32],
    parts: &[Option<&[u8]>],
) -> Result<Vec<u8>, (usize, CodecError)> {
    let share = 1.0 / parts.len().max(1) as f32;
    let mut mean = vec![0.0; own.len()];
    for (place, part) in parts.iter().enumerate() {
        match part {
            None => mean.iter_mut().zip(own).for_each(|(sum, x)| *sum += share * x),
            Some(bytes) => {
                up.accumulate(bytes, share, &mut mean).map_err(|error| (place, error))?;
            }
        }
    }
    let mut bytes = Vec::new();
    down.encode(&mean, &mut bytes);
    Ok(bytes)
}

/// What a peer brings to its group, `[params]`: `beta * (local - outer) + gamma * outer`, into `x`.
///
/// # Panics
/// If the slices differ in length: a caller's fault that no peer can provoke.
pub fn brings(spec: &GossipSpec, outer: &[f32], local: &[f32], x: &mut [f32]) {
    assert!(outer.len() == local.len() && x.len() == local.len(), "vectors of one model differ");
    for ((x, outer), local) in x.iter_mut().zip(outer).zip(local) {
        *x = spec.beta * (local - outer) + spec.gamma * outer;
    }
}

/// The step with the group's mean of [`brings`], in place: `outer` and `momentum`, of the same elements as `mean`.
///
/// # Panics
/// As [`brings`].
pub fn take(spec: &GossipSpec, outer: &mut [f32], momentum: &mut [f32], mean: &[f32]) {
    assert!(
        outer.len() == mean.len() && momentum.len() == mean.len(),
        "vectors of one model differ"
    );
    for ((outer, momentum), mean) in outer.iter_mut().zip(momentum).zip(mean) {
        *momentum = spec.alpha * *momentum + (mean - spec.gamma * *outer);
        *outer += *momentum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of a pair by hand: alpha 0.5, beta 0.5, gamma 1.
    #[test]
    fn a_pair_is_pulled_together_and_along() {
        let spec = GossipSpec { alpha: 0.5, beta: 0.5, gamma: 1.0, ..GossipSpec::noloco(1, 2) };
        let (mut a, mut b) = ([1.0], [3.0]);
        let (mut x, mut y) = ([0.0], [0.0]);
        brings(&spec, &a, &[2.0], &mut x);
        brings(&spec, &b, &[3.0], &mut y);
        let mean = [0.5 * (x[0] + y[0])];
        let (mut va, mut vb) = ([0.2], [0.0]);
        take(&spec, &mut a, &mut va, &mean);
        take(&spec, &mut b, &mut vb, &mean);
        // mean(D) = 0.5, mean(phi) = 2: va = 0.1 + 0.25 + 1 = 1.35, vb = 0.25 - 1.
        assert!((va[0] - 1.35).abs() < 1e-6 && (a[0] - 2.35).abs() < 1e-6, "{va:?} {a:?}");
        assert!((vb[0] + 0.75).abs() < 1e-6 && (b[0] - 2.25).abs() < 1e-6, "{vb:?} {b:?}");
    }

    #[test]
    fn slices_cover_the_vector_once_in_whole_blocks() {
        for (elems, slices) in [(5000, 3), (100, 2), (512, 4), (1, 1), (4096, 8)] {
            let all: Vec<Range<usize>> = (0..slices).map(|k| slice(elems, slices, k)).collect();
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, elems));
            assert!(
                all.windows(2)
                    .all(|w| w[0].end == w[1].start && w[0].end % BLOCK == 0 || w[0].end == elems)
            );
        }
    }

    #[test]
    fn a_mean_is_of_all_parts_in_order_and_a_bad_one_is_named() {
        let two = [2.0_f32, 4.0].map(f32::to_le_bytes).concat();
        let mean = average((Codec::F32, Codec::F32), &[4.0, 0.0], &[None, Some(&two)]).unwrap();
        assert_eq!(mean, [3.0_f32, 2.0].map(f32::to_le_bytes).concat());
        let bad =
            average((Codec::F32, Codec::F32), &[4.0, 0.0], &[Some(&two), Some(&two[1..]), None]);
        assert_eq!(bad.unwrap_err().0, 1);
    }

    #[test]
    fn alone_it_is_sgd_with_momentum_and_moshpit_takes_the_mean() {
        let spec = GossipSpec::noloco(1, 2);
        let (mut outer, mut v, mut x) = ([2.0], [1.0], [0.0]);
        brings(&spec, &outer, &[3.0], &mut x);
        take(&spec, &mut outer, &mut v, &x);
        assert!((v[0] - (0.5 + 0.7)).abs() < 1e-6, "{v:?}");
        let spec = GossipSpec::moshpit(1, 2);
        let (mut outer, mut v) = ([2.0], [1.0]);
        take(&spec, &mut outer, &mut v, &[2.5]);
        assert_eq!(outer, [2.5]);
    }
}
