//! The network's events as inputs for the session of a gossip run, and as jobs for the thread with the numbers.

use super::Happened;
use crate::gossip::Job;
use crate::net::{Credit, NetEvent, NetHandle};
use crate::teach::Lessons;
use actix::Recipient;
use shoal_protocol::event;
use shoal_protocol::gossip::{Input, Message};
use shoal_protocol::id::PeerId;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::{self, from_cbor, to_cbor};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use tokio::sync::mpsc::Receiver;

/// Carries events from the network.
pub(super) struct Mesh {
    /// The run's spec, for those who join.
    pub(super) spec: RunSpec,
    pub(super) net: NetHandle,
    pub(super) session: Recipient<Happened>,
    pub(super) jobs: SyncSender<Job>,
    pub(super) lessons: Lessons,
}

impl Mesh {
    /// Carries until the network is shut down.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn spawn(self, mut events: Receiver<NetEvent>) -> std::io::Result<JoinHandle<()>> {
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
                self.tell(Input::Met { peer }, None);
            }
            NetEvent::Disconnected(peer) => {
                self.lessons.lost(peer);
                self.tell(Input::Lost { peer }, None);
            }
            NetEvent::Frame { from, bytes, credit } => self.frame(from, &bytes, credit),
            NetEvent::Bulk { from, header, payload, credit } => {
                match self.lessons.header(&header) {
                    Some(header) => self.lessons.take(from, header, payload, credit),
                    None => self.job(Job::Arrive(from, header, payload, credit)),
                }
            }
            NetEvent::BulkSent { header, .. } if self.lessons.header(&header).is_some() => {}
            NetEvent::BulkSent { peer, .. } => self.job(Job::Sent(peer)),
            NetEvent::Gossip { from, .. } => {
                tracing::debug!(peer = %from.short(), "a beacon, which this run has no use for");
            }
            NetEvent::ListenAddress(address) => tracing::debug!(%address, "listening"),
            NetEvent::Refused { peer, reason } => {
                tracing::info!(peer = %peer.short(), reason, "refused")
            }
        }
    }

    /// A message of the run, or the question of one who joins it.
    fn frame(&self, from: PeerId, bytes: &[u8], credit: Credit) {
        match from_cbor::<Message>(bytes) {
            Ok(message) => self.tell(Input::Received { from, message }, Some(credit)),
            Err(reason) if !self.answers(from, bytes) => {
                tracing::info!(peer = %from.short(), %reason, "refused what a peer sent");
            }
            Err(_) => {}
        }
    }

    /// Whether it is a question for the run's spec, or an answer to this node's; the first is answered.
    fn answers(&self, from: PeerId, bytes: &[u8]) -> bool {
        let event::Input::Received { message, .. } = wire::decode(from, bytes) else {
            return false;
        };
        match message {
            wire::Message::WantSpec => {
                let spec = wire::Message::Spec(to_cbor(&self.spec));
                if let Err(error) = self.net.send(from, to_cbor(&spec)) {
                    tracing::debug!(peer = %from.short(), %error, "the spec does not leave");
                }
                true
            }
            wire::Message::Spec(_) => true,
            _ => false,
        }
    }

    fn tell(&self, input: Input, credit: Option<Credit>) {
        self.session.do_send(Happened(input, credit));
    }

    fn job(&self, job: Job) {
        // The thread is gone only when the node stops.
        let _ = self.jobs.send(job);
    }
}
