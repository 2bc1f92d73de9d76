//! What a node is started with: resolved and validated. Raw flags and TOML stop here.

use crate::model::Thrift;
use libp2p::Multiaddr;
use shoal_protocol::run::RunSpec;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tch::Device;

/// Name of the key's file in a node's home.
pub const KEY: &str = "node.key";
/// Name of the folder of runs in a node's home.
pub const RUNS: &str = "runs";
/// Name of the folder of token files in a node's home.
pub const CACHE: &str = "cache";

/// Everything that one node needs besides its network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What all peers of the run agree on.
    pub spec: RunSpec,
    /// Where the key and the runs lie.
    pub home: PathBuf,
    /// One trainer each; empty for a node that only adds up.
    pub devices: Vec<Device>,
    /// Threads that libtorch computes with.
    pub threads: usize,
    /// What is done for the devices' memory.
    pub thrift: Thrift,
    /// The run's text, if its spec names one.
    pub data: Option<PathBuf>,
    /// The run's tokenizer file, if its spec names one.
    pub tokenizer: Option<PathBuf>,
    /// The run's teacher, if its spec names one: a checkpoint's folder or a Hugging Face folder.
    pub teacher: Option<PathBuf>,
    /// Whether the teacher is not held here: what it says is asked of peers that do.
    pub without_teacher: bool,
    /// Where to listen; empty for everywhere.
    pub listen: Vec<Multiaddr>,
    /// Peers to begin with.
    pub peers: Vec<Multiaddr>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Where nodes of this host announce themselves to each other.
    pub local_dir: Option<PathBuf>,
    /// Bytes of bulk per second that may leave; as many as can if absent.
    pub up_bytes_per_s: Option<u64>,
    /// Where the status is served.
    pub api: SocketAddr,
    /// How long to wait for others before training alone.
    pub alone_after: Duration,
    /// Held-out sequences that are evaluated after each round; 0 for none.
    pub eval_sequences: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// Bytes of the run's text from peers that may lie on the disk; all of it if absent.
    pub data_cap: Option<u64>,
    /// Where what the session is told is recorded, if anywhere.
    pub record: Option<PathBuf>,
}

impl Settings {
    /// The folder of this run's files.
    pub fn run_dir(&self) -> PathBuf {
        self.home.join(RUNS).join(self.spec.id().to_string())
    }

    /// Where its checkpoints lie.
    pub fn checkpoints(&self) -> PathBuf {
        self.run_dir().join("checkpoints")
    }

    /// Where the files lie that peers give, piece by piece.
    pub fn fetched(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Where token files lie.
    pub fn cache(&self) -> PathBuf {
        self.home.join(CACHE)
    }
}
