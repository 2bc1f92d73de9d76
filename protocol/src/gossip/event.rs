//! What happens to a peer of a gossip run, and what it has done: the whole surface between machine and driver.

use crate::id::{Digest, PeerId, Round};
use serde::{Deserialize, Serialize};

/// What peers say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Message {
    /// Where the sender is: to whom it meets, to whoever is behind, and, where places are claimed, to all when a round begins.
    Here {
        /// The round that it works towards.
        round: Round,
        /// The seat that it claims, if it claims one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seat: Option<u32>,
    },
    /// The sender has done its local work, and asks the cell's convener for a group.
    Ready {
        /// The round that is to end.
        round: Round,
    },
    /// The convener's word: these are one group, all to whom it is sent.
    Group {
        /// The round that is to end.
        round: Round,
        /// In order; two or more.
        members: Vec<PeerId>,
    },
    /// The sender is new, or far behind, and asks for parameters.
    WantState,
}

impl Message {
    /// Bytes that it takes on a link.
    pub fn encoded_len(&self) -> usize {
        crate::wire::to_cbor(self).len()
    }
}

/// Which of a group's bulk frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// A member's own numbers, for the slice's owner.
    Part,
    /// The slice's mean, from its owner.
    Mean,
    /// Parameters of a neighbour, whole; they belong to no group.
    State,
}

/// A bulk frame, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The group's name; zeros for a state.
    pub group: Digest,
    /// The slice: the place of the member that adds it up. For a state, the round.
    pub slice: u64,
    /// Which.
    pub kind: FrameKind,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A neighbour can be reached.
    Met {
        /// Who.
        peer: PeerId,
    },
    /// It cannot any more.
    Lost {
        /// Who.
        peer: PeerId,
    },
    /// A neighbour says something.
    Received {
        /// Who.
        from: PeerId,
        /// What.
        message: Message,
    },
    /// A bulk frame came, whole; the driver holds its bytes, which decode.
    Arrived {
        /// From whom.
        from: PeerId,
        /// Which.
        frame: Frame,
    },
    /// The local work that was asked for is done.
    Trained,
    /// The time is [`GossipSession::next_wake`](super::GossipSession::next_wake).
    Wake,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say it.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        message: Message,
    },
    /// Do local work towards this round; then [`Input::Trained`].
    Train {
        /// The round.
        round: Round,
    },
    /// A group of so many begins: make ready what this peer brings to it.
    Begin {
        /// The group's name.
        group: Digest,
        /// Members, and so slices.
        members: u64,
    },
    /// Send this peer's part of a slice.
    Part {
        /// To the slice's owner.
        to: PeerId,
        /// Which.
        frame: Frame,
    },
    /// Add up this peer's slice: its own part and those of these members, in the group's order.
    Sum {
        /// The slice.
        frame: Frame,
        /// Whose parts, this peer's own among them.
        parts: Vec<PeerId>,
    },
    /// Send the slice's mean.
    Mean {
        /// To whom.
        to: PeerId,
        /// Which.
        frame: Frame,
    },
    /// Take the outer step: with the means of these slices of so many, and for the others as if alone. Frames of the group are not needed
    /// any more.
    Step {
        /// The round that ends.
        round: Round,
        /// Slices that the vector was cut into; 0 if there was no group.
        slices: u64,
        /// Those whose means are here.
        here: Vec<u64>,
        /// The group's name; zeros if there was none.
        group: Digest,
    },
    /// Send the committed parameters.
    SendState {
        /// To whom.
        to: PeerId,
        /// Which frame.
        frame: Frame,
    },
    /// Take over the parameters that a neighbour has sent.
    Load {
        /// From whom.
        from: PeerId,
        /// Which frame.
        frame: Frame,
    },
}
