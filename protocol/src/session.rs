//! The root machine: one peer in one run. It routes inputs to the rooms beside it and decides; they compute.

use crate::event::{Input, Output};
use crate::id::{Digest, Keyring, PeerId, Round};
use crate::ledger::Record;
use crate::run::RunSpec;
use crate::time::{Span, Time};

/// What a peer chooses for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whether this peer can own a range of the fragment: others can dial it.
    pub owns: bool,
    /// Whether this peer trains; if not, it only adds up and keeps the state.
    pub trains: bool,
    /// How long a peer that hears nobody waits before it trains alone.
    pub alone_after: Span,
    /// Time between beacons, before jitter.
    pub beacon_every: Span,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            owns: true,
            trains: true,
            alone_after: Span::from_secs(5), // guess: mDNS answers within one
            beacon_every: Span::from_secs(2), // guess; a beacon is under 500 bytes
            seed: 0,
        }
    }
}

/// A state that this peer holds: what it starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The record that commits to the state.
    pub record: Record,
    /// BLAKE3 of each chunk of the state.
    pub chunks: Vec<Digest>,
}

/// What a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking for others before it begins.
    Looking,
    /// Local work is under way.
    Training,
    /// Local work is done; waiting for the plan.
    Gathering,
    /// The exchange is under way.
    Reducing,
    /// All results are here; waiting for others to confirm them.
    Confirming,
    /// The outer step is being taken.
    Applying,
    /// Fetching what others committed.
    CatchingUp,
    /// The last round is committed.
    Finished,
}

/// What a peer is waiting for, in one line's worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// What it is doing.
    pub phase: Phase,
    /// On whom.
    pub on: Vec<PeerId>,
    /// Since when.
    pub since: Time,
    /// Until when at the latest, if there is a deadline.
    pub until: Option<Time>,
}

/// One peer as this one sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerView {
    /// Who.
    pub peer: PeerId,
    /// Last committed round that it told of.
    pub round: Round,
    /// The digest that it told of.
    pub digest: Digest,
    /// Training speed that it told of.
    pub tokens_per_s: u64,
    /// When it was last heard.
    pub heard: Time,
    /// Whether it counts as alive.
    pub alive: bool,
}

/// One peer in one run.
pub struct Session {
    spec: RunSpec,
    settings: Settings,
    keyring: Box<dyn Keyring>,
    standing: Standing,
}

impl Session {
    /// A peer at `standing` (round 0, or what a checkpoint holds), before anything has happened.
    pub fn new(
        _now: Time,
        spec: RunSpec,
        settings: Settings,
        keyring: Box<dyn Keyring>,
        standing: Standing,
    ) -> Session {
        Session { spec, settings, keyring, standing }
    }

    /// Everything that can happen goes in here; everything to be done comes out, in order.
    pub fn handle(&mut self, _now: Time, _input: Input, _out: &mut Vec<Output>) {}

    /// When to call [`Session::handle`] with [`Input::Wake`] if nothing happens before.
    pub fn next_wake(&self) -> Option<Time> {
        None
    }

    /// The last committed record.
    pub fn record(&self) -> &Record {
        &self.standing.record
    }

    /// What this peer waits for.
    pub fn waiting(&self) -> Waiting {
        Waiting { phase: Phase::Looking, on: vec![], since: Time::ZERO, until: None }
    }

    /// Everybody this peer knows of.
    pub fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }
}
