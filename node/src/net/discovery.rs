//! What the loop hears of other peers: from files on this host, mDNS, identify and Kademlia.

use super::behaviour::{self, BehaviourEvent};
use super::identity::{from_libp2p, short, to_libp2p};
use super::link::Core;
use super::local::{self, Announcement, LocalNode};
use super::swarm::{Driver, is_useful};
use super::{GOSSIP_BYTES_MAX, NetConfig, NetEvent, address};
use libp2p::kad::{self, GetProvidersOk, QueryResult};
use libp2p::{Multiaddr, PeerId, StreamProtocol, gossipsub, identify, mdns, ping};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// With fewer sessions than this we ask Kademlia for more peers often, else seldom (guess).
const FEW_PEERS: usize = 8;
const LOOKUP_OFTEN: Duration = Duration::from_secs(10);
const LOOKUP_SELDOM: Duration = Duration::from_secs(60);
/// The first lookup after a new peer came: it needs a moment to be known by its other peers (guess).
const LOOKUP_SOON: Duration = Duration::from_secs(1);
/// Peers of the run whose addresses we are looking for.
const WANTED_MAX: usize = 128;
/// Addresses that are taken from one message of a peer.
const ADDRESSES_MAX: usize = 16;
/// A peer that misses so many pings (sent every 10 s, missed after 20 s) is taken for gone (guess).
const PINGS_MISSED_MAX: u32 = 2;
/// How long a peer of another version is left alone.
const OTHER_VERSION_FOR: Duration = Duration::from_secs(600);

/// What discovery remembers between events.
pub(super) struct State {
    next_lookup: Instant,
    /// Peers of the run whose addresses are sought.
    wanted: BTreeSet<PeerId>,
    /// Peers that were met over loopback: of them, and of whom they know, loopback addresses are worth a dial.
    near: BTreeSet<PeerId>,
    /// Pings in a row that a peer has not answered.
    silent: BTreeMap<PeerId, u32>,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        State {
            next_lookup: now + LOOKUP_SOON,
            wanted: BTreeSet::new(),
            near: BTreeSet::new(),
            silent: BTreeMap::new(),
        }
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.silent.remove(peer);
        self.near.remove(peer);
    }

    /// Notes the address over which a peer was met.
    pub(super) fn met_over(&mut self, peer: PeerId, address: &Multiaddr) {
        if address::is_loopback(address) {
            self.near.insert(peer);
        }
    }
}

/// Announces the node in the local folder from now on, and reads there who else is.
pub(super) fn announce(
    config: &NetConfig,
    core: &Arc<Core>,
) -> (Option<Announcement>, mpsc::Receiver<Vec<LocalNode>>) {
    let (nodes, nodes_out) = mpsc::channel(1);
    let Some(folder) = &config.local_discovery_dir else { return (None, nodes_out) };
    match Announcement::prepare(folder, core.me) {
        Ok(announcement) => {
            tokio::spawn(keep_announced(announcement.clone(), core.clone(), nodes));
            (Some(announcement), nodes_out)
        }
        Err(error) => {
            tracing::warn!(%error, "nodes on this host will not find each other by themselves");
            (None, nodes_out)
        }
    }
}

async fn keep_announced(
    announcement: Announcement,
    core: Arc<Core>,
    nodes: mpsc::Sender<Vec<LocalNode>>,
) {
    let mut told = (Vec::new(), None);
    for count in 0u32.. {
        let is_new = count < local::POLLS_FIRST;
        tokio::time::sleep(if is_new { local::POLL_FIRST } else { local::POLL }).await;
        let now = (core.addresses(), core.api());
        let heartbeat = !is_new && count.is_multiple_of(local::HEARTBEAT_POLLS);
        let renew = heartbeat || now != told;
        told = now.clone();
        let (announcement, core) = (announcement.clone(), core.clone());
        let others = tokio::task::spawn_blocking(move || {
            if renew && !now.0.is_empty() {
                let addresses = now.0.iter().map(ToString::to_string).collect();
                announcement.renew(core.me, core.run, addresses, now.1)?;
            }
            announcement.others(core.me)
        });
        match others.await {
            Ok(Ok(others)) => {
                if nodes.send(others).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "local announcements"),
            Err(_) => return,
        }
    }
}

impl Driver {
    /// Hears of the nodes of this host.
    pub(super) fn on_neighbours(&mut self, nodes: Vec<LocalNode>) {
        let now = Instant::now();
        for node in nodes.into_iter().filter(|node| node.run == self.core.run) {
            let Some(peer) = to_libp2p(&node.peer) else { continue };
            let parsed =
                node.addresses.iter().take(ADDRESSES_MAX).filter_map(|text| text.parse().ok());
            let addresses = parsed.filter(|address| is_useful(address, node.same_host));
            // Loopback is the shortest way, so it is dialled alone where it leads there.
            let (near, far): (Vec<_>, Vec<_>) = addresses.partition(address::is_loopback);
            self.roster.hear(peer, if near.is_empty() { far } else { near }, now);
        }
    }

    pub(super) fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => self.on_ping(peer, result),
            BehaviourEvent::Gossip(gossipsub::Event::Message { message, .. }) => {
                self.on_gossip(message);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    tracing::debug!(peer = %short(&peer), %address, "found on the local network");
                    self.roster.hear(peer, [address], Instant::now());
                }
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed { result, .. }) => {
                self.on_query(result);
            }
            _ => {}
        }
    }

    /// A host that vanished without a word is noticed by its silence.
    fn on_ping(&mut self, peer: PeerId, result: Result<Duration, ping::Failure>) {
        match result {
            Ok(rtt) => {
                self.discovery.silent.remove(&peer);
                if let Some(peer) = from_libp2p(&peer) {
                    self.core.traffic.set_rtt(&peer, rtt);
                }
            }
            Err(ping::Failure::Timeout) => {
                let missed = self.discovery.silent.entry(peer).or_default();
                *missed += 1;
                if *missed >= PINGS_MISSED_MAX {
                    tracing::info!(peer = %short(&peer), "peer is silent; disconnecting");
                    self.discovery.silent.remove(&peer);
                    self.hang_up(peer);
                }
            }
            Err(error) => tracing::trace!(peer = %short(&peer), %error, "ping"),
        }
    }

    fn on_gossip(&mut self, message: gossipsub::Message) {
        let from = message.source.as_ref().and_then(from_libp2p);
        let Some(from) = from.filter(|_| message.data.len() <= GOSSIP_BYTES_MAX) else { return };
        let event = NetEvent::Gossip { from, bytes: message.data };
        if self.core.events.try_send(event).is_err() {
            tracing::debug!(peer = %from.short(), "beacon dropped: the node is busy");
        }
    }

    /// A peer said who it is and where it listens.
    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let family = behaviour::family();
        if info.protocol_version.starts_with("/shoal/") && info.protocol_version != family {
            let theirs: String = info.protocol_version.chars().take(32).collect();
            let reason = format!("speaks {theirs}, we speak {family}");
            tracing::info!(peer = %short(&peer), reason, "not one of ours");
            return self.let_go(peer, reason, OTHER_VERSION_FOR);
        }
        if let Some(by) = from_libp2p(&peer) {
            self.core.observed(address::split_peer(info.observed_addr).0, by);
        }
        let loopback = self.discovery.near.contains(&peer);
        let listen = info.listen_addrs.into_iter().map(|address| address::split_peer(address).0);
        let useful: Vec<_> =
            listen.filter(|address| is_useful(address, loopback)).take(ADDRESSES_MAX).collect();
        if let Some(who) = from_libp2p(&peer) {
            self.core.heard_of(who, &useful);
        }
        self.roster.hear(peer, useful.clone(), Instant::now());
        if speaks_kad(&info.protocols) {
            for address in useful {
                self.swarm.behaviour_mut().kad.add_address(&peer, address);
            }
            let soon = Instant::now() + LOOKUP_SOON;
            self.discovery.next_lookup = self.discovery.next_lookup.min(soon);
        }
    }

    /// Announces us in Kademlia and asks who else is in the run, when it is time.
    pub(super) fn look_around(&mut self, now: Instant) {
        if now < self.discovery.next_lookup {
            return;
        }
        let few = self.session_count() < FEW_PEERS;
        self.discovery.next_lookup = now + if few { LOOKUP_OFTEN } else { LOOKUP_SELDOM };
        if self.session_count() == 0 {
            return;
        }
        let key = behaviour::provider_key(&self.core.run);
        let kad = &mut self.swarm.behaviour_mut().kad;
        if let Err(error) = kad.start_providing(key.clone()) {
            tracing::debug!(%error, "not announced in Kademlia");
        }
        kad.get_providers(key);
    }

    fn on_query(&mut self, result: QueryResult) {
        match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                for peer in providers {
                    self.want(peer);
                }
            }
            QueryResult::GetClosestPeers(Ok(found)) => {
                for info in found.peers.into_iter().take(WANTED_MAX) {
                    self.found(info.peer_id, info.addrs);
                }
            }
            _ => {}
        }
    }

    /// Looks for the addresses of a peer of the run.
    fn want(&mut self, peer: PeerId) {
        let known = self.has_session(&peer) || self.roster.has_addresses(&peer);
        let us = peer == *self.swarm.local_peer_id();
        if !known && !us && self.discovery.wanted.len() < WANTED_MAX {
            self.discovery.wanted.insert(peer);
            self.swarm.behaviour_mut().kad.get_closest_peers(peer);
        }
    }

    fn found(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if !self.discovery.wanted.remove(&peer) {
            return;
        }
        let loopback = !self.discovery.near.is_empty();
        let useful = addresses.into_iter().map(|address| address::split_peer(address).0);
        let useful = useful.filter(|address| is_useful(address, loopback)).take(ADDRESSES_MAX);
        tracing::debug!(peer = %short(&peer), "found through others");
        self.roster.hear(peer, useful, Instant::now());
    }
}

fn speaks_kad(protocols: &[StreamProtocol]) -> bool {
    protocols.contains(&behaviour::protocol("kad"))
}
