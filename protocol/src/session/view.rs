//! What a session tells of itself: to a person, not to its peers.

use super::{Session, Stage};
use crate::id::{Digest, PeerId, Round};
use crate::time::Time;

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

impl Session {
    /// What this peer waits for.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            phase: self.phase(),
            on: self.waits_on(),
            since: self.stage_since,
            until: self.stage_until,
        }
    }

    /// Everybody this peer knows of.
    pub fn peers(&self, now: Time) -> Vec<PeerView> {
        let view = |(peer, entry): (&PeerId, &crate::membership::Peer)| PeerView {
            peer: *peer,
            round: entry.at.as_ref().map_or(0, |at| at.round),
            digest: entry.at.as_ref().map_or(Digest::default(), |at| at.digest),
            tokens_per_s: entry.beacon.as_ref().map_or(0, |beacon| beacon.tokens_per_s),
            heard: entry.heard,
            alive: self.members.alive(peer, now),
        };
        self.members.all().map(view).collect()
    }

    /// On whom: an exchange is looked through only when somebody asks, not at every chunk.
    fn waits_on(&self) -> Vec<PeerId> {
        match &self.stage {
            Stage::Exchanging(exchange, _) if exchange.is_complete() => exchange.unconfirmed(),
            Stage::Exchanging(exchange, _) => exchange.awaited(),
            Stage::Gathering(gather) if gather.ready_since.is_none() => vec![self.me],
            _ => self.waits_on.clone(),
        }
    }

    fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Looking => Phase::Looking,
            Stage::Gathering(gather) if gather.ready_since.is_none() => Phase::Training,
            Stage::Gathering(_) => Phase::Gathering,
            Stage::Exchanging(exchange, _) if exchange.is_complete() => Phase::Confirming,
            Stage::Exchanging(..) => Phase::Reducing,
            Stage::Applying(_) => Phase::Applying,
            Stage::CatchingUp(_) | Stage::Loading(_) => Phase::CatchingUp,
            Stage::Finished => Phase::Finished,
        }
    }
}
