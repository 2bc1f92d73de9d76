//! What the parts of the network share, and the bounded queues towards each peer.

use super::pace::Pace;
use super::traffic::Traffic;
use super::{BULK_HEADER_BYTES_MAX, Limits, NetEvent, address};
use bytes::Bytes;
use libp2p::Multiaddr;
use shoal_protocol::id::{PeerId, RunId};
use shoal_protocol::wire::{BULK_BYTES_MAX, FRAME_BYTES_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Things that wait in one queue, whatever their size.
const QUEUE_MAX: usize = 4096;
/// Addresses that others claim to see us at.
const OBSERVED_MAX: usize = 32;
/// As many peers must see us at an address before we tell others of it.
const OBSERVERS_MIN: usize = 2;

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No session with that peer.
    #[error("not connected")]
    NotConnected,
    /// The peer takes less than we give; wait for [`NetEvent::BulkSent`], or drop it.
    #[error("the peer's queue is full")]
    QueueFull,
    /// Larger than the protocol allows.
    #[error("larger than the protocol allows")]
    TooLong,
}

/// Which of two bulk chunks leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// What a round waits for.
    Urgent,
    /// What can wait: catch-up of others, for one.
    Background,
}

/// Room in a bounded memory, given back when dropped.
#[derive(Debug)]
pub struct Credit(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Credit {
    /// For no room.
    #[cfg(test)]
    pub(crate) fn none() -> Credit {
        Credit(None)
    }

    /// Waits until there is room for `bytes`.
    pub(super) async fn take(room: &Arc<Semaphore>, bytes: usize) -> Credit {
        // Bounded by the caller; the semaphore is never closed, and if it were, memory would still be bounded by the
        // number of streams.
        Credit(room.clone().acquire_many_owned(bytes as u32).await.ok())
    }
}

/// Something in a queue, with the room that it takes there.
pub(super) struct Queued<T> {
    pub(super) content: T,
    _room: OwnedSemaphorePermit,
}

/// A bulk chunk on its way out.
pub(super) struct Chunk {
    pub(super) header: Vec<u8>,
    pub(super) payload: Bytes,
}

/// A bounded queue's entrance: so many things, so many bytes.
struct Entrance<T> {
    sender: mpsc::Sender<Queued<T>>,
    room: Arc<Semaphore>,
}

impl<T> Entrance<T> {
    fn put(&self, content: T, bytes: usize) -> Result<(), SendError> {
        let room = self.room.clone().try_acquire_many_owned(bytes as u32);
        let _room = room.map_err(|_| SendError::QueueFull)?;
        self.sender.try_send(Queued { content, _room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
        })
    }
}

fn queue<T>(room: &Arc<Semaphore>) -> (Entrance<T>, mpsc::Receiver<Queued<T>>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Entrance { sender, room: room.clone() }, receiver)
}

/// The queues towards one peer.
pub(super) struct Link {
    frames: Entrance<Vec<u8>>,
    urgent: Entrance<Chunk>,
    background: Entrance<Chunk>,
}

/// The other end of a [`Link`].
pub(super) struct Queues {
    pub(super) frames: mpsc::Receiver<Queued<Vec<u8>>>,
    pub(super) bulk: BulkQueue,
}

/// Bulk chunks that wait for one peer.
pub(super) struct BulkQueue {
    urgent: mpsc::Receiver<Queued<Chunk>>,
    background: mpsc::Receiver<Queued<Chunk>>,
}

impl BulkQueue {
    /// The next chunk to leave; `None` once the link is gone.
    pub(super) async fn next(&mut self) -> Option<Queued<Chunk>> {
        tokio::select! {
            biased;
            Some(chunk) = self.urgent.recv() => Some(chunk),
            Some(chunk) = self.background.recv() => Some(chunk),
            else => None,
        }
    }
}

impl Link {
    /// Queues as large as the limits allow.
    pub(super) fn new(limits: &Limits) -> (Link, Queues) {
        let (frame_room, bulk_room) = [limits.frames_out_bytes, limits.bulk_out_bytes]
            .map(Semaphore::new)
            .map(Arc::new)
            .into();
        let (frames, frames_out) = queue(&frame_room);
        let (urgent, urgent_out) = queue(&bulk_room);
        let (background, background_out) = queue(&bulk_room);
        let bulk = BulkQueue { urgent: urgent_out, background: background_out };
        (Link { frames, urgent, background }, Queues { frames: frames_out, bulk })
    }
}

/// What the loop, the sessions and the handles share.
pub(super) struct Core {
    pub(super) me: PeerId,
    pub(super) run: RunId,
    pub(super) limits: Limits,
    pub(super) events: mpsc::Sender<NetEvent>,
    pub(super) frames_in: Arc<Semaphore>,
    pub(super) bulk_in: Arc<Semaphore>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) pace: Pace,
    links: Mutex<BTreeMap<PeerId, Link>>,
    whereabouts: Mutex<Whereabouts>,
}

/// Where this node is.
#[derive(Default)]
struct Whereabouts {
    listen: BTreeSet<Multiaddr>,
    observed: BTreeMap<Multiaddr, BTreeSet<PeerId>>,
    /// Where others say that they listen, best first.
    others: BTreeMap<PeerId, Vec<Multiaddr>>,
    api: Option<SocketAddr>,
}

impl Core {
    pub(super) fn new(
        me: PeerId,
        run: RunId,
        limits: Limits,
        events: mpsc::Sender<NetEvent>,
    ) -> Self {
        Core {
            me,
            run,
            events,
            frames_in: Arc::new(Semaphore::new(limits.frames_in_bytes)),
            bulk_in: Arc::new(Semaphore::new(limits.bulk_in_bytes)),
            pace: Pace::new(limits.up_bytes_per_s),
            limits,
            traffic: Arc::default(),
            links: Mutex::default(),
            whereabouts: Mutex::default(),
        }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<PeerId, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens queues towards a peer.
    pub(super) fn link(&self, peer: PeerId) -> Queues {
        let (link, queues) = Link::new(&self.limits);
        self.links().insert(peer, link);
        queues
    }

    /// Closes them; what is queued is lost.
    pub(super) fn unlink(&self, peer: &PeerId) {
        self.links().remove(peer);
    }

    /// Peers with a session, in order.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        self.links().keys().copied().collect()
    }

    pub(super) fn queue_frame(&self, peer: &PeerId, frame: Vec<u8>) -> Result<(), SendError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let links = self.links();
        let link = links.get(peer).ok_or(SendError::NotConnected)?;
        let bytes = frame.len();
        link.frames.put(frame, bytes)
    }

    pub(super) fn queue_chunk(
        &self,
        peer: &PeerId,
        chunk: Chunk,
        priority: Priority,
    ) -> Result<(), SendError> {
        if chunk.header.len() > BULK_HEADER_BYTES_MAX || chunk.payload.len() > BULK_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let links = self.links();
        let link = links.get(peer).ok_or(SendError::NotConnected)?;
        let bytes = chunk.payload.len();
        match priority {
            Priority::Urgent => link.urgent.put(chunk, bytes),
            Priority::Background => link.background.put(chunk, bytes),
        }
    }

    pub(super) fn set_listening(&self, address: Multiaddr, listening: bool) {
        let mut whereabouts = self.whereabouts();
        if listening {
            whereabouts.listen.insert(address);
        } else {
            whereabouts.listen.remove(&address);
        }
    }

    /// Notes that `by` sees us at `address`.
    pub(super) fn observed(&self, address: Multiaddr, by: PeerId) {
        let useful = address::is_dialable(&address) && !address::is_loopback(&address);
        let mut whereabouts = self.whereabouts();
        let seen = &mut whereabouts.observed;
        if useful && (seen.len() < OBSERVED_MAX || seen.contains_key(&address)) {
            let observers = seen.entry(address).or_default();
            if observers.len() < OBSERVERS_MIN {
                observers.insert(by);
            }
        }
    }

    /// Where we listen, and where enough others see us.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        let whereabouts = self.whereabouts();
        let seen = whereabouts.observed.iter().filter(|(_, by)| by.len() >= OBSERVERS_MIN);
        let all: BTreeSet<_> =
            whereabouts.listen.iter().chain(seen.map(|(address, _)| address)).cloned().collect();
        all.into_iter().collect()
    }

    /// Notes where a peer says that it listens.
    pub(super) fn heard_of(&self, peer: PeerId, listen: &[Multiaddr]) {
        let connected = self.peers();
        let mut whereabouts = self.whereabouts();
        whereabouts.others.retain(|known, _| connected.contains(known));
        whereabouts.others.insert(peer, address::for_ticket(listen));
    }

    /// The best address of each other peer that is connected now.
    pub(super) fn addresses_of_others(&self) -> Vec<(PeerId, Multiaddr)> {
        let connected = self.peers();
        let whereabouts = self.whereabouts();
        let best = |(peer, told): (&PeerId, &Vec<Multiaddr>)| Some((*peer, told.first()?.clone()));
        whereabouts
            .others
            .iter()
            .filter(|(peer, _)| connected.contains(peer))
            .filter_map(best)
            .collect()
    }

    pub(super) fn set_api(&self, api: SocketAddr) {
        self.whereabouts().api = Some(api);
    }

    pub(super) fn api(&self) -> Option<SocketAddr> {
        self.whereabouts().api
    }
}
