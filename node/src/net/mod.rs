//! The network: peers of one run find each other, stay connected in a full mesh, and carry frames, beacons and bulk data.
//!
//! It knows nothing of rounds or tensors, and nothing of actors: it is started with [`start`], spoken to through a
//! [`NetHandle`], and heard through a bounded channel of [`NetEvent`]s. When that channel is not drained, sessions stop
//! reading from their peers: nothing here grows without a bound.
//!
//! | file | holds |
//! |---|---|
//! | `identity` | the key on disk, the keyring, names of peers |
//! | `ticket` | one line that is enough to join |
//! | `transport`, `channel`, `muxer` | TCP + noise + yamux with large frames, QUIC |
//! | `traffic` | bytes on the wire, rates, round trips |
//! | `behaviour` | the libp2p protocols and their settings |
//! | `swarm`, `discovery` | the loop that drives them, and what it hears of other peers |
//! | `roster`, `address` | whom to dial, when, and where |
//! | `local` | nodes of one host find each other through files |
//! | `session` | one task a peer: greeting, streams, end |
//! | `frame`, `bulk` | what is on a stream: control frames, bulk chunks |
//! | `link`, `handle`, `pace` | queues towards a peer; the handle; no more than the owner gives |

mod address;
mod behaviour;
mod bulk;
mod channel;
mod discovery;
mod frame;
mod handle;
pub mod identity;
mod link;
pub mod local;
mod muxer;
mod pace;
mod roster;
mod session;
mod swarm;
pub mod ticket;
mod traffic;
mod transport;

pub use handle::{NetHandle, start};
pub use link::{Credit, Priority, SendError};
pub use pace::up_mbit;
pub use traffic::PeerTraffic;

use bytes::Bytes;
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use shoal_protocol::id::{PeerId, RunId};
use shoal_protocol::wire;
use std::path::PathBuf;

/// Most bytes of a beacon.
pub const GOSSIP_BYTES_MAX: usize = wire::BEACON_BYTES_MAX;
/// Most bytes of a bulk chunk's header.
pub const BULK_HEADER_BYTES_MAX: usize = wire::HEADER_BYTES_MAX;
/// A filter for logs under which libraries below the network speak only of what a person can mend.
pub const LOG_FILTER: &str = "info,libp2p=error,libp2p_mdns=off,libp2p_gossipsub=error,libp2p_kad=error,\
     libp2p_swarm=error,libp2p_core=error,libp2p_tcp=error,libp2p_quic=error,libp2p_dns=error,yamux=error,quinn=error,\
     hickory_proto=error,hickory_resolver=error,netlink_proto=error";

/// How a node's network is set up.
#[derive(Clone)]
pub struct NetConfig {
    /// The node's ed25519 key.
    pub keypair: Keypair,
    /// The run whose peers are sought. Peers of others are refused.
    pub run: RunId,
    /// Where to listen; empty means every interface, TCP and QUIC, IPv4 and (where there is any) IPv6, free ports.
    pub listen: Vec<Multiaddr>,
    /// Peers to begin with, with or without `/p2p/…` at the end.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Where nodes of this host announce themselves to each other (see [`local`]).
    pub local_discovery_dir: Option<PathBuf>,
    /// Bounds on what is held.
    pub limits: Limits,
    /// Worker threads of the network's own runtime.
    pub threads: usize,
}

impl NetConfig {
    /// The usual setting: listen everywhere, find peers on the host and on the local network.
    pub fn new(keypair: Keypair, run: RunId) -> Self {
        NetConfig {
            keypair,
            run,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            local_discovery_dir: Some(local::default_dir()),
            limits: Limits::default(),
            threads: 2,
        }
    }
}

/// Bounds on what the network holds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most peers with whom a session is kept.
    pub peers: u32,
    /// Events that wait for the node.
    pub events: usize,
    /// Bytes of received bulk whose [`Credit`] the node holds, all peers together.
    pub bulk_in_bytes: usize,
    /// Bytes of received control frames whose [`Credit`] the node holds, all peers together.
    pub frames_in_bytes: usize,
    /// Bytes of bulk that wait for one peer.
    pub bulk_out_bytes: usize,
    /// Bytes of control frames that wait for one peer.
    pub frames_out_bytes: usize,
    /// Bytes of bulk per second that leave, all peers together; as many as can if absent.
    pub up_bytes_per_s: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            peers: 64,
            events: 512,
            bulk_in_bytes: 256 << 20,
            frames_in_bytes: 32 << 20,
            bulk_out_bytes: 256 << 20,
            frames_out_bytes: 8 << 20,
            up_bytes_per_s: None,
        }
    }
}

/// What the network tells the node.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer of our run and version is there. Frames and bulk of it come after this.
    Connected(PeerId),
    /// It is gone, and with it everything that was queued for it. Nothing of it comes after this.
    Disconnected(PeerId),
    /// A control frame; in the order in which it was sent, and none is missing, until [`NetEvent::Disconnected`].
    Frame {
        /// Who sent it.
        from: PeerId,
        /// The frame, at most [`shoal_protocol::wire::FRAME_BYTES_MAX`].
        bytes: Vec<u8>,
        /// Room that the frame takes until this is dropped.
        credit: Credit,
    },
    /// A beacon, signed by its author; it may have come through others. Some are lost when the node is slow.
    Gossip {
        /// Who wrote it.
        from: PeerId,
        /// The beacon, at most [`GOSSIP_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// A bulk chunk.
    Bulk {
        /// Who sent it.
        from: PeerId,
        /// What it is, in the sender's words; at most [`BULK_HEADER_BYTES_MAX`].
        header: Vec<u8>,
        /// At most [`shoal_protocol::wire::BULK_BYTES_MAX`].
        payload: Bytes,
        /// Room that the chunk takes until this is dropped. Drop it at once if the chunk is kept for long.
        credit: Credit,
    },
    /// A chunk has left for `peer`: as many bytes of its queue are free again.
    BulkSent {
        /// Where it went.
        peer: PeerId,
        /// Bytes of the payload.
        bytes: usize,
        /// What it was, as it was queued.
        header: Vec<u8>,
    },
    /// We listen here now. Not told while the node is busy; [`NetHandle::addresses`] knows them all.
    ListenAddress(Multiaddr),
    /// A peer was refused, or refused us. Only logged while the node is busy.
    Refused {
        /// Which.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
}

/// Tells the allocator to keep memory that bulk transfers free and take again at once.
///
/// Without it half of a receiver's time goes into giving pages back and faulting them in again. Call it first in `main`.
pub fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only changes numbers of the allocator; all three are in its documented range.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
        libc::mallopt(libc::M_TOP_PAD, 16 << 20);
    }
}
