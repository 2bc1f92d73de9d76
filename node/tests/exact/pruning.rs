//! A run that prunes by what goes into its weights: members measure that, and who comes later has what they measured.

use crate::nodes::Nodes;
use shoal_node::store::committed::MEASURED;
use shoal_node::store::floats::floats_of;
use shoal_node::store::{Checkpoint, place};
use shoal_protocol::run::prune::inputs;

const PRUNE: &str = "[prune]\nsparsity = 0.5\nmethod = \"wanda\"\nfrom = 3\n";
/// Rounds from the one that prunes on, until a fourth node comes.
const PRUNED: u64 = 5;

#[test]
fn each_row_loses_half_and_a_newcomer_has_what_was_measured() {
    let mut nodes = Nodes::three(PRUNE);
    nodes.until("rounds after the pruning", |nodes| crate::both_past(nodes, PRUNED));
    nodes.join(&["d"]);
    nodes.until("rounds in step with the newcomer", |nodes| crate::in_step(nodes, PRUNED));
    let [kept, _] = ["a", "d"].map(|name| nodes.until("a checkpoint", |nodes| pruned(nodes, name)));
    nodes.restart("a");
    nodes.until("the killed one in step again", |nodes| crate::in_step(nodes, kept + 1));
    assert!(nodes.log_lines("a").iter().any(|line| line.contains("resum")));
}

/// The round of the node's newest checkpoint, if it is one after the pruning, of which all is as it should be.
fn pruned(nodes: &Nodes, name: &str) -> Option<u64> {
    let checkpoint = place::open(&nodes.home(name)).ok()?.checkpoint;
    (checkpoint.round >= PRUNED).then(|| check(&checkpoint))?;
    Some(checkpoint.round)
}

fn check(checkpoint: &Checkpoint) {
    let measured = floats_of(&checkpoint.extras[MEASURED]);
    let model = checkpoint.params.len();
    assert_eq!((model + measured.len()) as u64, checkpoint.spec.elems());
    for (slot, range) in inputs(&checkpoint.spec.model) {
        let width = range.len();
        for row in checkpoint.params[slot.range()].chunks(width) {
            let zeros = row.iter().filter(|w| **w == 0.0).count();
            assert_eq!(zeros, width / 2, "{}", slot.name);
        }
        let norms = &measured[range.start - model..range.end - model];
        assert!(norms.iter().sum::<f32>() > 1e-2, "{}: {norms:?}", slot.name);
    }
}
