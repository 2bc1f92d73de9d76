//! The baselines that the protocol does not have, as direct computations: one model, one inner optimiser, no outer step.
//!
//! Data parallel training with the inner optimiser on the mean gradient is the same as one model on all workers' batches as one
//! large batch. Its bytes are those of a ring all-reduce (Patarasuk and Yuan 2009): each of M workers sends and receives
//! `2 (M - 1) / M` times the gradient in a step, in `2 (M - 1)` messages one after the other.

use super::course::{Length, TorchCourse};
use super::file::Network;
use super::point::Measured;
use crate::train::TrainError;

/// Bytes of an element of a gradient in f32.
pub const F32_BYTES: f64 = 4.0;

/// Trains `params` on `together` batches of `batch` sequences a step, and measures on the way.
///
/// # Errors
/// The loss is no number any more, or the device failed.
pub fn train(
    course: &TorchCourse,
    params: &[f32],
    length: Length,
    (batch, together): (u64, u64),
    step_s: f64,
    tokens_per_sequence: u64,
) -> Result<Vec<Measured>, TrainError> {
    course.load(params)?;
    let sequences = batch * together;
    let mut curve = Vec::new();
    for done in 0..=length.steps {
        if length.measures(done) {
            let (tokens, at_s) = (done * sequences * tokens_per_sequence, done as f64 * step_s);
            let (loss, training) = course.measure()?;
            curve.push(Measured { tokens, round: done, at_s, loss, training });
        }
        if done < length.steps {
            course.step(done, done * sequences..(done + 1) * sequences)?;
        }
    }
    Ok(curve)
}

/// Bytes that each of so many workers sends, and receives, in one ring all-reduce of a gradient of `elems` elements.
pub fn ring_bytes(workers: usize, elems: u64, bytes_an_element: f64) -> f64 {
    let m = workers.max(1) as f64;
    2.0 * (m - 1.0) / m * elems as f64 * bytes_an_element
}

/// How long a step of data parallel training takes: its tokens, then the ring, bytes and latency.
pub fn step_s(workers: usize, elems: u64, tokens: u64, network: &Network) -> f64 {
    let bytes_per_s = network.up_mbit.min(network.down_mbit) * 125_000.0;
    let hops = 2.0 * (workers.max(1) - 1) as f64;
    let one_way_s = 2.0 * network.latency_ms / 1e3;
    tokens as f64 / network.tokens_per_s
        + ring_bytes(workers, elems, F32_BYTES) / bytes_per_s
        + hops * one_way_s
}

#[test]
fn a_ring_by_hand() {
    assert_eq!(ring_bytes(1, 1000, 4.0), 0.0);
    assert_eq!(ring_bytes(2, 1000, 4.0), 4000.0);
    assert_eq!(ring_bytes(4, 1000, 2.0), 3000.0);
    let network = Network { up_mbit: 8.0, down_mbit: 80.0, latency_ms: 5.0, tokens_per_s: 100.0 };
    // 2 s of training, 6000 bytes at a megabyte a second, 6 hops of 10 ms.
    assert!((step_s(4, 1000, 200, &network) - 2.066).abs() < 1e-12);
    assert_eq!(step_s(1, 1000, 200, &network), 2.0);
}
