//! The exchange, measured: several processes average a vector over the real network, with the protocol's own machine.
//!
//! Each peer is a process of its own: network, [`shoal_protocol::exchange::Exchange`], codecs with error feedback, digests; only
//! training and commit are left out. They are started together on this machine, or one by one, a rank each, on several
//! machines or network namespaces; either way rank 0 conducts the others over a TCP connection that is idle while the clock runs.
//!
//! | file | holds |
//! |---|---|
//! | `control` | what conductor and peers tell each other |
//! | `conductor` | starts the peers, gives the rounds, adds the figures up |
//! | `peer` | one peer: network, rounds |
//! | `driver` | one round: the exchange machine's outputs, carried out |
//! | `vector` | the numbers that are averaged, and how far the result is off |

mod conductor;
mod control;
mod driver;
mod peer;
mod vector;

use anyhow::{Context, Result, ensure};
use libp2p::Multiaddr;
use serde_json::Value;
use shoal_protocol::math::{BLOCK, Codec};
use shoal_protocol::wire::{BULK_BYTES_MAX, CHUNKS_MAX, MEMBERS_MAX};
use std::net::SocketAddr;

/// How the exchange is measured.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  shoal bench allreduce --peers 4 --mib 256 --codec int8
  shoal bench allreduce --peers 4 --mib 64 --codec int8 --rank 0 --control 10.77.0.1:7000 --listen /ip4/10.77.0.1/tcp/0")]
pub struct BenchAllreduce {
    /// Peers, a process each.
    #[arg(long, default_value_t = 4)]
    pub peers: usize,
    /// Mebibytes of f32 that are averaged.
    #[arg(long, default_value_t = 64)]
    pub mib: usize,
    /// f32, bf16 or int8, both ways.
    #[arg(long, default_value = "int8")]
    pub codec: Codec,
    /// Rounds that count; one more goes before.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Elements in a chunk.
    #[arg(long, default_value_t = 131_072)]
    pub chunk_elems: usize,
    /// Worker threads of each peer's network.
    #[arg(long, default_value_t = 2)]
    pub net_threads: usize,
    /// The most of its uplink that each peer takes, in Mbit/s [default: as much as it gets]
    #[arg(long, value_name = "MBIT", value_parser = crate::net::up_mbit)]
    pub up_mbit: Option<u64>,
    /// Where each peer listens.
    #[arg(long, default_value = "/ip4/127.0.0.1/tcp/0")]
    pub listen: Multiaddr,
    /// Be only this peer; rank 0 conducts.
    #[arg(long, requires = "control")]
    pub rank: Option<usize>,
    /// Where rank 0 conducts.
    #[arg(long)]
    pub control: Option<SocketAddr>,
}

impl BenchAllreduce {
    /// Measures; the figures come from the process that conducts, `None` from the others.
    ///
    /// # Errors
    /// Flags that do not go together, or a peer that is lost.
    pub fn measure(&self) -> Result<Option<Value>> {
        self.check()?;
        match self.rank {
            None | Some(0) => conductor::conduct(self).map(Some),
            Some(rank) => {
                let control = self.control.context("--rank needs --control")?;
                peer::run(self, rank, control).map(|()| None)
            }
        }
    }

    fn check(&self) -> Result<()> {
        let (peers, chunk) = (self.peers, self.chunk_elems);
        ensure!((2..=MEMBERS_MAX).contains(&peers), "--peers {peers}: take 2 to {MEMBERS_MAX}");
        ensure!(self.mib > 0 && self.rounds > 0, "nothing to measure");
        let sound = chunk > 0 && chunk.is_multiple_of(BLOCK) && chunk * 4 <= BULK_BYTES_MAX;
        ensure!(
            sound,
            "--chunk-elems {chunk}: take a multiple of {BLOCK} up to {}",
            BULK_BYTES_MAX / 4
        );
        ensure!(self.chunks() <= CHUNKS_MAX, "more than {CHUNKS_MAX} chunks: take larger ones");
        ensure!(self.rank.is_none_or(|rank| rank < peers), "--rank counts from 0");
        Ok(())
    }

    fn elems(&self) -> usize {
        self.mib << 18
    }

    fn chunks(&self) -> u32 {
        self.elems().div_ceil(self.chunk_elems) as u32
    }

    /// Bytes that all peers together must send in a round: every chunk goes from each member to its owner, and its result back.
    fn need_bytes(&self) -> u64 {
        let others = self.peers as u64 - 1;
        let chunk = |index: usize| {
            let elems = (self.elems() - index * self.chunk_elems).min(self.chunk_elems);
            self.codec.encoded_len(elems) as u64
        };
        2 * others * (0..self.chunks() as usize).map(chunk).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchAllreduce,
    }

    fn bench(flags: &str) -> BenchAllreduce {
        let args = std::iter::once("allreduce").chain(flags.split_whitespace());
        Cli::try_parse_from(args).unwrap().bench
    }

    #[test]
    fn what_must_be_sent() {
        // 2 MiB of f32 among 3: each byte goes to its owner from 2 members and back to 2.
        assert_eq!(bench("--peers 3 --mib 2 --codec f32").need_bytes(), 4 * (2 << 20));
        let int8 = bench("--peers 2 --mib 1 --codec int8 --chunk-elems 1024");
        assert_eq!(int8.need_bytes(), 2 * ((1 << 18) + 4 * (1 << 18) / 512));
    }

    #[test]
    fn flags_are_checked() {
        for flags in
            ["--peers 1", "--peers 65", "--mib 0", "--chunk-elems 100", "--chunk-elems 2097152"]
        {
            assert!(bench(flags).check().is_err(), "{flags}");
        }
        bench("--mib 4096 --chunk-elems 524288").check().unwrap();
    }
}
