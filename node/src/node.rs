//! Running a node: a stand-in that starts nothing.

use crate::net::ticket::Ticket;
use crate::settings::Settings;
use libp2p::Multiaddr;
use shoal_protocol::run::RunSpec;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A node that has started.
pub struct Started {
    /// The line that others join with.
    pub ticket: String,
    /// Where the status is served.
    pub api: SocketAddr,
    /// The node's id, hex.
    pub peer: String,
}

/// What it takes to find a run's peers.
pub struct JoinSettings {
    /// Where the key and the runs lie.
    pub home: PathBuf,
    /// Where to listen; empty for everywhere.
    pub listen: Vec<Multiaddr>,
    /// Peers to begin with, beside the ticket's.
    pub peers: Vec<Multiaddr>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Where nodes of this host announce themselves to each other.
    pub local_dir: Option<PathBuf>,
    /// How long to look for the run's peers.
    pub patience: Duration,
}

/// Runs a node until it is told to stop (SIGINT, SIGTERM). Blocks.
///
/// # Errors
/// Always.
pub fn run(_: Settings, _: impl FnOnce(&Started) + Send + 'static) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}

/// Joins with a ticket: fetches the run's spec from the peers, then runs. `complete` makes settings from the spec.
///
/// # Errors
/// Always.
pub fn join(
    _: Ticket,
    _: JoinSettings,
    _: impl FnOnce(RunSpec) -> anyhow::Result<Settings>,
    _: impl FnOnce(&Started) + Send + 'static,
) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
