//! One peer's side of the exchange: the machine's outputs carried out on one thread, as fast as the network gives and takes.
//!
//! Contributions are encoded when the machine's windows let them go, results are decoded when they come: both overlap with the
//! network's threads, and nothing is copied between the vector and the bytes that are sent.

use super::BenchAllreduce;
use crate::bench::cpu::Ledger;
use crate::net::{NetEvent, NetHandle, Priority};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use shoal_protocol::event::{self, Output};
use shoal_protocol::exchange::Exchange;
use shoal_protocol::id::{Digest, PeerId, RunId};
use shoal_protocol::math::partition::{Capacity, partition};
use shoal_protocol::math::workspace::{Outcome, Part, Reduced, Source};
use shoal_protocol::math::{Codec, Workspace};
use shoal_protocol::time::Time;
use shoal_protocol::wire::{self, ChunkId, ChunkKind, Member, Plan};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// A round in which nothing happens for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Everybody's weight.
const WEIGHT: u64 = 1;

/// Contributions by chunk and member.
type Received = BTreeMap<(u32, usize), Bytes>;

/// One peer's part in all rounds.
pub(super) struct Driver {
    codec: Codec,
    chunk_elems: usize,
    net: NetHandle,
    events: Receiver<NetEvent>,
    runtime: Option<Runtime>,
    members: Vec<PeerId>,
    me: usize,
    round: u64,
    origin: Instant,
    work: Workspace,
    mean: Vec<f32>,
    exchange: Option<Exchange>,
    /// This peer's contributions as they were sent, by chunk.
    contributed: BTreeMap<u32, (Bytes, f32)>,
    /// Others' contributions to own chunks, by chunk and member.
    received: Received,
    /// Own chunks' sums: kept from round to round for their memory.
    reduced: BTreeMap<u32, Reduced>,
    results: BTreeMap<u32, Bytes>,
    decoded: u32,
    under_way: usize,
    outputs: Vec<Output>,
    ledger: Ledger,
}

impl Driver {
    pub(super) fn new(
        bench: &BenchAllreduce,
        net: NetHandle,
        events: Receiver<NetEvent>,
        members: Vec<PeerId>,
    ) -> Driver {
        let me = members.iter().position(|peer| *peer == net.me()).unwrap_or_default();
        let n = bench.elems();
        Driver {
            codec: bench.codec,
            chunk_elems: bench.chunk_elems,
            net,
            events,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().ok(),
            members,
            me,
            round: 0,
            origin: Instant::now(),
            work: Workspace::new(n, bench.chunk_elems),
            mean: vec![0.0; n],
            exchange: None,
            contributed: BTreeMap::new(),
            received: BTreeMap::new(),
            reduced: BTreeMap::new(),
            results: BTreeMap::new(),
            decoded: 0,
            under_way: 0,
            outputs: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// Sets this peer's vector, chunk by chunk.
    pub(super) fn fill(&mut self, fill: impl Fn(usize, &mut [f32])) {
        let chunks = self.work.delta_mut().chunks_mut(self.chunk_elems);
        chunks.enumerate().for_each(|(chunk, out)| fill(chunk, out));
    }

    /// Makes the next round's plan, which is the same at every peer, so that early chunks find it.
    pub(super) fn prepare(&mut self) {
        self.round += 1;
        let chunk_bytes = self.codec.encoded_len(self.chunk_elems) as u64;
        let exchange = Exchange::new(self.plan(), self.me as u8, chunk_bytes, self.now());
        self.exchange = Some(exchange);
        (self.decoded, self.under_way) = (0, 0);
    }

    fn plan(&self) -> Plan {
        let capacity =
            Capacity { up_bytes_per_s: 0, down_bytes_per_s: 0, owns: true, contributes: true };
        let ranges = partition(self.work.chunks() as u32, &vec![capacity; self.members.len()]);
        let member = |(peer, range): (&PeerId, std::ops::Range<u32>)| Member {
            peer: *peer,
            tokens: WEIGHT,
            wants: 0,
            nonce: 0,
            leases: 1,
            heldout: None,
            chunks: range.end - range.start,
        };
        Plan {
            run: RunId([7; 32]),
            round: self.round,
            base: Digest([0; 32]),
            attempt: 0,
            convener: self.members[0],
            members: self.members.iter().zip(ranges).map(member).collect(),
            lost: Vec::new(),
        }
    }

    fn now(&self) -> Time {
        Time(self.origin.elapsed().as_micros() as u64)
    }

    /// Runs the prepared exchange until the whole mean is decoded.
    pub(super) fn exchange(&mut self) -> Result<()> {
        self.with_machine(|exchange, _, out| exchange.start(out))?;
        while self.decoded < self.work.chunks() as u32 {
            let event = self.next_event()?;
            self.on_event(event)?;
        }
        Ok(())
    }

    /// Lets what is still under way leave.
    pub(super) fn drain(&mut self) -> Result<()> {
        while self.under_way > 0 {
            let event = self.next_event()?;
            self.on_event(event)?;
        }
        Ok(())
    }

    fn next_event(&mut self) -> Result<NetEvent> {
        if let Ok(event) = self.events.try_recv() {
            return Ok(event);
        }
        let runtime = self.runtime.as_ref().context("a clock to wait by")?;
        let events = &mut self.events;
        let waited = runtime.block_on(async { tokio::time::timeout(SILENCE, events.recv()).await });
        waited.context("nothing came for a minute")?.context("the network is gone")
    }

    fn on_event(&mut self, event: NetEvent) -> Result<()> {
        match event {
            NetEvent::Bulk { from, header, payload, credit } => {
                drop(credit);
                let chunk = wire::from_cbor(&header).map_err(anyhow::Error::msg)?;
                self.arrived(from, chunk, payload)
            }
            NetEvent::BulkSent { peer, .. } => {
                self.under_way -= 1;
                self.with_machine(|exchange, _, out| exchange.sent(&peer, out))
            }
            NetEvent::Disconnected(peer) => bail!("{peer} is gone"),
            _ => Ok(()),
        }
    }

    fn arrived(&mut self, from: PeerId, chunk: ChunkId, payload: Bytes) -> Result<()> {
        let digest = self.ledger.book("digest", || Digest::of(&payload));
        let member = self.members.iter().position(|peer| *peer == from).context("a stranger")?;
        match chunk.kind {
            ChunkKind::Contribution => {
                self.received.insert((chunk.index, member), payload);
            }
            _ => self.decode(chunk.index, &payload)?,
        }
        self.with_machine(|exchange, now, out| {
            // A chunk of another plan would be a fault of this program: all are in step.
            let news = exchange.arrived(from, &chunk, digest, now, out);
            debug_assert_eq!(news, Ok(true));
        })
    }

    fn decode(&mut self, index: u32, payload: &[u8]) -> Result<()> {
        let out = &mut self.mean[self.work.range(index as usize)];
        self.ledger.book("decode", || self.codec.decode(payload, out))?;
        self.decoded += 1;
        Ok(())
    }

    /// Tells the machine something and does what it asks for.
    fn with_machine(
        &mut self,
        tell: impl FnOnce(&mut Exchange, Time, &mut Vec<Output>),
    ) -> Result<()> {
        let now = self.now();
        let mut outputs = std::mem::take(&mut self.outputs);
        tell(self.exchange.as_mut().context("no round")?, now, &mut outputs);
        let outcome = outputs.drain(..).try_for_each(|output| self.perform(output));
        self.outputs = outputs;
        outcome
    }

    fn perform(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Contribute { to, chunk, fold } => self.contribute(to, chunk, fold),
            Output::Reduce { index, parts, .. } => self.reduce(index, &parts),
            Output::SendResult { to, chunk } => self.send_result(to, chunk),
            other => bail!("unexpected in a bench: {other:?}"),
        }
    }

    fn contribute(&mut self, to: PeerId, chunk: ChunkId, fold: f32) -> Result<()> {
        let range = self.work.range(chunk.index as usize);
        let mut bytes = Vec::with_capacity(self.codec.encoded_len(range.len()));
        let (work, codec) = (&self.work, self.codec);
        self.ledger.book("encode", || {
            work.encode_into(codec.into(), chunk.index as usize, fold, &mut bytes);
        });
        let bytes = Bytes::from(bytes);
        self.contributed.insert(chunk.index, (bytes.clone(), fold));
        self.send(to, chunk, bytes)
    }

    fn send_result(&mut self, to: PeerId, chunk: ChunkId) -> Result<()> {
        let bytes = self.results.get(&chunk.index).context("a result that is not there")?.clone();
        self.send(to, chunk, bytes)
    }

    fn send(&mut self, to: PeerId, chunk: ChunkId, bytes: Bytes) -> Result<()> {
        self.under_way += 1;
        self.net.send_bulk(to, wire::to_cbor(&chunk), bytes, Priority::Urgent).context("sending")
    }

    fn reduce(&mut self, index: u32, parts: &[event::Part]) -> Result<()> {
        let mut reduced = self.reduced.remove(&index).unwrap_or_default();
        let (work, codec, received) = (&self.work, self.codec, &self.received);
        let sources: Vec<Part<'_>> =
            parts.iter().map(|part| source(received, index, part)).collect();
        let c = index as usize;
        let sum = self.ledger.book("reduce", || {
            work.reduce_into(codec.into(), codec.into(), c, &sources, &mut reduced)
        });
        sum?;
        parts.iter().for_each(|part| drop(self.received.remove(&(index, part.member.into()))));
        let bytes = Bytes::from(std::mem::take(&mut reduced.bytes));
        self.reduced.insert(index, reduced);
        self.results.insert(index, bytes.clone());
        self.decode(index, &bytes)?;
        let digest = self.ledger.book("digest", || Digest::of(&bytes));
        let now = self.now();
        // The machine answers with results to send; they are done before the caller's next output.
        let mut out = Vec::new();
        self.exchange.as_mut().context("no round")?.reduced(index, digest, now, &mut out);
        out.into_iter().try_for_each(|output| self.perform(output))
    }

    /// Keeps what the codec has dropped for the next round, and forgets this one.
    pub(super) fn settle(&mut self) -> Result<()> {
        let (codec, share) = (self.codec.into(), 1.0 / self.members.len() as f32);
        for (index, (bytes, fold)) in std::mem::take(&mut self.contributed) {
            let outcome = Outcome::Counted { codec, fold, share, bytes: &bytes };
            self.work.settle(index as usize, outcome)?;
        }
        for (index, result) in std::mem::take(&mut self.results) {
            let reduced = self.reduced.get(&index).context("an own chunk's sum")?;
            let target = &reduced.target;
            let outcome = Outcome::Owned { target, codec, result: &result, own: Some(codec) };
            self.work.settle(index as usize, outcome)?;
        }
        Ok(())
    }

    /// The last result, whole.
    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Bytes handed to the network since the start.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.net.traffic_all().1.bytes_sent
    }

    /// Processor time by kind of work since the last call.
    pub(super) fn take_work(&mut self) -> Ledger {
        std::mem::take(&mut self.ledger)
    }
}

/// A member's contribution: what came of it, or the owner's own numbers.
fn source<'a>(received: &'a Received, index: u32, part: &event::Part) -> Part<'a> {
    let member = usize::from(part.member);
    let bytes = match received.get(&(index, member)) {
        Some(bytes) => Source::Encoded(bytes),
        None => Source::Own,
    };
    Part { member, weight: part.weight, bytes }
}
