//! What a peer holds beside its session: real numbers and bytes, or only their names and sizes.

use crate::phantom::Phantom;
use crate::store::{At, Disk, Payload, Store};
use shoal_protocol::event::{Part, Settle};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::Record;
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::Standing;
use shoal_protocol::wire::ChunkId;
use std::rc::Rc;

/// Real or phantom.
pub enum Holdings {
    Real(Box<Store>),
    Phantom(Box<Phantom>),
}

/// Both kinds answer alike.
macro_rules! either {
    ($self:expr, $holds:ident => $answer:expr) => {
        match $self {
            Holdings::Real($holds) => $answer,
            Holdings::Phantom($holds) => $answer,
        }
    };
}

impl Holdings {
    /// What a peer finds on its disk.
    pub fn open(spec: &Rc<RunSpec>, me: PeerId, disk: &Disk) -> Holdings {
        match disk {
            Disk::Real(saved) => Holdings::Real(Box::new(Store::open(spec.clone(), me, saved))),
            Disk::Phantom(saved) => Holdings::Phantom(Box::new(Phantom::open(spec.clone(), saved))),
        }
    }

    /// What its disk holds after a commit.
    pub fn disk(&self) -> Disk {
        either!(self, holds => holds.disk())
    }

    pub fn standing(&self) -> Standing {
        either!(self, holds => holds.standing())
    }

    pub fn record(&self) -> &Record {
        either!(self, holds => &holds.record)
    }

    /// The committed record's digest.
    pub fn head(&self) -> Digest {
        either!(self, holds => holds.head)
    }

    /// The numbers, if there are any.
    pub fn real(&self) -> Option<&Store> {
        match self {
            Holdings::Real(store) => Some(store),
            Holdings::Phantom(_) => None,
        }
    }

    pub fn real_mut(&mut self) -> Option<&mut Store> {
        match self {
            Holdings::Real(store) => Some(store),
            Holdings::Phantom(_) => None,
        }
    }

    /// A frame has come.
    pub fn take_in(&mut self, from: PeerId, chunk: ChunkId, payload: Payload) {
        match (self, payload) {
            (Holdings::Real(store), Payload::Bytes(bytes)) => store.take_in(from, chunk, bytes),
            (Holdings::Phantom(phantom), payload) => phantom.take_in(chunk, &payload),
            (Holdings::Real(_), Payload::Sized { .. }) => {}
        }
    }

    pub fn discard(&mut self, from: PeerId, chunk: ChunkId, digest: Digest) {
        if let Holdings::Real(store) = self {
            store.discard(from, chunk, digest);
        }
    }

    pub fn drop_contribution(&mut self, at: At, from: PeerId) {
        if let Holdings::Real(store) = self {
            store.drop_contribution(at, from);
        }
    }

    pub fn drop_plan(&mut self, plan: Digest) {
        match self {
            Holdings::Real(store) => store.drop_plan(plan),
            Holdings::Phantom(phantom) => phantom.forget(&plan),
        }
    }

    pub fn release(&mut self, digest: Digest) {
        either!(self, holds => holds.release(digest));
    }

    pub fn contribution(&mut self, chunk: ChunkId, fold: f32) -> Payload {
        match self {
            Holdings::Real(store) => Payload::of(store.contribution(chunk, fold)),
            Holdings::Phantom(phantom) => phantom.contribution(chunk),
        }
    }

    /// The digest of the sum's bytes; `Err` names the member whose bytes are no use.
    pub fn reduce(&mut self, at: At, parts: &[Part]) -> Result<Digest, (u8, String)> {
        match self {
            Holdings::Real(store) => {
                store.reduce(at, parts).map(|own| Digest::of(&own.reduced.bytes))
            }
            Holdings::Phantom(phantom) => Ok(phantom.reduce(at, parts)),
        }
    }

    pub fn result(&self, chunk: &ChunkId) -> Option<Payload> {
        match self {
            Holdings::Real(store) => store.result(chunk).map(Payload::of),
            Holdings::Phantom(phantom) => Some(phantom.result(chunk)),
        }
    }

    pub fn state_chunk(&self, chunk: &ChunkId) -> Option<Payload> {
        match self {
            Holdings::Real(store) => store.state_chunk(chunk).map(Payload::of),
            Holdings::Phantom(phantom) => phantom.state_chunk(chunk),
        }
    }

    pub fn apply(&mut self, round: Round, plan: Digest, step: bool) -> Result<Vec<Digest>, String> {
        either!(self, holds => holds.apply(round, plan, step))
    }

    /// Whether residuals of an earlier life were found void.
    pub fn commit(
        &mut self,
        record: &Record,
        settle: &[Settle],
        woken: bool,
    ) -> Result<bool, String> {
        match self {
            Holdings::Real(store) => store.commit(record, settle, woken),
            Holdings::Phantom(phantom) => phantom.commit(record),
        }
    }

    pub fn load(&mut self, record: &Record) -> Result<Vec<Digest>, String> {
        either!(self, holds => holds.load(record))
    }
}
