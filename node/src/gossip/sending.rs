//! Frames on their way out: cut into pieces, of which a few are with the network at a time, so that no queue there runs full.

use super::frames::{Header, PIECE_BYTES};
use crate::net::{NetHandle, Priority};
use bytes::Bytes;
use shoal_protocol::gossip::{Frame, FrameKind};
use shoal_protocol::id::PeerId;
use shoal_protocol::wire::to_cbor;
use std::collections::{BTreeMap, VecDeque};

/// Pieces of one peer that the network has at a time. Guess: enough for any link.
const WINDOW: usize = 16;

/// What is on its way to one peer.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Header, Bytes)>,
    under_way: usize,
}

/// What is on its way.
pub(super) struct Sending {
    net: NetHandle,
    queues: BTreeMap<PeerId, Queue>,
}

impl Sending {
    pub(super) fn new(net: NetHandle) -> Sending {
        Sending { net, queues: BTreeMap::new() }
    }

    /// Sends a frame, piece by piece.
    pub(super) fn send(&mut self, to: PeerId, frame: Frame, slices: u64, bytes: &Bytes) {
        let pieces = bytes.len().div_ceil(PIECE_BYTES).max(1);
        let piece = |n: usize| {
            let end = (n + 1).saturating_mul(PIECE_BYTES).min(bytes.len());
            (Header { frame, slices, piece: n as u32 }, bytes.slice(n * PIECE_BYTES..end))
        };
        self.queues.entry(to).or_default().waiting.extend((0..pieces).map(piece));
        self.pump(&to);
    }

    /// A piece has left.
    pub(super) fn sent(&mut self, peer: &PeerId) {
        if let Some(queue) = self.queues.get_mut(peer) {
            queue.under_way = queue.under_way.saturating_sub(1);
        }
        self.pump(peer);
    }

    /// A peer is gone, and what was for it with it.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.queues.remove(peer);
    }

    fn pump(&mut self, to: &PeerId) {
        let Some(queue) = self.queues.get_mut(to) else { return };
        while queue.under_way < WINDOW {
            let Some((header, bytes)) = queue.waiting.pop_front() else { return };
            let priority = match header.frame.kind {
                FrameKind::State => Priority::Background,
                FrameKind::Part | FrameKind::Mean => Priority::Urgent,
            };
            if let Err(error) = self.net.send_bulk(*to, to_cbor(&header), bytes, priority) {
                // The rest of a frame is of no use without it.
                tracing::debug!(peer = %to.short(), %error, "a frame does not leave");
                queue.waiting.retain(|(waiting, _)| waiting.frame != header.frame);
                continue;
            }
            queue.under_way += 1;
        }
    }
}
