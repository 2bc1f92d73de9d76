//! Errors of scenario files word by word, draws by their means, and the shipped files.

use super::*;
use crate::rng::Rng;

const SMALL: &str = r#"
name = "small"
learner = "phantom"
rounds = 3

[run]
params = "1M"
steps = 10
batch = 4

[[group]]
name = "home"
count = 3
tokens_per_s = 1000
up_mbit = { uniform = [10, 20] }
down_mbit = 100
latency_ms = 10
"#;

/// What is said of a scenario with another line.
fn refused(scenario: &str, from: &str, to: &str) -> String {
    assert!(scenario.contains(from), "{from}");
    Scenario::parse(&scenario.replace(from, to), "small.toml").expect_err("it is refused").0
}

#[test]
fn errors_name_the_line_the_key_and_what_would_be_right() {
    assert_eq!(
        refused(SMALL, "steps = 10", "steps = 0"),
        "small.toml:8: `inner.steps`: must be 1 to 1000000"
    );
    assert_eq!(
        refused(SMALL, "\"1M\"", "\"many\""),
        "small.toml:7: `params` must be a number with K, M or B, such as \"25M\""
    );
    assert_eq!(refused(SMALL, "= 1000", "= -5"), "small.toml:14: `tokens_per_s` must be above 0");
    assert_eq!(
        refused(SMALL, "latency_ms = 10", "latency_ms = 10\nstays = \"gone.csv\""),
        "small.toml:18: `stays`: gone.csv: No such file or directory (os error 2): give the path of a file of stays"
    );
    assert_eq!(
        refused(SMALL, "latency_ms = 10", "latency_ms = 10\nstays_h = 1\nstays = \"gone.csv\""),
        "small.toml:19: `stays` says when hosts come and go: leave out `starts_s` and `stays_h`"
    );
    assert_eq!(
        refused(SMALL, "count = 3", "count = 0"),
        "small.toml:13: `count` must be at least 1"
    );
    assert_eq!(
        refused(SMALL, "latency_ms = 10", "latency_ms = 10\ncores = 0"),
        "small.toml:18: `cores` must be above 0: 0.5 is half of one"
    );
    assert_eq!(
        refused(SMALL, "latency_ms = 10", "latency_ms = 10\nregion = \"mars\""),
        "small.toml:18: unknown variant `mars`, expected one of `europe`, `us-east`, `us-west`, `south-america`, `south-asia`, `east-asia`, `oceania`, `africa`"
    );
    let draw = refused(SMALL, "latency_ms = 10", "latency_ms = \"ten\"");
    assert_eq!(
        draw,
        "small.toml:17: must be a number, { uniform = [low, high] }, { lognormal = [median, sigma] } or { exponential = mean }"
    );
    let unknown = refused(SMALL, "up_mbit", "upp_mbit");
    assert!(
        unknown.starts_with("small.toml:15: unknown field `upp_mbit`, expected one of"),
        "{unknown}"
    );
    let missing = refused(SMALL, "rounds = 3", "");
    assert!(missing.contains("missing field `rounds`"), "{missing}");
    let fault = "[[fault]]\nkind = \"crash\"\nat_s = 1\ngroup = \"away\"\n[run]";
    assert_eq!(
        refused(SMALL, "[run]", fault),
        "small.toml:9: `group` \"away\" is none of the groups: home"
    );
}

#[test]
fn models_have_about_the_size_that_is_asked_for() {
    for (text, params) in [("10K", 1e4), ("1M", 1e6), ("25M", 2.5e7), ("1B", 1e9)] {
        let asked = parse_params(text).expect("it is a size");
        let got = model(asked, 64).params() as f64;
        assert!((got / params - 1.0).abs() < 0.25, "{text} gives {got}");
    }
}

#[test]
fn draws_have_their_means() {
    let mean = |draw: Draw| {
        let mut rng = Rng::new(3);
        (0..20_000).map(|_| draw.draw(&mut rng)).sum::<f64>() / 20_000.0
    };
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 0.03;
    assert!(close(mean(Draw::Uniform { uniform: [10.0, 30.0] }), 20.0));
    assert!(close(mean(Draw::Exponential { exponential: 5.0 }), 5.0));
    // The mean of a lognormal is its median times e^(sigma^2 / 2).
    assert!(close(mean(Draw::Lognormal { lognormal: [10.0, 0.5] }), 10.0 * 0.125f64.exp()));
}

#[test]
fn the_shipped_scenarios_are_sound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clusters");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("scenarios are shipped")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for path in names {
        Scenario::read(&path).unwrap_or_else(|why| panic!("{why}"));
    }
}

const LEARNS: &str = r#"
name = "small"
rounds = 3
target_loss = 2.5

[learner]
kind = "text"
bytes = 20_000
hidden = 16

[run]
context = 16
steps = 10
batch = 4

[[group]]
name = "home"
count = 3
tokens_per_s = 1000
up_mbit = 10
down_mbit = 100
latency_ms = 10
"#;

#[test]
fn a_learner_is_a_name_or_a_table() {
    let elems = |text: &str| {
        let scenario = Scenario::parse(text, "small.toml").unwrap_or_else(|why| panic!("{why}"));
        scenario.spec(0).expect("it was checked").elems()
    };
    let named = SMALL.replace("params = \"1M\"", "").replace("phantom", "convex");
    assert_eq!(elems(&named), 1024);
    let wide = LEARNS.replace("hidden = 16", "hidden = 17");
    // One more hidden unit: its inputs, its bias, and what it is worth to each letter; or one less, for the total is even.
    let unit = elems(&wide) - elems(LEARNS);
    assert!((6 * 8 + 1 + 30..6 * 8 + 1 + 100).contains(&unit), "{unit}");
    let phantom = "kind = \"phantom\"\n[run]\nparams = \"1M\"\n[run]";
    let table = LEARNS
        .replace(
            "kind = \"text\"\nbytes = 20_000\nhidden = 16\n\n[run]",
            &phantom[..phantom.len() - 6],
        )
        .replace("target_loss = 2.5", "");
    assert!(elems(&table) > 800_000);
}

#[test]
fn errors_of_a_learner_name_the_line_the_key_and_what_would_be_right() {
    let unknown = refused(LEARNS, "hidden", "hiden");
    assert!(
        unknown.starts_with("small.toml:9: unknown field `hiden`, expected one of `kind`,"),
        "{unknown}"
    );
    assert_eq!(
        refused(LEARNS, "hidden = 16", "noise = 1.0"),
        "small.toml:9: `noise` is no option of the learner \"text\", which has `text`, `bytes`, `window`, `embedding`, `hidden`, `optimizer`, `momentum`, `lr`, `clip`"
    );
    assert_eq!(
        refused(LEARNS, "hidden = 16", "momentum = 0.9"),
        "small.toml:9: `momentum` goes with the optimizer \"sgd\" or \"rmsprop\""
    );
    assert_eq!(
        refused(LEARNS, "hidden = 16", "optimizer = \"sgd\"\nmomentum = 1.0"),
        "small.toml:10: `inner.momentum`: 1 must be at least 0 and below 1"
    );
    assert_eq!(
        refused(LEARNS, "hidden = 16", "lr = 0"),
        "small.toml:9: `inner.lr`: must be above 0"
    );
    assert_eq!(
        refused(LEARNS, "hidden = 16", "hidden = 0"),
        "small.toml:9: `hidden` must be 1 to 4096"
    );
    assert_eq!(
        refused(LEARNS, "20_000", "100"),
        "small.toml:8: a text of 100 bytes is too short: it takes 170"
    );
    assert_eq!(
        refused(LEARNS, "bytes = 20_000", "text = \"no/such.txt\""),
        "small.toml:8: `text` no/such.txt: No such file or directory (os error 2): give the path of a text file"
    );
    assert_eq!(
        refused(LEARNS, "context = 16", "context = 16\nparams = \"1M\""),
        "small.toml:13: `params` follows from the learner's own sizes: leave it out"
    );
    let kind = refused(LEARNS, "\"text\"", "\"words\"");
    assert!(kind.starts_with("small.toml:7: unknown variant `words`, expected one of"), "{kind}");
    assert_eq!(refused(LEARNS, "kind = \"text\"", ""), "small.toml:6: missing field `kind`");
    let number =
        refused(LEARNS, "[learner]\nkind = \"text\"\nbytes = 20_000\nhidden = 16", "learner = 3");
    assert!(number.contains("expected a learner's name, or a table"), "{number}");
    assert_eq!(
        refused(SMALL, "rounds = 3", "rounds = 3\ntarget_loss = 1.0"),
        "small.toml:5: `target_loss` needs a learner that has a loss: convex or text"
    );
    assert_eq!(
        refused(SMALL, "params = \"1M\"\n", ""),
        "small.toml:7: `params` is missing in [run]; `params` must be a number with K, M or B, such as \"25M\""
    );
    assert_eq!(
        refused(LEARNS, "batch = 4", "batch = 4\nouter_momentum = 1.0"),
        "small.toml:15: `outer.momentum`: must be at least 0 and below 1"
    );
}

#[test]
fn a_text_is_read_from_a_file() {
    let path = std::env::temp_dir().join(format!("shoal-sim-{}.txt", std::process::id()));
    std::fs::write(&path, "abcd".repeat(500)).expect("the folder can be written");
    let scenario = |text: String| {
        let scenario = Scenario::parse(&text, "small.toml").unwrap_or_else(|why| panic!("{why}"));
        scenario.spec(0).expect("it was checked")
    };
    let line = format!("text = {:?}", path.display().to_string());
    let whole = scenario(LEARNS.replace("bytes = 20_000", &line));
    let part = scenario(LEARNS.replace("bytes = 20_000", &format!("{line}\nbytes = 1000")));
    // 1800 of 2000 bytes are trained on, or 900 of 1000, and one more is the last target.
    assert_eq!((whole.data.samples(), part.data.samples()), (112, 56));
    std::fs::remove_file(&path).expect("it has just been written");
}
