//! A model of which only the sizes are real: its chunks have names and lengths and no content, so that a billion parameters
//! cost no more than a thousand.

use crate::rng::mix;
use crate::store::{At, Disk, Payload};
use shoal_protocol::event::Part;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::Coder;
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::Standing;
use shoal_protocol::wire::{ChunkId, ChunkKind, STATE_CHUNK_BYTES};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a peer knows of a model without numbers.
pub struct Phantom {
    spec: Rc<RunSpec>,
    pub record: Record,
    pub head: Digest,
    state: State,
    next: Option<(Round, State)>,
    served: BTreeMap<Digest, State>,
    /// States whose chunks came, by the record they are asked for under.
    fetched: BTreeMap<Digest, State>,
    /// The rounds of plans, where it matters which: of a model in fragments.
    rounds: BTreeMap<Digest, Round>,
}

/// Stands for a state: the same history gives the same one. The last four bytes of the digest are left to the chunk's number.
pub type State = [u8; 28];

/// What a phantom peer's disk holds.
#[derive(Clone)]
pub struct Saved {
    pub record: Record,
    pub state: State,
}

/// Round 0 of a run.
pub fn genesis(spec: &RunSpec) -> Saved {
    let state = spec.id().0[..28].try_into().expect("28 bytes");
    Saved { record: Record::genesis(spec.id(), state_root(&chunks(spec, &state))), state }
}

/// The state's chunks by name.
fn chunks(spec: &RunSpec, state: &State) -> Vec<Digest> {
    (0..state_chunks(spec)).map(|index| name(state, index)).collect()
}

/// Parameters and momentum in f32.
fn state_chunks(spec: &RunSpec) -> u32 {
    spec.state_bytes().div_ceil(STATE_CHUNK_BYTES as u64) as u32
}

fn name(state: &State, index: u32) -> Digest {
    let mut digest = [0; 32];
    digest[..28].copy_from_slice(state);
    digest[28..].copy_from_slice(&index.to_le_bytes());
    Digest(digest)
}

/// A digest of what names something, well mixed.
fn digest_of(of: &Digest, index: u32, salt: u64) -> Digest {
    let mut digest = [0; 32];
    let mut at = mix(salt ^ u64::from(index) << 32);
    for (to, from) in digest.chunks_exact_mut(8).zip(of.0.chunks_exact(8)) {
        at = mix(at ^ u64::from_le_bytes(from.try_into().expect("eight bytes")));
        to.copy_from_slice(&at.to_le_bytes());
    }
    Digest(digest)
}

impl Phantom {
    pub fn open(spec: Rc<RunSpec>, saved: &Saved) -> Phantom {
        let head = saved.record.digest();
        Phantom {
            spec,
            record: saved.record.clone(),
            head,
            state: saved.state,
            next: None,
            served: BTreeMap::from([(head, saved.state)]),
            fetched: BTreeMap::new(),
            rounds: BTreeMap::new(),
        }
    }

    pub fn disk(&self) -> Disk {
        Disk::Phantom(Box::new(Saved { record: self.record.clone(), state: self.state }))
    }

    pub fn standing(&self) -> Standing {
        Standing { record: self.record.clone(), chunks: chunks(&self.spec, &self.state) }
    }

    pub fn take_in(&mut self, chunk: ChunkId, payload: &Payload) {
        if let (ChunkKind::State, Payload::Sized { digest, .. }) = (chunk.kind, payload) {
            self.fetched.insert(chunk.of, digest.0[..28].try_into().expect("28 bytes"));
        }
    }

    /// Bytes of a chunk with one of a round's codecs: [`RunSpec::up`] or [`RunSpec::down`].
    fn len(&self, way: fn(&RunSpec, Round, u32) -> Coder, chunk: &ChunkId) -> u32 {
        let round = self.rounds.get(&chunk.of).copied().unwrap_or(self.record.round + 1);
        let index = self.spec.chunk_at(round, chunk.index);
        way(&self.spec, round, index).encoded_len(self.spec.chunk_len(index)) as u32
    }

    fn remember(&mut self, plan: Digest) {
        if self.spec.strategy.fragments > 1 || self.spec.exchange.last.is_some() {
            self.rounds.insert(plan, self.record.round + 1);
        }
    }

    pub fn forget(&mut self, plan: &Digest) {
        self.rounds.remove(plan);
    }

    pub fn contribution(&mut self, chunk: ChunkId) -> Payload {
        self.remember(chunk.of);
        let bytes = self.len(RunSpec::up, &chunk);
        Payload::Sized { bytes, digest: digest_of(&chunk.of, chunk.index, 1) }
    }

    pub fn reduce(&self, at: At, parts: &[Part]) -> Digest {
        let included = parts.iter().fold(0, |mask, part| mask | 1 << part.member);
        digest_of(&at.0, at.1, mix(included))
    }

    pub fn result(&self, chunk: &ChunkId) -> Payload {
        let bytes = self.len(RunSpec::down, chunk);
        Payload::Sized { bytes, digest: digest_of(&chunk.of, chunk.index, mix(chunk.included)) }
    }

    pub fn state_chunk(&self, chunk: &ChunkId) -> Option<Payload> {
        let state = self.served.get(&chunk.of)?;
        let left = self.spec.state_bytes() - u64::from(chunk.index) * STATE_CHUNK_BYTES as u64;
        let bytes = left.min(STATE_CHUNK_BYTES as u64) as u32;
        Some(Payload::Sized { bytes, digest: name(state, chunk.index) })
    }

    pub fn apply(&mut self, round: Round, plan: Digest, step: bool) -> Result<Vec<Digest>, String> {
        let stepped = digest_of(
            &plan,
            0,
            mix(u64::from_le_bytes(self.state[..8].try_into().expect("eight"))),
        );
        let state = if step { stepped.0[..28].try_into().expect("28 bytes") } else { self.state };
        self.remember(plan);
        self.next = Some((round, state));
        Ok(chunks(&self.spec, &state))
    }

    pub fn load(&mut self, record: &Record) -> Result<Vec<Digest>, String> {
        let state = self.fetched.remove(&record.digest()).ok_or("no chunk of the state came")?;
        self.next = Some((record.round, state));
        Ok(chunks(&self.spec, &state))
    }

    pub fn commit(&mut self, record: &Record) -> Result<bool, String> {
        let (round, state) = self.next.take().ok_or("nothing was applied")?;
        if round != record.round {
            return Err(format!("round {} is committed, round {round} was applied", record.round));
        }
        self.state = state;
        self.record = record.clone();
        self.head = record.digest();
        self.served.insert(self.head, state);
        Ok(false)
    }

    pub fn release(&mut self, digest: Digest) {
        if digest != self.head {
            self.served.remove(&digest);
        }
    }
}
