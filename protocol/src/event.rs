//! The whole surface of the machine: everything that can happen to a peer, and everything it can ask of its driver.
//!
//! Outputs name bulk data (a [`ChunkId`]); they never carry tensors. Control travels through the machine, data beside it.

use crate::id::{Digest, PeerId, Round, Signature};
use crate::ledger::Record;
use crate::plateau::Heldout;
use crate::wire::Message;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Names one piece of bulk data of the exchange or of the state. Bulk frames carry this as their header.
pub use crate::wire::{ChunkId, ChunkKind};

/// Everything that can happen to one peer in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// The deadline of [`crate::session::Session::next_wake`] has come (early or late wakes do no harm).
    Wake,
    /// The first connection to a peer stands. Its identity is proven by the transport.
    Connected {
        /// Who.
        peer: PeerId,
    },
    /// The last connection to a peer is gone.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// A control message, decoded by [`crate::wire::decode`]. `from` is proven by the transport.
    Received {
        /// The sender.
        from: PeerId,
        /// What it said.
        message: Message,
    },
    /// Bytes from a peer that are no message: the driver's decoder says why.
    Malformed {
        /// The sender.
        from: PeerId,
        /// Why, for the log.
        reason: String,
    },
    /// A bulk frame has arrived whole. The driver holds its bytes until they are discarded, forgotten or used.
    Arrived {
        /// The sender.
        from: PeerId,
        /// What it claims to be.
        chunk: ChunkId,
        /// Payload bytes.
        bytes: u32,
        /// BLAKE3 of the payload.
        digest: Digest,
    },
    /// One bulk frame that an output asked for has left for the network, or cannot (its peer is gone).
    Sent {
        /// To whom.
        to: PeerId,
    },
    /// One piece of a file that [`Output::SendPiece`] asked for has left, or cannot. It is told apart from [`Input::Sent`].
    PieceSent {
        /// To whom.
        to: PeerId,
    },
    /// What the driver holds of a file that the spec names, in place of what it has said before: at the start, and when something on
    /// its disk is not what it was.
    Holds {
        /// The file's root.
        blob: Digest,
        /// BLAKE3 of all its pieces; empty if they are not known.
        list: Vec<Digest>,
        /// Ranges of pieces that are held and verified.
        pieces: Vec<(u32, u32)>,
    },
    /// [`Output::Train`] is done; its pseudo-gradient has been added to the workspace's delta, or to what is to be offered.
    LocalWorkReady {
        /// The round of the `Train` output.
        round: Round,
        /// Tokens trained on.
        tokens: u64,
    },
    /// [`Output::Reduce`] is done; the driver holds the result's bytes.
    Reduced {
        /// The plan's name.
        plan: Digest,
        /// Chunk index.
        index: u32,
        /// BLAKE3 of the result's bytes.
        digest: Digest,
    },
    /// [`Output::Reduce`] found a contribution that does not decode (wrong length, a value that is not finite).
    Unsound {
        /// The plan's name.
        plan: Digest,
        /// Chunk index.
        index: u32,
        /// Whose contribution, as an index into the plan's members.
        member: u8,
        /// Why, for the log.
        reason: String,
    },
    /// [`Output::Evaluate`] is done.
    Evaluated(Heldout),
    /// [`Output::Apply`] is done: the new state stands beside the committed one.
    Applied {
        /// The round that the state belongs to.
        round: Round,
        /// BLAKE3 of each chunk of the new state, see [`crate::ledger::state_root`].
        chunks: Vec<Digest>,
    },
    /// [`Output::LoadState`] is done.
    Loaded {
        /// The round that the state belongs to.
        round: Round,
        /// BLAKE3 of each chunk of the loaded state.
        chunks: Vec<Digest>,
    },
    /// The driver's measurement of this peer: what it can do, for beacons and plans.
    Measured {
        /// Uplink, bytes per second; 0 when unknown.
        up_bytes_per_s: u64,
        /// Downlink, bytes per second; 0 when unknown.
        down_bytes_per_s: u64,
        /// Training speed, tokens per second; 0 when unknown.
        tokens_per_s: u64,
    },
}

/// Everything the machine can ask of its driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Send a control message.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        message: Message,
    },
    /// Tell the whole run (gossip). Only beacons.
    Broadcast {
        /// What.
        message: Message,
    },
    /// Close the connections to a peer and take none from it for a while; the log names peer and reason.
    Refuse {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// Train on these samples, then report [`Input::LocalWorkReady`]: from the committed parameters, or, where local parameters outlast
    /// rounds, from those. A commit may come meanwhile.
    Train {
        /// The round that the work is meant for.
        round: Round,
        /// Positions in the endless sequence of epochs: `position / samples` is the epoch, `position % samples` the place in its permutation.
        lease: Vec<Range<u64>>,
    },
    /// Measure the held-out loss of the committed parameters, as they are now, on the spec's sequences, and report
    /// [`Input::Evaluated`]; if it cannot be measured, nothing.
    Evaluate {
        /// The round that ended with them.
        round: Round,
        /// Digest of its record.
        of: Digest,
    },
    /// Local parameters outlast rounds in this run: what they have learned on of the round's fragment since it was last offered goes
    /// into the workspace's delta, see [`Replica`](crate::math::Replica).
    Offer {
        /// The round.
        round: Round,
    },
    /// Encode this peer's contribution (unless kept already) and send it to its owner as bulk.
    Contribute {
        /// To the owner.
        to: PeerId,
        /// A contribution's name.
        chunk: ChunkId,
        /// Factor of the downward residual that is folded in, see [`crate::math::workspace`]; as the plan says.
        fold: f32,
    },
    /// Add up a chunk of this peer's range in the order given, encode the mean, keep its bytes, report [`Input::Reduced`].
    Reduce {
        /// The plan's name.
        plan: Digest,
        /// Chunk index.
        index: u32,
        /// Whose contributions, by member index and weight, in member order. This peer's own is taken from the workspace.
        parts: Vec<Part>,
    },
    /// Send a result chunk that the driver holds to one peer as bulk.
    SendResult {
        /// To whom.
        to: PeerId,
        /// A result's name, with the members it includes.
        chunk: ChunkId,
    },
    /// Send one chunk of a committed state's bytes as bulk.
    SendState {
        /// To whom.
        to: PeerId,
        /// A state chunk's name.
        chunk: ChunkId,
    },
    /// Send one piece of a file as bulk behind all else, then report [`Input::PieceSent`].
    SendPiece {
        /// To whom.
        to: PeerId,
        /// A piece's name.
        chunk: ChunkId,
    },
    /// The digests of a file's pieces are known and verified: keep them, to be told with [`Input::Holds`] in a later life.
    KeepList {
        /// The file's root.
        blob: Digest,
        /// BLAKE3 of each piece.
        list: Vec<Digest>,
    },
    /// A piece of a file has arrived and is what the spec says: keep its bytes, to be trained on and to be given to others.
    KeepPiece {
        /// Who sent it.
        from: PeerId,
        /// Which.
        chunk: ChunkId,
        /// BLAKE3 of its bytes.
        digest: Digest,
    },
    /// These pieces make room for others: drop their bytes.
    DropPieces {
        /// The file's root.
        blob: Digest,
        /// Ranges of pieces.
        pieces: Vec<(u32, u32)>,
    },
    /// Drop the bytes of a bulk frame that has arrived, now or earlier. The same sender may have sent others under the same name.
    Discard {
        /// Who sent it.
        from: PeerId,
        /// Which.
        chunk: ChunkId,
        /// BLAKE3 of its bytes.
        digest: Digest,
    },
    /// A plan is given up: drop its contributions and results. The workspace's delta and residuals stay as they are.
    Abandon {
        /// The plan's name.
        plan: Digest,
    },
    /// Decode all results, take the outer step into a new state, report [`Input::Applied`]. Nothing is committed yet.
    Apply {
        /// The round that the new state belongs to.
        round: Round,
        /// The plan whose results are decoded.
        plan: Digest,
        /// False for a round in which nobody trained: the state stays as it is.
        step: bool,
    },
    /// The applied state is now the committed one. Settle the workspace, checkpoint, report. The state before may be served until [`Output::Release`].
    Commit {
        /// The record that commits to the state.
        record: Record,
        /// What became of each chunk of this peer's contribution, in the order of the round's fragment; empty when it made none. Of each
        /// chunk of the model if it is [`Settle::Unknown`] or [`Settle::Restarted`].
        settle: Vec<Settle>,
    },
    /// Signatures of other peers under a committed record, for the archive.
    Endorsed {
        /// The round.
        round: Round,
        /// Who signed.
        peer: PeerId,
        /// The signature over [`Record::signed_bytes`].
        signature: Signature,
    },
    /// Assemble the verified state chunks into the committed state, report [`Input::Loaded`]; the delta and residuals stay.
    LoadState {
        /// The record that commits to the state.
        record: Record,
    },
    /// The loaded state is of another branch than the committed one: [`Workspace::take_along`](crate::math::Workspace::take_along)
    /// from the committed parameters to the loaded ones. [`Output::Commit`] comes next.
    TakeAlong {
        /// The left branch's part of the tokens that both branches have counted since they parted.
        share: f32,
        /// Tokens that this peer gave to the left branch.
        given: u64,
        /// Tokens that the pseudo-gradient in the workspace was trained on.
        tokens: u64,
    },
    /// Results of this plan will not be asked for any more.
    Forget {
        /// The plan's name.
        plan: Digest,
    },
    /// The state that this record commits to will not be asked for any more.
    Release {
        /// The record's digest.
        digest: Digest,
    },
    /// Something for the log and the dashboard.
    Note(Note),
}

/// One contribution to a chunk's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Index into the plan's members.
    pub member: u8,
    /// The member, whose bytes the driver holds under it (or this peer itself).
    pub peer: PeerId,
    /// Weight in tokens.
    pub weight: u64,
}

/// What became of one chunk of this peer's contribution when the round was committed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Settle {
    /// It is in the committed sum; what encoding lost stays in the residual. A driver that no longer holds what was sent (a
    /// restart) encodes it again.
    Counted {
        /// The factor it was encoded with.
        fold: f32,
        /// This peer's weight over the sum of the weights that were added.
        share: f32,
    },
    /// This peer added the chunk up; `own` says whether its own contribution is in. The committed bytes need not be those that
    /// it encoded: if they were spoilt on their way, the difference belongs in its downward residual.
    Owned {
        /// Whether this peer's own contribution is in the sum.
        own: bool,
    },
    /// It is not in the committed sum: all of it stays in the residual.
    Missed,
    /// Nobody can tell any more whether it is in a committed sum: delta and residuals of the chunk are let go, so that nothing
    /// is counted twice (S1). Only a peer that was away for long comes to this.
    Unknown,
    /// An earlier life of this peer may have sent what the residuals hold: they are let go, and the delta, which is of this
    /// life, takes the place of the upward one.
    Restarted,
}

/// Something that a person may want to know. The driver logs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// A plan was adopted.
    Planned {
        /// The round.
        round: Round,
        /// Members.
        members: usize,
        /// Attempt number.
        attempt: u32,
    },
    /// An exchange finished: all results are here.
    Exchanged {
        /// The round.
        round: Round,
        /// Microseconds from plan to the last result.
        micros: u64,
    },
    /// A member was dropped from the chunks it still owed.
    Straggler {
        /// Who.
        peer: PeerId,
        /// How many chunks.
        chunks: usize,
    },
    /// A lost owner's chunks were split among the survivors.
    Repaired {
        /// Who was lost.
        lost: Vec<PeerId>,
        /// Chunks that changed owner.
        chunks: usize,
    },
    /// A plan was given up.
    Abandoned {
        /// The round.
        round: Round,
        /// Why.
        reason: String,
    },
    /// A peer did what no honest peer does.
    Strike {
        /// Who.
        peer: PeerId,
        /// What.
        reason: String,
    },
    /// This peer fetches state or results that others committed.
    CatchingUp {
        /// From the round.
        from: Round,
        /// To the round.
        to: Round,
    },
    /// All that this peer wants of a file is here.
    Fetched {
        /// The file's root.
        blob: Digest,
        /// Its pieces that are held.
        pieces: u32,
    },
    /// The run has reached its last round.
    Finished {
        /// The round.
        round: Round,
    },
}
