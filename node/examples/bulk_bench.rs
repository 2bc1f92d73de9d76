//! How fast bulk chunks travel between real nodes on loopback, encrypted, beside plain TCP in the same run.
//!
//! `cargo run --release -p shoal-node --example bulk_bench -- [--nodes 2] [--mib 1024] [--chunk-kib 1024] [--quic] [--netns h]`
//!
//! Every node is a process of its own (in network namespace h0, h1, … with `--netns h`). With two, one sends to the other; with more, each sends its share to every other, as in an
//! all-reduce. Prints one JSON line: MB/s over all nodes (10^6 bytes a second), CPU seconds per GB, and plain TCP between two
//! threads measured before and after.

use anyhow::{Context, ensure};
use bytes::Bytes;
use libp2p::identity::Keypair;
use shoal_node::net::{self, NetConfig, NetEvent, NetHandle, Priority, SendError};
use shoal_protocol::id::{PeerId, RunId};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// What is measured.
#[derive(Clone, Copy)]
struct Plan {
    nodes: usize,
    mib: usize,
    chunk_kib: usize,
    quic: bool,
}

impl Plan {
    fn from_args(args: &[String]) -> anyhow::Result<Plan> {
        let number = |name: &str, usual: usize| -> anyhow::Result<usize> {
            let place = args.iter().position(|arg| arg == name);
            place.and_then(|at| args.get(at + 1)).map_or(Ok(usual), |text| {
                text.parse().with_context(|| format!("{name} takes a number"))
            })
        };
        let plan = Plan {
            nodes: number("--nodes", 2)?,
            mib: number("--mib", 1024)?,
            chunk_kib: number("--chunk-kib", 1024)?,
            quic: args.iter().any(|arg| arg == "--quic"),
        };
        ensure!(
            plan.nodes >= 2 && plan.chunk_kib >= 1 && plan.chunk_kib <= 4096,
            "2 nodes, chunks up to 4096 KiB"
        );
        Ok(plan)
    }

    /// Chunks from one node to another.
    fn chunks(&self) -> usize {
        let pairs = if self.nodes == 2 { 1 } else { self.nodes * (self.nodes - 1) };
        (self.mib << 10).div_ceil(self.chunk_kib * pairs)
    }
}

fn main() -> anyhow::Result<()> {
    net::tune_allocator();
    let args: Vec<String> = std::env::args().collect();
    let plan = Plan::from_args(&args)?;
    match args.iter().position(|arg| arg == "--node") {
        Some(at) => node(plan, args[at + 1].parse()?),
        None => conduct(plan, &args[1..]),
    }
}

/// A node's process, spoken to over its pipes.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(index: usize, args: &[String]) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(at) = args.iter().position(|arg| arg == "--netns") {
            let own = std::env::current_exe()?;
            command = Command::new("ip");
            command.args(["netns", "exec", &format!("{}{index}", args[at + 1])]).arg(own);
        }
        command.args(args).args(["--node", &index.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Process { child, input, output })
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().into())
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }
}

fn conduct(plan: Plan, args: &[String]) -> anyhow::Result<()> {
    let plain_before = plain_tcp(plan.mib)?;
    let mut processes: Vec<_> =
        (0..plan.nodes).map(|index| Process::start(index, args)).collect::<Result<_, _>>()?;
    let first = processes[0].hear()?;
    for process in &mut processes[1..] {
        process.hear()?;
        process.tell(&first)?;
    }
    processes[0].tell("-")?;
    for process in &mut processes {
        ensure!(process.hear()? == "ready", "a node did not come up");
    }
    let begun = Instant::now();
    processes.iter_mut().try_for_each(|process| process.tell("go"))?;
    let (mut cpu_s, mut measured) = (0.0, Vec::new());
    for process in &mut processes {
        let told = process.hear()?;
        let (cpu, up) = told.split_once(' ').context("a node failed")?;
        cpu_s += cpu.parse::<f64>()?;
        measured.push(up.to_string());
    }
    let seconds = begun.elapsed().as_secs_f64();
    for mut process in processes {
        process.tell("end")?;
        process.child.wait()?;
    }
    let pairs = if plan.nodes == 2 { 1 } else { plan.nodes * (plan.nodes - 1) };
    let bytes = (pairs * plan.chunks() * plan.chunk_kib) as f64 * 1024.0;
    let report = serde_json::json!({
        "bench": "bulk", "nodes": plan.nodes, "mib": plan.mib, "chunk_kib": plan.chunk_kib,
        "transport": if plan.quic { "quic" } else { "tcp+noise+yamux" },
        "seconds": seconds, "up_and_down_as_measured_by_each_node": measured,
        "mb_per_s": (bytes / seconds / 1e6).round(), "cpu_s_per_gb": cpu_s / bytes * 1e9,
        "plain_tcp_mb_per_s": [plain_before.round(), plain_tcp(plan.mib)?.round()],
    });
    println!("{report}");
    Ok(())
}

/// MB/s of one plain TCP stream between two threads.
fn plain_tcp(mib: usize) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, piece) = (TcpStream::connect(address)?, vec![1; 1 << 20]);
        (0..mib).try_for_each(|_| stream.write_all(&piece))
    });
    let (mut stream, _) = listener.accept()?;
    let (begun, mut piece, mut bytes) = (Instant::now(), vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut piece)? {
            0 => break,
            n => bytes += n,
        }
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

fn node(plan: Plan, index: usize) -> anyhow::Result<()> {
    let transport = if plan.quic { "udp/0/quic-v1" } else { "tcp/0" };
    let config = NetConfig {
        listen: vec![format!("/ip4/0.0.0.0/{transport}").parse()?],
        mdns: false,
        local_discovery_dir: None,
        ..NetConfig::new(Keypair::generate_ed25519(), RunId([7; 32]))
    };
    let (net, mut events) = net::start(config)?;
    while net.ticket_addresses(8).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    println!("{}", net.ticket_addresses(8)[0]);
    let mut lines = std::io::stdin().lines();
    let mut next = move || lines.next().context("the conductor is gone")?.context("stdin");
    if let Ok(address) = next()?.parse() {
        net.dial(address);
    }
    while net.peers().len() + 1 < plan.nodes {
        while events.try_recv().is_ok() {}
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("ready");
    next()?;
    let before = cpu_s();
    let receives = plan.nodes > 2 || index == 0;
    let sends = plan.nodes > 2 || index == 1;
    let peers = if sends { net.peers() } else { Vec::new() };
    let arriving = if receives { (plan.nodes - 1) * plan.chunks() } else { 0 };
    exchange(&net, &mut events, &peers, plan, arriving)?;
    let total = net.traffic_all().1;
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{:.1}", rate / 1e6));
    println!(
        "{} {} {}",
        cpu_s() - before,
        rate(total.up_bytes_per_s),
        rate(total.down_bytes_per_s)
    );
    next()?;
    net.shutdown();
    Ok(())
}

/// Sends every peer its chunks, a few ahead of the credit, and takes what comes.
fn exchange(
    net: &NetHandle,
    events: &mut tokio::sync::mpsc::Receiver<NetEvent>,
    peers: &[PeerId],
    plan: Plan,
    mut arriving: usize,
) -> anyhow::Result<()> {
    let chunk = Bytes::from(vec![3; plan.chunk_kib << 10]);
    let give = |peer: PeerId| net.send_bulk(peer, vec![0; 24], chunk.clone(), Priority::Urgent);
    let mut owed = vec![plan.chunks(); peers.len()];
    let mut leaving = plan.chunks() * peers.len();
    for (peer, owed) in peers.iter().zip(&mut owed) {
        while *owed > 0 && plan.chunks() - *owed < 16 && give(*peer) != Err(SendError::QueueFull) {
            *owed -= 1;
        }
    }
    while arriving + leaving > 0 {
        match events.blocking_recv().context("the network is gone")? {
            NetEvent::Bulk { .. } => arriving -= 1,
            NetEvent::BulkSent { peer, .. } => {
                leaving -= 1;
                let at = peers.iter().position(|other| *other == peer).context("a stranger")?;
                if owed[at] > 0 {
                    give(peer)?;
                    owed[at] -= 1;
                }
            }
            NetEvent::Disconnected(peer) => anyhow::bail!("{peer} is gone"),
            _ => {}
        }
    }
    Ok(())
}

/// Processor time of this process, in seconds.
fn cpu_s() -> f64 {
    // SAFETY: getrusage fills the struct that it is given; zeroes are a valid start for it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
