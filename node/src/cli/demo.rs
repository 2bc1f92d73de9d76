//! `shoal demo`, and the hidden command that each of its nodes runs.

use anyhow::{Context, Result, ensure};
use libp2p::Multiaddr;
use shoal_node::demo::{self, Hello, Plan};
use shoal_node::node::{self, Started};
use shoal_node::settings::Settings;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tch::Device;

/// Train a small model with several nodes on this machine, while one is killed and another joins.
///
/// Every node is a process of its own and speaks to the others over libp2p on loopback, as it would across the internet. Ends
/// with a sample of the model's text, the loss curve, and the place of the checkpoint. Needs no network and no data.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "EXAMPLE\n  shoal demo --nodes 4 --rounds 12 --kill 4 --join 6 --seed 1 --report out"
)]
pub struct Demo {
    /// Nodes that begin.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub nodes: usize,
    /// Rounds to train for.
    #[arg(long, value_name = "R", default_value_t = 12)]
    pub rounds: u64,
    /// A text file or folder to learn from, instead of made-up stories.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// The run, and who is killed, follow from it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Kill a node in the exchange of this round; may be given several times [default: a third of the rounds].
    #[arg(long, value_name = "ROUND")]
    pub kill: Vec<u64>,
    /// Start another node after this round; may be given several times [default: half of the rounds].
    #[arg(long, value_name = "ROUND")]
    pub join: Vec<u64>,
    /// Kill nobody and let nobody join, unless asked for with --kill or --join.
    #[arg(long)]
    pub calm: bool,
    /// Write report.json, loss.svg and loss.png into this folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Keep the nodes' files and logs in this folder.
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Threads that each node computes with.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
}

impl Demo {
    /// What is to be shown, checked.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub fn plan(self) -> Result<Plan> {
        let usual = self.kill.is_empty() && self.join.is_empty() && !self.calm;
        let kills = match usual {
            true => vec![self.rounds.div_ceil(3); usize::from(self.nodes > 1)],
            false => self.kill,
        };
        let joins = match usual {
            true => vec![(self.rounds / 2).max(1); usize::from(self.rounds > 1)],
            false => self.join,
        };
        let (nodes, rounds) = (self.nodes, self.rounds);
        ensure!((1..=32).contains(&nodes), "--nodes {nodes}: take 1 to 32");
        ensure!(rounds > 0, "--rounds 0: take at least 1");
        ensure!((1..=1024).contains(&self.threads), "--threads {}: take 1 to 1024", self.threads);
        let outside = kills.iter().chain(&joins).find(|round| !(1..=rounds).contains(*round));
        ensure!(outside.is_none(), "--kill and --join take rounds from 1 to {rounds}");
        ensure!(joins.iter().all(|round| *round < rounds), "--join {rounds}: the run is over then");
        ensure!(
            kills.len() < nodes,
            "{} of {nodes} nodes cannot be killed: one has to stay",
            kills.len()
        );
        let (data, seed, report, home, threads) =
            (self.data, self.seed, self.report, self.home, self.threads);
        Ok(Plan { nodes, rounds, data, seed, kills, joins, report, home, threads })
    }
}

/// Plays the demo.
///
/// # Errors
/// See [`demo::run`].
pub fn run(args: Demo) -> Result<()> {
    demo::run(&args.plan()?)
}

/// One node of the demo.
#[derive(Clone, Debug, clap::Args)]
#[command(hide = true)]
pub struct DemoNode {
    /// The run, as CBOR.
    #[arg(long)]
    pub spec: PathBuf,
    /// Where key and checkpoints lie.
    #[arg(long)]
    pub home: PathBuf,
    /// Where the demo's nodes find each other.
    #[arg(long)]
    pub local_dir: PathBuf,
    /// Where the status is served.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub api: SocketAddr,
    /// Threads to compute with.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Milliseconds to look for others before training alone.
    #[arg(long, default_value_t = 60_000)]
    pub alone_after_ms: u64,
    /// The run's text.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, default_value = "/ip4/127.0.0.1/tcp/0")]
    pub listen: Vec<Multiaddr>,
    /// Peers to begin with.
    #[arg(long)]
    pub peer: Vec<Multiaddr>,
    /// Held-out sequences that are evaluated after each round.
    #[arg(long, default_value_t = 64)]
    pub eval_sequences: u64,
}

impl DemoNode {
    fn settings(self) -> Result<Settings> {
        Ok(Settings {
            data_cap: None,
            spec: read_spec(&self.spec)?,
            home: self.home,
            devices: vec![Device::Cpu],
            threads: self.threads,
            data: self.data,
            tokenizer: None,
            teacher: None,
            without_teacher: false,
            listen: self.listen,
            peers: self.peer,
            mdns: false,
            up_bytes_per_s: None,
            local_dir: Some(self.local_dir),
            api: self.api,
            alone_after: Duration::from_millis(self.alone_after_ms),
            eval_sequences: self.eval_sequences,
            keep: 2,
            record: None,
            thrift: Default::default(),
        })
    }
}

fn read_spec(path: &Path) -> Result<RunSpec> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let spec: RunSpec = wire::from_cbor(&bytes).map_err(anyhow::Error::msg)?;
    spec.validate()?;
    Ok(spec)
}

/// Runs one node of the demo until the demo ends it.
///
/// # Errors
/// A spec that cannot be read, or whatever ends the node.
pub fn run_node(args: DemoNode) -> Result<()> {
    demo::end_with_stdin();
    node::run(args.settings()?, greet)
}

/// Tells the demo that the node is up.
fn greet(started: &Started) {
    let (ticket, peer) = (started.ticket.clone(), started.peer.clone());
    let hello = serde_json::to_string(&Hello { ticket, api: started.api, peer });
    let mut out = std::io::stdout().lock();
    let told = hello.map_err(std::io::Error::from).and_then(|line| writeln!(out, "{line}"));
    if let Err(error) = told.and_then(|()| out.flush()) {
        tracing::warn!(%error, "the demo does not listen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: Demo,
    }

    fn plan(flags: &str) -> Result<Plan> {
        let args = std::iter::once("demo").chain(flags.split_whitespace());
        Cli::try_parse_from(args)?.demo.plan()
    }

    #[test]
    fn somebody_is_killed_and_somebody_joins_unless_told_otherwise() {
        let rows = [
            ("", vec![4], vec![6]),
            ("--rounds 1", vec![1], vec![]),
            ("--rounds 2", vec![1], vec![1]),
            ("--nodes 1", vec![], vec![6]),
            ("--calm", vec![], vec![]),
            ("--kill 3 --kill 5", vec![3, 5], vec![]),
            ("--join 2", vec![], vec![2]),
        ];
        for (flags, kills, joins) in rows {
            let plan = plan(flags).unwrap();
            assert_eq!((plan.kills, plan.joins), (kills, joins), "{flags}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let rows = [
            ("--nodes 0", "1 to 32"),
            ("--rounds 0", "at least 1"),
            ("--kill 13", "from 1 to 12"),
            ("--join 12", "over then"),
            ("--nodes 2 --kill 1 --kill 2", "one has to stay"),
            ("--threads 0", "1 to 1024"),
        ];
        for (flags, reason) in rows {
            let error = plan(flags).unwrap_err().to_string();
            assert!(error.contains(reason), "{flags}: {error}");
        }
    }
}
