//! A node from start to stop: the network first, then the run's spec if it has to be fetched, then the actors.

use crate::actor::supervise::Supervisor;
use crate::dashboard;
use crate::joining;
use crate::net::identity::{self, NodeKeyring};
use crate::net::ticket::Ticket;
use crate::net::{self, Limits, NetConfig, NetEvent, NetHandle};
use crate::settings::{KEY, Settings};
use crate::status::SharedStatus;
use crate::store;
use anyhow::Context;
use libp2p::Multiaddr;
use shoal_protocol::id::RunId;
use shoal_protocol::run::{Blob, RunSpec};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// How long a node waits for its first listen address before it prints its ticket.
const LISTENING: Duration = Duration::from_secs(2);
/// Addresses in a ticket: more make the line too long to copy.
const TICKET_ADDRESSES: usize = 8;

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
        let Connected { net, events, .. } = &mut connected;
        let spec = joining::fetch_spec(net, events, ticket.run, join.patience).await?;
        let mut settings = complete(spec)?;
        for file in first_files(&settings)? {
            joining::fetch_file(net, events, file, &settings.fetched(), join.patience).await?;
        }
        settings.peers.extend(ticket.addresses);
        live(settings, connected, ready).await
    })
}

/// What a joiner cannot begin without, and does not bring.
fn first_files(settings: &Settings) -> anyhow::Result<Vec<(&'static str, Blob)>> {
    let spec = &settings.spec;
    let mut files = Vec::new();
    if let Some(start) = spec.start {
        // Who has been there before goes on from its checkpoint.
        let new = store::newest_intact(&settings.checkpoints())?.is_none();
        files.extend(new.then_some(("the parameters that the run begins with", start)));
    }
    let teacher = spec.distill.as_ref().and_then(|distill| distill.pieces);
    let held = settings.teacher.is_some() || settings.without_teacher;
    let teacher = teacher.filter(|_| !held && !settings.devices.is_empty());
    files.extend(teacher.map(|teacher| ("the run's teacher", teacher)));
    Ok(files)
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
