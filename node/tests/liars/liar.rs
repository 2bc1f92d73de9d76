//! A peer that keeps to the protocol in what it says and lies in what it sends: a proper session and a true state, but every
//! contribution, sum and piece of state that leaves is made up. It trains nothing, adds nothing up, and says that it has.

use bytes::Bytes;
use libp2p::identity::Keypair;
use shoal_node::actor::session::Clock;
use shoal_node::exchange::{Arithmetic, State};
use shoal_node::model::initial_params;
use shoal_node::net::identity::NodeKeyring;
use shoal_node::net::{self, NetConfig, NetEvent, NetHandle, Priority};
use shoal_node::store::StateBytes;
use shoal_protocol::event::{Input, Note, Output};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::Codec;
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::{Session, Settings, Standing};
use shoal_protocol::time::Span;
use shoal_protocol::wire::{self, ChunkId, from_cbor, to_cbor};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// Longest time without a look at the clock.
const TICK: Duration = Duration::from_millis(20);
/// Members of a plan in which the liar meets both honest nodes.
const EVERYBODY: usize = 3;

/// What is sent in place of numbers.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// As many bytes as are due, all of them 255: each scale, and each float, is a NaN.
    NotANumber,
    /// A byte too few.
    WrongSize,
    /// As many bytes as are due, drawn at random; again if they happen to be numbers, for those are no worse than bad work.
    Noise,
}

impl Lie {
    /// What an honest node says of it in its log.
    pub fn reason(self) -> &'static str {
        match self {
            Lie::NotANumber | Lie::Noise => "is not a finite number",
            Lie::WrongSize => "bytes where",
        }
    }

    /// Bytes in place of `elems` numbers.
    fn bytes(self, codec: Codec, elems: usize, seed: &mut u64) -> Vec<u8> {
        let due = codec.encoded_len(elems);
        match self {
            Lie::NotANumber => vec![255; due],
            Lie::WrongSize => vec![0; due - 1],
            Lie::Noise => loop {
                let bytes = noise(due, seed);
                if codec.check(&bytes, elems).is_err() {
                    return bytes;
                }
            },
        }
    }
}

fn noise(len: usize, seed: &mut u64) -> Vec<u8> {
    *seed += 1;
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A liar at work, until it is dropped.
pub struct Liar {
    pub peer: PeerId,
    member_of: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    net: NetHandle,
}

impl Liar {
    /// Joins the run of the nodes that announce themselves in `local`.
    pub fn start(spec: &RunSpec, local: &Path, lie: Lie) -> Liar {
        let keypair = Keypair::generate_ed25519();
        let config = NetConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            mdns: false,
            local_discovery_dir: Some(local.to_owned()),
            threads: 1,
            ..NetConfig::new(keypair.clone(), spec.id())
        };
        let (net, events) = net::start(config).unwrap();
        let driver = Driver::new(spec, lie, net.clone(), NodeKeyring::new(keypair).unwrap());
        let (member_of, over) = (driver.member_of.clone(), Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        let thread = std::thread::spawn(move || driver.run(events, &ends));
        Liar { peer: net.me(), member_of, over, thread: Some(thread), net }
    }

    /// The last round whose plan it took part in together with both nodes.
    pub fn member_of(&self) -> Option<Round> {
        Some(self.member_of.load(Ordering::Relaxed)).filter(|round| *round > 0)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        self.net.shutdown();
        if !std::thread::panicking() {
            ended.unwrap().expect("the liar goes on to the end");
        }
    }
}

struct Driver {
    spec: RunSpec,
    lie: Lie,
    net: NetHandle,
    machine: Session,
    clock: Clock,
    /// What it needs to follow the run.
    arithmetic: Arithmetic,
    inputs: VecDeque<Input>,
    /// What it claims to have added up, by plan and index: the same for everybody.
    results: BTreeMap<(Digest, u32), Bytes>,
    member_of: Arc<AtomicU64>,
    seed: u64,
}

impl Driver {
    fn new(spec: &RunSpec, lie: Lie, net: NetHandle, keyring: NodeKeyring) -> Driver {
        let clock = Clock::new();
        // It never works alone: a branch of its own is not what this is about.
        let settings = Settings { alone_after: Span::from_secs(3600), ..Settings::default() };
        let (standing, state) = genesis(spec);
        let record = &standing.record;
        let arithmetic = Arithmetic::new(spec.clone(), net.me(), record, state, [&[], &[]]);
        let machine =
            Session::new(clock.now(), spec.clone(), settings, Box::new(keyring), standing);
        Driver {
            spec: spec.clone(),
            lie,
            net,
            machine,
            clock,
            arithmetic,
            inputs: VecDeque::new(),
            results: BTreeMap::new(),
            member_of: Arc::default(),
            seed: 0,
        }
    }

    fn run(mut self, mut events: Receiver<NetEvent>, over: &AtomicBool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let speed = 1_000_000;
        self.tell(Input::Measured {
            up_bytes_per_s: speed,
            down_bytes_per_s: speed,
            tokens_per_s: speed,
        });
        while !over.load(Ordering::Relaxed) {
            if self.machine.next_wake().is_some_and(|wake| wake <= self.clock.now()) {
                self.tell(Input::Wake);
            }
            let next = runtime.block_on(async { tokio::time::timeout(TICK, events.recv()).await });
            match next {
                Ok(Some(event)) => self.carry(event),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn carry(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected(peer) => self.tell(Input::Connected { peer }),
            NetEvent::Disconnected(peer) => self.tell(Input::Disconnected { peer }),
            NetEvent::Frame { from, bytes, .. } | NetEvent::Gossip { from, bytes } => {
                self.tell(wire::decode(from, &bytes));
            }
            NetEvent::Bulk { from, header, payload, .. } => self.bulk(from, &header, payload),
            NetEvent::BulkSent { peer, .. } => self.tell(Input::Sent { to: peer }),
            NetEvent::ListenAddress(_) | NetEvent::Refused { .. } => {}
        }
    }

    fn bulk(&mut self, from: PeerId, header: &[u8], payload: Bytes) {
        let chunk: ChunkId = from_cbor(header).expect("honest nodes name what they send");
        let (bytes, digest) = (payload.len() as u32, Digest::of(&payload));
        self.arithmetic.arrive(from, &chunk, payload);
        self.tell(Input::Arrived { from, chunk, bytes, digest });
    }

    /// The machine hears of something, and of what comes of that at once.
    fn tell(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let mut outputs = Vec::new();
            self.machine.handle(self.clock.now(), input, &mut outputs);
            outputs.into_iter().for_each(|output| self.perform(output));
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            // A frame for who has just gone is lost, as on a node.
            Output::Send { to, message } => drop(self.net.send(to, to_cbor(&message))),
            Output::Broadcast { message } => self.broadcast(to_cbor(&message)),
            Output::Train { round, lease } => {
                let samples: u64 = lease.iter().map(|range| range.end - range.start).sum();
                let tokens = samples * u64::from(self.spec.model.context);
                self.inputs.push_back(Input::LocalWorkReady { round, tokens });
            }
            Output::Contribute { to, chunk, .. } => {
                let bytes = self.lie(self.spec.exchange.up, chunk.index);
                self.send(to, chunk, bytes);
            }
            Output::Reduce { plan, index, .. } => self.reduce(plan, index),
            Output::SendResult { to, chunk } => {
                let bytes = self.results[&(chunk.of, chunk.index)].clone();
                self.send(to, chunk, bytes);
            }
            Output::SendState { to, chunk } => {
                let bytes = noise(self.spec.elems() as usize * 8, &mut self.seed);
                self.send(to, chunk, bytes.into());
            }
            Output::Note(note) => self.note(&note),
            other => self.follow(other),
        }
    }

    /// What every peer does to stay in step.
    fn follow(&mut self, output: Output) {
        match output {
            Output::Discard { from, chunk } => self.arithmetic.discard(&from, &chunk),
            Output::Apply { round, plan, step } => {
                // Without the sums, which it never made, there is no step to take.
                if let Ok(chunks) = self.arithmetic.apply(round, &plan, step) {
                    self.inputs.push_back(Input::Applied { round, chunks });
                }
            }
            Output::LoadState { record } => {
                let chunks = self.arithmetic.load(&record).expect("what was fetched is here");
                self.inputs.push_back(Input::Loaded { round: record.round, chunks });
            }
            Output::Commit { record, settle } => drop(self.arithmetic.commit(record, &settle)),
            Output::Abandon { plan } | Output::Forget { plan } => self.arithmetic.forget(&plan),
            Output::Release { digest } => self.arithmetic.release(&digest),
            _ => {}
        }
    }

    fn note(&self, note: &Note) {
        println!("liar {}: {note:?}", self.net.me().short());
        if let Note::Planned { round, members: EVERYBODY, .. } = note {
            self.member_of.store(*round, Ordering::Relaxed);
        }
    }

    fn broadcast(&self, frame: Vec<u8>) {
        for peer in self.net.peers() {
            let _ = self.net.send(peer, frame.clone());
        }
    }

    /// What it has in place of a chunk's numbers.
    fn lie(&mut self, codec: Codec, index: u32) -> Bytes {
        let size = u64::from(self.spec.exchange.chunk_elems);
        let elems = (self.spec.elems() - u64::from(index) * size).min(size);
        self.lie.bytes(codec, elems as usize, &mut self.seed).into()
    }

    fn reduce(&mut self, plan: Digest, index: u32) {
        let bytes = self.lie(self.spec.exchange.down, index);
        let digest = Digest::of(&bytes);
        self.results.insert((plan, index), bytes);
        self.inputs.push_back(Input::Reduced { plan, index, digest });
    }

    fn send(&mut self, to: PeerId, chunk: ChunkId, bytes: Bytes) {
        if self.net.send_bulk(to, to_cbor(&chunk), bytes, Priority::Urgent).is_err() {
            self.inputs.push_back(Input::Sent { to });
        }
    }
}

/// Where every peer of the run begins.
fn genesis(spec: &RunSpec) -> (Standing, State) {
    let params = initial_params(&spec.model, spec.seed);
    let momentum = vec![0.0; params.len()];
    let chunks = StateBytes::new(&params, &momentum).chunk_digests();
    let record = Record::genesis(spec.id(), state_root(&chunks));
    let state = State { params: Arc::new(params), momentum: Arc::new(momentum) };
    (Standing { record, chunks }, state)
}
