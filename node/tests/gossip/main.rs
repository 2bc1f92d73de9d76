//! Real nodes of a run by gossip: they average in pairs, one dies and comes back, one joins late.

mod nodes;

use nodes::Nodes;
use shoal_node::status::NodeStatus;
use shoal_node::store::newest_intact;
use std::path::Path;

/// Rounds that all take before anything happens, and after each thing that does.
const ROUNDS: u64 = 4;
/// A model that knows nothing has a loss of 5.55 nats; one that knows no more than how often each byte comes, about 3.
const LOSS_MAX: f64 = 4.5;
/// Measured: 0.05; with one that has just come back, 0.28 before it averages.
const DISTANCE_MAX: f64 = 0.25;

#[test]
fn pairs_learn_together_whoever_dies_or_joins() {
    let mut nodes = Nodes::new();
    ["a", "b", "c"].into_iter().for_each(|name| nodes.up(name));
    let first = nodes
        .until("the first rounds in groups", |nodes| averaged(nodes, &["a", "b", "c"], ROUNDS));
    nodes.kill("a");
    let past = furthest(&first);
    nodes.until("rounds of the survivors", |nodes| averaged(nodes, &["b", "c"], past + ROUNDS));

    nodes.up("a");
    let back = nodes.until("the dead one's return", |nodes| averaged(nodes, &["a"], past));
    assert!(nodes.log("a").contains("resuming from a checkpoint"), "{}", nodes.log("a"));
    let past = furthest(&back);

    nodes.join("d", &back[0].ticket);
    let last =
        nodes.until("rounds of all", |nodes| averaged(nodes, &["a", "b", "c", "d"], past + ROUNDS));
    let taken = "goes on from a neighbour's parameters";
    assert!(nodes.log("d").contains(taken), "{}", nodes.log("d"));
    let losses: Vec<f64> = last.iter().filter_map(|status| status.val_loss).collect();
    assert!(losses.len() == 4 && losses.iter().all(|loss| *loss < LOSS_MAX), "{losses:?}");
    for status in &last {
        let told = status.consensus_distance.expect("it has met others");
        assert!(told < 2.0 * DISTANCE_MAX, "{told}");
    }
    let folders: Vec<_> = ["a", "b", "c", "d"].map(|name| nodes.kill(name)).into();
    let distance = distance(&folders.iter().map(|folder| params(folder)).collect::<Vec<_>>());
    assert!(distance > 0.0 && distance < DISTANCE_MAX, "{distance}");
    println!("consensus distance {distance:.4}, losses {losses:?}");
}

/// How these stand, once each has averaged with somebody in a round after this one and has measured its loss.
fn averaged(nodes: &Nodes, names: &[&str], round: u64) -> Option<Vec<NodeStatus>> {
    let statuses: Vec<NodeStatus> =
        names.iter().map(|name| nodes.status(name)).collect::<Option<_>>()?;
    let has = |status: &NodeStatus| {
        let together = status.rounds.iter().any(|known| known.round > round && known.members > 1);
        together && status.val_loss.is_some() && status.checkpoint.is_some()
    };
    statuses.iter().all(has).then_some(statuses)
}

fn furthest(statuses: &[NodeStatus]) -> u64 {
    let rounds = statuses.iter().filter_map(|status| status.rounds.back());
    rounds.map(|round| round.round).max().expect("there are rounds")
}

/// The parameters of the newest checkpoint in a folder of them.
fn params(folder: &Path) -> Vec<f32> {
    newest_intact(folder).unwrap().expect("a checkpoint").checkpoint.params
}

/// Root of the mean squared distance from the mean, over the mean's norm.
fn distance(all: &[Vec<f32>]) -> f64 {
    let (mut apart, mut norm) = (0.0, 0.0);
    for i in 0..all[0].len() {
        let at = || all.iter().map(|params| f64::from(params[i]));
        let mean = at().sum::<f64>() / all.len() as f64;
        apart += at().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
        norm += mean * mean;
    }
    (apart / norm).sqrt()
}
