//! A peer that keeps to the protocol in all that it says, and lies in the data that it sends: a proper session and true
//! arithmetic, but its contributions, or its sums, are made up. It trains nothing, and says that it has.

use bytes::Bytes;
use libp2p::identity::Keypair;
use shoal_node::actor::session::Clock;
use shoal_node::exchange::{Arithmetic, Frame, State};
use shoal_node::model::initial_params;
use shoal_node::net::identity::NodeKeyring;
use shoal_node::net::{self, NetConfig, NetEvent, NetHandle, Priority};
use shoal_node::store::StateBytes;
use shoal_protocol::event::{Input, Note, Output, Part};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::Codec;
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::{Session, Settings, Standing};
use shoal_protocol::time::Span;
use shoal_protocol::wire::{self, ChunkId, ChunkKind, PIECE_BYTES, from_cbor, to_cbor};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// Longest time without a look at the clock.
const TICK: Duration = Duration::from_millis(20);
/// What it takes to do nothing: once it is banned it makes rounds alone, and is not to take the machine for that.
const WORK: Duration = Duration::from_millis(100);

/// What is sent in place of numbers.
#[derive(Clone, Copy, Debug)]
pub enum Garbage {
    /// As many bytes as are due, all of them 255: each scale is a NaN.
    NotANumber,
    /// A byte too few.
    WrongSize,
    /// As many bytes as are due, drawn at random; again if they happen to be numbers, for those are no worse than bad work.
    Noise,
}

/// Which of its data a liar makes up, and how.
#[derive(Clone, Copy, Debug)]
pub struct Lie {
    /// Contributions, results, or pieces of the run's text.
    pub of: ChunkKind,
    pub garbage: Garbage,
}

impl Lie {
    /// How an honest node's log names it.
    pub fn reason(self) -> &'static str {
        match (self.of, self.garbage) {
            (ChunkKind::Piece, _) => "gave a piece of a file that is not what the run's spec says",
            (ChunkKind::Contribution, Garbage::WrongSize) => "sent a chunk of",
            (ChunkKind::Contribution, _) => {
                "contributed int8: the scale of block 0 is not a finite"
            }
            (_, Garbage::WrongSize) => "bytes where",
            _ => "\"int8: the scale of block 0 is not a finite",
        }
    }

    /// Bytes in place of `elems` numbers.
    fn bytes(self, codec: Codec, elems: usize, seed: &mut u64) -> Vec<u8> {
        let due = codec.encoded_len(elems);
        match self.garbage {
            Garbage::NotANumber => vec![255; due],
            Garbage::WrongSize => vec![0; due - 1],
            Garbage::Noise => loop {
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
    /// Joins the run of the nodes that announce themselves in `local`, of whose text it says that it has all.
    pub fn with_text(spec: &RunSpec, local: &Path, text: &[u8], lie: Lie) -> Liar {
        let list: Vec<Digest> = text.chunks(PIECE_BYTES).map(Digest::of).collect();
        let pieces = vec![(0, list.len() as u32)];
        let blob = spec.text().unwrap().root;
        Liar::begin(spec, local, lie, Some(Input::Holds { blob, list, pieces }))
    }

    /// Joins the run of the nodes that announce themselves in `local`.
    pub fn start(spec: &RunSpec, local: &Path, lie: Lie) -> Liar {
        Liar::begin(spec, local, lie, None)
    }

    fn begin(spec: &RunSpec, local: &Path, lie: Lie, holds: Option<Input>) -> Liar {
        let keypair = Keypair::generate_ed25519();
        let config = NetConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            mdns: false,
            local_discovery_dir: Some(local.to_owned()),
            threads: 1,
            ..NetConfig::new(keypair.clone(), spec.id())
        };
        let (net, events) = net::start(config).unwrap();
        let mut driver = Driver::new(spec, lie, net.clone(), NodeKeyring::new(keypair).unwrap());
        driver.inputs.extend(holds);
        let (member_of, over) = (driver.member_of.clone(), Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        let thread = std::thread::spawn(move || driver.run(events, &ends));
        Liar { peer: net.me(), member_of, over, thread: Some(thread), net }
    }

    /// The last round whose plan it took part in with others: under load with one of the nodes, when the other has banned it.
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
    arithmetic: Arithmetic,
    inputs: VecDeque<Input>,
    /// When it will say that it has trained, and what.
    work: Option<(Instant, Input)>,
    /// Made-up sums, by plan and index: everybody gets the same.
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
            work: None,
            results: BTreeMap::new(),
            member_of: Arc::default(),
            seed: 0,
        }
    }

    fn run(mut self, mut events: Receiver<NetEvent>, over: &AtomicBool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // A link of unknown speed counts as the median: with a faster one it would own every chunk, and have nothing to contribute.
        self.tell(Input::Measured {
            up_bytes_per_s: 0,
            down_bytes_per_s: 0,
            tokens_per_s: 1_000_000,
        });
        while !over.load(Ordering::Relaxed) {
            if self.machine.next_wake().is_some_and(|wake| wake <= self.clock.now()) {
                self.tell(Input::Wake);
            }
            if let Some((_, done)) = self.work.take_if(|(at, _)| *at <= Instant::now()) {
                self.tell(done);
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
            NetEvent::BulkSent { peer, header, .. } => {
                let piece = from_cbor(&header).is_ok_and(|c: ChunkId| c.kind == ChunkKind::Piece);
                let to = peer;
                self.tell(if piece { Input::PieceSent { to } } else { Input::Sent { to } });
            }
            NetEvent::ListenAddress(_) | NetEvent::Refused { .. } => {}
        }
    }

    fn bulk(&mut self, from: PeerId, header: &[u8], payload: Bytes) {
        let chunk: ChunkId = from_cbor(header).expect("honest nodes name what they send");
        let (bytes, digest) = (payload.len() as u32, Digest::of(&payload));
        self.arithmetic.arrive(&Frame { from, chunk, digest }, payload);
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
                self.work = Some((Instant::now() + WORK, Input::LocalWorkReady { round, tokens }));
            }
            Output::Contribute { to, chunk, fold } => self.contribute(to, chunk, fold),
            Output::Reduce { plan, index, parts } => self.reduce(plan, index, &parts),
            Output::SendResult { to, chunk } => {
                let made_up = self.results.get(&(chunk.of, chunk.index)).cloned();
                let bytes = made_up.or_else(|| self.arithmetic.result(&chunk));
                self.send(to, chunk, bytes);
            }
            Output::SendState { to, chunk } => {
                self.send(to, chunk, self.arithmetic.state_chunk(&chunk));
            }
            Output::SendPiece { to, chunk } => {
                let left = self.spec.text().unwrap().piece_bytes(chunk.index);
                let bytes = noise(left, &mut self.seed);
                let _ = self.net.send_bulk(to, to_cbor(&chunk), bytes.into(), Priority::Urgent);
            }
            Output::Note(note) => self.note(&note),
            other => self.follow(other),
        }
    }

    /// What every peer does to stay in step.
    fn follow(&mut self, output: Output) {
        match output {
            Output::Discard { from, chunk, digest } => {
                self.arithmetic.discard(&Frame { from, chunk, digest });
            }
            Output::Apply { round, plan, step } => {
                // Where its own sums are made up, there is no step to take.
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
        if let Note::Planned { round, members: 2.., .. } = note {
            self.member_of.store(*round, Ordering::Relaxed);
        }
    }

    fn broadcast(&self, frame: Vec<u8>) {
        for peer in self.net.peers() {
            let _ = self.net.send(peer, frame.clone());
        }
    }

    fn contribute(&mut self, to: PeerId, chunk: ChunkId, fold: f32) {
        let bytes = match self.lie.of {
            ChunkKind::Contribution => self.garbage(self.spec.exchange.up, chunk.index),
            _ => self.arithmetic.contribution(&chunk, fold),
        };
        self.send(to, chunk, Some(bytes));
    }

    fn reduce(&mut self, plan: Digest, index: u32, parts: &[Part]) {
        let digest = match self.lie.of {
            ChunkKind::Result => {
                let bytes = self.garbage(self.spec.exchange.down, index);
                let digest = Digest::of(&bytes);
                self.results.insert((plan, index), bytes);
                digest
            }
            _ => self.arithmetic.reduce(plan, index, parts).expect("honest nodes send numbers"),
        };
        self.inputs.push_back(Input::Reduced { plan, index, digest });
    }

    /// What it has in place of a chunk's numbers.
    fn garbage(&mut self, codec: Codec, index: u32) -> Bytes {
        let size = u64::from(self.spec.exchange.chunk_elems);
        let elems = (self.spec.elems() - u64::from(index) * size).min(size);
        self.lie.bytes(codec, elems as usize, &mut self.seed).into()
    }

    fn send(&mut self, to: PeerId, chunk: ChunkId, bytes: Option<Bytes>) {
        let header = to_cbor(&chunk);
        let sent = bytes.map(|bytes| self.net.send_bulk(to, header, bytes, Priority::Urgent));
        if !matches!(sent, Some(Ok(()))) {
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
