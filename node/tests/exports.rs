//! Exports in few bits and for llama.cpp give the next-token probabilities that our own model gives with the same weights.
//!
//! `SHOAL_TEST_PYTHON` names an interpreter that has torch, transformers and compressed-tensors, and xllamacpp for llama.cpp; what
//! it has not is told and passed over.

use shoal_node::model::{Llama, initial_params, preset};
use shoal_node::store::gguf::{self, Encoding};
use shoal_node::store::hf::{self, Bits};
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;
use std::process::Command;
use tch::{Device, Kind, Tensor, no_grad};

const TEXT: &str = "Once upon a time, there was a fish.\nIt said: \"d\u{e9}j\u{e0} vu\"";

/// The interpreter, if it has these packages.
fn python(packages: &str) -> Option<Command> {
    let Some(interpreter) = std::env::var_os("SHOAL_TEST_PYTHON") else {
        eprintln!("skipped: SHOAL_TEST_PYTHON names no python that has {packages}");
        return None;
    };
    let import = Command::new(&interpreter).args(["-c", &format!("import {packages}")]).output();
    if !import.unwrap().status.success() {
        eprintln!("skipped: {} cannot import {packages}", interpreter.display());
        return None;
    }
    Some(Command::new(interpreter))
}

/// Runs a script of this folder that writes floats to `out`.
fn floats(mut python: Command, script: &str, arguments: &[&str], out: &Path) -> Vec<f32> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let run = python.arg(script).args(arguments).arg(out).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = std::fs::read(out).unwrap();
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Log-probabilities of the token after [`TEXT`] by our own model.
fn ours(spec: &ModelSpec, params: &[f32]) -> Vec<f32> {
    let mut model = Llama::new(spec, Device::Cpu).unwrap();
    model.load_flat(params).unwrap();
    let tokens: Vec<i64> = TEXT.bytes().map(i64::from).collect();
    let logits = no_grad(|| model.logits(&Tensor::from_slice(&tokens).view([1, -1]))).unwrap();
    let last = logits.get(0).get(-1).log_softmax(-1, Kind::Float);
    Vec::try_from(last).unwrap()
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    Vec::try_from(Tensor::from_slice(logits).log_softmax(-1, Kind::Float)).unwrap()
}

fn assert_near(what: &str, ours: &[f32], theirs: &[f32], most: f32) {
    assert_eq!(ours.len(), theirs.len());
    let furthest = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let spread = ours.iter().fold(0.0f32, |spread, x| spread.max((x - ours[0]).abs()));
    eprintln!("{what}: log-probabilities at most {furthest:e} apart");
    assert!(theirs.iter().all(|x| x.is_finite()) && spread > 1.0, "{what}: {spread}");
    assert!(furthest < most, "{what}: {furthest} apart");
}

/// Parameters large enough that every part of the model shows in the logits.
fn loud(spec: &ModelSpec) -> Vec<f32> {
    initial_params(spec, 3).iter().map(|w| if *w == 1.0 { 0.9 } else { w * 4.0 }).collect()
}

/// Rows of 256, so that every encoding is used; shared keys and values; an own head.
fn shape() -> ModelSpec {
    ModelSpec {
        dim: 256,
        hidden: 512,
        kv_heads: 2,
        layers: 3,
        tied: false,
        ..preset("1m").unwrap()
    }
}

#[test]
fn llama_cpp_computes_what_we_export() {
    // With few bits llama.cpp rounds activations to eight as well, how depends on the processor: 0.07 to 0.101 were seen.
    let bounds = [2e-4, 5e-3, 5e-2, 0.2, 0.2, 0.2];
    for (spec, tied) in [(shape(), false), (ModelSpec { tied: true, ..shape() }, true)] {
        let params = loud(&spec);
        for (encoding, most) in Encoding::ALL.into_iter().zip(bounds) {
            let Some(python) = python("xllamacpp, numpy") else { return };
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("model.gguf");
            let tokenizer = (&TokenizerSpec::Bytes, None);
            let exported =
                gguf::export("test", &spec, &params, tokenizer, encoding, &file).unwrap();
            assert_eq!(exported.otherwise, 0);
            let out = dir.path().join("out");
            let arguments = [file.to_str().unwrap(), TEXT];
            let theirs = floats(python, "gguf_logprobs.py", &arguments, &out);
            let ours = ours(&spec, &gguf::as_read(&spec, &params, encoding));
            assert_near(&format!("{encoding:?}, tied {tied}"), &ours, &theirs, most);
        }
    }
}

#[test]
fn transformers_computes_what_we_export_in_few_bits() {
    let spec = shape();
    let params = loud(&spec);
    for (bits, hidden) in [(Bits::Eight, 512), (Bits::Four, 512), (Bits::Four, 500)] {
        let Some(python) = python("torch, transformers, compressed_tensors") else { return };
        let spec = ModelSpec { hidden, ..spec.clone() };
        let params = if hidden == 512 { params.clone() } else { loud(&spec) };
        let dir = tempfile::tempdir().unwrap();
        hf::export_in(bits, &spec, &params, (&TokenizerSpec::Bytes, None), dir.path()).unwrap();
        let out = dir.path().join("out");
        let arguments = ["logits", dir.path().to_str().unwrap(), TEXT];
        let theirs = floats(python, "hf_logits.py", &arguments, &out);
        let theirs = log_softmax(&theirs[theirs.len() - 256..]);
        let ours = ours(&spec, &hf::quantised::as_read(bits, &spec, &params));
        assert_near(&format!("{bits:?}, {hidden} wide"), &ours, &theirs, 1e-4);
    }
}
