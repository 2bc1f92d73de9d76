//! A run that is small enough to check by arithmetic: a few thousand numbers, and a "gradient" that is a pure function
//! of the samples, so that what was trained can be told from what was counted.

use crate::rng::mix;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::Standing;
use shoal_protocol::wire::STATE_CHUNK_BYTES;
use std::ops::Range;

/// Parameters, and the outer optimiser's vectors one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub params: Vec<f32>,
    pub momentum: Vec<f32>,
}

impl Numbers {
    /// Those of round 0.
    pub fn initial(spec: &RunSpec) -> Numbers {
        let n = spec.elems();
        let params = (0..n).map(|i| noise(spec.seed ^ mix(i))).collect();
        Numbers { params, momentum: vec![0.0; n as usize * spec.outer_states()] }
    }

    /// The state's bytes, which its chunks are cut from.
    pub fn bytes(&self) -> Vec<u8> {
        self.params.iter().chain(&self.momentum).flat_map(|x| x.to_le_bytes()).collect()
    }

    /// The numbers of a state's bytes, if they are as many as the spec's.
    pub fn read(bytes: &[u8], spec: &RunSpec) -> Option<Numbers> {
        let mut all: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (bytes.len() as u64 == spec.state_bytes()).then(|| {
            let momentum = all.split_off(spec.elems() as usize);
            Numbers { params: all, momentum }
        })
    }

    /// BLAKE3 of each chunk of the state.
    pub fn chunks(&self) -> Vec<Digest> {
        self.bytes().chunks(STATE_CHUNK_BYTES).map(Digest::of).collect()
    }
}

/// Round 0 of a run, as every peer computes it.
#[cfg(test)]
pub fn genesis(spec: &RunSpec) -> Standing {
    standing(spec, &Numbers::initial(spec))
}

/// Round 0 of a run that starts from these numbers.
pub fn standing(spec: &RunSpec, numbers: &Numbers) -> Standing {
    let chunks = numbers.chunks();
    Standing { record: Record::genesis(spec.id(), state_root(&chunks)), chunks }
}

/// The pseudo-gradient of training on `lease`: the mean over its positions of one random vector each.
pub fn pseudo_gradient(n: usize, lease: &[Range<u64>]) -> Vec<f32> {
    let mut sum = vec![0.0; n];
    for position in lease.iter().cloned().flatten() {
        add_sample(&mut sum, position);
    }
    let scale = 1.0 / samples(lease).max(1) as f32;
    sum.iter_mut().for_each(|x| *x *= scale);
    sum
}

fn add_sample(sum: &mut [f32], position: u64) {
    let seed = mix(position + 1);
    sum.iter_mut().enumerate().for_each(|(i, x)| *x += noise(seed.wrapping_add(i as u64 * 0x9e37)));
}

/// The held-out loss of a round's state, nats: it falls less and less.
pub fn loss(round: Round) -> f64 {
    1.0 + 3.0 / (1 + round) as f64
}

/// Samples in a lease.
pub fn samples(lease: &[Range<u64>]) -> u64 {
    lease.iter().map(|range| range.end - range.start).sum()
}

/// A number in -1..1 from a seed.
fn noise(seed: u64) -> f32 {
    let z = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ seed >> 29;
    (z.wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}
