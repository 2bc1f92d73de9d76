//! One peer's numbers and the bytes that it holds: what a node keeps in its trainer, its bulk buffers and its archive.

use crate::noise::Numbers;
use crate::phantom;
use shoal_protocol::event::{self, Settle};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::outer;
use shoal_protocol::math::workspace::{Outcome, Part, Source, Workspace};
use shoal_protocol::math::{Coder, Merge, Others, Reduced, Replica};
use shoal_protocol::run::{Overlap, RunSpec};
use shoal_protocol::session::Standing;
use shoal_protocol::wire::{ChunkId, ChunkKind, Plan, STATE_CHUNK_BYTES};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Names a chunk of a plan.
pub type At = (Digest, u32);

/// What a peer holds in memory.
pub struct Store {
    pub spec: Rc<RunSpec>,
    pub me: PeerId,
    pub work: Workspace,
    /// Local parameters, if they outlast rounds.
    pub replica: Option<Replica>,
    /// What the others brought to the last round, if training goes on from an estimate.
    others: Option<Others>,
    pub record: Record,
    pub numbers: Numbers,
    /// The state that is about to be committed.
    pub applied: Option<Applied>,
    /// What the last commit does to local parameters that are being trained on.
    pub merge: Option<Merge>,
    /// Committed states that may be served, by their record's digest.
    pub served: BTreeMap<Digest, Vec<u8>>,
    /// This peer's contributions as they were sent.
    pub sent: BTreeMap<At, Vec<u8>>,
    /// This peer's results as an owner.
    pub reduced: BTreeMap<At, Own>,
    /// Bulk frames that have come and are not discarded yet.
    pub arrived: BTreeMap<(ChunkId, PeerId), Vec<Came>>,
    /// The committed record's digest.
    pub head: Digest,
    arrivals: u64,
}

/// A state beside the committed one.
pub struct Applied {
    round: Round,
    numbers: Numbers,
    /// The mean that led to it, where it is wanted later.
    mean: Option<Vec<f32>>,
    /// Fetched whole, not computed.
    pub loaded: bool,
}

/// A result that this peer computed.
pub struct Own {
    pub reduced: Reduced,
    pub parts: Vec<event::Part>,
    pub included: u64,
    order: u64,
}

/// A frame that came.
pub struct Came {
    pub bytes: Rc<Vec<u8>>,
    digest: Digest,
    order: u64,
}

/// What a peer finds when it starts again: what its last commit or load has written.
#[derive(Clone)]
pub enum Disk {
    Real(Box<Saved>),
    Phantom(Box<phantom::Saved>),
}

/// Numbers on a disk.
#[derive(Clone)]
pub struct Saved {
    pub record: Record,
    pub numbers: Numbers,
    pub up: Vec<f32>,
    pub down: Vec<f32>,
}

/// What a bulk frame carries: bytes, or only how many there would be.
#[derive(Clone, Debug)]
pub enum Payload {
    Bytes(Rc<Vec<u8>>),
    Sized { bytes: u32, digest: Digest },
}

impl Payload {
    pub fn of(bytes: &[u8]) -> Payload {
        Payload::Bytes(Rc::new(bytes.to_vec()))
    }

    /// Bytes on the wire.
    pub fn len(&self) -> u32 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u32,
            Payload::Sized { bytes, .. } => *bytes,
        }
    }

    /// BLAKE3 of the bytes, or what stands for it.
    pub fn digest(&self) -> Digest {
        match self {
            Payload::Bytes(bytes) => Digest::of(bytes),
            Payload::Sized { digest, .. } => *digest,
        }
    }
}

/// A result that is held: the bytes, and whom they include.
pub struct Held {
    pub bytes: Vec<u8>,
    pub included: u64,
}

impl Store {
    pub fn open(spec: Rc<RunSpec>, me: PeerId, disk: &Saved) -> Store {
        let mut work = Workspace::of_run(spec.elems() as usize, &spec.exchange);
        let (up, down) = work.residuals_mut();
        up.copy_from_slice(&disk.up);
        down.copy_from_slice(&disk.down);
        let strategy = spec.strategy;
        let eager = strategy.overlap == Overlap::Eager;
        let mut store = Store {
            replica: strategy.runs_on().then(|| Replica::new(&disk.numbers.params)),
            others: eager.then(|| Others::new(disk.numbers.params.len())),
            spec,
            me,
            work,
            record: disk.record.clone(),
            numbers: disk.numbers.clone(),
            applied: None,
            merge: None,
            served: BTreeMap::new(),
            sent: BTreeMap::new(),
            reduced: BTreeMap::new(),
            arrived: BTreeMap::new(),
            head: disk.record.digest(),
            arrivals: 0,
        };
        store.serve();
        store
    }

    pub fn disk(&self) -> Disk {
        Disk::Real(Box::new(Saved {
            record: self.record.clone(),
            numbers: self.numbers.clone(),
            up: self.work.residual_up().to_vec(),
            down: self.work.residual_down().to_vec(),
        }))
    }

    pub fn standing(&self) -> Standing {
        Standing { record: self.record.clone(), chunks: self.numbers.chunks() }
    }

    fn serve(&mut self) {
        self.head = self.record.digest();
        self.served.insert(self.head, self.numbers.bytes());
    }

    pub fn take_in(&mut self, from: PeerId, chunk: ChunkId, bytes: Rc<Vec<u8>>) {
        self.arrivals += 1;
        let came = Came { digest: Digest::of(&bytes), bytes, order: self.arrivals };
        self.arrived.entry((chunk, from)).or_default().push(came);
    }

    /// Drops these bytes of what a peer sent under this name; once, if they came twice.
    pub fn discard(&mut self, from: PeerId, chunk: ChunkId, digest: Digest) {
        let Some(came) = self.arrived.get_mut(&(chunk, from)) else { return };
        if let Some(at) = came.iter().rposition(|came| came.digest == digest) {
            came.remove(at);
        }
        if came.is_empty() {
            self.arrived.remove(&(chunk, from));
        }
    }

    /// Drops the contribution that came from a peer.
    pub fn drop_contribution(&mut self, at: At, from: PeerId) {
        let kind = ChunkKind::Contribution;
        self.arrived.remove(&(ChunkId { of: at.0, kind, index: at.1, included: 0 }, from));
    }

    /// Which of the model's chunks is the `index`-th of the exchange that is under way.
    pub fn chunk(&self, index: u32) -> usize {
        self.spec.chunk_at(self.record.round + 1, index) as usize
    }

    /// The codec of contributions to the `index`-th chunk of the exchange that is under way.
    pub fn up(&self, index: u32) -> Coder {
        let round = self.record.round + 1;
        self.spec.up(round, self.spec.chunk_at(round, index))
    }

    /// The codec of the result of a round's `index`-th chunk.
    pub fn down(&self, round: Round, index: u32) -> Coder {
        self.spec.down(round, self.spec.chunk_at(round, index))
    }

    /// What has been learned on goes into what is contributed to a round; where the spec says so, training goes on from an estimate.
    pub fn offer(&mut self, round: Round) {
        let Some(replica) = &mut self.replica else { return };
        let ranges = self.spec.ranges_in(round);
        replica.offer(&ranges, self.work.delta_mut());
        if let Some(others) = &self.others {
            let mean = others.estimate(self.work.delta());
            let guess = stepped(&self.spec, round, &self.numbers, &mean);
            replica.guess(&ranges, &guess.params);
        }
    }

    /// What was trained or is left over from what was sent, and is in no committed sum, `[elems]`.
    pub fn held(&self) -> Vec<f64> {
        let both = self.work.delta().iter().zip(self.work.residual_up());
        let drift = |i| self.replica.as_ref().map_or(0.0, |replica| f64::from(replica.drift()[i]));
        both.enumerate().map(|(i, (x, up))| f64::from(*x) + f64::from(*up) + drift(i)).collect()
    }

    /// Where training begins, `[elems]`.
    pub fn local(&self) -> Cow<'_, [f32]> {
        let (ahead, params) = (self.spec.exchange.ahead, &self.numbers.params);
        match &self.replica {
            Some(replica) => replica.local().into(),
            None if ahead == 0.0 => params.into(),
            None => self.work.ahead(ahead, params).into(),
        }
    }

    /// What was trained, `[elems]`.
    pub fn learned(&mut self, delta: &[f32]) {
        match &mut self.replica {
            Some(replica) => replica.learned(delta),
            None => self.work.delta_mut().iter_mut().zip(delta).for_each(|(sum, x)| *sum += x),
        }
    }

    /// The contribution's bytes; encoded the first time, the same bytes ever after.
    pub fn contribution(&mut self, chunk: ChunkId, fold: f32) -> &[u8] {
        let (work, codec, c) = (&self.work, self.up(chunk.index), self.chunk(chunk.index));
        let encode = || work.encode(codec, c, fold);
        self.sent.entry((chunk.of, chunk.index)).or_insert_with(encode)
    }

    /// Adds up a chunk; `Err` names the member whose bytes are no use.
    pub fn reduce(&mut self, at: At, parts: &[event::Part]) -> Result<&Own, (u8, String)> {
        let mut sources = Vec::new();
        for part in parts {
            let bytes = self.part_bytes(at, part);
            let bytes = bytes.ok_or((part.member, "its bytes are not held".to_owned()))?;
            sources.push(Part { member: usize::from(part.member), weight: part.weight, bytes });
        }
        let (up, down) = (self.up(at.1), self.down(self.record.round + 1, at.1));
        let reduced = self.work.reduce(up, down, self.chunk(at.1), &sources);
        let reduced = reduced.map_err(|error| (error.member as u8, error.to_string()))?;
        let included = parts.iter().fold(0, |mask, part| mask | 1 << part.member);
        self.arrivals += 1;
        self.reduced
            .insert(at, Own { reduced, parts: parts.to_vec(), included, order: self.arrivals });
        Ok(&self.reduced[&at])
    }

    /// What a part brings: this peer's own numbers, or the frame that came.
    fn part_bytes(&self, at: At, part: &event::Part) -> Option<Source<'_>> {
        if part.peer == self.me {
            return Some(Source::Own);
        }
        self.contribution_of(at, part.peer).map(|came| Source::Encoded(&came.bytes))
    }

    /// The contribution that came from a peer.
    pub fn contribution_of(&self, at: At, from: PeerId) -> Option<&Came> {
        let kind = ChunkKind::Contribution;
        self.arrived.get(&(ChunkId { of: at.0, kind, index: at.1, included: 0 }, from))?.last()
    }

    /// The bytes of a result under its full name, computed here or come from anybody.
    pub fn result(&self, chunk: &ChunkId) -> Option<&[u8]> {
        let (included, bytes) = self.newest((chunk.of, chunk.index))?;
        (included == chunk.included).then_some(bytes)
    }

    /// What came under a name, from anybody.
    fn came(&self, chunk: &ChunkId) -> Option<&Came> {
        let ((name, _), came) = self.arrived.range((*chunk, PeerId::default())..).next()?;
        came.last().filter(|_| name == chunk)
    }

    /// The result that stands for a chunk.
    pub fn standing_result(&self, at: At) -> Option<Held> {
        self.newest(at).map(|(included, bytes)| Held { bytes: bytes.to_vec(), included })
    }

    /// Of the results of a chunk that are held the one that came last, as on a node: whom it includes, and its bytes.
    fn newest(&self, at: At) -> Option<(u64, &[u8])> {
        let own = self.reduced.get(&at);
        let own = own.map(|own| (own.order, own.included, own.reduced.bytes.as_slice()));
        let name = |included| ChunkId { of: at.0, kind: ChunkKind::Result, index: at.1, included };
        let range = (name(0), PeerId::default())..=(name(u64::MAX), PeerId([255; 32]));
        let came = self.arrived.range(range);
        let came = came.flat_map(|((chunk, _), all)| all.iter().map(|came| (chunk.included, came)));
        let came = came.map(|(included, came)| (came.order, included, came.bytes.as_slice()));
        let (_, included, bytes) = came.chain(own).max_by_key(|held| held.0)?;
        Some((included, bytes))
    }

    /// Takes the outer step into a new state beside the committed one. `Err` names what is missing.
    pub fn apply(&mut self, round: Round, plan: Digest, step: bool) -> Result<Vec<Digest>, String> {
        let mean = step.then(|| self.decode_results(round, plan)).transpose()?;
        let numbers = match &mean {
            Some(mean) => stepped(&self.spec, round, &self.numbers, mean),
            None => self.numbers.clone(),
        };
        let chunks = numbers.chunks();
        let mean = mean.filter(|_| self.others.is_some());
        self.applied = Some(Applied { round, numbers, mean, loaded: false });
        Ok(chunks)
    }

    /// The mean, `[elems]`; zero outside of the round's fragment.
    fn decode_results(&self, round: Round, plan: Digest) -> Result<Vec<f32>, String> {
        let mut delta = vec![0.0; self.numbers.params.len()];
        for (index, range) in self.spec.ranges_in(round).into_iter().enumerate() {
            let result = self.standing_result((plan, index as u32));
            let result =
                result.ok_or_else(|| format!("the result of chunk {index} is not held"))?;
            let decoded = self.down(round, index as u32).decode(&result.bytes, &mut delta[range]);
            decoded.map_err(|error| format!("chunk {index}: {error}"))?;
        }
        Ok(delta)
    }

    /// The applied state becomes the committed one. `woken`: an earlier life may have sent what is settled here.
    /// Whether residuals of that life were found void.
    pub fn commit(
        &mut self,
        record: &Record,
        settle: &[Settle],
        woken: bool,
    ) -> Result<bool, String> {
        let applied = self.applied.take().ok_or("nothing was applied")?;
        let Applied { round, numbers, mean, loaded } = applied;
        if round != record.round {
            return Err(format!("round {} is committed, round {round} was applied", record.round));
        }
        if let (Some(others), Some(mean)) = (&mut self.others, mean) {
            others.note(&mean, self.work.delta(), record.share_of(&self.me));
        }
        let mut voided = false;
        for (index, settle) in settle.iter().enumerate() {
            let forgotten = !self.sent.contains_key(&(record.plan, index as u32));
            let whole = matches!(settle, Settle::Restarted | Settle::Unknown);
            let c = if whole { index } else { self.spec.chunk_at(round, index as u32) as usize };
            match settle {
                Settle::Counted { .. } if woken && forgotten => self.void(c, false),
                Settle::Restarted => self.void(c, false),
                Settle::Unknown => self.void(c, true),
                _ => self.settle(record, (index, c), *settle)?,
            }
            voided |= whole || forgotten && woken && matches!(settle, Settle::Counted { .. });
            self.work.clear(c);
        }
        let whole = 0..numbers.params.len();
        let ranges = if loaded { vec![whole] } else { self.spec.ranges_in(round) };
        self.record = record.clone();
        self.numbers = numbers;
        self.serve();
        let (overlap, params) = (self.spec.strategy.overlap, &self.numbers.params);
        self.merge = self.replica.as_mut().map(|replica| replica.arrive(overlap, &ranges, params));
        Ok(voided)
    }

    /// What an earlier life of this peer gave is counted, and what it kept is not known: its residuals are void. So is the
    /// delta, if nobody can tell whether that is counted.
    fn void(&mut self, c: usize, delta_too: bool) {
        let range = self.work.range(c);
        let mut rest = self.work.delta()[range.clone()].to_vec();
        if delta_too {
            rest.fill(0.0);
        }
        let (up, down) = self.work.residuals_mut();
        up[range.clone()].copy_from_slice(&rest);
        down[range].fill(0.0);
    }

    fn settle(
        &mut self,
        record: &Record,
        (index, c): (usize, usize),
        settle: Settle,
    ) -> Result<(), String> {
        let at = (record.plan, index as u32);
        let up = self.spec.up(record.round, c as u32);
        let down = self.spec.down(record.round, c as u32);
        let result = self.standing_result(at).ok_or("a settled chunk has no result")?;
        let outcome = match settle {
            Settle::Missed | Settle::Unknown | Settle::Restarted => Outcome::Missed,
            Settle::Counted { fold, share } => Outcome::Counted {
                codec: up,
                fold,
                share,
                bytes: self
                    .sent
                    .get(&at)
                    .ok_or_else(|| format!("chunk {c} is counted, never sent"))?,
            },
            Settle::Owned { own } => Outcome::Owned {
                target: &self.reduced.get(&at).ok_or("owned, never reduced")?.reduced.target,
                codec: down,
                result: &result.bytes,
                own: own.then_some(up),
            },
        };
        self.work.settle(c, outcome).map_err(|error| format!("settling chunk {c}: {error}"))
    }

    /// Puts together the state that `record` commits to, from the frames that came.
    pub fn load(&mut self, record: &Record) -> Result<Vec<Digest>, String> {
        let of = record.digest();
        let length = self.spec.state_bytes() as usize;
        let mut bytes = Vec::with_capacity(length);
        for index in 0..length.div_ceil(STATE_CHUNK_BYTES) as u32 {
            let chunk = ChunkId { of, kind: ChunkKind::State, index, included: 0 };
            let held =
                self.came(&chunk).ok_or_else(|| format!("state chunk {index} is not held"))?;
            bytes.extend_from_slice(&held.bytes);
        }
        let numbers = Numbers::read(&bytes, &self.spec).ok_or("the state has another length")?;
        let chunks = numbers.chunks();
        if state_root(&chunks) != record.state {
            return Err("the state is not the one that the record commits to".into());
        }
        self.applied = Some(Applied { round: record.round, numbers, mean: None, loaded: true });
        self.arrived.retain(|(chunk, _), _| chunk.of != of);
        Ok(chunks)
    }

    /// The committed parameters become a pseudo-gradient on the loaded ones.
    pub fn take_along(&mut self, share: f32, tokens: (u64, u64)) {
        let loaded = &self.applied.as_ref().expect("a state is loaded").numbers.params;
        self.work.take_along(&self.numbers.params, loaded, share, tokens);
    }

    /// Drops everything of a plan.
    pub fn drop_plan(&mut self, plan: Digest) {
        self.sent.retain(|at, _| at.0 != plan);
        self.reduced.retain(|at, _| at.0 != plan);
        self.arrived.retain(|(chunk, _), _| chunk.of != plan);
    }

    pub fn release(&mut self, digest: Digest) {
        if digest != self.head {
            self.served.remove(&digest);
        }
    }

    /// One chunk of a state that is served.
    pub fn state_chunk(&self, chunk: &ChunkId) -> Option<&[u8]> {
        self.served.get(&chunk.of)?.chunks(STATE_CHUNK_BYTES).nth(chunk.index as usize)
    }

    /// Frames that are held.
    pub fn frames(&self) -> usize {
        self.arrived.values().map(Vec::len).sum()
    }
}

/// The state after an outer step with this mean, `[elems]`.
fn stepped(spec: &RunSpec, round: Round, from: &Numbers, mean: &[f32]) -> Numbers {
    let mut numbers = from.clone();
    outer::step(spec, round, &mut numbers.params, &mut numbers.momentum, mean);
    numbers
}

/// This peer's weight over the weights of all that a mask includes.
pub fn share(plan: &Plan, me: &PeerId, included: u64) -> f32 {
    let members = plan.members.iter().enumerate();
    let counted = members.filter(|(i, _)| included >> i & 1 == 1).map(|(_, member)| member);
    let own = plan.members.iter().find(|member| member.peer == *me);
    let total: u128 = counted.map(|member| u128::from(member.tokens)).sum();
    let own = own.map_or(0, |member| member.tokens);
    if total == 0 { 0.0 } else { (own as f64 / total as f64) as f32 }
}
