//! Initial parameters from a seed, bit-identical on every machine.
//!
//! Only integer arithmetic and single IEEE operations (one subtraction, one multiplication) are used, never libm, so that
//! peers need not send the initial state to one another: they make it.

use super::{Layout, Role, Slot};
use crate::data::rng::mix;
use rayon::prelude::*;
use shoal_protocol::run::ModelSpec;

/// Standard deviation of the weights of a spec that names none (GPT-2's, as in Llama's `initializer_range`).
const INIT_STD: f64 = 0.02;

/// Elements that one task fills.
const CHUNK: usize = 1 << 16;

/// The standard deviation that suits a width: `sqrt(2 / (5 dim))` (Nguyen and Salazar, arXiv 1910.05895, section 2.2; as in GPT-NeoX).
/// At the width of 1000 that is GPT-2's; a narrow model of so small weights learns slowly.
pub fn small_init(dim: u32) -> f32 {
    (0.4 / f64::from(dim)).sqrt() as f32
}

/// Standard deviation of a model's initial weights.
pub fn init_std(spec: &ModelSpec) -> f64 {
    spec.init_std.map_or(INIT_STD, f64::from)
}

/// The flat vector of initial parameters: norms 1; embeddings and inner matrices of standard deviation [`init_std`];
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
        Role::Embedding | Role::Inner => Some(init_std(spec)),
        Role::Residual => Some(init_std(spec) / f64::from(2 * spec.layers).sqrt()),
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
        for (init_std, want) in [(None, "ea139d33"), (Some(0.05), "e8819891")] {
            let spec = ModelSpec { init_std, ..preset("1m").unwrap() };
            let flat = initial_params(&spec, 1);
            let bytes: Vec<u8> = flat.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            assert_eq!(shoal_protocol::id::Digest::of(&bytes).short(), want);
        }
    }

    #[test]
    fn weights_look_normal_and_seeds_differ() {
        let spec = ModelSpec { init_std: None, ..preset("1m").unwrap() };
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
