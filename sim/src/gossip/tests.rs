//! Whole runs by gossip.

use super::*;
use crate::scenario::Scenario;

const EIGHT: &str = r#"
name = "eight"
rounds = 30

[learner]
kind = "convex"
dimension = 256
condition = 10
noise = 0.1
lr = 0.1

[run]
gossip = { kind = "noloco", axes = 1, places = 8 }
context = 16
steps = 10
batch = 4
up = "f32"
down = "f32"

[[group]]
name = "home"
count = 8
tokens_per_s = { uniform = [180, 220] }
up_mbit = 20
down_mbit = 200
latency_ms = { uniform = [5, 25] }
"#;

/// The summary, after other lines.
fn ran(changes: &[(&str, &str)], seed: u64) -> report::Summary {
    let text = changes.iter().fold(EIGHT.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    run(&Scenario::parse(&text, "eight.toml").expect("it is a scenario"), seed).0
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    assert_eq!(ran(&[], 3).trace, ran(&[], 3).trace);
    assert_ne!(ran(&[], 3).trace, ran(&[], 4).trace);
}

#[test]
fn all_together_in_one_cell_is_exact_averaging() {
    let even = ("{ uniform = [180, 220] }", "200");
    let summary = ran(&[even, ("noloco", "moshpit")], 1);
    let last = summary.last;
    assert_eq!((summary.alone, last.distance.map(|d| d < 1e-6)), (0.0, Some(true)));
    let (loss, exact) = (last.loss.expect("a loss"), summary.exact.expect("a loss"));
    assert!((loss - exact).abs() < 1e-4 * exact, "{loss} is not {exact}");
}

#[test]
fn pairs_learn_nearly_as_well_and_stay_together() {
    for codec in ["f32", "bf16", "int8"] {
        let up = format!("up = \"{codec}\"");
        let summary = ran(&[("up = \"f32\"", &up)], 1);
        let last = summary.last;
        assert!(last.distance.expect("numbers") < 0.2, "{codec}: {last:?}");
        let (loss, exact) = (last.loss.expect("a loss"), summary.exact.expect("a loss"));
        assert!(loss < 1.5 * exact + 0.01, "{codec}: {loss} against {exact}");
    }
}

#[test]
fn crashes_and_cuts_stop_nobody() {
    let faults = "latency_ms = { uniform = [5, 25] }
[[fault]]
kind = \"crash\"
at_s = 20
for_s = 15
count = 2
[[fault]]
kind = \"partition\"
at_s = 30
for_s = 30
count = 3
[[fault]]
kind = \"crash\"
at_s = 55
count = 1
";
    let changes = [
        ("latency_ms = { uniform = [5, 25] }\n", faults),
        ("axes = 1, places = 8", "axes = 2, places = 3"),
    ];
    for seed in 0..20 {
        let summary = ran(&changes, seed);
        let last = summary.last;
        assert!(last.loss.expect("a loss") < 0.1, "seed {seed}: {last:?}");
    }
}

/// Four peers of equal speed, whose places are claimed, on a grid of two by two: what a draw seldom gives.
#[test]
fn four_who_claim_their_places_are_never_alone() {
    let changes = [
        (
            "{ kind = \"noloco\", axes = 1, places = 8 }",
            "{ kind = \"moshpit\", axes = 2, places = 2, claimed = true }",
        ),
        ("{ uniform = [180, 220] }", "200"),
        ("count = 8", "count = 4"),
    ];
    for seed in 0..5 {
        let summary = ran(&changes, seed);
        assert_eq!(summary.alone, 0.0, "seed {seed}");
        let (loss, exact) = (summary.last.loss.expect("a loss"), summary.exact.expect("a loss"));
        assert!(loss < 1.2 * exact + 0.001, "seed {seed}: {loss} against {exact}");
    }
}
