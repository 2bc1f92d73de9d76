//! Counts by hand, and what must hold of any.

use super::*;
use crate::train::trainer::test_spec;
use shoal_protocol::math::Codec;
use shoal_protocol::run::{DropoutSpec, InnerOptimizer};

/// The tests' model: vocabulary 256, dim 16, one layer, two heads that share one of keys and values, hidden 24, context 16; batch 4.
fn spec() -> RunSpec {
    test_spec()
}

fn way(micro_batch: u32, recompute: bool) -> Thrift {
    Thrift { micro_batch: Some(micro_batch), recompute }
}

#[test]
fn a_small_model_by_hand() {
    let load = device(&spec(), way(4, false), Device::Cpu);
    let params = spec().model.params();
    // RoPE: 16 places, 4 complex numbers each.
    assert_eq!(load.weights, 4 * params + 16 * 4 * 8);
    assert_eq!((load.optimiser, load.gradients), (8 * params, 8 * params));
    // 64 tokens. Of each: stream twice, what is read of it twice, q, k, v (as wide as q when heads share them), the mixed: 8 x 16;
    // 4 x 24; 4 of norms; 2 of heads. Head: stream, what is read of it, 256 logarithms.
    let (layer, head) = (64 * (8 * 16 + 4 * 24 + 4 + 2), 64 * (2 * 16 + 256));
    assert_eq!(load.activations, 4 * (layer + head));
    let folded = 16 * (16 + 2 * 8 + 2 * 24) + 256 * 16;
    let most = 4 * (layer + head + 2 * 64 * 256 + folded);
    assert_eq!(load.peak - load.resting, most + most * 30 / 100);
    // On a GPU matrices take half, and nothing lies about.
    let on_gpu = device(&spec(), way(4, false), Device::Cuda);
    let (layer, head) = (64 * (6 * 16 * 2 + 2 * 16 * 4 + 4 * 24 * 2 + 24), 64 * (16 * 6 + 4 * 256));
    assert_eq!(on_gpu.activations, layer + head);
    assert_eq!(on_gpu.peak - on_gpu.resting, layer + head + 2 * 64 * 256 * 4 + 2 * folded);
}

#[test]
fn thrift_takes_less_and_dropout_more() {
    let mut spec = spec();
    (spec.model.layers, spec.model.context, spec.model.dim) = (8, 512, 128);
    (spec.model.heads, spec.model.kv_heads, spec.model.hidden) = (4, 4, 352);
    for on in [Device::Cpu, Device::Cuda] {
        let peak = |spec: &RunSpec, thrift| device(spec, thrift, on).peak;
        let whole = peak(&spec, way(4, false));
        assert_eq!(whole, peak(&spec, Thrift::default()));
        assert!(peak(&spec, way(2, false)) < whole);
        assert!(peak(&spec, way(1, false)) < peak(&spec, way(2, false)));
        assert!(
            3 * device(&spec, way(4, true), on).activations
                < device(&spec, way(4, false), on).activations
        );
        let mut dropping = spec.clone();
        dropping.regularisation.dropout = DropoutSpec { residual: 0.1, ..DropoutSpec::default() };
        let residual = peak(&dropping, way(4, false));
        dropping.regularisation.dropout.attention = 0.1;
        assert!(whole < residual && residual < peak(&dropping, way(4, false)));
    }
}

#[test]
fn muon_keeps_one_vector_of_its_matrices() {
    let mut spec = spec();
    spec.inner.optimizer = InnerOptimizer::Muon { lr: 0.02, momentum: 0.9, nesterov: true };
    let matrices = 16 * (16 + 8 + 8 + 16 + 24 + 24 + 24);
    let load = device(&spec, way(4, false), Device::Cpu);
    assert_eq!(load.optimiser, 4 * (2 * spec.model.params() - matrices));
    spec.inner.optimizer = InnerOptimizer::Sgd { momentum: 0.0, nesterov: false };
    assert_eq!(device(&spec, way(4, false), Device::Cpu).optimiser, 0);
}

#[test]
fn the_quickest_way_that_fits_is_chosen() {
    let spec = spec();
    let all = ways(&spec, Device::Cpu);
    let sizes: Vec<_> =
        all.iter().map(|way| (way.thrift.micro_batch, way.thrift.recompute)).collect();
    let expected = [(4, false), (2, false), (1, false), (4, true), (2, true), (1, true)];
    assert_eq!(sizes, expected.map(|(size, recompute)| (Some(size), recompute)));
    let takes = |way: &Way| total(&spec, &way.device, Device::Cpu);
    assert_eq!(fitting(&spec, Device::Cpu, u64::MAX), Some(all[0]));
    assert_eq!(fitting(&spec, Device::Cpu, takes(&all[0])), Some(all[0]));
    let tighter = fitting(&spec, Device::Cpu, takes(&all[0]) - 1).unwrap();
    assert!(takes(&tighter) < takes(&all[0]));
    assert_eq!(fitting(&spec, Device::Cpu, 1000), None);
}

#[test]
fn the_host_holds_states_and_residuals() {
    let mut spec = spec();
    let params = spec.model.params();
    let chunks = u64::from(spec.chunks());
    // Three vectors of the exchange, two of AdamW, two states of two; four rounds of results of f32.
    let (resting, result) = (4 * params * (3 + 2 + 4), 4 * 1024 * chunks);
    let host = host(&spec);
    assert_eq!(host.resting, resting + 4 * result);
    assert_eq!(host.most, host.resting + 4 * params * 4 + 2 * result);
    // One in four numbers, and not one in 256 as usual.
    (spec.exchange.up, spec.exchange.down) = (Codec::Mask, Codec::Mask);
    spec.exchange.mask_one_of = 4;
    assert_eq!(super::host(&spec).resting, resting + result);
}
