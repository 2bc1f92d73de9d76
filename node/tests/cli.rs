//! The `shoal` program as a person runs it, on tiny checkpoints.

use serde_json::Value;
use shoal_node::dashboard;
use shoal_node::model::initial_params;
use shoal_node::runfile::RunFile;
use shoal_node::status::SharedStatus;
use shoal_node::store::{Checkpoint, StateBytes, save};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::wire;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RUN: &str = "name = \"tiny\"\n[model]\ndim = 16\nlayers = 1\nheads = 2\nhidden = 24\ncontext = 16\ntied = true\n\
    [data]\nstories_bytes = 20_000\n";

/// Runs `shoal` with its home in `dir`.
fn shoal(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shoal"))
        .args(arguments)
        .current_dir(dir)
        .env("SHOAL_HOME", dir.join("home"))
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// What it says when all is well.
fn said(dir: &Path, arguments: &[&str]) -> String {
    let output = shoal(dir, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its one sentence when it is not, and the exit status.
fn refused(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = shoal(dir, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A checkpoint of round 0 below `dir/run/checkpoints`.
fn checkpoint(dir: &Path) -> PathBuf {
    let file = RunFile::parse(RUN, Path::new("run.toml")).unwrap();
    let spec = file.resolve(None, None, dir).unwrap().spec;
    let params = initial_params(&spec.model, spec.seed);
    let momentum = vec![0.0; params.len()];
    let state = state_root(&StateBytes::new(&params, &momentum).chunk_digests());
    let record = Record::genesis(spec.id(), state);
    let extras = BTreeMap::from([("record".to_owned(), wire::to_cbor(&record))]);
    let digest = record.digest();
    let (local, losses) = (BTreeMap::new(), vec![(0, 5.5)]);
    let checkpoint = Checkpoint { round: 0, digest, spec, params, momentum, extras, local, losses };
    save(&dir.join("run/checkpoints"), &checkpoint, 3, |_| false).unwrap()
}

#[test]
fn new_writes_a_run_file_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(said(dir.path(), &["new"]).contains("shoal up run.toml"));
    let file = RunFile::read(&dir.path().join("run.toml")).unwrap();
    assert_eq!(file.name, "run");
    let (code, error) = refused(dir.path(), &["new", "--preset", "5m"]);
    assert!(code == 1 && error.lines().count() == 1 && error.contains("--force"), "{error}");
    said(dir.path(), &["new", "--preset", "5m", "--force", "--name", "other"]);
    let other = RunFile::read(&dir.path().join("run.toml")).unwrap();
    assert_eq!((other.name.as_str(), other.model.dim), ("other", 256));
    assert_eq!(other.creator, file.creator, "the key is kept");
}

#[test]
fn wrong_usage_and_wrong_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), RUN.replace("dim = 16", "dimm = 16")).unwrap();
    std::fs::write(
        dir.path().join("text.toml"),
        RUN.replace("stories_bytes = 20_000", "text = \"gone\""),
    )
    .unwrap();
    let rows: [(&[&str], i32, &str); 9] = [
        (&["sail"], 2, "unrecognized subcommand"),
        (&["new", "--preset", "2m"], 2, "1m"),
        (&["up", "run.toml", "--device", "gpu"], 2, "cuda:0"),
        (&["join", "shoal2x"], 2, "begins with `shoal1`"),
        (&["up", "none.toml"], 1, "shoal new -o none.toml"),
        (&["up", "bad.toml"], 1, "bad.toml:2: `model.dim`: is missing"),
        (&["up", "text.toml"], 1, "gone"),
        (&["generate", "nowhere", "--prompt", "x"], 1, "nowhere is no folder"),
        (&["import", "--hf", "nowhere"], 1, "nowhere/config.json"),
    ];
    for (arguments, code, expected) in rows {
        let (got, error) = refused(dir.path(), arguments);
        assert!(got == code && error.contains(expected), "{arguments:?}: {got} {error}");
        assert!(code == 2 || error.lines().count() == 1, "{arguments:?}: {error}");
    }
}

#[test]
fn inspect_verifies_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = checkpoint(dir.path());
    let told = said(dir.path(), &["inspect", "run"]);
    for expected in [
        "round 0          intact",
        "`tiny`",
        "model.safetensors",
        "extra-record",
        "5.5000",
        "is that of the files",
    ] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    let model = path.join("model.safetensors");
    let mut bytes = std::fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let output = shoal(dir.path(), &["inspect", path.to_str().unwrap()]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("NOT INTACT"), "{told}");
    let (code, error) = refused(dir.path(), &["inspect", "run"]);
    assert!(code == 1 && error.contains("is intact"), "{error}");
}

#[test]
fn a_model_goes_out_and_comes_back_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let text = |place| {
        said(
            dir.path(),
            &[
                "generate",
                place,
                "--prompt",
                "Once",
                "--tokens",
                "20",
                "--temperature",
                "0",
                "--device",
                "cpu",
            ],
        )
    };
    let before = text("run");
    assert!(before.starts_with("Once") && before.chars().count() > 20, "{before}");
    said(dir.path(), &["export", "run", "--hf", "out"]);
    let (code, error) = refused(dir.path(), &["export", "run", "--hf", "out"]);
    assert!(code == 1 && error.contains("--force"), "{error}");
    said(dir.path(), &["import", "--hf", "out", "-o", "back"]);
    assert_eq!(text("back"), before);
    assert!(said(dir.path(), &["inspect", "back"]).contains("was imported"));
    let (code, error) = refused(dir.path(), &["import", "--hf", "out", "-o", "back"]);
    assert!(code == 1 && error.contains("already"), "{error}");
}

#[test]
fn exports_in_few_bits_are_smaller_and_other_kinds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let size = |weights: &str| {
        let file = format!("{weights}.gguf");
        said(dir.path(), &["export", "run", "--gguf", &file, "--weights", weights]);
        std::fs::metadata(dir.path().join(file)).unwrap().len()
    };
    assert!(size("f32") > size("f16"));
    said(dir.path(), &["export", "run", "--hf", "small", "--weights", "int8"]);
    let config = std::fs::read_to_string(dir.path().join("small/config.json")).unwrap();
    assert!(config.contains("pack-quantized"));
    for (target, weights, right) in [("--hf", "q8_0", "int8"), ("--gguf", "int4", "q4_k")] {
        let (code, error) =
            refused(dir.path(), &["export", "run", target, "x", "--weights", weights]);
        assert!(code == 1 && error.contains(right), "{error}");
    }
    let whole = said(dir.path(), &["eval", "run", "--sequences", "4"]);
    let few = said(dir.path(), &["eval", "run", "--sequences", "4", "--weights", "int4"]);
    assert_ne!(whole, few);
}

#[test]
fn prune_makes_a_checkpoint_that_others_take() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let prune = |out: &str, more: &[&str]| {
        let output = shoal(dir.path(), &[&["prune", "run", "-o", out], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = prune("half", &["--method", "wanda", "--sparsity", "0.5", "--sequences", "4"]);
    assert!(told.contains("1088 of 2176"), "{told}");
    let told = prune("pattern", &["--pattern", "2:4"]);
    assert!(told.contains("1088 of 2176"), "{told}");
    let told = prune("less", &["--structured", "0.5"]);
    assert!(told.contains("1 heads (1 of keys)"), "{told}");
    said(dir.path(), &["eval", "less", "--sequences", "4"]);
    said(dir.path(), &["export", "less", "--hf", "less-hf"]);
    said(dir.path(), &["import", "--hf", "less-hf", "-o", "back"]);
    for (more, right) in [
        (&["--pattern", "2:7"][..], "does not divide"),
        (&[][..], "say what shall go"),
        (&["--structured", "0.1"][..], "take more"),
        (&["--drop-layers", "1"][..], "must be left"),
    ] {
        let arguments = [&["prune", "run", "-o", "x"], more].concat();
        let (code, error) = refused(dir.path(), &arguments);
        assert!(code == 1 && error.contains(right), "{error}");
    }
    let (_, error) = refused(dir.path(), &["prune", "run", "-o", "half", "--sparsity", "0.5"]);
    assert!(error.contains("holds checkpoints already"), "{error}");
}

#[test]
fn eval_measures_the_run_s_text_and_others() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    std::fs::write(dir.path().join("other.txt"), "the fish swim\n".repeat(50)).unwrap();
    let own = said(dir.path(), &["eval", "run", "--sequences", "4"]);
    let other = said(dir.path(), &["eval", "run", "--data", "other.txt"]);
    assert!(own.contains("held-out part") && own.contains("4 sequences, 64 tokens"), "{own}");
    assert!(other.contains("another text"), "{other}");
    for told in [own, other] {
        let loss = told.lines().find_map(|line| line.strip_prefix("loss")).unwrap();
        let loss: f64 = loss.split_whitespace().next().unwrap().parse().unwrap();
        assert!((loss - 256f64.ln()).abs() < 0.5, "a new model knows nothing: {loss}");
    }
}

/// Announces a node of this process as nodes do, in a folder of its own.
fn announce(folder: &Path, api: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(folder).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let place = |name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
    let record = serde_json::json!({
        "peer": "ab".repeat(32), "run": "cd".repeat(32), "pid": std::process::id(), "addresses": [], "api": api,
        "host": format!("{} {}", place("net").display(), place("pid").display()),
    });
    std::fs::write(folder.join("ab.json"), record.to_string()).unwrap();
}

#[test]
fn status_asks_the_nodes_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["status", "--local-dir", "nodes", "--json"];
    assert!(said(dir.path(), &flags[..3]).contains("No node of this user runs"));
    let shared = SharedStatus::default();
    shared.update(|status| {
        status.round = 42;
        status.waiting = "waits for nobody".into();
    });
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let (server, address) =
                dashboard::serve(shared, "127.0.0.1:0".parse().unwrap()).unwrap();
            send.send(address).unwrap();
            server.await.unwrap();
        });
    });
    announce(&dir.path().join("nodes"), &receive.recv().unwrap().to_string());
    let json: Value = serde_json::from_str(&said(dir.path(), &flags)).unwrap();
    assert_eq!(json[0]["round"], 42);
    let table = said(dir.path(), &flags[..3]);
    assert!(table.contains("42/0") && table.contains("  waits for nobody"), "{table}");
}

/// A node that is killed leaves a recording, and that replays byte for byte.
#[test]
fn a_killed_nodes_recording_replays() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("life.rec");
    std::fs::write(dir.path().join("run.toml"), RUN.replace("tiny", "recorded")).unwrap();
    let up = "up run.toml --record life.rec --device none --no-mdns --listen 127.0.0.1:0 \
              --local-dir local --alone-after 0";
    let up: Vec<&str> = up.split_whitespace().collect();
    let mut node = Command::new(env!("CARGO_BIN_EXE_shoal"))
        .args(&up)
        .current_dir(dir.path())
        .env("SHOAL_HOME", dir.path().join("home"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !std::fs::metadata(&recording).is_ok_and(|file| file.len() > 5_000) {
        assert_eq!(node.try_wait().unwrap(), None, "the node has ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    node.kill().unwrap();
    node.wait().unwrap();
    let replayed = said(dir.path(), &["sim", "replay", "life.rec"]);
    assert!(replayed.contains("same byte for byte"), "{replayed}");
    let (code, error) = refused(dir.path(), &up);
    assert!(code == 1 && error.contains("name another file"), "{error}");
    std::fs::write(&recording, "no recording").unwrap();
    assert_eq!(refused(dir.path(), &["sim", "replay", "life.rec"]).0, 2);
}
