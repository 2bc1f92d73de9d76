//! What a node tells of itself: one value, kept up to date by the session's actor, read by the dashboard and by `shoal status`.

use crate::stopping::StoppingStatus;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Rounds that are remembered for the status.
const ROUNDS_KEPT: usize = 1024;

/// A node at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The run's id, hex.
    pub run_id: String,
    /// The run's name.
    pub run_name: String,
    /// This node's id, hex.
    pub peer: String,
    /// Process id.
    pub pid: u32,
    /// Last committed round whose checkpoint is written.
    pub round: u64,
    /// The run's last round.
    pub rounds_total: u64,
    /// Digest of the last committed record, hex.
    pub digest: String,
    /// What it is doing: looking, training, gathering, reducing, confirming, applying, catching-up, finished; in a run by
    /// gossip listening, fetching, training, gathering, averaging, finished.
    pub phase: String,
    /// In one line: what it is waiting for, on whom, since when and until when.
    pub waiting: String,
    /// Pieces of the run's files that are here, and all of them, where peers give them to each other.
    #[serde(default)]
    pub data_pieces: Option<(u32, u32)>,
    /// Answers that it has given of what the run's teacher says, to those who do not hold it.
    #[serde(default)]
    pub lessons_given: u64,
    /// Answers that it was given.
    #[serde(default)]
    pub lessons_taken: u64,
    /// Everybody it knows of.
    pub members: Vec<MemberStatus>,
    /// Tokens that this node has trained on since it started.
    pub tokens: u64,
    /// Tokens that all committed rounds were trained on, by everybody.
    pub tokens_committed: u64,
    /// Training speed, tokens per second.
    pub tokens_per_s: f64,
    /// Bytes handed to the network since the start, encryption and framing included.
    pub bytes_sent: u64,
    /// Bytes taken from the network, likewise.
    pub bytes_received: u64,
    /// Measured rate of bulk transfers to others, bytes per second: what its share of a round is cut to.
    pub up_bytes_per_s: Option<f64>,
    /// Measured rate of bulk transfers from others, bytes per second.
    pub down_bytes_per_s: Option<f64>,
    /// Mean loss of the last local work, nats per token.
    pub train_loss: Option<f64>,
    /// Held-out loss of the last evaluated committed parameters, nats per token.
    pub val_loss: Option<f64>,
    /// The loss that all agreed on, and whether it has stopped the run.
    #[serde(default)]
    pub stopping: StoppingStatus,
    /// The line that others join with.
    pub ticket: String,
    /// The last checkpoint's folder.
    pub checkpoint: Option<PathBuf>,
    /// Devices in use.
    pub devices: Vec<String>,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Peak resident memory, bytes.
    pub peak_memory_bytes: u64,
    /// The last rounds, oldest first.
    pub rounds: VecDeque<RoundStatus>,
    /// In a run by gossip: its coordinates in the grid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub place: Vec<u8>,
    /// In a run by gossip: whom it averaged with last, hex; empty if it stepped alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
    /// In a run by gossip: how far its last group was apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus_distance: Option<f64>,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id, hex.
    pub peer: String,
    /// Last committed round that it told of.
    pub round: u64,
    /// Training speed that it told of.
    pub tokens_per_s: u64,
    /// Whether it counts as alive.
    pub alive: bool,
    /// Seconds since it was heard.
    pub heard_s: f64,
}

/// A committed round, as this node lived it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// The round.
    pub round: u64,
    /// Digest of its record, hex.
    pub digest: String,
    /// Members of its plan.
    pub members: usize,
    /// The convener's attempt number: 0 unless it was taken over or begun again.
    pub attempt: u32,
    /// Tokens that it was trained on, by all members.
    pub tokens: u64,
    /// Mean loss of this node's own last work before it was committed, nats per token. Dropout raises it.
    #[serde(default)]
    pub train_loss: Option<f64>,
    /// Held-out loss of the parameters after it, nats per token.
    pub val_loss: Option<f64>,
    /// Seconds from the plan to the last result here; absent if the round was fetched.
    pub exchange_s: Option<f64>,
    /// Bytes this node handed to the network since the round before.
    pub bytes_sent: u64,
    /// Seconds since this node's start when it was committed here.
    pub at_s: f64,
    /// In a run by gossip: how far the group was apart before it averaged. Root of the mean squared distance of what its members
    /// brought from their mean, over the mean's norm, in the slice that this node added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus_distance: Option<f64>,
}

/// The status that is shared between the session's actor and its readers.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus(Arc<RwLock<Kept>>);

/// The status and when it was last changed.
#[derive(Debug)]
struct Kept {
    status: NodeStatus,
    changed: Instant,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { status: NodeStatus::default(), changed: Instant::now() }
    }
}

impl SharedStatus {
    /// A copy of how things stand.
    pub fn get(&self) -> NodeStatus {
        self.read().status.clone()
    }

    /// Time since it was last changed: long, if who keeps it up to date is stuck or gone.
    pub fn age(&self) -> Duration {
        self.read().changed.elapsed()
    }

    /// Changes it.
    pub fn update(&self, change: impl FnOnce(&mut NodeStatus)) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.changed = Instant::now();
        change(&mut kept.status);
    }

    /// A round's checkpoint is written.
    pub fn archived(&self, round: u64, folder: PathBuf) {
        self.update(|status| {
            status.round = round;
            status.checkpoint = Some(folder);
            let known = status.rounds.iter().find(|known| known.round == round);
            status.digest = known.map_or(String::new(), |known| known.digest.clone());
        });
    }

    /// The parameters after a round have this held-out loss; what the round's training loss was, if it is known.
    pub fn evaluated(&self, round: u64, loss: f64) -> Option<f64> {
        let mut trained = None;
        self.update(|status| {
            status.val_loss = Some(loss);
            if let Some(known) = status.rounds.iter_mut().find(|known| known.round == round) {
                known.val_loss = Some(loss);
                trained = known.train_loss;
            }
        });
        trained
    }

    /// Adds a round, or replaces what is there of it.
    pub fn push_round(&self, round: RoundStatus) {
        self.update(|status| {
            status.rounds.retain(|known| known.round != round.round);
            if status.rounds.len() == ROUNDS_KEPT {
                status.rounds.pop_front();
            }
            status.rounds.push_back(round);
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
