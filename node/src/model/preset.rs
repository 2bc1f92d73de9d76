//! Named shapes from about a million to about a billion parameters.

use super::init::small_init;
use shoal_protocol::run::ModelSpec;

/// The presets' names, smallest first.
pub const PRESETS: [&str; 8] = ["1m", "5m", "10m", "25m", "60m", "125m", "350m", "1b"];

/// A shape by name, with the byte vocabulary of 256; `None` for a name that is not in [`PRESETS`].
///
/// Names count the parameters roughly: with another vocabulary the embeddings weigh more or less.
pub fn preset(name: &str) -> Option<ModelSpec> {
    // dim, layers, heads, kv_heads, hidden, context, tied
    let shape = match name {
        "1m" => (128, 5, 4, 4, 352, 128, true),
        "5m" => (256, 6, 4, 4, 704, 256, false),
        // The shape that the speed of training is compared on.
        "10m" => (384, 6, 6, 6, 1024, 256, false),
        "25m" => (512, 8, 8, 8, 1376, 512, false),
        "60m" => (768, 8, 12, 4, 2304, 1024, false),
        "125m" => (896, 12, 14, 14, 2432, 1024, false),
        "350m" => (1280, 17, 20, 20, 3456, 2048, false),
        "1b" => (2048, 20, 32, 8, 5632, 2048, false),
        _ => return None,
    };
    Some(spec(shape))
}

/// The same shape for a vocabulary of `vocab` tokens.
pub fn with_vocab(spec: ModelSpec, vocab: u32) -> ModelSpec {
    ModelSpec { vocab, ..spec }
}

fn spec(
    (dim, layers, heads, kv_heads, hidden, context, tied): (u32, u32, u32, u32, u32, u32, bool),
) -> ModelSpec {
    ModelSpec {
        vocab: 256,
        dim,
        layers,
        heads,
        kv_heads,
        hidden,
        context,
        head_width: None,
        tied,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: Some(small_init(dim)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_size() {
        let sizes: Vec<u64> = PRESETS.iter().map(|name| preset(name).unwrap().params()).collect();
        let named = [1e6, 5e6, 10e6, 25e6, 60e6, 125e6, 350e6, 1e9];
        for ((name, size), named) in PRESETS.iter().zip(&sizes).zip(named) {
            let ratio = *size as f64 / named;
            assert!((0.85..1.18).contains(&ratio), "{name} has {size} parameters");
        }
        assert_eq!(preset("2m"), None);
    }

    #[test]
    fn ten_m_with_65_tokens_is_the_baseline() {
        // 6 layers, dim 384, 6 heads, hidden 1024, vocabulary 65, untied head.
        let spec = with_vocab(preset("10m").unwrap(), 65);
        assert_eq!(spec.params(), 2 * 65 * 384 + 6 * (4 * 384 * 384 + 3 * 384 * 1024 + 768) + 384);
    }
}
