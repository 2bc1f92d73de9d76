//! Runs that are over before their last round: all peers stop on one digest, whatever happens meanwhile.

use crate::cluster;
use crate::noise;
use crate::scenario::Scenario;
use crate::sweep;
use crate::tests::seeds::for_seeds;
use crate::world::World;
use shoal_protocol::id::Digest;
use shoal_protocol::ledger::Record;
use shoal_protocol::plateau::Loss;
use shoal_protocol::time::Span;
use std::collections::BTreeSet;

/// Five hosts whose loss falls less and less.
const FIVE: &str = r#"
name = "five"
learner = "noise"
rounds = 500
hours = 1

[run]
params = "8K"
context = 16
steps = 4
batch = 2
chunk_elems = 512
stop = { every = 2, patience = 2, min_gain = 0.1 }

[[group]]
name = "host"
count = 5
tokens_per_s = { uniform = [40, 80] }
up_mbit = 1
down_mbit = 2
latency_ms = { uniform = [3, 60] }
"#;

fn scenario(changes: &[(&str, &str)]) -> Scenario {
    let mut text = FIVE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Scenario::parse(&text, "five").unwrap_or_else(|why| panic!("{why}"))
}

fn run(changes: &[(&str, &str)]) -> World {
    cluster::run(&scenario(changes), 1, "", |_| true)
}

/// The record on which all that live have stopped.
fn end(world: &World) -> Record {
    assert!(world.is_over(), "they have not stopped");
    let running = world.peers.iter().filter_map(|peer| peer.running.as_ref());
    let ends: Vec<&Record> = running.map(|running| running.store.record()).collect();
    let digests: BTreeSet<Digest> = ends.iter().map(|record| record.digest()).collect();
    assert_eq!(digests.len(), 1);
    ends[0].clone()
}

#[test]
fn all_stop_in_one_round_and_nobody_trains_then() {
    let mut world = run(&[]);
    let record = end(&world);
    let plateau = record.plateau.expect("it was evaluated");
    assert_eq!((plateau.idle, plateau.decided), (2, record.round));
    assert!(record.round < 40, "{record:?}");
    let middle = (plateau.best.loss.nats() - noise::loss(plateau.best.round)).abs();
    assert!(middle < 1e-5, "{plateau:?}");
    world.run_for(Span::from_secs(60));
    assert_eq!(end(&world), record);
    let trains =
        |peer: &crate::peer::Peer| peer.running.as_ref().is_some_and(|r| r.training.is_some());
    assert!(!world.peers.iter().any(trains));
}

#[test]
fn without_patience_a_run_is_evaluated_and_goes_on() {
    let world = run(&[("patience = 2", "patience = 0"), ("rounds = 500", "rounds = 30")]);
    assert!(!world.is_over());
    let records = world.book.records.values().map(|entry| &entry.record);
    let latest = records.max_by_key(|record| record.round).expect("there are some");
    let plateau = latest.plateau.expect("it was evaluated");
    assert!(latest.round >= 30 && plateau.idle > 2 && plateau.best == plateau.last, "{plateau:?}");
}

/// It fetches a whole state, and in it where the rule stands.
#[test]
fn whoever_comes_after_the_end_stops_there_too() {
    let late = "latency_ms = { uniform = [3, 60] }\n[[group]]\nname = \"late\"\ncount = 1\ntokens_per_s = 60\nup_mbit = 1\ndown_mbit = 2\nlatency_ms = 9\nstarts_s = 300";
    let mut world = run(&[("latency_ms = { uniform = [3, 60] }\n", late)]);
    let record = end(&world);
    assert!(world.peers.iter().filter(|peer| peer.is_alive()).count() == 5);
    let all_are_there =
        |world: &World| world.is_over() && world.peers.iter().all(crate::peer::Peer::is_alive);
    world.run_until("the last has come", Span::from_secs(400), all_are_there);
    assert_eq!(end(&world), record);
}

/// Two of five are cut off for good while the others stop; when the cut is over they come to the heavier end.
#[test]
fn after_a_cut_the_heavier_end_holds() {
    let cut = "[[fault]]\nkind = \"partition\"\nat_s = 10\nfor_s = 200\ncount = 2\n[[group]]";
    let together = ("hours = 1", "hours = 1\ntogether = true\npatience_s = 120");
    let world = run(&[("[[group]]", cut), together]);
    let record = end(&world);
    let ends = world.book.records.values().filter(|entry| world.spec.has_stopped(&entry.record));
    let tokens: Vec<u64> = ends.map(|entry| entry.record.tokens).collect();
    assert_eq!(tokens.len(), 2, "each side has stopped");
    assert_eq!(tokens.iter().max(), Some(&record.tokens));
}

/// One of five says that the loss is nothing, or endless.
#[test]
fn a_liar_moves_no_loss_beyond_what_others_measure() {
    for lie in [Loss(0), Loss::MAX] {
        let (mut world, _) = cluster::build(&scenario(&[]), 3, "");
        world.peers[0].says = Some(lie);
        world.run_until("they stop", Span::from_secs(900), World::is_over);
        let told = world.book.plans.values().flat_map(|plan| &plan.members);
        assert!(told.filter_map(|member| member.heldout).any(|heldout| heldout.loss == lie));
        for entry in world.book.records.values() {
            let Some(plateau) = entry.record.plateau else { continue };
            let off = plateau.last.loss.nats() - noise::loss(plateau.last.round);
            assert!((-1e-6..1e-5).contains(&off), "{plateau:?}");
        }
    }
}

/// What is learned stands still at last: the loss that all agreed on is that of the best state.
#[test]
fn a_text_is_learned_until_it_is_not() {
    let text = include_str!("../../../examples/clusters/early-stop.toml");
    let scenario = Scenario::parse(text, "early-stop.toml").expect("it is a scenario");
    let world = cluster::run(&scenario, 1, "", |_| true);
    let record = end(&world);
    let plateau = record.plateau.expect("it was evaluated");
    let recorder = world.recorder.as_ref().expect("it was made with one");
    let best = recorder.rounds.iter().find(|row| row.round == plateau.best.round);
    let loss = best.and_then(|row| row.loss).expect("it was evaluated");
    assert!((plateau.best.loss.nats() - loss).abs() < 1e-5, "{plateau:?} {loss}");
    let begin = recorder.losses.as_ref().expect("it learns").begins[0];
    assert!(loss < 0.8 * begin && record.round < scenario.rounds, "{loss} {}", record.round);
}

fn all_faults(stop: &str) -> Scenario {
    let text = include_str!("../../../examples/clusters/all-faults.toml");
    let text = text.replace("[run]\n", &format!("[run]\nstop = {{ {stop} }}\n"));
    Scenario::parse(&text, "all-faults.toml").expect("it is a scenario")
}

/// A peer that had stopped alone went to others that still trained, and back again when they came to less.
#[test]
fn who_is_alone_with_an_end_goes_to_another_end_only() {
    let scenario = all_faults("every = 2, patience = 2, min_gain = 0.1");
    let lies = Scenario { liars: 2, together: false, ..scenario };
    assert_eq!(sweep::one(&lies, 101, "seed 101", |_| true).map(|_| ()), Ok(()));
}

#[test]
fn whatever_happens_all_stop_on_one_digest() {
    for stop in
        ["every = 2, patience = 2, min_gain = 0.1", "every = 1, patience = 1, min_gain = 0.2"]
    {
        let scenario = all_faults(stop);
        for_seeds(10, |seed| {
            let held = sweep::one(&scenario, seed, &format!("seed {seed} with {stop}"), |_| true);
            assert_eq!(held.map(|_| ()), Ok(()), "seed {seed} with {stop}");
            let lies = Scenario { liars: 2, together: false, ..scenario.clone() };
            let held =
                sweep::one(&lies, seed, &format!("seed {seed} with {stop} and liars"), |_| true);
            assert_eq!(held.map(|_| ()), Ok(()), "seed {seed} with {stop} and liars");
        });
    }
}
