//! An exported folder gives the same logits in `transformers`, and a folder that `transformers` wrote the same ones here.
//!
//! `SHOAL_TEST_PYTHON` names an interpreter that has torch and transformers; without one these tests say so and pass.

use shoal_node::model::{Llama, initial_params, preset};
use shoal_node::store::hf::{Imported, export, import};
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;
use std::process::Command;
use tch::{Device, Tensor, no_grad};

const TEXT: &str = "Once upon a time, there was a fish.\nIt said: \"d\u{e9}j\u{e0} vu\"";

/// Runs `hf_logits.py`; `None` if no interpreter is named.
fn python(arguments: &[&str]) -> Option<()> {
    let Some(interpreter) = std::env::var_os("SHOAL_TEST_PYTHON") else {
        eprintln!("skipped: SHOAL_TEST_PYTHON names no python that has torch and transformers");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hf_logits.py");
    let run = Command::new(interpreter).arg(script).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(())
}

/// Logits of [`TEXT`] by our own model, `[tokens, vocab]`.
fn ours(spec: &ModelSpec, params: &[f32]) -> Vec<f32> {
    let mut model = Llama::new(spec, Device::Cpu).unwrap();
    model.load_flat(params).unwrap();
    let tokens: Vec<i64> = TEXT.bytes().map(i64::from).collect();
    let logits = no_grad(|| model.logits(&Tensor::from_slice(&tokens).view([1, -1]))).unwrap();
    Vec::try_from(logits.reshape([-1])).unwrap()
}

/// Logits of [`TEXT`] by transformers.
fn theirs(dir: &Path) -> Option<Vec<f32>> {
    let out = dir.join("logits.bin");
    python(&["logits", dir.to_str().unwrap(), TEXT, out.to_str().unwrap()])?;
    let bytes = std::fs::read(out).unwrap();
    Some(bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect())
}

fn assert_near(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let furthest = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = ours.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    eprintln!("furthest apart {furthest:e}, largest logit {largest}");
    assert!(furthest < 1e-4 && largest > 0.5, "{furthest} apart, largest {largest}");
}

/// Parameters large enough that every part of the model shows in the logits.
fn loud(spec: &ModelSpec) -> Vec<f32> {
    initial_params(spec, 3).iter().map(|w| if *w == 1.0 { 0.9 } else { w * 4.0 }).collect()
}

#[test]
fn transformers_computes_what_we_export() {
    let base = preset("1m").unwrap();
    for spec in [base.clone(), ModelSpec { tied: false, kv_heads: 2, rope_theta: 5e5, ..base }] {
        let dir = tempfile::tempdir().unwrap();
        let params = loud(&spec);
        export(&spec, &params, &TokenizerSpec::Bytes, None, dir.path()).unwrap();
        let Some(theirs) = theirs(dir.path()) else { return };
        assert_near(&ours(&spec, &params), &theirs);
    }
}

#[test]
fn we_compute_what_transformers_wrote() {
    for (tied, dtype) in [("tied", "float32"), ("untied", "bfloat16"), ("untied", "float16")] {
        let dir = tempfile::tempdir().unwrap();
        if python(&["make", dir.path().to_str().unwrap(), tied, dtype]).is_none() {
            return;
        }
        assert!(dir.path().join("model.safetensors.index.json").exists(), "in several files");
        let Imported { model, params, tokenizer, .. } = import(dir.path()).unwrap();
        assert_eq!((model.tied, model.kv_heads), (tied == "tied", 2));
        // The round trip through our own folder brings a tokenizer along.
        let again = tempfile::tempdir().unwrap();
        export(&model, &params, &tokenizer, None, again.path()).unwrap();
        let Some(exported) = theirs(again.path()) else { return };
        assert_near(&ours(&model, &params), &exported);
        std::fs::copy(again.path().join("tokenizer.json"), dir.path().join("tokenizer.json"))
            .unwrap();
        let Some(original) = theirs(dir.path()) else { return };
        assert_near(&ours(&model, &params), &original);
    }
}
