//! What the machine can do at best.

use std::hint::black_box;
use std::time::Instant;

/// Bytes per second of copying `from` over `to`, which are equally long.
pub(super) fn memcpy(from: &[f32], to: &mut [f32]) -> f64 {
    let begun = Instant::now();
    to.copy_from_slice(black_box(from));
    black_box(&to);
    size_of_val(from) as f64 / begun.elapsed().as_secs_f64()
}

/// The middle of some measurements; NaN for none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
