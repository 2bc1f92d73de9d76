//! What a scenario's model looks like of which only the size is told.

use shoal_protocol::run::ModelSpec;

/// A decoder with about so many parameters, each layer as wide as it is in models of that size.
pub(super) fn model(params: u64, context: u32) -> ModelSpec {
    let of = |dim: u32, layers: u32| ModelSpec {
        vocab: 256,
        dim,
        layers,
        heads: 2,
        kv_heads: 2,
        hidden: 3 * dim,
        context,
        head_width: None,
        tied: true,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: None,
    };
    let candidates =
        (2..2048).map(|n| 4 * n).flat_map(|dim| [1, 2, 4, 8, 16, 32].map(|l| of(dim, l)));
    let shapely = candidates.filter(|m| m.dim / m.layers <= 256);
    shapely.min_by_key(|m| m.params().abs_diff(params)).expect("there are candidates")
}

/// Some hundred chunks, none above 256 Ki elements.
pub(super) fn chunk_elems(params: u64) -> u32 {
    ((params / 128).next_power_of_two()).clamp(512, 1 << 18) as u32
}
