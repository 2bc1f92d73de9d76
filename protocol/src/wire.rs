//! Bytes in and out. The only file that names serde_cbor, and the one table of every bound on what a peer may send (S7).

use crate::event::Input;
use crate::id::{Digest, PeerId, Round, RunId, Signature};
use crate::ledger::Record;
use crate::plateau::{Heldout, Loss};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Most bytes of one control frame.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a beacon.
pub const BEACON_BYTES_MAX: usize = 1 << 10;
/// Most bytes of a bulk frame's header.
pub const HEADER_BYTES_MAX: usize = 256;
/// Most bytes of one bulk frame's payload.
pub const BULK_BYTES_MAX: usize = 4 << 20;
/// Bytes of one chunk of a state, but for the last.
pub const STATE_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of one piece of a file, but for the last.
pub const PIECE_BYTES: usize = 1 << 20;
/// Most pieces of one file: their digests still fit one control frame.
pub const PIECES_MAX: usize = 24 << 10;
/// Pieces of a file that a peer may have asked of one other and not got. Guess: two leave, two wait.
pub const PIECE_WINDOW: usize = 4;
/// Most chunks of one fragment: their digests and masks still fit one control frame.
pub const CHUNKS_MAX: u32 = 1 << 14;
/// Most chunks of one state: their digests still fit one control frame.
pub const STATE_CHUNKS_MAX: usize = 24 << 10;
/// Most members of one plan: one bit each in a mask.
pub const MEMBERS_MAX: usize = 64;
/// Most earlier digests in a beacon.
pub const RECENT_MAX: usize = 8;
/// Earlier rounds in a manifest: a fork that is older cannot be told from a long way.
pub const WAY_MAX: usize = 256;
/// Most peers that are remembered.
pub const PEERS_MAX: usize = 256;
/// Bulk frames that are kept, per peer, when they come before their plan.
pub const EARLY_MAX: usize = 32;
/// Most samples that a member may want for its next lease.
pub const WANTS_MAX: u32 = 1 << 22;
/// Most tokens that a member may claim for one round.
pub const TOKENS_MAX: u64 = 1 << 44;
/// Most ranges of chunks in one request.
pub const RANGES_MAX: usize = 1 << 12;
/// State chunks that a joiner may have asked of one donor and not got.
pub const STATE_WINDOW: usize = 8;
/// Joiners that one donor serves at a time.
pub const JOINERS_MAX: usize = 8;
/// Strikes after which a peer is refused.
pub const STRIKES_MAX: u32 = 8;

/// Room that is made for what is encoded: plans and records of a few members. Measured: growing from nothing was a tenth of the
/// simulator's time.
const CBOR_BYTES_USUAL: usize = 1 << 10;

const _: () = assert!(CHUNKS_MAX as usize * 48 < FRAME_BYTES_MAX);
const _: () = assert!(STATE_CHUNKS_MAX * 36 + WAY_MAX * 136 < FRAME_BYTES_MAX);
const _: () = assert!(PIECES_MAX * 36 + 64 < FRAME_BYTES_MAX);
const _: () = assert!(PIECE_BYTES <= BULK_BYTES_MAX);
const _: () = assert!(MEMBERS_MAX <= u64::BITS as usize);

/// Every control message between peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Where a peer stands; every few seconds to everybody.
    Beacon(Beacon),
    /// A joiner that holds only the run's id asks for its spec.
    WantSpec,
    /// The canonical CBOR of the run's spec; the receiver checks it against the run's id.
    Spec(#[serde(with = "serde_bytes")] Vec<u8>),
    /// "My local work for this round is done."
    Ready(Ready),
    /// The convener's plan for a round, signed by it; also forwarded by members.
    Plan(SignedPlan),
    /// "These members seem lost; which results do you hold?" From the first living member to the others.
    Survey(Survey),
    /// The answer to a survey.
    Holding(Holding),
    /// Who owns a lost owner's chunks from now on.
    Amend(Amendment),
    /// "Send me these chunks (again)."
    Want(Want),
    /// "I hold all results; this is their digest."
    Confirm(Confirm),
    /// An endorsement of a committed record.
    Signed(Signed),
    /// "Send me the record with this digest, and what it takes to repeat its round."
    WantRound {
        /// The record's digest.
        digest: Digest,
    },
    /// The answer: the record, its plan and the digests of its result's chunks.
    Round(Box<Committed>),
    /// "Send me the digests of this state's chunks."
    WantManifest {
        /// Digest of the record that commits to the state.
        digest: Digest,
    },
    /// The answer.
    Manifest(Box<Manifest>),
    /// "Send me the digests of this file's pieces."
    WantList {
        /// The file's root.
        blob: Digest,
    },
    /// The answer.
    List(Box<List>),
    /// "Which pieces of this file do you hold?"
    WantHeld {
        /// The file's root.
        blob: Digest,
    },
    /// The answer; also to a [`Want`] for what the sender does not hold.
    Held(Held),
    /// "Not now; ask again later."
    Busy {
        /// When, in milliseconds from now.
        retry_ms: u32,
    },
    /// "I do not have that (any more)."
    Gone {
        /// Digest that was asked for.
        digest: Digest,
    },
    /// Why the sender will not deal with the receiver.
    Refusal {
        /// For the log.
        reason: String,
    },
}

/// Where a peer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    /// Whose beacon.
    pub peer: PeerId,
    /// Grows with every beacon, across restarts too (starts at the driver's time).
    pub sequence: u64,
    /// Last committed round.
    pub round: Round,
    /// Its digest.
    pub digest: Digest,
    /// The digests of the rounds before, the latest first; at most [`RECENT_MAX`].
    pub recent: Vec<Digest>,
    /// Tokens that all committed rounds were trained on.
    pub tokens: u64,
    /// Training speed, tokens per second.
    pub tokens_per_s: u64,
    /// Uplink, bytes per second; 0 when unknown.
    pub up_bytes_per_s: u64,
    /// Downlink, bytes per second; 0 when unknown.
    pub down_bytes_per_s: u64,
    /// Whether others can dial this peer.
    pub reachable: bool,
    /// By `peer`, over [`Beacon::signed_bytes`].
    pub signature: Signature,
}

impl Beacon {
    /// What is signed: the run and the beacon with an empty signature.
    pub fn signed_bytes(&self, run: &RunId) -> Vec<u8> {
        let unsigned = Beacon { signature: Signature::default(), ..self.clone() };
        let mut bytes = Vec::with_capacity(CBOR_BYTES_USUAL);
        bytes.extend_from_slice(b"shoal/beacon/1");
        bytes.extend_from_slice(&run.0);
        append_cbor(&mut bytes, &unsigned);
        bytes
    }
}

/// "My local work is done."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The round to be exchanged: last committed plus one.
    pub round: Round,
    /// Digest of the last committed record.
    pub base: Digest,
    /// How often the gather of this round has been taken over, as far as the sender knows.
    pub attempt: u32,
    /// Tokens trained on; 0 for a peer that only adds up, or has just come.
    pub tokens: u64,
    /// Samples wanted for the next lease.
    pub wants: u32,
    /// Names what the sender would contribute: another number for other content, across restarts too.
    pub nonce: u64,
    /// Leases that what it would contribute finishes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub leases: u8,
    /// What it measured of the newest committed state whose held-out loss is not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<Heldout>,
    /// Uplink, bytes per second; 0 when unknown.
    pub up_bytes_per_s: u64,
    /// Downlink, bytes per second; 0 when unknown.
    pub down_bytes_per_s: u64,
    /// Whether the sender can own a range: others can dial it, and its uplink bears it.
    pub owns: bool,
}

/// Who takes part in a round, and who adds up what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The run.
    pub run: RunId,
    /// The round.
    pub round: Round,
    /// Digest of the record before.
    pub base: Digest,
    /// Attempt number; a higher one replaces a lower.
    pub attempt: u32,
    /// Who made the plan.
    pub convener: PeerId,
    /// In the round's hash order; at most [`MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// Peers whose lease returns to the pool, ascending.
    pub lost: Vec<PeerId>,
}

/// One member of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Who.
    pub peer: PeerId,
    /// Tokens trained on: the weight of its contribution.
    pub tokens: u64,
    /// Samples wanted for the next lease.
    pub wants: u32,
    /// What it contributes, by its own word: no two plans of one name have different content.
    pub nonce: u64,
    /// Leases that it finishes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub leases: u8,
    /// What it measured, by its own word, of a committed state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<Heldout>,
    /// How many chunks it owns; ranges follow in member order.
    pub chunks: u32,
}

fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(leases: &u8) -> bool {
    *leases == 1
}

/// A plan and its convener's signature over [`Plan::signed_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPlan {
    /// The plan.
    pub plan: Plan,
    /// The convener's.
    pub signature: Signature,
}

impl Plan {
    /// The plan's name: BLAKE3 of its canonical CBOR.
    pub fn digest(&self) -> Digest {
        Digest::of(&to_cbor(self))
    }

    /// Whether any member has trained: otherwise there is nothing to exchange, and the round only deals out leases.
    pub fn trained(&self) -> bool {
        self.members.iter().any(|member| member.tokens > 0)
    }

    /// What the convener signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        Plan::signed_bytes_of(&self.digest())
    }

    /// What the convener of the plan of this name signs.
    pub(crate) fn signed_bytes_of(plan: &Digest) -> Vec<u8> {
        [b"shoal/plan/1".as_slice(), &plan.0].concat()
    }
}

/// A question before a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// The plan's name.
    pub plan: Digest,
    /// Number of the repair; a higher one replaces a lower.
    pub repair: u32,
    /// Members that seem lost, a bit each.
    pub lost: u64,
}

/// Which results a member holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// The plan's name.
    pub plan: Digest,
    /// The survey's number.
    pub repair: u32,
    /// Ranges of chunks whose results are held.
    pub results: Vec<(u32, u32)>,
}

/// New owners for the chunks of lost ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// The plan's name.
    pub plan: Digest,
    /// The survey's number.
    pub repair: u32,
    /// Members that are lost, a bit each. What they delivered still counts.
    pub lost: u64,
    /// Who owns what from now on.
    pub handovers: Vec<Handover>,
}

/// A range of chunks that changes owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// First chunk.
    pub start: u32,
    /// One past the last chunk.
    pub end: u32,
    /// The new owner, as an index into the plan's members.
    pub owner: u8,
    /// Whether the new owner holds the results already (then they stand, and others fetch them).
    pub held: bool,
}

/// A request for chunks of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// The plan's name (or the record's digest for state chunks, the file's root for pieces).
    pub of: Digest,
    /// Which kind.
    pub kind: ChunkKind,
    /// Ranges of chunk indices, at most [`RANGES_MAX`].
    pub chunks: Vec<(u32, u32)>,
}

/// "I hold all results."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The plan's name.
    pub plan: Digest,
    /// Digest over the result's chunks.
    pub result: Digest,
}

/// An endorsement of a committed record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The round.
    pub round: Round,
    /// The record's digest.
    pub digest: Digest,
    /// Digest of the record before, which the record names.
    pub parent: Digest,
    /// By the sender, over [`Record::signed_bytes`].
    pub signature: Signature,
}

/// What it takes to repeat a committed round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// The record.
    pub record: Record,
    /// Its plan.
    pub plan: SignedPlan,
    /// Digest and included members of each result chunk.
    pub results: Vec<ResultChunk>,
}

/// One result chunk: what it is and whom it includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultChunk(pub Digest, pub u64);

/// The digests of a state's chunks, and the record that commits to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The record; its digest is what was asked for.
    pub record: Record,
    /// BLAKE3 of each [`STATE_CHUNK_BYTES`] of the state.
    pub chunks: Vec<Digest>,
    /// The rounds before, as the donor knows them, the latest first; at most [`WAY_MAX`].
    pub way: Vec<Milestone>,
}

/// The digests of a file's pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The file's root.
    pub blob: Digest,
    /// BLAKE3 of each [`PIECE_BYTES`] of it.
    pub pieces: Vec<Digest>,
}

/// Which pieces of a file a peer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The file's root.
    pub blob: Digest,
    /// Ranges of pieces, ascending, at most [`RANGES_MAX`].
    pub pieces: Vec<(u32, u32)>,
}

/// A committed round, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    /// The record's digest.
    pub digest: Digest,
    /// Tokens counted until then.
    pub tokens: u64,
    /// The plan that was carried out.
    pub plan: Digest,
    /// Its members whose work is counted, a bit each.
    pub included: u64,
}

impl Milestone {
    /// The short form of a record.
    pub fn of(record: &Record) -> Milestone {
        Milestone::named(record.digest(), record)
    }

    /// The short form of a record whose digest is known.
    pub(crate) fn named(digest: Digest, record: &Record) -> Milestone {
        let Record { tokens, plan, included, .. } = *record;
        Milestone { digest, tokens, plan, included }
    }
}

/// What a bulk frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChunkKind {
    /// A member's contribution, on its way to the owner.
    Contribution,
    /// An owner's result, on its way to the members.
    Result,
    /// A piece of a committed state, on its way to a joiner.
    State,
    /// A piece of a file that the run's spec names.
    Piece,
}

/// Names one piece of bulk data; the header of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkId {
    /// The plan's name; for state, the digest of the record that commits to it; for a piece, the file's root.
    pub of: Digest,
    /// What it is.
    pub kind: ChunkKind,
    /// Chunk index.
    pub index: u32,
    /// For results: the members that are in the sum, a bit each. Otherwise 0.
    pub included: u64,
}

/// The canonical CBOR of a value of our own: struct fields in declared order, smallest integers.
pub fn to_cbor<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CBOR_BYTES_USUAL);
    append_cbor(&mut bytes, value);
    bytes
}

fn append_cbor<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    serde_cbor::to_writer(bytes, value).expect("our own types hold nothing that CBOR cannot say");
}

/// Reads a value, refusing trailing bytes. The caller has bounded `bytes` already.
///
/// # Errors
/// What is wrong, in the decoder's words.
pub fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_cbor::from_slice(bytes).map_err(|error| error.to_string())
}

/// What CBOR at the beginning of these bytes says, and how many of them it takes.
///
/// # Errors
/// They begin with none, or with something else.
pub fn from_cbor_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), String> {
    let mut head = serde_cbor::Deserializer::from_slice(bytes).into_iter::<T>();
    match head.next() {
        Some(Ok(told)) => Ok((told, head.byte_offset())),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("there is nothing".into()),
    }
}

/// A control frame as the input it is: a message, or the reason why it is none.
pub fn decode(from: PeerId, frame: &[u8]) -> Input {
    match decode_message(frame) {
        Ok(message) => Input::Received { from, message },
        Err(reason) => Input::Malformed { from, reason },
    }
}

fn decode_message(frame: &[u8]) -> Result<Message, String> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(format!("a frame of {} bytes exceeds {FRAME_BYTES_MAX}", frame.len()));
    }
    let message: Message = from_cbor(frame)?;
    bounded(&message)?;
    Ok(message)
}

/// Checks every count that a frame's length alone does not bound tightly enough.
pub(crate) fn bounded(message: &Message) -> Result<(), String> {
    let within = |what: &str, n: usize, max: usize| {
        if n <= max { Ok(()) } else { Err(format!("{n} {what} exceed {max}")) }
    };
    match message {
        Message::Beacon(beacon) => within("digests", beacon.recent.len(), RECENT_MAX),
        Message::Ready(ready) => {
            within("samples wanted", ready.wants as usize, WANTS_MAX as usize)?;
            within("tokens", ready.tokens as usize, TOKENS_MAX as usize)?;
            within("millionths of a nat", micro(&ready.heldout), Loss::MAX.0 as usize)
        }
        Message::Plan(signed) => bounded_plan(&signed.plan),
        Message::Holding(holding) => within("ranges", holding.results.len(), RANGES_MAX),
        Message::Amend(amendment) => within("handovers", amendment.handovers.len(), RANGES_MAX),
        Message::Want(want) => within("ranges", want.chunks.len(), RANGES_MAX),
        Message::List(list) => within("pieces", list.pieces.len(), PIECES_MAX),
        Message::Held(held) => within("ranges", held.pieces.len(), RANGES_MAX),
        Message::Round(committed) => {
            bounded_plan(&committed.plan.plan)?;
            within("chunks", committed.results.len(), CHUNKS_MAX as usize)
        }
        Message::Manifest(manifest) => {
            within("milestones", manifest.way.len(), WAY_MAX)?;
            within("chunks", manifest.chunks.len(), STATE_CHUNKS_MAX)
        }
        Message::Refusal { reason } => within("bytes of reason", reason.len(), 1024),
        _ => Ok(()),
    }
}

fn micro(heldout: &Option<Heldout>) -> usize {
    heldout.map_or(0, |heldout| heldout.loss.0 as usize)
}

fn bounded_plan(plan: &Plan) -> Result<(), String> {
    let within = |member: &Member| {
        let loss = micro(&member.heldout) <= Loss::MAX.0 as usize;
        member.tokens <= TOKENS_MAX && member.wants <= WANTS_MAX && loss
    };
    match plan.members.len() {
        n if n > MEMBERS_MAX => Err(format!("{n} members exceed {MEMBERS_MAX}")),
        _ if !plan.members.iter().all(within) => {
            Err("a member's tokens, samples or loss exceed what a round can hold".into())
        }
        _ => Ok(()),
    }
}
