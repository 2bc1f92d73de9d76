//! How much memory a run takes on a machine, before it is started: counted from what the rooms hold, and which micro-batch to
//! take, with or without recomputation, so that it fits.
//!
//! | file | holds |
//! |---|---|
//! | `device` | weights, optimiser, gradients and activations on the device that trains |
//! | `host` | what the exchange holds in the host's own memory |
//!
//! The numbers of `device` were held against the peak of real processes: see `docs/LOG.md`.

mod device;
mod host;

pub use device::{Device, Load, device};
pub use host::{Host, host};

use crate::model::Thrift;
use shoal_protocol::run::RunSpec;

/// One way to train, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// The bargain between memory and time.
    pub thrift: Thrift,
    /// On the device that trains.
    pub device: Load,
}

/// The ways to train a run's batch, the quickest first: whole and in halves, each with activations kept; then the same recomputed.
pub fn ways(spec: &RunSpec, on: Device) -> Vec<Way> {
    let mut sizes = vec![spec.inner.batch.max(1)];
    while let Some(half) = sizes.last().filter(|size| **size > 1).map(|size| size.div_ceil(2)) {
        sizes.push(half);
    }
    let way = |micro_batch, recompute| {
        let thrift = Thrift { micro_batch: Some(micro_batch), recompute };
        Way { thrift, device: device(spec, thrift, on) }
    };
    let kept = sizes.iter().map(|size| way(*size, false));
    kept.chain(sizes.iter().map(|size| way(*size, true))).collect()
}

/// The most bytes at once of the memory that training takes place in: a processor's holds the exchange as well. While a round is
/// committed nothing is trained, but where training goes on meanwhile.
pub fn total(spec: &RunSpec, load: &Load, on: Device) -> u64 {
    let host = host(spec);
    match on {
        Device::Cuda => load.peak,
        Device::Cpu if spec.strategy.overlaps() => load.peak + host.most,
        Device::Cpu => (load.peak + host.resting).max(load.resting + host.most),
    }
}

/// The quickest way that fits into `memory` bytes.
pub fn fitting(spec: &RunSpec, on: Device, memory: u64) -> Option<Way> {
    ways(spec, on).into_iter().find(|way| total(spec, &way.device, on) <= memory)
}

#[cfg(test)]
mod tests;
