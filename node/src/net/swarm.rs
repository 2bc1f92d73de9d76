//! The loop: drives the swarm, gives each peer a session, dials whom the roster names, obeys the handle.

use super::behaviour::{self, Behaviour, BehaviourEvent};
use super::identity::{from_libp2p, short, to_libp2p};
use super::link::Core;
use super::local::Announcement;
use super::roster::{Due, Roster};
use super::session::{Inbound, Kind, Session, Verdict};
use super::{NetConfig, NetEvent, address, bulk, discovery, frame, local, transport};
use anyhow::Context;
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, SwarmBuilder};
use libp2p_stream::IncomingStreams;
use shoal_protocol::id::PeerId;
use shoal_protocol::membership;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How often the roster is asked whom to dial.
const TICK: Duration = Duration::from_millis(200);
/// Most dials begun in one tick.
const DIALS_PER_TICK: usize = 16;
/// A connection without a stream is closed after this.
const IDLE: Duration = Duration::from_secs(90);
/// Streams that wait for the loop, all peers together, and for one session.
const INBOUND_MAX: usize = 256;
const INBOUND_PER_PEER_MAX: usize = 16;
/// Streams of one peer that were dropped before it is shown the door.
const DROPPED_MAX: u32 = 64;
/// How long a peer of another run or version is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// How long a peer that misbehaved, or that the node disconnected, is left alone.
const AVOIDED_FOR: Duration = Duration::from_micros(membership::REFUSED_FOR.0 + 1_000_000);
/// A session that stood for so long was a good one.
const STOOD: Duration = Duration::from_secs(5);
/// Time for the peers to be told that we leave.
const FAREWELL: Duration = Duration::from_millis(400);

/// What the handle asks for.
pub(super) enum Command {
    Broadcast(Vec<u8>),
    Dial(Multiaddr),
    Disconnect(PeerId, String),
    Ban(PeerId, String),
    Shutdown,
}

/// A session that runs.
struct Running {
    inbound: mpsc::Sender<Inbound>,
    stop: Option<oneshot::Sender<()>>,
    dropped: u32,
    since: Instant,
}

impl Running {
    fn new(inbound: mpsc::Sender<Inbound>, stop: oneshot::Sender<()>) -> Self {
        Running { inbound, stop: Some(stop), dropped: 0, since: Instant::now() }
    }
}

/// All that the loop holds.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) core: Arc<Core>,
    pub(super) roster: Roster,
    pub(super) discovery: discovery::State,
    control: libp2p_stream::Control,
    commands: mpsc::Receiver<Command>,
    inbound: mpsc::Receiver<(libp2p::PeerId, Inbound)>,
    sessions: BTreeMap<libp2p::PeerId, Running>,
    /// Connections that stand, by peer.
    connections: BTreeMap<libp2p::PeerId, u32>,
    /// How many of them we are closing: no new session on those.
    leaving: BTreeMap<libp2p::PeerId, u32>,
    tasks: JoinSet<(libp2p::PeerId, Verdict)>,
    announcement: Option<Announcement>,
    neighbours: mpsc::Receiver<Vec<local::LocalNode>>,
}

impl Driver {
    /// Builds the swarm and listens. Must be called inside the runtime that will drive it.
    ///
    /// # Errors
    /// See [`super::start`].
    pub(super) fn new(
        config: &NetConfig,
        core: Arc<Core>,
        commands: mpsc::Receiver<Command>,
    ) -> anyhow::Result<Self> {
        let mut swarm = build(config, &core)?;
        let mut control = swarm.behaviour().streams.new_control();
        let (streams, inbound) = mpsc::channel(INBOUND_MAX);
        for (kind, protocol) in [(Kind::Control, frame::protocol()), (Kind::Bulk, bulk::protocol())]
        {
            let incoming =
                control.accept(protocol).map_err(|_| anyhow::anyhow!("protocol taken"))?;
            tokio::spawn(forward(kind, incoming, streams.clone()));
        }
        swarm.behaviour_mut().gossip.subscribe(&behaviour::topic(&core.run))?;
        listen(&mut swarm, &config.listen)?;
        let roster = Roster::new(*swarm.local_peer_id(), &config.bootstrap, Instant::now());
        let (announcement, neighbours) = discovery::announce(config, &core);
        Ok(Driver {
            swarm,
            core,
            roster,
            discovery: discovery::State::new(Instant::now()),
            control,
            commands,
            inbound,
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            leaving: BTreeMap::new(),
            tasks: JoinSet::new(),
            announcement,
            neighbours,
        })
    }

    /// Runs until it is told to stop or every handle is gone.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                Some((peer, stream)) = self.inbound.recv() => self.on_inbound(peer, stream),
                Some(ended) = self.tasks.join_next() => self.on_session_end(ended),
                Some(nodes) = self.neighbours.recv() => self.on_neighbours(nodes),
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.on_command(command),
                },
                _ = tick.tick() => self.on_tick(),
            }
        }
        self.close().await;
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                self.connections.insert(peer_id, num_established.get());
                self.on_connected(peer_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, cause, .. } => {
                self.on_closed(peer_id, num_established, cause);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(peer = %short(&peer), %error, "dial failed");
                if !self.swarm.is_connected(&peer) {
                    self.roster.failed(&peer, Instant::now());
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.core.set_listening(address, false)
            }
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => {
                tracing::warn!(%error, "stopped listening on an address");
            }
            other => tracing::trace!(?other, "swarm"),
        }
    }

    fn on_listening(&mut self, address: Multiaddr) {
        tracing::debug!(%address, "listening");
        self.core.set_listening(address.clone(), true);
        // The loop must not wait for the node, which may be waiting for the loop.
        let _ = self.core.events.try_send(NetEvent::ListenAddress(address));
    }

    fn on_connected(&mut self, peer: libp2p::PeerId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address();
        tracing::debug!(peer = %short(&peer), %address, "connection");
        if self.roster.is_shut_out(&peer, Instant::now()) {
            return self.hang_up(peer);
        }
        self.discovery.met_over(peer, address);
        if endpoint.is_dialer() {
            self.roster.hear(peer, [address.clone()], Instant::now());
        }
        self.ensure_session(peer);
    }

    fn on_closed(&mut self, peer: libp2p::PeerId, left: u32, cause: Option<ConnectionError>) {
        let cause = cause.map(|cause| cause.to_string()).unwrap_or_default();
        tracing::debug!(peer = %short(&peer), left, cause, "connection closed");
        if left > 0 {
            self.connections.insert(peer, left);
        } else {
            self.connections.remove(&peer);
        }
        self.one_closed(peer);
        if left == 0 {
            self.discovery.forget(&peer);
            self.credit_session(&peer);
            self.stop_session(&peer);
            self.roster.lost(&peer, Instant::now());
        }
    }

    /// Once all that we were closing are closed, a connection that came meanwhile may get its session.
    fn one_closed(&mut self, peer: libp2p::PeerId) {
        let Some(count) = self.leaving.get_mut(&peer) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.leaving.remove(&peer);
            self.ensure_session(peer);
        }
    }

    /// A peer whose session stood for a while is dialled again as eagerly as a new one.
    fn credit_session(&mut self, peer: &libp2p::PeerId) {
        if self.sessions.get(peer).is_some_and(|running| running.since.elapsed() > STOOD) {
            self.roster.succeeded(peer);
        }
    }

    /// Begins a session if the peer is connected, has none, and there is room for one.
    fn ensure_session(&mut self, remote: libp2p::PeerId) {
        let taken = self.sessions.contains_key(&remote) || self.leaving.contains_key(&remote);
        if taken || !self.swarm.is_connected(&remote) {
            return;
        }
        let full = self.sessions.len() >= self.core.limits.peers as usize;
        let Some(peer) = from_libp2p(&remote).filter(|_| !full) else {
            tracing::debug!(peer = %short(&remote), full, "no session for this peer");
            return self.hang_up(remote);
        };
        let (inbound, inbound_out) = mpsc::channel(INBOUND_PER_PEER_MAX);
        let (stop, stopped) = oneshot::channel();
        self.sessions.insert(remote, Running::new(inbound, stop));
        let (core, control) = (self.core.clone(), self.control.clone());
        let session = Session { core, peer, remote, control, inbound: inbound_out, stop: stopped };
        self.tasks.spawn(async move { (remote, session.run().await) });
    }

    fn stop_session(&mut self, peer: &libp2p::PeerId) {
        if let Some(stop) = self.sessions.get_mut(peer).and_then(|running| running.stop.take()) {
            let _ = stop.send(());
        }
    }

    fn on_inbound(&mut self, peer: libp2p::PeerId, stream: Inbound) {
        self.ensure_session(peer);
        let Some(running) = self.sessions.get_mut(&peer) else { return };
        if running.inbound.try_send(stream).is_err() {
            running.dropped += 1;
            if running.dropped == DROPPED_MAX {
                self.refuse(peer, "opens streams without end".into(), AVOIDED_FOR);
            }
        }
    }

    fn on_session_end(&mut self, ended: Result<(libp2p::PeerId, Verdict), tokio::task::JoinError>) {
        let (peer, verdict) = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "a session's task failed"),
        };
        self.credit_session(&peer);
        self.sessions.remove(&peer);
        match verdict {
            // A new connection may have come while the old session ended.
            Verdict::Ended => self.ensure_session(peer),
            Verdict::Lost(reason) => {
                tracing::debug!(peer = %short(&peer), reason, "session lost");
                self.hang_up(peer);
            }
            Verdict::Refused(reason) => {
                tracing::info!(peer = %short(&peer), reason, "not one of ours");
                self.let_go(peer, reason, REFUSED_FOR);
            }
            Verdict::Misconduct(reason) => self.refuse(peer, reason, AVOIDED_FOR),
        }
    }

    /// Ends a peer's session and closes its connections.
    pub(super) fn hang_up(&mut self, peer: libp2p::PeerId) {
        self.stop_session(&peer);
        if let Some(count) = self.connections.get(&peer)
            && self.swarm.disconnect_peer_id(peer).is_ok()
        {
            self.leaving.insert(peer, *count);
        }
    }

    /// Disconnects a peer that does what no honest one does.
    pub(super) fn refuse(&mut self, peer: libp2p::PeerId, reason: String, period: Duration) {
        tracing::warn!(peer = %short(&peer), reason, "peer refused");
        self.let_go(peer, reason, period);
        self.roster.shut_out(peer, Instant::now() + period);
    }

    /// Disconnects a peer, tells the node why, and does not dial it for a while.
    pub(super) fn let_go(&mut self, peer: libp2p::PeerId, reason: String, period: Duration) {
        let now = Instant::now();
        self.roster.avoid(peer, now + period, now);
        self.hang_up(peer);
        if let Some(peer) = from_libp2p(&peer) {
            let _ = self.core.events.try_send(NetEvent::Refused { peer, reason });
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Broadcast(beacon) => {
                let topic = behaviour::topic(&self.core.run);
                if let Err(error) = self.swarm.behaviour_mut().gossip.publish(topic, beacon) {
                    tracing::trace!(%error, "beacon not sent");
                }
            }
            Command::Dial(address) => self.roster.add_bootstrap(address, Instant::now()),
            Command::Disconnect(peer, reason) => self.on_disconnect(peer, &reason),
            Command::Ban(peer, reason) => self.on_ban(peer, &reason),
            Command::Shutdown => {}
        }
    }

    /// What a peer sent before its connections were closed may get it banned again, which is not worth a line.
    fn on_ban(&mut self, peer: PeerId, reason: &str) {
        let Some(remote) = to_libp2p(&peer) else { return };
        if self.swarm.behaviour_mut().banned.block_peer(remote) {
            tracing::warn!(peer = %peer.short(), reason, "peer banned");
        }
        self.hang_up(remote);
    }

    fn on_disconnect(&mut self, peer: PeerId, reason: &str) {
        tracing::info!(peer = %peer.short(), reason, "disconnecting");
        let Some(peer) = to_libp2p(&peer) else { return };
        let now = Instant::now();
        self.roster.avoid(peer, now + AVOIDED_FOR, now);
        self.roster.shut_out(peer, now + AVOIDED_FOR);
        self.hang_up(peer);
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let room = (self.core.limits.peers as usize).saturating_sub(self.sessions.len());
        let alone = self.sessions.is_empty();
        let sessions = &self.sessions;
        let is_connected = |peer: &libp2p::PeerId| sessions.contains_key(peer);
        for due in self.roster.due(now, room.min(DIALS_PER_TICK), is_connected, alone) {
            self.dial(due);
        }
        self.look_around(now);
    }

    fn dial(&mut self, due: Due) {
        let opts = match (due.peer, due.addresses) {
            (Some(peer), addresses) if addresses.is_empty() => DialOpts::peer_id(peer).build(),
            (Some(peer), addresses) => DialOpts::peer_id(peer).addresses(addresses).build(),
            (None, mut addresses) => match addresses.pop() {
                Some(address) => DialOpts::unknown_peer_id().address(address).build(),
                None => return,
            },
        };
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%error, "not dialled");
        }
    }

    /// Tells the peers that we leave, and waits a moment until they know.
    async fn close(mut self) {
        if let Some(announcement) = &self.announcement {
            announcement.withdraw();
        }
        self.tasks.abort_all();
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let swarm = &mut self.swarm;
        let farewell = async {
            while swarm.connected_peers().next().is_some() {
                swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// Whether a session with this peer runs or begins.
    pub(super) fn has_session(&self, peer: &libp2p::PeerId) -> bool {
        self.sessions.contains_key(peer)
    }

    /// How many sessions run or begin.
    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }
}

/// Takes streams the moment they come: the queue that they come from has no room, and drops what is not taken.
async fn forward(
    kind: Kind,
    mut incoming: IncomingStreams,
    streams: mpsc::Sender<(libp2p::PeerId, Inbound)>,
) {
    while let Some((peer, stream)) = incoming.next().await {
        if streams.try_send((peer, Inbound { kind, stream })).is_err() {
            tracing::debug!(peer = %short(&peer), "too many streams at once; one was dropped");
        }
    }
}

fn build(config: &NetConfig, core: &Core) -> anyhow::Result<Swarm<Behaviour>> {
    let key = &config.keypair;
    let behaviour = Behaviour::new(key, &config.limits, config.mdns)?;
    let swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_other_transport(|key| Ok(transport::over_tcp(key, core.me, core.traffic.clone())?))?
        .with_other_transport(|key| Ok(transport::over_quic(key, core.traffic.clone())))?
        .with_dns()?
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}

/// Listens where told; where nothing is told, everywhere, and on IPv6 only if there is any.
fn listen(swarm: &mut Swarm<Behaviour>, told: &[Multiaddr]) -> anyhow::Result<()> {
    for address in told {
        swarm.listen_on(address.clone()).with_context(|| format!("listening on {address}"))?;
    }
    if !told.is_empty() {
        return Ok(());
    }
    let mut listening = 0;
    for text in [
        "/ip4/0.0.0.0/tcp/0",
        "/ip4/0.0.0.0/udp/0/quic-v1",
        "/ip6/::/tcp/0",
        "/ip6/::/udp/0/quic-v1",
    ] {
        let address: Multiaddr = text.parse()?;
        match swarm.listen_on(address) {
            Ok(_) => listening += 1,
            Err(error) => tracing::debug!(address = text, %error, "cannot listen"),
        }
    }
    anyhow::ensure!(listening > 0, "cannot listen on any interface, IPv4 or IPv6");
    Ok(())
}

/// Whether `address` is of use to a peer that we met elsewhere than on this host.
pub(super) fn is_useful(address: &Multiaddr, loopback: bool) -> bool {
    address::is_dialable(address) && (loopback || !address::is_loopback(address))
}
