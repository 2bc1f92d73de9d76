//! Real nodes of a run with one state for all: with a member that sends garbage they refuse it, say why, and go on.

mod data;
mod liar;
mod nodes;
mod pruning;
mod start;
mod stopping;

use liar::{Garbage, Liar, Lie};
use nodes::Nodes;
use shoal_node::status::{NodeStatus, RoundStatus};
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::wire::ChunkKind;
use std::collections::BTreeMap;

/// Rounds that both nodes commit before anybody lies, and after somebody did.
const ROUNDS: u64 = 3;
/// A model that knows nothing has a loss of 5.55 nats; one that garbage has gone into, far more.
const LOSS_MAX: f64 = 6.0;

/// One liar each, one after the other.
const LIES: [(ChunkKind, Garbage); 5] = [
    (ChunkKind::Contribution, Garbage::NotANumber),
    (ChunkKind::Contribution, Garbage::WrongSize),
    (ChunkKind::Contribution, Garbage::Noise),
    (ChunkKind::Result, Garbage::NotANumber),
    (ChunkKind::Result, Garbage::WrongSize),
];

#[test]
fn nodes_refuse_a_member_that_sends_garbage_and_go_on() {
    let mut nodes = Nodes::start();
    nodes.until("the nodes' first rounds together", |nodes| both_past(nodes, ROUNDS));
    for (of, garbage) in LIES {
        let lie = Lie { of, garbage };
        let liar = Liar::start(&nodes.spec, &nodes.local(), lie);
        let joined = nodes.until("the liar's first plan", |_| liar.member_of());
        nodes.until("a refusal with a reason", |nodes| refusal(nodes, liar.peer, lie));
        let statuses = nodes.until("more rounds in step", |nodes| in_step(nodes, joined));
        statuses.iter().for_each(learns);
        println!("{lie:?}, member in round {joined}:\n{}", about(&nodes, liar.peer).join("\n"));
    }
}

/// How both stand, once they have committed this round.
fn both_past(nodes: &Nodes, round: Round) -> Option<Vec<NodeStatus>> {
    let statuses = nodes.statuses()?;
    let past = |status: &NodeStatus| status.rounds.iter().any(|known| known.round >= round);
    statuses.iter().all(past).then_some(statuses)
}

/// The line of a log that says what the liar did.
fn refusal(nodes: &Nodes, liar: PeerId, lie: Lie) -> Option<String> {
    let says = ["refused what a peer sent", lie.reason()];
    about(nodes, liar).into_iter().find(|line| says.iter().all(|part| line.contains(part)))
}

/// What the nodes have logged of a peer.
fn about(nodes: &Nodes, peer: PeerId) -> Vec<String> {
    let lines = nodes.names().iter().flat_map(|name| nodes.log_lines(name));
    lines.filter(|line| line.contains(&peer.short())).collect()
}

/// How all stand, once they have committed enough rounds since this one to one digest each. A machine that is busy may hold one up so
/// long that another goes on alone for a round: one has a gap there then, or what it made of that round itself.
fn in_step(nodes: &Nodes, since: Round) -> Option<Vec<NodeStatus>> {
    let statuses = nodes.statuses()?;
    let mut known: BTreeMap<Round, Vec<&RoundStatus>> = BTreeMap::new();
    for round in statuses.iter().flat_map(|status| &status.rounds).filter(|r| r.round >= since) {
        known.entry(round.round).or_default().push(round);
    }
    let of_all = known.values().filter(|told| told.len() == statuses.len());
    let (one, apart): (Vec<_>, Vec<_>) =
        of_all.partition(|told| told.iter().all(|round| round.digest == told[0].digest));
    for told in apart {
        assert!(told.iter().any(|round| round.members == 1), "{told:?}");
    }
    (one.len() as u64 > ROUNDS).then_some(statuses)
}

/// The held-out loss is a number (JSON has none for NaN), and not that of a spoilt model.
fn learns(status: &NodeStatus) {
    let loss = status.val_loss.expect("a held-out loss");
    assert!(loss.is_finite() && loss < LOSS_MAX, "{loss}");
}
