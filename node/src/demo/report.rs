//! `report.json`: what the demo saw, for other programs.

use super::cast::{Credit, Fate};
use super::history::Row;
use serde::Serialize;

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The run's id, hex.
    pub run_id: String,
    /// Seconds from the first process's start to the last node's end.
    pub seconds: f64,
    /// Every node that took part, in the order of their start.
    pub nodes: Vec<NodeReport>,
    /// Every committed round, oldest first.
    pub rounds: Vec<RoundReport>,
}

/// One node, as it was last seen.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its id, hex.
    pub peer: String,
    /// What became of it.
    pub fate: Fate,
    /// Its last committed round.
    pub round: u64,
    /// That round's digest, hex.
    pub digest: String,
    /// Tokens that it trained on.
    pub tokens: u64,
    /// Its training speed: tokens over the whole time that it was there.
    pub tokens_per_s: f64,
    /// Bytes handed to the network, encryption and framing included.
    pub bytes_sent: u64,
    /// Bytes taken from the network, likewise.
    pub bytes_received: u64,
    /// Peak resident memory, bytes.
    pub peak_memory_bytes: u64,
}

/// One committed round.
#[derive(Clone, Debug, Serialize)]
pub struct RoundReport {
    /// The round.
    pub round: u64,
    /// Members of its plan.
    pub members: usize,
    /// The plan's attempt: 0 unless the round was begun again.
    pub attempt: u32,
    /// Tokens that it was trained on, by all members.
    pub tokens: u64,
    /// Mean loss of the local work that went into it, nats per token.
    pub train_loss: Option<f64>,
    /// Held-out loss of the parameters after it, nats per token.
    pub val_loss: Option<f64>,
    /// Seconds from the plan to the last result, at the slowest node.
    pub exchange_s: Option<f64>,
    /// Bytes that a member handed to the network since the round before, on average.
    pub bytes_sent_per_peer: u64,
    /// Digest of its record, hex.
    pub digest: String,
}

impl From<&Credit> for NodeReport {
    fn from(node: &Credit) -> NodeReport {
        let status = &node.status;
        NodeReport {
            peer: status.peer.clone(),
            fate: node.fate,
            round: status.round,
            digest: status.digest.clone(),
            tokens: status.tokens,
            tokens_per_s: status.tokens as f64 / status.uptime_s.max(1e-3),
            bytes_sent: status.bytes_sent,
            bytes_received: status.bytes_received,
            peak_memory_bytes: status.peak_memory_bytes,
        }
    }
}

impl From<Row> for RoundReport {
    fn from(row: Row) -> RoundReport {
        RoundReport {
            round: row.round,
            members: row.members,
            attempt: row.attempt,
            tokens: row.tokens,
            train_loss: row.train_loss,
            val_loss: row.val_loss,
            exchange_s: row.exchange_s,
            bytes_sent_per_peer: row.bytes_sent_per_peer,
            digest: row.digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::NodeStatus;

    #[test]
    fn has_the_promised_keys() {
        let status = NodeStatus {
            peer: "ab".into(),
            round: 2,
            tokens: 50,
            uptime_s: 10.0,
            ..NodeStatus::default()
        };
        let killed = Credit { name: "node-1".into(), fate: Fate::Killed, status };
        let report = Report {
            run_id: "cd".into(),
            seconds: 1.0,
            nodes: vec![NodeReport::from(&killed)],
            rounds: vec![Row { round: 1, val_loss: Some(2.5), ..Row::default() }.into()],
        };
        let json = serde_json::to_value(report).unwrap();
        let (node, round) = (&json["nodes"][0], &json["rounds"][0]);
        assert_eq!((&json["run_id"], &node["fate"]), (&"cd".into(), &"killed".into()));
        assert_eq!((&node["tokens_per_s"], &round["val_loss"]), (&5.0.into(), &2.5.into()));
        for key in ["peer", "round", "digest", "tokens", "bytes_sent", "bytes_received"] {
            assert!(node.get(key).is_some(), "{key}");
        }
        for key in ["round", "members", "tokens", "exchange_s", "bytes_sent_per_peer", "digest"] {
            assert!(round.get(key).is_some(), "{key}");
        }
    }
}
