//! Errors of scenario files word by word, draws by their means, and the shipped files.

use super::*;

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

fn refused(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    Scenario::parse(&SMALL.replace(from, to), "small.toml").expect_err("it is refused").0
}

#[test]
fn errors_name_the_line_the_key_and_what_would_be_right() {
    assert_eq!(
        refused("steps = 10", "steps = 0"),
        "small.toml:8: `inner.steps`: must be 1 to 1000000"
    );
    assert_eq!(
        refused("\"1M\"", "\"many\""),
        "small.toml:7: `params` must be a number with K, M or B, such as \"25M\""
    );
    assert_eq!(refused("= 1000", "= -5"), "small.toml:14: `tokens_per_s` must be above 0");
    assert_eq!(refused("count = 3", "count = 0"), "small.toml:13: `count` must be at least 1");
    let draw = refused("latency_ms = 10", "latency_ms = \"ten\"");
    assert_eq!(
        draw,
        "small.toml:17: must be a number, { uniform = [low, high] }, { lognormal = [median, sigma] } or { exponential = mean }"
    );
    let unknown = refused("up_mbit", "upp_mbit");
    assert!(
        unknown.starts_with("small.toml:15: unknown field `upp_mbit`, expected one of"),
        "{unknown}"
    );
    let missing = refused("rounds = 3", "");
    assert!(missing.contains("missing field `rounds`"), "{missing}");
    let fault = "[[fault]]\nkind = \"crash\"\nat_s = 1\ngroup = \"away\"\n[run]";
    assert_eq!(
        refused("[run]", fault),
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
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for path in names {
        Scenario::read(&path).unwrap_or_else(|why| panic!("{why}"));
    }
}
