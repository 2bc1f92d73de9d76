//! Starting the network, and the handle by which the node speaks to it.

use super::identity::to_libp2p;
use super::link::{Chunk, Core, Priority, SendError};
use super::swarm::{Command, Driver};
use super::{GOSSIP_BYTES_MAX, NetConfig, NetEvent, PeerTraffic, address, identity};
use anyhow::Context;
use bytes::Bytes;
use libp2p::Multiaddr;
use shoal_protocol::id::PeerId;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc;

/// Commands that wait for the loop; they are rare.
const COMMANDS_MAX: usize = 256;
/// What is still running after this when the loop has ended is cut off.
const LAST_CALL: Duration = Duration::from_millis(300);

/// Starts the network on threads of its own.
///
/// # Errors
/// A key that is not ed25519, an address that cannot be listened on, or a system that gives no threads or sockets.
pub fn start(config: NetConfig) -> anyhow::Result<(NetHandle, mpsc::Receiver<NetEvent>)> {
    let remote = config.keypair.public().to_peer_id();
    let me = identity::from_libp2p(&remote).context("the node's key is not an ed25519 key")?;
    let (events, events_out) = mpsc::channel(config.limits.events.max(1));
    let core = Arc::new(Core::new(me, config.run, config.limits.clone(), events));
    let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.max(1))
        .thread_name("shoal-net-io")
        .enable_all()
        .build()
        .context("starting the network's threads")?;
    let driver = {
        let _inside = runtime.enter();
        Driver::new(&config, core.clone(), commands_out)?
    };
    let drive = move || {
        runtime.block_on(driver.run());
        runtime.shutdown_timeout(LAST_CALL);
    };
    let thread = thread::Builder::new().name("shoal-net".into()).spawn(drive)?;
    let thread = Arc::new(Mutex::new(Some(thread)));
    Ok((NetHandle { core, remote, commands, thread }, events_out))
}

/// Speaks to the network. Cheap to clone; no call blocks but [`NetHandle::shutdown`].
#[derive(Clone)]
pub struct NetHandle {
    core: Arc<Core>,
    remote: libp2p::PeerId,
    commands: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl NetHandle {
    /// This node's name.
    pub fn me(&self) -> PeerId {
        self.core.me
    }

    /// Queues a control frame for one peer. Frames arrive in order and without gaps while the peer stays connected.
    ///
    /// # Errors
    /// Not connected, too long, or a queue that is full; the frame is dropped then.
    pub fn send(&self, peer: PeerId, frame: Vec<u8>) -> Result<(), SendError> {
        self.core.queue_frame(&peer, frame)
    }

    /// Queues a bulk chunk for one peer. [`NetEvent::BulkSent`] tells when it has left.
    ///
    /// # Errors
    /// Not connected, too long, or a queue that is full; the chunk is dropped then.
    pub fn send_bulk(
        &self,
        peer: PeerId,
        header: Vec<u8>,
        payload: Bytes,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.core.queue_chunk(&peer, Chunk { header, payload }, priority)
    }

    /// Tells every peer of the run, directly or through others. Nobody confirms it; say it again from time to time.
    ///
    /// # Errors
    /// If it is longer than [`GOSSIP_BYTES_MAX`], or the network is too busy to take it.
    pub fn broadcast(&self, beacon: Vec<u8>) -> Result<(), SendError> {
        if beacon.len() > GOSSIP_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        self.commands.try_send(Command::Broadcast(beacon)).map_err(|_| SendError::QueueFull)
    }

    /// Dials an address now, and again as long as the peer there is not connected.
    pub fn dial(&self, address: Multiaddr) {
        self.command(Command::Dial(address));
    }

    /// Closes all connections to a peer and leaves it alone for a minute.
    pub fn disconnect(&self, peer: PeerId, reason: impl Into<String>) {
        self.command(Command::Disconnect(peer, reason.into()));
    }

    /// Closes all connections to a peer and refuses it until the node restarts.
    pub fn ban(&self, peer: PeerId, reason: impl Into<String>) {
        self.command(Command::Ban(peer, reason.into()));
    }

    fn command(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "the network takes no commands");
        }
    }

    /// Peers that are connected now, in order.
    pub fn peers(&self) -> Vec<PeerId> {
        self.core.peers()
    }

    /// Where this node listens and is seen from outside, loopback included, without `/p2p/…`.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.core.addresses()
    }

    /// What a ticket should tell: dialable addresses with `/p2p/…`, this node's first, then one of each peer that is connected,
    /// so that the ticket works while any of them is alive. At most `most`.
    pub fn ticket_addresses(&self, most: usize) -> Vec<Multiaddr> {
        let own = address::for_ticket(&self.core.addresses());
        let own = own.iter().take(most.div_ceil(2)).map(|own| address::with_peer(own, self.remote));
        let others = self.core.addresses_of_others();
        let others =
            others.iter().filter_map(|(peer, at)| Some(address::with_peer(at, to_libp2p(peer)?)));
        own.chain(others).take(most).collect()
    }

    /// The traffic with one peer.
    pub fn traffic(&self, peer: &PeerId) -> PeerTraffic {
        self.core.traffic.of(peer)
    }

    /// The traffic with every peer that was ever connected, and the node's sum.
    pub fn traffic_all(&self) -> (Vec<(PeerId, PeerTraffic)>, PeerTraffic) {
        self.core.traffic.all()
    }

    /// Tells other processes of this host where the node serves its status (see [`super::local`]).
    pub fn announce_api(&self, api: SocketAddr) {
        self.core.set_api(api);
    }

    /// Closes all connections, takes back the local announcement and waits for the network's thread (under a second).
    ///
    /// Do not call it from one of that thread's tasks; from async code, use `spawn_blocking`.
    pub fn shutdown(&self) {
        self.command(Command::Shutdown);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the network's thread panicked");
        }
    }
}
