//! Learning from a teacher that others hold: a node without room for it asks those who have it what they would say of the sequences
//! that it trains on, and is told the likeliest tokens of each place.
//!
//! The protocol's machine knows nothing of it. A lease is a peer's own work, and who asks is to the others a peer that takes a little
//! longer; what it learns reaches them as all work does, in a contribution whose norm is bounded by the others' median where the run wants
//! that. Questions and answers are bulk frames with a header of their own, behind all that a round waits for.
//!
//! | file | holds |
//! |---|---|
//! | `asking` | what was asked of whom, and what came of it |
//! | `ahead` | batches with what was told of them, the next ones asked for meanwhile |
//! | `teaching` | the thread that has the teacher and answers |
//! | `lessons` | both sides of a node, and the network's frames on their way to them |

mod ahead;
mod asking;
mod lessons;
mod teaching;

pub use ahead::Ahead;
pub use asking::Asking;
pub use lessons::Lessons;
pub use teaching::TeachingThread;

use serde::{Deserialize, Serialize};
use shoal_protocol::wire::{from_cbor, to_cbor};

/// The header of a question's or an answer's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Which question, in the words of who asks; 0 for [`Says::Who`] and its answers.
    pub question: u64,
    /// What the frame is.
    pub says: Says,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// Is there a teacher?
    Who,
    /// There is one here.
    Teacher,
    /// There is none here.
    NoTeacher,
    /// A question: tokens, `[rows, context]`, 4 bytes each.
    Asked,
    /// What the teacher says: [`Told`](crate::data::Told).
    Told,
    /// Not now.
    Busy,
}

impl Header {
    fn bytes(self) -> Vec<u8> {
        to_cbor(&self)
    }

    fn read(bytes: &[u8]) -> Option<Header> {
        from_cbor(bytes).ok()
    }
}

#[test]
fn its_header_is_that_of_no_other_frame() {
    use shoal_protocol::wire::{ChunkId, ChunkKind};
    let header = Header { question: 1 << 40, says: Says::NoTeacher };
    assert_eq!(Header::read(&header.bytes()), Some(header));
    assert!(from_cbor::<ChunkId>(&header.bytes()).is_err());
    let (of, kind) = (Default::default(), ChunkKind::Piece);
    assert_eq!(Header::read(&to_cbor(&ChunkId { of, kind, index: 0, included: 0 })), None);
}
