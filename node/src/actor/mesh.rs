//! The network's events as inputs for the session. A plain thread: it hashes every chunk, which would hold an arbiter up.

use crate::exchange::Frame;
use crate::message::{Delivered, Happened};
use crate::net::{Credit, NetEvent};
use crate::teach::Lessons;
use actix::Recipient;
use bytes::Bytes;
use shoal_protocol::event::{ChunkId, ChunkKind, Input};
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire;
use std::thread::JoinHandle;
use tokio::sync::mpsc::Receiver;

/// Carries events from the network to the session.
pub struct Mesh {
    /// The run's spec, for the sizes of chunks.
    pub spec: RunSpec,
    /// The session.
    pub session: Recipient<Happened>,
    /// The session as well, for frames with their bytes.
    pub deliveries: Recipient<Delivered>,
    /// Where what is asked and told of the run's teacher goes.
    pub lessons: Lessons,
}

impl Mesh {
    /// Carries until the network is shut down.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(self, mut events: Receiver<NetEvent>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("mesh".into()).spawn(move || {
            while let Some(event) = events.blocking_recv() {
                self.carry(event);
            }
        })
    }

    fn carry(&self, event: NetEvent) {
        match event {
            NetEvent::Connected(peer) => {
                self.lessons.met(peer);
                self.tell(Input::Connected { peer }, None);
            }
            NetEvent::Disconnected(peer) => {
                self.lessons.lost(peer);
                self.tell(Input::Disconnected { peer }, None);
            }
            NetEvent::Frame { from, bytes, credit } => {
                self.tell(wire::decode(from, &bytes), Some(credit))
            }
            NetEvent::Gossip { from, bytes } => self.tell(wire::decode(from, &bytes), None),
            NetEvent::Bulk { from, header, payload, credit } => {
                match self.lessons.header(&header) {
                    Some(header) => self.lessons.take(from, header, payload, credit),
                    None => self.bulk(from, &header, payload, credit),
                }
            }
            NetEvent::BulkSent { header, .. } if self.lessons.header(&header).is_some() => {}
            NetEvent::BulkSent { peer, header, .. } => self.tell(sent(peer, &header), None),
            NetEvent::ListenAddress(address) => tracing::debug!(%address, "listening"),
            NetEvent::Refused { peer, reason } => {
                tracing::info!(peer = %peer.short(), reason, "refused")
            }
        }
    }

    fn bulk(&self, from: PeerId, header: &[u8], payload: Bytes, credit: Credit) {
        match self.check(header, &payload) {
            Ok(chunk) => {
                let frame = Frame { from, chunk, digest: Digest::of(&payload) };
                self.deliveries.do_send(Delivered(frame, payload, credit));
            }
            Err(reason) => self.tell(Input::Malformed { from, reason }, Some(credit)),
        }
    }

    /// A chunk's name; a result has to decode as well.
    fn check(&self, header: &[u8], payload: &[u8]) -> Result<ChunkId, String> {
        let chunk: ChunkId = wire::from_cbor(header)?;
        if chunk.kind == ChunkKind::Result {
            self.spec.check_result(chunk.index, payload).map_err(|error| error.to_string())?;
        }
        Ok(chunk)
    }

    fn tell(&self, input: Input, credit: Option<Credit>) {
        self.session.do_send(Happened(input, credit));
    }
}

/// What has left: pieces of files are counted apart from what a round waits for.
fn sent(to: PeerId, header: &[u8]) -> Input {
    match wire::from_cbor::<ChunkId>(header) {
        Ok(ChunkId { kind: ChunkKind::Piece, .. }) => Input::PieceSent { to },
        _ => Input::Sent { to },
    }
}
