//! The flags that `up` and `join` share, and the settings that they become.

use super::device::{self, DeviceName};
use super::place::{self, Address};
use anyhow::bail;
use clap::Args;
use libp2p::Multiaddr;
use shoal_node::blob;
use shoal_node::data::{DataError, Tokenizer};
use shoal_node::model::Thrift;
use shoal_node::net::{self, local};
use shoal_node::node::{JoinSettings, Started};
use shoal_node::settings::{CACHE, Settings};
use shoal_protocol::run::{DataSpec, DistillSpec, RunSpec, TokenizerSpec};
use shoal_protocol::session::least_data;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a node takes part.
#[derive(Args, Clone, Debug)]
pub struct NodeFlags {
    /// The run's text: a file, a folder of text files, or one that `shoal data prepare` made [default: peers give it, if the run was made
    /// so]
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// The run's tokenizer.json, if it has one [default: as with the text]
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// The run's teacher, if it has one: a checkpoint's folder, or a Hugging Face folder [default: from peers]
    #[arg(long, value_name = "PATH")]
    pub teacher: Option<PathBuf>,
    /// Do not hold the run's teacher: learn from what peers that hold it tell of it (the run's `distill.top`)
    #[arg(long, conflicts_with = "teacher")]
    without_teacher: bool,
    /// Where to train: cpu, cuda:N or none; several times for several trainers [default: every CUDA device, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<DeviceName>,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Sequences that go through the model at once; a step's gradient is gathered from as many parts as that takes
    /// [default: the run's batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    micro_batch: Option<u32>,
    /// Compute what is inside a layer again in the backward pass instead of keeping it: a third more time, less memory
    #[arg(long)]
    recompute: bool,
    /// Folder of the node's key, runs and checkpoints; each node of a machine needs its own [default: $SHOAL_HOME, or ~/.local/share/shoal]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where to listen: IP:PORT or a multiaddr; may be repeated [default: everywhere, free ports]
    #[arg(long, value_name = "ADDR", value_parser = place::listen)]
    listen: Vec<Address>,
    /// A peer to begin with: HOST:PORT or a multiaddr; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = place::dial)]
    peer: Vec<Address>,
    /// Where to serve the status over HTTP (port 0: a free one)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    api: SocketAddr,
    /// Do not look for peers on the local network
    #[arg(long)]
    no_mdns: bool,
    /// The most of the uplink that the node takes, in Mbit/s. A little below what the link gives, rounds are shorter than without
    /// a bound [default: as much as it gets]
    #[arg(long, value_name = "MBIT", value_parser = net::up_mbit)]
    up_mbit: Option<u64>,
    /// Where nodes of this machine announce themselves to each other [default: a folder of this user]
    #[arg(long, value_name = "DIR")]
    local_dir: Option<PathBuf>,
    /// How long to wait for others before training alone
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    alone_after: u64,
    /// Checkpoints to keep
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Held-out sequences to measure after each round; 0 for none
    #[arg(long, value_name = "N", default_value_t = 64)]
    eval: u64,
    /// The most disk that the text from peers takes, like 2GB: what was needed longest ago makes room [default: all of the text]
    #[arg(long, value_name = "SIZE", value_parser = blob::size)]
    data_cap: Option<u64>,
    /// Record what the protocol's machine is told and what it asks for, for `shoal sim replay`; never written over
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl NodeFlags {
    /// Where the key and the runs lie.
    pub fn home(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(place::default_home)
    }

    /// Where token files lie.
    pub fn cache(&self) -> PathBuf {
        self.home().join(CACHE)
    }

    /// What it takes to find a run's peers.
    pub fn join_settings(&self, patience: Duration) -> JoinSettings {
        JoinSettings {
            home: self.home(),
            listen: flat(&self.listen),
            peers: flat(&self.peer),
            mdns: !self.no_mdns,
            local_dir: Some(self.local_dir()),
            up_bytes_per_s: self.up_mbit,
            patience,
        }
    }

    /// Settings for a run whose text, tokenizer and teacher lie there.
    ///
    /// # Errors
    /// A device that is not there, or a text or tokenizer that the run needs and nobody named.
    pub fn settings(
        self,
        spec: RunSpec,
        data: Option<PathBuf>,
        tokenizer: Option<PathBuf>,
        teacher: Option<PathBuf>,
    ) -> anyhow::Result<Settings> {
        let tokenizer = tokenizer.or_else(|| data.as_deref().and_then(Tokenizer::prepared));
        check_teacher(&spec, teacher.as_deref(), self.without_teacher)?;
        check_brought(&spec, data.as_deref(), tokenizer.as_deref())?;
        check_cap(&spec, self.data_cap.filter(|_| data.is_none()))?;
        Ok(Settings {
            home: self.home(),
            devices: device::all(&self.device)?,
            threads: self.threads.map_or_else(cores, usize::from),
            without_teacher: self.without_teacher,
            thrift: Thrift { micro_batch: self.micro_batch, recompute: self.recompute },
            listen: flat(&self.listen),
            peers: flat(&self.peer),
            mdns: !self.no_mdns,
            local_dir: Some(self.local_dir()),
            up_bytes_per_s: self.up_mbit,
            api: self.api,
            alone_after: Duration::from_secs(self.alone_after),
            eval_sequences: self.eval,
            keep: self.keep as usize,
            data_cap: self.data_cap,
            record: self.record,
            spec,
            data,
            tokenizer,
            teacher,
        })
    }

    fn local_dir(&self) -> PathBuf {
        self.local_dir.clone().unwrap_or_else(local::default_dir)
    }
}

/// The cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tells on stdout how others join and where the status is.
pub fn announce(run: &str, started: &Started) {
    let Started { ticket, api, peer } = started;
    super::say(&format!(
        "run:    {run}\npeer:   {peer}\nticket: {ticket}\napi:    http://{api}/api/status\n\
         Others join with: shoal join {ticket}\n"
    ));
}

fn flat(addresses: &[Address]) -> Vec<Multiaddr> {
    addresses.iter().flat_map(|address| address.0.clone()).collect()
}

/// A cap must leave room for what is needed at one time.
fn check_cap(spec: &RunSpec, cap: Option<u64>) -> Result<(), DataError> {
    match (cap, least_data(spec)) {
        (Some(cap), least) if cap < least => Err(DataError::Cap { cap, least }),
        _ => Ok(()),
    }
}

/// A teacher that peers do not give must have been named, unless they tell what it says.
fn check_teacher(spec: &RunSpec, teacher: Option<&Path>, without: bool) -> anyhow::Result<()> {
    if without {
        return match &spec.distill {
            Some(DistillSpec { top: Some(_), .. }) => Ok(()),
            Some(_) => bail!(
                "--without-teacher: nobody tells what this run's teacher says, since its `distill.top` is 0: leave the flag out, and the teacher is fetched"
            ),
            None => bail!("--without-teacher: this run has no teacher: leave the flag out"),
        };
    }
    if let (Some(DistillSpec { teacher, pieces: None, .. }), None) = (&spec.distill, teacher) {
        bail!(
            "the run learns from a teacher that each peer brings, with the digest {teacher}: name its checkpoint or Hugging Face folder with --teacher"
        );
    }
    Ok(())
}

/// What the run needs and peers do not give must have been named.
fn check_brought(
    spec: &RunSpec,
    data: Option<&Path>,
    tokenizer: Option<&Path>,
) -> Result<(), DataError> {
    if let (DataSpec::Text { bytes, pieces: None, .. }, None) = (&spec.data, data) {
        return Err(DataError::Missing { bytes: *bytes });
    }
    match (&spec.tokenizer, tokenizer) {
        (TokenizerSpec::File { pieces: None, .. }, None) => Err(DataError::MissingTokenizer),
        _ => Ok(()),
    }
}
