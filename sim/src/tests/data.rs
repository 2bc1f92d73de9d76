//! Hosts that have nothing of the run's text and fetch it from their peers.

use crate::cluster;
use crate::scenario::Scenario;
use crate::shelf::Shelf;
use crate::sweep;
use crate::world::World;

/// The clusters of all faults, in which half of the hosts have nothing of a text of some pieces.
pub fn faults() -> Scenario {
    let text = include_str!("../../../examples/clusters/all-faults.toml");
    let homes = "[[group]]\nname = \"fetches\"\ndata_from = \"peers\"\ncount = 4\ntokens_per_s = 60\n\
        up_mbit = 8\ndown_mbit = 16\nlatency_ms = 10\nstarts_s = { uniform = [0, 8] }\n";
    // Links as of homes: with less, a piece would take longer than all the faults.
    let text = text
        .replace("[run]\n", "[run]\ndata_mb = 3.5\n")
        .replace("up_mbit = { uniform = [0.3, 1.0] }", "up_mbit = 8")
        .replace("down_mbit = { uniform = [0.6, 2.0] }", "down_mbit = 16")
        .replace("count = 12", "count = 4")
        .replace("[chaos]", &format!("{homes}\n[chaos]"))
        .replace("hosts = [2, 12]", "hosts = [5, 8]");
    Scenario::parse(&text, "all-faults.toml").expect("it is a scenario")
}

fn held(world: &World) -> Vec<usize> {
    world.peers.iter().map(|peer| peer.shelf.as_ref().map_or(0, Shelf::held)).collect()
}

fn tokens(world: &World) -> Vec<u64> {
    world.peers.iter().map(|peer| peer.tokens).collect()
}

#[test]
fn who_has_nothing_fetches_it_trains_meanwhile_and_keeps_to_its_cap() {
    let text = include_str!("../../../examples/clusters/data-from-peers.toml");
    let scenario = Scenario::parse(text, "data-from-peers.toml").expect("it is a scenario");
    let world = cluster::run(&scenario, 1, "", |_| true);
    let pieces = 200_000_000usize.div_ceil(1 << 20);
    let (held, cap) = (held(&world), 40_000_000 / (1 << 20));
    assert_eq!(held[..6], [pieces; 6]);
    assert!(held[6..].iter().all(|held| (2..=cap).contains(held)), "{held:?}");
    assert!(tokens(&world).iter().all(|tokens| *tokens > 0), "{:?}", tokens(&world));
    let (least, most) = world.rounds();
    assert!(most - least <= 1, "rounds {least} to {most}");
}

#[test]
fn they_train_before_the_rest_of_the_text_is_there() {
    let text = include_str!("../../../examples/clusters/data-from-peers.toml")
        .replace("up_mbit = 100", "up_mbit = 10")
        .replace("up_mbit = 20", "up_mbit = 5")
        .replace("rounds = 15", "rounds = 5");
    let scenario = Scenario::parse(&text, "data-from-peers.toml").expect("it is a scenario");
    let world = cluster::run(&scenario, 1, "", |_| true);
    let (held, tokens) = (held(&world), tokens(&world));
    assert!((2..6).all(|p| held[p] < 191 && tokens[p] > 0), "{held:?} {tokens:?}");
}

#[test]
fn whatever_befalls_them_every_promise_holds() {
    for seed in 0..20 {
        let again = format!("seed {seed} of the clusters of `faults`");
        assert_eq!(sweep::one(&faults(), seed, &again, |_| true).map(|_| ()), Ok(()), "{again}");
    }
}
