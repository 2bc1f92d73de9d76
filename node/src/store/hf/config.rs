//! `config.json`: a model's shape in Hugging Face's words.

use crate::store::error::StoreError;
use serde_json::{Value, json};
use shoal_protocol::run::ModelSpec;
use std::path::Path;

/// The file's name.
pub const CONFIG: &str = "config.json";

/// What `LlamaForCausalLM` needs to know of a model.
pub(super) fn to_json(spec: &ModelSpec) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocab,
        "hidden_size": spec.dim,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim(),
        "intermediate_size": spec.hidden,
        "max_position_embeddings": spec.context,
        "tie_word_embeddings": spec.tied,
        "rope_theta": decimal(spec.rope_theta),
        // The same for transformers 5 and later.
        "rope_parameters": { "rope_type": "default", "rope_theta": decimal(spec.rope_theta) },
        "rms_norm_eps": decimal(spec.norm_eps),
        "hidden_act": "silu",
        "attention_bias": false,
        "attention_dropout": 0.0,
        "mlp_bias": false,
        "initializer_range": decimal(crate::model::init::init_std(spec) as f32),
        "bos_token_id": null,
        "eos_token_id": null,
        "pad_token_id": null,
        "torch_dtype": "float32",
        "use_cache": true,
    })
}

/// The number that a person would write for an f32: 1e-5, not 9.999999747378752e-6.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Reads a model's shape.
///
/// # Errors
/// Not a Llama, or a Llama with parts that this program does not compute (biases, scaled RoPE, another activation).
pub(super) fn from_json(path: &Path, config: &Value) -> Result<ModelSpec, StoreError> {
    let refuse = |reason: String| Err(StoreError::unsupported(path, reason));
    if config["model_type"] != "llama" {
        return refuse(format!(
            "its model_type is {}, only \"llama\" is understood",
            config["model_type"]
        ));
    }
    for (key, plain) in [
        ("hidden_act", json!("silu")),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
    ] {
        let value = &config[key];
        if !value.is_null() && *value != plain {
            return refuse(format!("its {key} is {value}, only {plain} is understood"));
        }
    }
    let rope = rope_theta(path, config)?;
    let read = |key: &str| number(path, config, key);
    let heads = read("num_attention_heads")?;
    let or = |key: &str, value: u32| if config[key].is_null() { Ok(value) } else { read(key) };
    let spec = ModelSpec {
        vocab: read("vocab_size")?,
        dim: read("hidden_size")?,
        layers: read("num_hidden_layers")?,
        heads,
        kv_heads: or("num_key_value_heads", heads)?,
        hidden: read("intermediate_size")?,
        context: or("max_position_embeddings", 2048)?,
        head_width: head_width(path, config, heads)?,
        tied: config["tie_word_embeddings"].as_bool().unwrap_or(false),
        rope_theta: rope,
        norm_eps: config["rms_norm_eps"].as_f64().unwrap_or(1e-6) as f32,
        init_std: None,
    };
    check_shape(path, &spec)?;
    Ok(spec)
}

/// A head's width, if it does not follow from the others.
fn head_width(path: &Path, config: &Value, heads: u32) -> Result<Option<u32>, StoreError> {
    if config["head_dim"].is_null() {
        return Ok(None);
    }
    let (dim, width) = (number(path, config, "hidden_size")?, number(path, config, "head_dim")?);
    Ok((u64::from(width) * u64::from(heads) != u64::from(dim)).then_some(width))
}

fn check_shape(path: &Path, spec: &ModelSpec) -> Result<(), StoreError> {
    let [dim, heads, kv_heads] = [spec.dim, spec.heads, spec.kv_heads];
    let sizes = [spec.vocab, dim, spec.layers, heads, kv_heads, spec.hidden, spec.context];
    let positive = sizes.iter().chain(&spec.head_width).all(|size| *size > 0);
    let whole = positive
        && (spec.head_width.is_some() || dim.is_multiple_of(heads))
        && heads.is_multiple_of(kv_heads)
        && spec.head_dim().is_multiple_of(2);
    if !whole {
        let head_dim = if positive { spec.head_dim() } else { 0 };
        let reason = format!(
            "hidden_size {dim}, {heads} heads of {head_dim} and {kv_heads} key and value heads do not divide one another"
        );
        return Err(StoreError::unsupported(path, reason));
    }
    Ok(())
}

/// RoPE's base, from where transformers of either age keeps it.
fn rope_theta(path: &Path, config: &Value) -> Result<f32, StoreError> {
    let (new, old) = (&config["rope_parameters"], &config["rope_scaling"]);
    let kinds = [&new["rope_type"], &old["rope_type"], &old["type"]];
    if let Some(kind) = kinds.into_iter().find(|kind| !kind.is_null() && *kind != "default") {
        let reason = format!("its RoPE is scaled ({kind}), only unscaled RoPE is understood");
        return Err(StoreError::unsupported(path, reason));
    }
    let theta = new["rope_theta"].as_f64().or(config["rope_theta"].as_f64());
    Ok(theta.unwrap_or(10_000.0) as f32)
}

fn number(path: &Path, config: &Value, key: &str) -> Result<u32, StoreError> {
    let value = config[key].as_u64().and_then(|value| u32::try_from(value).ok());
    value.ok_or_else(|| {
        StoreError::unsupported(
            path,
            format!("its {key} is {}, a whole number is needed", config[key]),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset::{PRESETS, preset};

    #[test]
    fn shapes_come_back() {
        for name in PRESETS {
            let spec = ModelSpec { init_std: None, ..preset(name).unwrap() };
            let json = to_json(&spec);
            assert_eq!(from_json(Path::new("config.json"), &json).unwrap(), spec);
        }
        let less = ModelSpec {
            heads: 3,
            kv_heads: 3,
            head_width: Some(32),
            init_std: None,
            ..preset("1m").unwrap()
        };
        assert_eq!(from_json(Path::new("config.json"), &to_json(&less)).unwrap(), less);
        assert_eq!(to_json(&preset("1m").unwrap())["rms_norm_eps"].as_f64(), Some(1e-5));
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        let rows = [
            ("model_type", json!("gpt2"), "only \"llama\""),
            ("hidden_act", json!("gelu"), "its hidden_act"),
            ("attention_bias", json!(true), "its attention_bias"),
            ("rope_scaling", json!({"rope_type": "llama3"}), "scaled"),
            ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}), "scaled"),
            ("head_dim", json!(7), "do not divide"),
            ("num_attention_heads", json!(0), "do not divide"),
            ("vocab_size", json!("many"), "whole number"),
        ];
        for (key, value, expected) in rows {
            let mut config = to_json(&preset("1m").unwrap());
            config[key] = value;
            let error = from_json(Path::new("config.json"), &config).unwrap_err().to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }
}
