//! Whole runs whose learning is real: what it comes to with codecs, with many hosts and with deaths.

use crate::cluster;
use crate::learn::{Local, Worker};
use crate::losses::Outcome;
use crate::scenario::Scenario;
use crate::sweep;
use crate::world::World;
use shoal_protocol::ledger::Record;
use std::ops::Range;

/// Four hosts that are alike, 16 rounds.
const FOUR: &str = r#"
name = "four"
rounds = 16

[learner]
kind = "convex"
dimension = 600

[run]
context = 16
steps = 10
batch = 4
chunk_elems = 512
outer = "sgd"
outer_lr = 1.0

[[group]]
name = "home"
count = 4
tokens_per_s = 200
up_mbit = 20
down_mbit = 200
latency_ms = 10
"#;

/// What the text learner needs instead.
const TEXT: &str = "kind = \"text\"\nbytes = 60_000\nhidden = 24";

/// A scenario with other lines.
fn scenario(changes: &[(&str, &str)]) -> Scenario {
    let mut text = FOUR.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Scenario::parse(&text, "four").unwrap_or_else(|why| panic!("{why}"))
}

fn run(scenario: &Scenario) -> World {
    cluster::run(scenario, 1, "", |_| true)
}

fn outcome(changes: &[(&str, &str)]) -> Outcome {
    let scenario = scenario(changes);
    cluster::summary(&scenario, &run(&scenario)).loss.expect("it learns")
}

fn gap(changes: &[(&str, &str)]) -> f64 {
    let outcome = outcome(changes);
    outcome.last - outcome.optimum.expect("it is known")
}

const AS_TEXT: (&str, &str) = ("kind = \"convex\"\ndimension = 600", TEXT);
const CRASH: (&str, &str) =
    ("[[group]]", "[[fault]]\nkind = \"crash\"\nat_s = 30\nfor_s = 40\ncount = 2\n[[group]]");

/// Hosts that train while they exchange are training all the time but for the beginning.
#[test]
fn training_beside_an_exchange_counts_as_training() {
    let overlaps = scenario(&[("outer = \"sgd\"", "strategy = \"eager\"\nouter = \"sgd\"")]);
    let utilisation = cluster::summary(&overlaps, &run(&overlaps)).utilisation;
    assert!(utilisation > 0.9, "{utilisation}");
}

/// The gap is 1 at the start. A hundredth of it is left with exact numbers, and no more than a tenth is added by eight bits.
#[test]
fn a_known_optimum_is_reached_with_exact_and_with_lossy_codecs() {
    let f32 = gap(&[("[run]", "[run]\nup = \"f32\"\ndown = \"f32\"")]);
    let int8 = gap(&[]);
    assert!(f32 > 0.0 && f32 < 0.01, "{f32}");
    assert!(int8 != f32, "codecs have no part in it");
    assert!((int8 / f32 - 1.0).abs() < 0.1, "int8 {int8}, f32 {f32}");
}

#[test]
fn the_momentum_of_the_outer_step_has_a_part_in_it() {
    let nesterov = ("outer = \"sgd\"\nouter_lr = 1.0", "outer = \"nesterov\"");
    let (nesterov, sgd) = (gap(&[nesterov]), gap(&[]));
    assert!(nesterov < 0.1 && nesterov != sgd, "{nesterov}, {sgd}");
}

/// A run of four hosts and a run of one that has four times as many rounds train on the same tokens. One takes four times as
/// many steps, four average four times as many samples in each.
#[test]
fn four_hosts_learn_about_what_one_learns_from_the_same_tokens() {
    let alone = [("count = 4", "count = 1"), ("rounds = 16", "rounds = 61")];
    let start = 1.0;
    let (four, one) = (gap(&[]), gap(&alone));
    assert!(four < 0.01 * start && one < 0.01 * start, "four {four}, one {one}");
    let (four, one) = (outcome(&[AS_TEXT]), outcome(&[AS_TEXT, alone[0], alone[1]]));
    let learned = (four.first - four.last) / (one.first - one.last);
    assert!(learned > 0.6 && learned < 1.2, "four {four:?}, one {one:?}");
}

#[test]
fn a_text_is_learned() {
    let outcome = outcome(&[AS_TEXT, ("rounds = 16", "rounds = 16\ntarget_loss = 3.0")]);
    assert!(outcome.last < 0.75 * outcome.first, "{outcome:?}");
    assert!(outcome.to_target_s.is_some(), "{outcome:?}");
    assert_eq!(outcome.optimum, None);
}

/// Two of the four die in the fifth round and come back.
#[test]
fn hosts_that_die_do_not_end_the_learning() {
    let (calm, crash) = (gap(&[]), gap(&[CRASH]));
    assert!(crash != calm && crash < 0.02, "{crash}");
    let outcome = outcome(&[AS_TEXT, CRASH]);
    assert!(outcome.last < 0.8 * outcome.first, "{outcome:?}");
}

/// A thousandth of a core: what exchanges cost it takes longer than the links do, and changes nothing of what is learned.
#[test]
fn a_slow_processor_takes_time_and_nothing_else() {
    let usual = outcome(&[]);
    let slow_run = run(&scenario(&[("latency_ms = 10", "latency_ms = 10\ncores = 0.001")]));
    let usual_run = run(&scenario(&[]));
    let took = |world: &World| world.now.since(shoal_protocol::time::Time::ZERO).as_secs_f64();
    // States alone, of some 600 numbers: 3 ms each, 16 times.
    assert!(took(&slow_run) > took(&usual_run) + 0.04, "{} {}", took(&slow_run), took(&usual_run));
    let slow = outcome(&[("latency_ms = 10", "latency_ms = 10\ncores = 0.001")]);
    assert_eq!(slow.last, usual.last);
}

/// A lone host's committed parameters are those of local steps on the very positions of its leases, one after the other.
#[test]
fn a_host_trains_on_its_lease_and_nothing_else() {
    let scenario = scenario(&[
        ("count = 4", "count = 1"),
        ("[run]", "[run]\nup = \"f32\"\ndown = \"f32\""),
        ("rounds = 16", "rounds = 4"),
    ]);
    let world = run(&scenario);
    let setup = scenario.lesson.as_ref().expect("it learns");
    let spec = scenario.spec(0).expect("it was checked");
    let mut records: Vec<&Record> =
        world.book.records.values().map(|entry| &entry.record).collect();
    records.sort_by_key(|record| record.round);
    let mut local = Local::new(setup.task.clone(), &spec);
    let mut params = setup.initial(&spec).params;
    for pair in records.windows(2).filter(|pair| !pair[1].contributions.is_empty()) {
        let mut led_to = params.clone();
        assert!(local.steps(pair[1].round, &mut led_to, &lease(pair[0])), "it does not diverge");
        params.iter_mut().zip(&led_to).for_each(|(p, led_to)| {
            let delta = *p - led_to;
            *p -= delta;
        });
    }
    let store = world.peers[0].running.as_ref().and_then(|running| running.store.real());
    let store = store.expect("it is alive");
    let bits = |all: &[f32]| all.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&store.numbers.params), bits(&params));
    assert!(params.iter().any(|p| *p != 0.0));
}

/// What the only host was to work on after this record.
fn lease(record: &Record) -> Vec<Range<u64>> {
    record.cursor.leases.iter().flat_map(|lease| lease.ranges.clone()).collect()
}

/// Many hosts commit one state; its loss is found once, and each round has it.
#[test]
fn every_round_has_the_loss_of_what_was_committed() {
    let world = run(&scenario(&[("rounds = 16", "rounds = 5")]));
    let recorder = world.recorder.as_ref().expect("it was made with one");
    let losses: Vec<f64> = recorder.rounds.iter().filter_map(|row| row.loss).collect();
    assert_eq!(losses.len(), recorder.rounds.len());
    assert!(losses.windows(2).skip(1).all(|pair| pair[1] < pair[0]), "{losses:?}");
    let states: Vec<_> = world.book.records.values().map(|entry| entry.record.state).collect();
    let lesson = world.lesson.as_ref().expect("it learns");
    assert_eq!(lesson.evaluated(), states.iter().collect::<std::collections::BTreeSet<_>>().len());
}

#[test]
fn losses_are_the_same_with_one_thread_and_with_two() {
    let scenario = scenario(&[AS_TEXT, CRASH, ("rounds = 16", "rounds = 6")]);
    let trace = |jobs| {
        let swept = sweep::sweep(&scenario, 0..4, jobs, |_| String::new());
        swept.map(|swept| swept.trace).map_err(|failed| failed.why)
    };
    let one = trace(1);
    assert!(one.is_ok(), "{one:?}");
    assert_eq!(one, trace(2));
}

/// A rate that is far too high: the local work is left out, as on a node, and the run goes on.
#[test]
fn what_diverges_is_left_out() {
    let scenario = scenario(&[("dimension = 600", "dimension = 600\nlr = 100"), ("16", "4")]);
    let world = run(&scenario);
    let recorder = world.recorder.as_ref().expect("it was made with one");
    assert!(recorder.events.iter().any(|event| event.kind == "diverges"));
    assert_eq!(world.rounds().1, 4);
    assert_eq!(cluster::summary(&scenario, &world).tokens, 0);
}

/// Each run has numbers, a beginning and losses of its own.
#[test]
fn two_runs_learn_side_by_side() {
    let target = ("rounds = 16", "runs = 2\nrounds = 8\ntarget_loss = 3.8");
    let scenario = scenario(&[AS_TEXT, target]);
    let world = run(&scenario);
    let recorder = world.recorder.as_ref().expect("it was made with one");
    let of = |run: usize| -> Vec<f64> {
        recorder.rounds.iter().filter(|row| row.run == run).filter_map(|row| row.loss).collect()
    };
    assert!(of(0).len() >= 8 && of(1).len() >= 8);
    assert!(of(0).iter().zip(of(1)).all(|(a, b)| *a != b));
    let outcome = cluster::summary(&scenario, &world).loss.expect("it learns");
    assert!(outcome.last < 0.9 * outcome.first && outcome.to_target_s.is_some(), "{outcome:?}");
}
