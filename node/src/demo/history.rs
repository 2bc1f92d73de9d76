//! What was seen of the run: every round as each node lived it.

use crate::status::{NodeStatus, RoundStatus};
use std::collections::BTreeMap;

/// All that was seen, round by round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// By round, then by node.
    seen: BTreeMap<u64, BTreeMap<String, RoundStatus>>,
    /// Mean loss of the local work that a round was made of, by round, then by node.
    train: BTreeMap<u64, BTreeMap<String, f64>>,
    /// What happened beside the rounds.
    pub events: Vec<Event>,
}

/// A node was killed, or came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// The round of it.
    pub round: u64,
    /// The node's name.
    pub node: String,
    /// Whether it was killed.
    pub killed: bool,
    /// In one line.
    pub line: String,
}

/// A round, as all nodes together lived it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub round: u64,
    pub digest: String,
    /// Whether every node that committed it has that digest.
    pub agreed: bool,
    pub members: usize,
    pub attempt: u32,
    pub tokens: u64,
    pub train_loss: Option<f64>,
    pub val_loss: Option<f64>,
    /// The slowest node's.
    pub exchange_s: Option<f64>,
    /// The mean over the nodes that took part.
    pub bytes_sent_per_peer: u64,
}

impl History {
    /// Takes in what a node tells.
    pub(super) fn absorb(&mut self, status: &NodeStatus) {
        for round in &status.rounds {
            let by = self.seen.entry(round.round).or_default();
            by.insert(status.peer.clone(), round.clone());
        }
        self.absorb_train_loss(status);
    }

    /// While a node trains (or has finished), its last finished local work is what the last committed round was made of.
    fn absorb_train_loss(&mut self, status: &NodeStatus) {
        let settled = ["training", "finished"].contains(&status.phase.as_str());
        let (true, Some(loss), Some(last)) = (settled, status.train_loss, status.rounds.back())
        else {
            return;
        };
        if last.tokens > 0 {
            let by = self.train.entry(last.round).or_default();
            by.entry(status.peer.clone()).or_insert(loss);
        }
    }

    /// The last round that anybody committed; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.seen.keys().last().copied().unwrap_or(0)
    }

    /// All rounds, oldest first.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = Row> + '_ {
        self.seen.iter().map(|(round, by)| self.row(*round, by))
    }

    fn row(&self, round: u64, by: &BTreeMap<String, RoundStatus>) -> Row {
        // Who fetched the round tells little of it.
        let lived = || by.values().filter(|seen| seen.exchange_s.is_some());
        let first = lived().chain(by.values()).next().cloned().unwrap_or_default();
        let sent: u64 = lived().map(|seen| seen.bytes_sent).sum();
        Row {
            round,
            agreed: by.values().all(|seen| seen.digest == first.digest),
            train_loss: self.train.get(&round).and_then(|by| mean(by.values())),
            val_loss: by.values().find_map(|seen| seen.val_loss),
            exchange_s: lived().filter_map(|seen| seen.exchange_s).reduce(f64::max),
            bytes_sent_per_peer: sent / (lived().count() as u64).max(1),
            digest: first.digest,
            members: first.members,
            attempt: first.attempt,
            tokens: first.tokens,
        }
    }
}

fn mean<'a>(values: impl ExactSizeIterator<Item = &'a f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(peer: &str, round: RoundStatus, train_loss: f64) -> NodeStatus {
        let train_loss = Some(train_loss);
        let peer = peer.into();
        NodeStatus {
            peer,
            phase: "training".into(),
            train_loss,
            rounds: [round].into(),
            ..NodeStatus::default()
        }
    }

    fn round(digest: &str, exchange_s: Option<f64>, bytes_sent: u64) -> RoundStatus {
        let digest = digest.into();
        RoundStatus {
            round: 3,
            digest,
            members: 2,
            tokens: 99,
            exchange_s,
            bytes_sent,
            ..RoundStatus::default()
        }
    }

    #[test]
    fn a_row_is_what_all_saw() {
        let mut history = History::default();
        history.absorb(&status("a", round("d", Some(0.5), 100), 2.0));
        history.absorb(&status("a", round("d", Some(0.5), 100), 9.0)); // already of the next round
        history.absorb(&status(
            "b",
            RoundStatus { val_loss: Some(1.5), ..round("d", Some(0.7), 300) },
            3.0,
        ));
        history.absorb(&status("late", round("d", None, 7_000), 4.0));
        let rows: Vec<Row> = history.rows().collect();
        let expected = Row {
            round: 3,
            digest: "d".into(),
            agreed: true,
            members: 2,
            tokens: 99,
            train_loss: Some(3.0),
            val_loss: Some(1.5),
            exchange_s: Some(0.7),
            bytes_sent_per_peer: 200,
            attempt: 0,
        };
        assert_eq!((rows, history.last()), (vec![expected], 3));
        history.absorb(&status("b", round("other", None, 0), 3.0));
        assert!(!history.rows().next().unwrap().agreed);
    }
}
