//! Every message between the node's actors, on one screen.

use crate::actor::archive::Kept;
use crate::exchange::{Committed, Frame};
use crate::net::Credit;
use actix::Message;
use bytes::Bytes;
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::math::Merge;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// To the session: something has happened. The credit is room in the network's memory, free again once it is handled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Happened(pub Input, pub Option<Credit>);

/// To the session: a bulk frame has arrived, with these bytes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Delivered(pub Frame, pub Bytes, pub Credit);

/// To the session: a committed state is in the exchange's hands.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StateCommitted(pub Box<Committed>);

/// To the session: a checkpoint lies on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Archived {
    /// Its round.
    pub round: Round,
    /// Its folder.
    pub folder: PathBuf,
    /// The link to the best round's checkpoint, if this node has that.
    pub best: Option<PathBuf>,
}

/// To the session: committed parameters were evaluated on the held-out part.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Evaluated {
    /// The round that ended with them.
    pub round: Round,
    /// What was evaluated, and for whom.
    pub subject: Subject,
    /// Nats per token.
    pub loss: f64,
}

/// Why parameters are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Committed ones, for people: left out when there is no time.
    Shown,
    /// Committed ones, of the record with this digest: the session asked, and says it to the others.
    Told(Digest),
    /// Averaged ones, for people.
    Average,
}

/// To the session: local work has been done by all devices together.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Worked {
    /// Tokens trained on.
    pub tokens: u64,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Mean loss, nats per token.
    pub loss: Option<f64>,
}

/// To the trainer: work on these samples from these parameters.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Train {
    /// The round that the work is meant for.
    pub round: Round,
    /// Positions.
    pub lease: Vec<Range<u64>>,
    /// Where from, `[params]`.
    pub from: Arc<Vec<f32>>,
}

/// To the trainer: a commit does this to the local parameters that it works on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Merged(pub Arc<Merge>);

/// To the trainer: evaluate these parameters.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Evaluate {
    /// The round that ended with them.
    pub round: Round,
    /// What they are.
    pub subject: Subject,
    /// Which, `[params]`.
    pub params: Arc<Vec<f32>>,
}

/// To the trainer: a device has answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Answered {
    /// Which device.
    pub device: usize,
    /// What.
    pub answer: crate::train::Answer,
}

/// To the archive: write a checkpoint.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Archive(pub Box<Kept>, pub Option<f64>);

/// To the archive: a device's inner optimiser stands so after its work; the next checkpoints take it along.
#[derive(Message)]
#[rtype(result = "()")]
pub struct InnerState {
    /// Which device.
    pub device: usize,
    /// Its state as bytes.
    pub bytes: Vec<u8>,
}

/// To everybody: the node stops, and why if it is not by request.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Stop(pub Option<String>);
