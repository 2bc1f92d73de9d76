//! The libp2p protocols that a node speaks, and how they are set.

use super::{GOSSIP_BYTES_MAX, Limits};
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, gossipsub, identify, mdns, ping};
use shoal_protocol::id::RunId;
use shoal_protocol::run::PROTOCOL_VERSION;
use std::time::Duration;

/// Everything a node speaks with its peers.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// Refuses banned peers before anything else looks at them.
    pub(super) banned: allow_block_list::Behaviour<BlockedPeers>,
    limits: connection_limits::Behaviour,
    /// Control and bulk.
    pub(super) streams: libp2p_stream::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    /// Beacons.
    pub(super) gossip: gossipsub::Behaviour,
    /// Peers of the run beyond the local network.
    pub(super) kad: kad::Behaviour<MemoryStore>,
    /// Peers on the local network.
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    /// The protocols of a node with this key.
    ///
    /// # Errors
    /// If gossipsub's settings contradict each other.
    pub(super) fn new(key: &Keypair, limits: &Limits, with_mdns: bool) -> anyhow::Result<Self> {
        let me = key.public().to_peer_id();
        Ok(Behaviour {
            banned: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connections(limits)),
            streams: libp2p_stream::Behaviour::new(),
            identify: identify::Behaviour::new(
                identify::Config::new(family(), key.public())
                    .with_agent_version(concat!("shoal/", env!("CARGO_PKG_VERSION")).into())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(10))),
            gossip: gossip(key)?,
            kad: kademlia(me),
            mdns: Toggle::from(with_mdns.then(|| local_network(me)).flatten()),
        })
    }
}

/// The name of the protocol's family and version, as identify tells it.
pub(super) fn family() -> String {
    format!("/shoal/{PROTOCOL_VERSION}")
}

/// The name of one protocol of ours: `/shoal/<version>/<part>`.
pub(super) fn protocol(part: &str) -> StreamProtocol {
    // It cannot fail: the name begins with a slash, which is all that is asked of it.
    StreamProtocol::try_from_owned(format!("{}/{part}", family())).expect("begins with a slash")
}

/// The gossip topic of a run.
pub(super) fn topic(run: &RunId) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(format!("{}/beacons/{run}", family()))
}

/// The key under which a run's peers are found in Kademlia.
pub(super) fn provider_key(run: &RunId) -> kad::RecordKey {
    kad::RecordKey::new(&run.0)
}

fn connections(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(limits.peers * 3))
        .with_max_established_incoming(Some(limits.peers * 2))
        // Two sides that dial each other at once make two; a third is for a change of network.
        .with_max_established_per_peer(Some(3))
        .with_max_pending_incoming(Some(64))
        .with_max_pending_outgoing(Some(64))
}

fn gossip(key: &Keypair) -> anyhow::Result<gossipsub::Behaviour> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("{}/gossip", family()))
        .validation_mode(gossipsub::ValidationMode::Strict)
        .message_id_fn(content_id)
        // The author, the signature and the topic come on top of the beacon; lists of ids in control messages, too.
        .max_transmit_size(GOSSIP_BYTES_MAX + 15 * 1024)
        .heartbeat_interval(Duration::from_millis(700))
        .connection_handler_queue_len(256)
        .build()
        .map_err(|error| anyhow::anyhow!("gossip settings: {error}"))?;
    gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(key.clone()), config)
        .map_err(|error| anyhow::anyhow!("gossip: {error}"))
}

/// The same bytes of the same author are the same message, whichever way they came.
fn content_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let mut hash = blake3::Hasher::new();
    hash.update(&message.source.map(|peer| peer.to_bytes()).unwrap_or_default());
    hash.update(&message.data);
    gossipsub::MessageId::from(hash.finalize().as_bytes().to_vec())
}

fn kademlia(me: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(protocol("kad"));
    config.set_query_timeout(Duration::from_secs(20));
    config.set_provider_record_ttl(Some(Duration::from_secs(600)));
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
    // As a client, the default on a local network, a node finds nobody.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

fn local_network(me: libp2p::PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), me)
        .inspect_err(|error| tracing::info!(%error, "no discovery on the local network"))
        .ok()
}
