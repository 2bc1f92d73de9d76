//! Initial parameters from a seed, bit-identical on every machine.
//!
//! Only integer arithmetic and single IEEE operations (one subtraction, one multiplication) are used, never libm, so that
//! peers need not send the initial state to one another: they make it.

use super::{Layout, Role, Slot};
use crate::data::rng::mix;
use rayon::prelude::*;
use shoal_protocol::run::ModelSpec;

/// Standard deviation of the weights (GPT-2's, as in Llama's `initializer_range`).
pub const INIT_STD: f64 = 0.02;

/// Elements that one task fills.
const CHUNK: usize = 1 << 16;

/// The flat vector of initial parameters: norms 1; embeddings and inner matrices of standard deviation [`INIT_STD`];
/// matrices that add to the residual stream smaller by `sqrt(2 * layers)` (GPT-2, section 2.3).
pub fn initial_params(spec: &ModelSpec, seed: u64) -> Vec<f32> {
    let layout = Layout::new(spec);
    let mut flat = vec![0.0f32; layout.len()];
    let key = mix(seed ^ 0x5348_4f41_4c49_4e49);
    for slot in &layout.slots {
        fill(&mut flat[slot.range()], slot, deviation(slot.role, spec), key);
    }
    flat
}

fn deviation(role: Role, spec: &ModelSpec) -> Option<f64> {
    match role {
        Role::Embedding | Role::Inner => Some(INIT_STD),
        Role::Residual => Some(INIT_STD / f64::from(2 * spec.layers).sqrt()),
        Role::Norm => None,
    }
}

fn fill(weights: &mut [f32], slot: &Slot, deviation: Option<f64>, key: u64) {
    let Some(deviation) = deviation else { return weights.fill(1.0) };
    let scale = (deviation / SUM_STD) as f32;
    weights.par_chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| {
        let first = (slot.offset + index * CHUNK) as u64;
        for (element, weight) in (first..).zip(chunk) {
            *weight = centred_sum(key, element) as f32 * scale;
        }
    });
}

/// Standard deviation of [`centred_sum`]: that of a sum of eight integers uniform in 0..65536, `sqrt(8 (2^32 - 1) / 12)`.
const SUM_STD: f64 = 53_509.919_921_450_08;

/// Nearly normal around 0: the sum of eight 16-bit uniforms (Irwin-Hall, excess kurtosis -0.15) minus its mean.
fn centred_sum(key: u64, element: u64) -> i32 {
    let words = [mix(key.wrapping_add(2 * element)), mix(key.wrapping_add(2 * element + 1))];
    let lanes = words.iter().flat_map(|word| (0..4).map(move |lane| (word >> (16 * lane)) as u16));
    lanes.map(i32::from).sum::<i32>() - 262_140
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    #[test]
    fn the_constant_is_the_formula_s() {
        assert_eq!(SUM_STD, (8.0 * (2f64.powi(32) - 1.0) / 12.0).sqrt());
    }

    #[test]
    fn the_bits_are_these_on_every_machine() {
        let flat = initial_params(&preset("1m").unwrap(), 1);
        let bytes: Vec<u8> = flat.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let digest = shoal_protocol::id::Digest::of(&bytes);
        assert_eq!(digest.short(), "ea139d33");
    }

    #[test]
    fn weights_look_normal_and_seeds_differ() {
        let spec = preset("1m").unwrap();
        let flat = initial_params(&spec, 7);
        let embedding = &flat[Layout::new(&spec).slots[0].range()];
        let mean: f64 =
            embedding.iter().map(|w| f64::from(*w)).sum::<f64>() / embedding.len() as f64;
        let square: f64 =
            embedding.iter().map(|w| f64::from(w * w)).sum::<f64>() / embedding.len() as f64;
        assert!(mean.abs() < 3e-4, "{mean}");
        assert!((square.sqrt() - INIT_STD).abs() < 3e-4, "{square}");
        assert_ne!(flat, initial_params(&spec, 8));
    }
}
