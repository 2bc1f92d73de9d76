//! A run that is over when its held-out loss stands still: all nodes stop in one round, and who comes later stops there too.

use crate::nodes::Nodes;
use shoal_node::status::NodeStatus;
use std::collections::BTreeSet;

const STOP: &str = "[stop]\nevery = 1\npatience = 2\nmin_gain = 0.2\nsequences = 8\n";

#[test]
fn all_stop_in_the_round_in_which_the_loss_stands_still() {
    let mut nodes = Nodes::three(STOP);
    let first = nodes.until("the end of the run", over);
    nodes.join(&["d"]);
    let last = nodes.until("the newcomer's end", over);
    let ends = |statuses: &[NodeStatus]| -> BTreeSet<(u64, String)> {
        statuses.iter().map(|status| (status.round, status.digest.clone())).collect()
    };
    assert_eq!((last.len(), ends(&first).len()), (4, 1), "{:?}", ends(&first));
    assert_eq!(ends(&last), ends(&first));
    let (round, stopping) = (first[0].round, &first[0].stopping);
    assert!(round < first[0].rounds_total, "{round}");
    assert_eq!((stopping.idle, stopping.patience), (2, 2), "{stopping:?}");
}

/// How all stand, once the run is over for all of them and its last round is on their disks, which is what `round` tells.
fn over(nodes: &Nodes) -> Option<Vec<NodeStatus>> {
    let statuses = nodes.statuses()?;
    let written =
        |status: &NodeStatus| status.rounds.back().is_some_and(|last| last.round == status.round);
    let over = |status: &NodeStatus| status.phase == "finished" && written(status);
    statuses.iter().all(over).then_some(statuses)
}
