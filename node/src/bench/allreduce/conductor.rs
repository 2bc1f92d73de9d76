//! Starts the peers, gives the rounds, adds the figures up.

use super::control::{Hello, Line, Order, RoundFigures, Word};
use super::{BenchAllreduce, peer};
use crate::bench::cpu::{Cpu, Ledger};
use crate::bench::limits::{Limits, median};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// How long a peer may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Is the first peer, on a thread, starts the others unless they are started elsewhere, and conducts all.
pub(super) fn conduct(bench: &BenchAllreduce) -> Result<Value> {
    let control = bench.control.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(control).with_context(|| format!("listening at {control}"))?;
    let control = listener.local_addr()?;
    let own = bench.clone();
    let first =
        thread::Builder::new().name("peer".into()).spawn(move || peer::run(&own, 0, control))?;
    let elsewhere = bench.rank.is_some();
    let ranks = (1..bench.peers).filter(|_| !elsewhere);
    let children =
        ranks.map(|rank| Guard::start(bench, rank, control)).collect::<Result<Vec<_>>>()?;
    let value = measure(bench, &listener)?;
    first.join().map_err(|_| anyhow!("the first peer panicked"))??;
    children.into_iter().try_for_each(Guard::wait)?;
    Ok(value)
}

/// A peer's process, which does not outlive the bench.
struct Guard(Child);

impl Guard {
    fn start(bench: &BenchAllreduce, rank: usize, control: SocketAddr) -> Result<Guard> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["bench", "allreduce", "--rank", &rank.to_string()]);
        command.args(["--control", &control.to_string(), "--listen", &bench.listen.to_string()]);
        let numbers = [
            ("--peers", bench.peers),
            ("--mib", bench.mib),
            ("--rounds", bench.rounds),
            ("--chunk-elems", bench.chunk_elems),
            ("--net-threads", bench.net_threads),
        ];
        for (flag, value) in numbers {
            command.args([flag, &value.to_string()]);
        }
        command.args(["--codec", &bench.codec.to_string()]);
        if let Some(bytes_per_s) = bench.up_mbit {
            command.args(["--up-mbit", &(bytes_per_s as f64 * 8e-6).to_string()]);
        }
        Ok(Guard(command.spawn().context("starting a peer")?))
    }

    fn wait(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "a peer ended with {status}");
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill(); // an error says that it has ended already
        let _ = self.0.wait();
    }
}

fn measure(bench: &BenchAllreduce, listener: &TcpListener) -> Result<Value> {
    let mut peers = gather(bench, listener)?;
    hear_ready(&mut peers)?;
    // The first round fills caches, buffers and congestion windows; its result has no residuals of earlier ones in it.
    round(&mut peers)?;
    peers[0].tell(&Order::Compare)?;
    let Word::Error(error) = peers[0].hear()? else { bail!("a peer does not compare") };
    let rounds: Result<Vec<Vec<RoundFigures>>> =
        (0..bench.rounds).map(|_| round(&mut peers)).collect();
    let rounds = rounds?;
    peers.iter_mut().try_for_each(|line| line.tell(&Order::End))?;
    let limits = Limits::measure()?;
    Ok(report(bench, &rounds, error, &limits))
}

/// Waits for all peers and has each connect to those before it.
fn gather(bench: &BenchAllreduce, listener: &TcpListener) -> Result<Vec<Line>> {
    let mut peers = Vec::new();
    let mut known = Vec::new();
    for _ in 0..bench.peers {
        let mut line = accept(listener)?;
        let hello: Hello = line.hear()?;
        line.tell(&Order::Meet(known.clone()))?;
        known.extend(hello.addresses);
        peers.push(line);
    }
    Ok(peers)
}

fn accept(listener: &TcpListener) -> Result<Line> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Line::new(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error).context("waiting for a peer"),
        }
    }
}

fn hear_ready(peers: &mut [Line]) -> Result<()> {
    peers.iter_mut().try_for_each(|line| match line.hear()? {
        Word::Ready => Ok(()),
        other => bail!("a peer says {other:?} before it is ready"),
    })
}

/// One round at all peers.
fn round(peers: &mut [Line]) -> Result<Vec<RoundFigures>> {
    peers.iter_mut().try_for_each(|line| line.tell(&Order::Go))?;
    let figures = peers.iter_mut().map(|line| match line.hear()? {
        Word::Round(figures) => Ok(figures),
        other => bail!("a peer says {other:?} instead of its figures"),
    });
    let figures = figures.collect::<Result<Vec<_>>>()?;
    hear_ready(peers)?;
    Ok(figures)
}

fn report(
    bench: &BenchAllreduce,
    rounds: &[Vec<RoundFigures>],
    error: f64,
    limits: &Limits,
) -> Value {
    let slowest = |of: fn(&RoundFigures) -> f64| -> Vec<f64> {
        rounds.iter().map(|peers| peers.iter().map(of).fold(0.0, f64::max)).collect()
    };
    let (seconds, settle) = (slowest(|f| f.seconds), slowest(|f| f.settle_s));
    let sent = rounds.iter().flatten().map(|f| f.bytes_sent).sum::<u64>() / rounds.len() as u64;
    let (bytes, need) = ((bench.mib << 20) as f64, bench.need_bytes());
    let middle = median(&seconds);
    json!({
        "bench": "allreduce",
        "peers": bench.peers,
        "mib": bench.mib,
        "codec": bench.codec.to_string(),
        "rounds": rounds.len(),
        "chunk_elems": bench.chunk_elems,
        "seconds": middle,
        "seconds_min": seconds.iter().copied().fold(f64::INFINITY, f64::min),
        "seconds_max": seconds.iter().copied().fold(0.0, f64::max),
        "settle_seconds": median(&settle),
        "gb_per_s": bytes / middle / 1e9,
        "up_mbit": bench.up_mbit.map(|bytes_per_s| bytes_per_s as f64 * 8e-6),
        "relative_error": error,
        "bytes_sent": sent,
        "bytes_needed": need,
        "bytes_share": sent as f64 / need as f64,
        "cpu_seconds": cpu(rounds),
        "machine": limits,
    })
}

/// Processor seconds of one round, all peers together.
fn cpu(rounds: &[Vec<RoundFigures>]) -> Value {
    let each = 1.0 / rounds.len() as f64;
    let sum = |of: fn(&Cpu) -> f64| rounds.iter().flatten().map(|f| of(&f.cpu)).sum::<f64>() * each;
    let mut work = Ledger::default();
    for (kind, spent) in rounds.iter().flatten().flat_map(|figures| &figures.work.0) {
        *work.0.entry(kind.clone()).or_default() += spent * each;
    }
    json!({ "network_threads": sum(|cpu| cpu.net_s), "own_thread": sum(|cpu| cpu.rest_s), "of_own_thread": work })
}
