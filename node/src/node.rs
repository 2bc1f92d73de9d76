//! A node from start to stop: the network first, then the run's spec if it has to be fetched, then the actors.

use crate::actor::supervise::Supervisor;
use crate::dashboard;
use crate::net::identity::{self, NodeKeyring};
use crate::net::ticket::Ticket;
use crate::net::{self, Limits, NetConfig, NetEvent, NetHandle};
use crate::settings::{KEY, Settings};
use crate::status::SharedStatus;
use anyhow::Context;
use libp2p::Multiaddr;
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, RunId};
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::{self, Message, from_cbor, to_cbor};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// How long a node waits for its first listen address before it prints its ticket.
const LISTENING: Duration = Duration::from_secs(2);
/// Addresses in a ticket: more make the line too long to copy.
const TICKET_ADDRESSES: usize = 8;
/// How often a joiner asks again for the run's spec.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A node that has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The line that others join with.
    pub ticket: String,
    /// Where the status is served.
    pub api: SocketAddr,
    /// The node's id, hex.
    pub peer: String,
}

/// What a joiner needs before it knows the run's spec.
#[derive(Clone, Debug)]
pub struct JoinSettings {
    /// Where the key and the runs lie.
    pub home: PathBuf,
    /// Where to listen; empty for everywhere.
    pub listen: Vec<Multiaddr>,
    /// Peers to begin with, besides those of the ticket.
    pub peers: Vec<Multiaddr>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Where nodes of this host announce themselves to each other.
    pub local_dir: Option<PathBuf>,
    /// Bytes of bulk per second that may leave; as many as can if absent.
    pub up_bytes_per_s: Option<u64>,
    /// How long to ask for the spec.
    pub patience: Duration,
}

/// The network, before there is anything else.
struct Connected {
    net: NetHandle,
    events: Receiver<NetEvent>,
    keyring: NodeKeyring,
}

/// Runs a node until it is told to stop (SIGINT, SIGTERM). Blocks.
///
/// # Errors
/// What could not be started, or why the node cannot go on.
pub fn run(
    settings: Settings,
    ready: impl FnOnce(&Started) + Send + 'static,
) -> anyhow::Result<()> {
    let connected = connect(&join_settings(&settings), settings.spec.id())?;
    actix::System::new().block_on(live(settings, connected, ready))
}

/// Joins with a ticket: fetches the run's spec from the peers, checks it against the run's id, then runs. `complete` makes
/// settings of the spec. Blocks.
///
/// # Errors
/// Nobody could be reached in time, the spec is not the run's, or as [`run`].
pub fn join(
    ticket: Ticket,
    join: JoinSettings,
    complete: impl FnOnce(RunSpec) -> anyhow::Result<Settings>,
    ready: impl FnOnce(&Started) + Send + 'static,
) -> anyhow::Result<()> {
    let mut settings = join.clone();
    settings.peers.extend(ticket.addresses.iter().cloned());
    let mut connected = connect(&settings, ticket.run)?;
    actix::System::new().block_on(async move {
        let spec = fetch_spec(&mut connected, ticket.run, join.patience).await?;
        let mut settings = complete(spec)?;
        settings.peers.extend(ticket.addresses);
        live(settings, connected, ready).await
    })
}

/// The line that others join with.
pub fn ticket(net: &NetHandle, run: RunId) -> String {
    Ticket { run, addresses: net.ticket_addresses(TICKET_ADDRESSES), invitation: None }.to_string()
}

fn join_settings(settings: &Settings) -> JoinSettings {
    JoinSettings {
        home: settings.home.clone(),
        listen: settings.listen.clone(),
        peers: settings.peers.clone(),
        mdns: settings.mdns,
        local_dir: settings.local_dir.clone(),
        up_bytes_per_s: settings.up_bytes_per_s,
        patience: Duration::ZERO,
    }
}

fn connect(settings: &JoinSettings, run: RunId) -> anyhow::Result<Connected> {
    std::fs::create_dir_all(&settings.home).with_context(|| {
        format!("cannot make the folder {}: choose another --home", settings.home.display())
    })?;
    let keypair = identity::load_or_create(&settings.home.join(KEY))?;
    let keyring =
        NodeKeyring::new(keypair.clone()).context("the node's key is not an ed25519 key")?;
    let config = NetConfig {
        listen: settings.listen.clone(),
        bootstrap: settings.peers.clone(),
        mdns: settings.mdns,
        local_discovery_dir: settings.local_dir.clone(),
        limits: Limits { up_bytes_per_s: settings.up_bytes_per_s, ..Limits::default() },
        ..NetConfig::new(keypair, run)
    };
    let (net, events) = net::start(config).context("the network cannot be started")?;
    Ok(Connected { net, events, keyring })
}

/// Asks every peer that is there for the run's spec until one gives what the run's id names.
async fn fetch_spec(
    connected: &mut Connected,
    run: RunId,
    patience: Duration,
) -> anyhow::Result<RunSpec> {
    let deadline = Instant::now() + patience;
    loop {
        for peer in connected.net.peers() {
            // Not connected any more: the next turn sees to it.
            let _ = connected.net.send(peer, to_cbor(&Message::WantSpec));
        }
        let turn = (Instant::now() + ASK_EVERY).min(deadline);
        if let Some(spec) = hear_spec(&mut connected.events, run, turn).await {
            spec.validate().context("the run's spec is not one that this version can carry out")?;
            return Ok(spec);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "no peer of the run {} answered within {} s: is one of the ticket's nodes alive and reachable from here?",
            run.short(),
            patience.as_secs()
        );
    }
}

async fn hear_spec(events: &mut Receiver<NetEvent>, run: RunId, until: Instant) -> Option<RunSpec> {
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await {
        let NetEvent::Frame { from, bytes, .. } = event else { continue };
        let Input::Received { message: Message::Spec(spec), .. } = wire::decode(from, &bytes)
        else {
            continue;
        };
        if Digest::of(&spec).0 != run.0 {
            tracing::info!(peer = %from.short(), "gave the spec of another run");
            continue;
        }
        if let Ok(spec) = from_cbor::<RunSpec>(&spec) {
            return Some(spec);
        }
    }
    None
}

/// The node's life.
async fn live(
    settings: Settings,
    connected: Connected,
    ready: impl FnOnce(&Started),
) -> anyhow::Result<()> {
    let Connected { net, events, keyring } = connected;
    let status = SharedStatus::default();
    let peer = net.me().to_string();
    status.update(|status| status.peer = peer.clone());
    let (server, api) = dashboard::serve(status.clone(), settings.api).with_context(|| {
        format!("the status cannot be served at {}: choose another --api", settings.api)
    })?;
    let handle = server.handle();
    actix::spawn(server);
    net.announce_api(api);
    let mut supervisor = match Supervisor::start(&settings, net.clone(), events, keyring, status) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            // Best effort: the error that matters is the one at hand.
            let _ = tokio::task::spawn_blocking(move || net.shutdown()).await;
            return Err(error);
        }
    };
    wait_for_addresses(&net).await;
    ready(&Started { ticket: ticket(&net, settings.spec.id()), api, peer });
    let failed = tokio::select! {
        reason = supervisor.stopped() => reason,
        stopped = stop_signal() => stopped.err().map(|error| error.to_string()),
    };
    supervisor.stop().await;
    handle.stop(false).await;
    failed.map_or(Ok(()), |reason| Err(anyhow::anyhow!("the node cannot go on: {reason}")))
}

async fn wait_for_addresses(net: &NetHandle) {
    let deadline = Instant::now() + LISTENING;
    while net.addresses().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
