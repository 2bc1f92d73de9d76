//! One peer of the measurement: its network, its vector, and the rounds that the conductor asks for.

use super::BenchAllreduce;
use super::control::{Hello, Line, Order, RoundFigures, Word};
use super::driver::Driver;
use super::vector;
use crate::bench::cpu::Cpu;
use crate::net::{self, Limits, NetConfig, NetEvent, NetHandle};
use anyhow::{Context, Result, bail, ensure};
use libp2p::identity::Keypair;
use shoal_protocol::id::{PeerId, RunId};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// How long the peers get to connect to each other.
const MEET_PATIENCE: Duration = Duration::from_secs(60);

/// Does what the conductor at `control` asks for, until the end.
pub(super) fn run(bench: &BenchAllreduce, rank: usize, control: SocketAddr) -> Result<()> {
    let mut line = Line::dial(control)?;
    let (net, mut events) = start_net(bench)?;
    let addresses = own_addresses(&net)?;
    line.tell(&Hello { rank, addresses })?;
    let Order::Meet(others) = line.hear()? else { bail!("the conductor skipped the greeting") };
    let members = meet(bench, &net, &mut events, &others)?;
    let mut driver = Driver::new(bench, net.clone(), events, members);
    driver.fill(|chunk, out| vector::fill(rank, chunk, out));
    driver.prepare();
    line.tell(&Word::Ready)?;
    let outcome = serve(bench, &mut line, &mut driver);
    net.shutdown();
    outcome
}

fn serve(bench: &BenchAllreduce, line: &mut Line, driver: &mut Driver) -> Result<()> {
    loop {
        match line.hear()? {
            Order::Go => {
                let figures = round(driver)?;
                line.tell(&Word::Round(figures))?;
                driver.prepare();
                line.tell(&Word::Ready)?;
            }
            Order::Compare => {
                line.tell(&Word::Error(vector::relative_error(bench, driver.mean())))?;
            }
            Order::Meet(_) => bail!("the conductor greets twice"),
            Order::End => return Ok(()),
        }
    }
}

/// Carries out the prepared round.
fn round(driver: &mut Driver) -> Result<RoundFigures> {
    let (cpu, sent, begun) = (Cpu::now(), driver.bytes_sent(), Instant::now());
    driver.exchange()?;
    let seconds = begun.elapsed().as_secs_f64();
    driver.drain()?;
    let (cpu, bytes_sent) = (Cpu::now().since(cpu), driver.bytes_sent() - sent);
    let settling = Instant::now();
    driver.settle()?;
    let settle_s = settling.elapsed().as_secs_f64();
    Ok(RoundFigures { seconds, settle_s, bytes_sent, cpu, work: driver.take_work() })
}

fn start_net(bench: &BenchAllreduce) -> Result<(NetHandle, Receiver<NetEvent>)> {
    net::start(NetConfig {
        listen: vec![bench.listen.clone()],
        mdns: false,
        local_discovery_dir: None,
        threads: bench.net_threads,
        limits: Limits { up_bytes_per_s: bench.up_mbit, ..Limits::default() },
        ..NetConfig::new(Keypair::generate_ed25519(), RunId([7; 32]))
    })
}

/// Where this peer listens, once it does.
fn own_addresses(net: &NetHandle) -> Result<Vec<String>> {
    let deadline = Instant::now() + MEET_PATIENCE;
    loop {
        let addresses = net.ticket_addresses(8);
        if !addresses.is_empty() {
            return Ok(addresses.iter().map(ToString::to_string).collect());
        }
        ensure!(Instant::now() < deadline, "the peer does not listen anywhere");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Connects to all others; everybody in the order of their names.
fn meet(
    bench: &BenchAllreduce,
    net: &NetHandle,
    events: &mut Receiver<NetEvent>,
    others: &[String],
) -> Result<Vec<PeerId>> {
    for address in others {
        net.dial(address.parse().with_context(|| format!("not an address: {address}"))?);
    }
    let deadline = Instant::now() + MEET_PATIENCE;
    while net.peers().len() + 1 < bench.peers {
        while events.try_recv().is_ok() {}
        ensure!(Instant::now() < deadline, "only {} peers came", net.peers().len() + 1);
        thread::sleep(Duration::from_millis(10));
    }
    let mut members = net.peers();
    members.push(net.me());
    members.sort_unstable();
    Ok(members)
}
