//! The root machine: one peer in one run. It routes inputs to the rooms beside it and decides; they compute.
//!
//! A round is `train -> gather -> reduce -> commit -> apply`; its turns are in [`crate::round`]. Getting in step with
//! others is in [`crate::catchup`], helping them to in [`crate::donor`].

mod view;

pub use crate::blob::{DataView, least_data};
pub use view::{PeerView, Phase, Waiting};

use crate::blob::Blobs;
use crate::catchup::{self, CatchUp};
use crate::convene::Gather;
use crate::data::rng;
use crate::deadline::Deadline;
use crate::donor::Donor;
use crate::event::{ChunkId, ChunkKind, Input, Note, Output, Settle};
use crate::exchange::Exchange;
use crate::fork::Way;
use crate::id::{Digest, Keyring, PeerId, RunId};
use crate::ledger::Record;
use crate::measured::Measured;
use crate::membership::{Lacking, Membership, Position};
use crate::run::RunSpec;
use crate::time::{Span, Time};
use crate::wire::{
    Beacon, Manifest, Message, RECENT_MAX, ResultChunk, Signed, SignedPlan, Want, to_cbor,
};
use crate::work::Work;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Strikes for bytes that are no message: two of them and the peer is refused.
const MALFORMED_STRIKES: u32 = 4;

/// What a peer chooses for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Bytes of a text from peers that may be held, beside what is needed at the moment; all of it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_cap: Option<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            owns: true,
            trains: true,
            alone_after: Span::from_secs(5), // guess: mDNS answers within one
            beacon_every: Span::from_secs(2), // guess; a beacon is under 500 bytes
            seed: 0,
            data_cap: None,
        }
    }
}

/// A state that this peer holds: what it starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The record that commits to the state.
    pub record: Record,
    /// BLAKE3 of each chunk of the state.
    pub chunks: Vec<Digest>,
}

/// One peer in one run.
pub struct Session {
    pub(crate) spec: RunSpec,
    pub(crate) run: RunId,
    pub(crate) settings: Settings,
    pub(crate) keyring: Box<dyn Keyring>,
    pub(crate) me: PeerId,
    pub(crate) standing: Standing,
    pub(crate) digest: Digest,
    pub(crate) members: Membership,
    pub(crate) donor: Donor,
    pub(crate) blobs: Blobs,
    pub(crate) work: Work,
    pub(crate) measured: Measured,
    pub(crate) stage: Stage,
    pub(crate) pace: Pace,
    /// Exchanges that were given up in this round: their plans may yet turn out to be the committed one.
    pub(crate) shelved: Vec<Exchange>,
    pub(crate) way: Way,
    /// Endorsements that came before this peer's own commit.
    pub(crate) endorsements: BTreeMap<PeerId, Signed>,
    pub(crate) stage_since: Time,
    pub(crate) stage_until: Option<Time>,
    pub(crate) waits_on: Vec<PeerId>,
    pub(crate) retry_catchup: Time,
    /// Whether a state was taken over, and no plan carried out since: its holders are followed on, however few they are.
    pub(crate) on_the_way: bool,
    /// Who has said that it lacks what was asked for, since the last commit.
    pub(crate) lacking: Lacking,
    pub(crate) early: BTreeMap<PeerId, VecDeque<(ChunkId, u32, Digest)>>,
    speed: Speed,
    beacon_due: Time,
    sequence: u64,
    jitter: u64,
}

/// Where the peer is in its round.
#[derive(Debug)]
pub(crate) enum Stage {
    Looking,
    Gathering(Gather),
    Exchanging(Box<Exchange>, SignedPlan),
    Applying(Box<Applying>),
    CatchingUp(Box<CatchUp>),
    Loading(Box<Manifest>),
    Finished,
}

/// The outer step of a round whose result is confirmed.
#[derive(Debug)]
pub(crate) struct Applying {
    pub plan: SignedPlan,
    /// The plan's name.
    pub name: Digest,
    pub result: Digest,
    pub results: Vec<ResultChunk>,
    pub settle: Vec<Settle>,
    /// Whether this peer's tokens are among the plan's.
    pub contributed: bool,
    /// The record that others committed, if they were first.
    pub expected: Option<Record>,
}

/// Deadlines that learn.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How long a convener may take once its gather can close.
    pub overdue: Deadline,
    /// How long the data plane of an exchange may be silent.
    pub stall: Deadline,
    /// How long a donor may take for one chunk.
    pub fetch: Deadline,
}

#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    up_bytes_per_s: u64,
    down_bytes_per_s: u64,
    tokens_per_s: u64,
}

impl Session {
    /// A peer at `standing` (round 0, or what a checkpoint holds), before anything has happened.
    pub fn new(
        now: Time,
        spec: RunSpec,
        settings: Settings,
        keyring: Box<dyn Keyring>,
        standing: Standing,
    ) -> Session {
        let s = Span::from_secs;
        let pace = Pace {
            overdue: Deadline::new(s(3), s(1), s(30)), // guess
            stall: Deadline::new(s(4), s(2), s(60)),   // guess
            fetch: catchup::patience(&spec),
        };
        Session {
            run: spec.id(),
            me: keyring.id(),
            digest: standing.record.digest(),
            members: Membership::new(settings.beacon_every),
            donor: Donor::default(),
            blobs: Blobs::new(&spec, &settings, &keyring.id()),
            work: Work {
                nonce: now.0,
                first_after_restart: standing.record.round > 0,
                ..Work::default()
            },
            measured: Measured::default(),
            stage: Stage::Looking,
            pace,
            shelved: Vec::new(),
            way: Way::to(&standing.record),
            endorsements: BTreeMap::new(),
            stage_since: now,
            stage_until: None,
            waits_on: Vec::new(),
            retry_catchup: now,
            on_the_way: false,
            lacking: Lacking::new(),
            early: BTreeMap::new(),
            speed: Speed::default(),
            beacon_due: now,
            sequence: 0,
            jitter: settings.seed,
            spec,
            settings,
            keyring,
            standing,
        }
    }

    /// Everything that can happen goes in here; everything to be done comes out, in order.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Wake => self.wake(now, out),
            Input::Connected { peer } => self.connected(peer, now, out),
            Input::Disconnected { peer } => {
                self.members.disconnected(&peer, now);
                self.blobs_reconnected(&peer);
            }
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::Malformed { from, reason } => {
                self.strike(from, MALFORMED_STRIKES, reason, now, out)
            }
            Input::Arrived { from, chunk, bytes, digest } => {
                self.arrived(from, chunk, bytes, digest, now, out)
            }
            Input::Sent { to } => self.sent(&to, out),
            Input::PieceSent { to } => self.piece_sent(&to),
            Input::Holds { blob, list, pieces } => self.holds(&blob, list, &pieces),
            Input::LocalWorkReady { tokens, .. } => self.local_work_ready(tokens, now, out),
            Input::Evaluated(heldout) => self.evaluated(heldout, now, out),
            Input::Reduced { plan, index, digest } => self.reduced(plan, index, digest, now, out),
            Input::Unsound { plan, index, member, reason } => {
                self.unsound(plan, index, member, reason, now, out);
            }
            Input::Applied { round, chunks } => self.applied(round, chunks, now, out),
            Input::Loaded { round, chunks } => self.loaded(round, chunks, now, out),
            Input::Measured { up_bytes_per_s, down_bytes_per_s, tokens_per_s } => {
                self.speed = Speed { up_bytes_per_s, down_bytes_per_s, tokens_per_s };
            }
        }
        self.advance(now, out);
    }

    /// When to call [`Session::handle`] with [`Input::Wake`] if nothing happens before.
    pub fn next_wake(&self) -> Option<Time> {
        self.stage_until.into_iter().chain(self.blobs.wake()).chain([self.beacon_due]).min()
    }

    /// The last committed record.
    pub fn record(&self) -> &Record {
        &self.standing.record
    }

    /// Tokens that this peer has trained on and no committed round of its branch has counted.
    pub fn tokens_in_hand(&self) -> u64 {
        self.work.tokens() + self.work.fresh_tokens()
    }

    /// Where this peer stands.
    pub(crate) fn position(&self) -> Position {
        let record = &self.standing.record;
        Position {
            round: record.round,
            digest: self.digest,
            recent: self.recent(),
            tokens: record.tokens,
            whole: true,
        }
    }

    /// What beacons tell of the rounds before the committed one.
    pub(crate) fn recent(&self) -> Vec<Digest> {
        self.way.digests(RECENT_MAX)
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Output>) {
        if now >= self.beacon_due {
            let message = Message::Beacon(self.beacon(now));
            out.push(Output::Broadcast { message });
        }
    }

    /// Uplink and downlink, bytes per second.
    pub(crate) fn link(&self) -> (u64, u64) {
        (self.speed.up_bytes_per_s, self.speed.down_bytes_per_s)
    }

    pub(crate) fn tokens_per_s(&self) -> u64 {
        self.speed.tokens_per_s
    }

    /// A fresh beacon; the next one is due after a jittered while.
    pub(crate) fn beacon(&mut self, now: Time) -> Beacon {
        self.jitter = rng::mix(self.jitter);
        let every = self.settings.beacon_every.0;
        self.beacon_due = now + Span(every / 4 * 3 + self.jitter % (every / 2).max(1));
        self.sequence = now.0.max(self.sequence + 1);
        let record = &self.standing.record;
        let mut beacon = Beacon {
            peer: self.me,
            sequence: self.sequence,
            round: record.round,
            digest: self.digest,
            recent: self.recent(),
            tokens: record.tokens,
            tokens_per_s: self.speed.tokens_per_s,
            up_bytes_per_s: self.speed.up_bytes_per_s,
            down_bytes_per_s: self.speed.down_bytes_per_s,
            reachable: self.settings.owns,
            signature: Default::default(),
        };
        beacon.signature = self.keyring.sign(&beacon.signed_bytes(&self.run));
        beacon
    }

    fn connected(&mut self, peer: PeerId, now: Time, out: &mut Vec<Output>) {
        if !self.members.connected(&peer, now) {
            return;
        }
        if let Stage::Exchanging(exchange, _) = &mut self.stage {
            exchange.reconnected(&peer, out);
        }
        if let Stage::CatchingUp(catchup) = &mut self.stage {
            catchup.requests.reconnected(&peer);
        }
        self.blobs_reconnected(&peer);
        let message = Message::Beacon(self.beacon(now));
        out.push(Output::Send { to: peer, message });
        self.repeat_ready(&peer, out);
    }

    fn received(&mut self, from: PeerId, message: Message, now: Time, out: &mut Vec<Output>) {
        if self.members.heard(from, now).is_none() || from == self.me {
            return;
        }
        match message {
            Message::Beacon(beacon) => self.take_beacon(from, beacon, now, out),
            Message::WantSpec => {
                out.push(Output::Send { to: from, message: Message::Spec(to_cbor(&self.spec)) })
            }
            Message::Ready(ready) => self.take_ready(from, ready, now, out),
            Message::Plan(plan) => self.take_plan(from, plan, now, out),
            Message::Survey(survey) => self.with_exchange(&survey.plan, |x| {
                x.surveyed(from, &survey, now, out);
                Ok(())
            }),
            Message::Holding(holding) => self.with_exchange(&holding.plan, |x| {
                x.answered(from, &holding, now, out);
                Ok(())
            }),
            Message::Amend(amendment) => {
                self.judge(from, now, out, |s, out| match s.exchange_of(&amendment.plan) {
                    Some(exchange) => exchange.amended(from, &amendment, now, out),
                    None => Ok(()),
                });
            }
            Message::Want(want) => self.take_want(from, &want, now, out),
            Message::Confirm(confirm) => self.take_confirm(from, &confirm, now, out),
            Message::Signed(signed) => self.take_signed(from, signed, now, out),
            Message::WantRound { digest } => {
                let found = self.donor.round(&digest).cloned();
                let message =
                    found.map_or(Message::Gone { digest }, |c| Message::Round(Box::new(c)));
                out.push(Output::Send { to: from, message });
            }
            Message::WantManifest { digest } => {
                let held = (&self.standing, &self.way);
                let message = self.donor.manifest(from, digest, held, &self.members, now);
                out.push(Output::Send { to: from, message });
            }
            Message::Round(committed) => self.take_round(from, *committed, now, out),
            Message::Manifest(manifest) => self.take_manifest(from, *manifest, now, out),
            Message::Busy { retry_ms } => self.take_busy(&from, retry_ms, now),
            Message::WantList { blob } => self.tell_of_blob(from, blob, true, out),
            Message::WantHeld { blob } => self.tell_of_blob(from, blob, false, out),
            Message::List(list) => self.take_list(from, *list, now, out),
            Message::Held(held) => self.take_held(from, &held, now, out),
            Message::Gone { digest } => {
                if !self.blobs.take_gone(&from, &digest, now) {
                    self.take_gone(&from);
                }
            }
            Message::Spec(_) => {}
            Message::Refusal { reason } => {
                out.push(Output::Note(Note::Strike { peer: from, reason }))
            }
        }
    }

    fn take_beacon(&mut self, from: PeerId, beacon: Beacon, now: Time, out: &mut Vec<Output>) {
        let signed = beacon.signed_bytes(&self.run);
        if beacon.peer == self.me {
            return;
        }
        if !self.keyring.verify(&beacon.peer, &signed, &beacon.signature) {
            return self.strike(from, 1, "sent a beacon with a wrong signature".into(), now, out);
        }
        let peer = beacon.peer;
        let before =
            self.members.get(&peer).and_then(|entry| entry.beacon.as_ref().map(|b| b.sequence));
        if self.members.beacon(beacon, now) {
            self.members.gap(&peer, before);
        }
    }

    fn take_signed(&mut self, from: PeerId, signed: Signed, now: Time, out: &mut Vec<Output>) {
        let bytes = Record::signed_bytes(&self.run, signed.round, &signed.digest);
        if !self.keyring.verify(&from, &bytes, &signed.signature) {
            return self.strike(
                from,
                1,
                "endorsed a record with a wrong signature".into(),
                now,
                out,
            );
        }
        self.members.stands_on(&from, (signed.round, signed.digest), Some(signed.parent));
        if signed.digest == self.digest {
            let Signed { round, signature, .. } = signed;
            out.push(Output::Endorsed { round, peer: from, signature });
        } else if signed.round > self.standing.record.round {
            self.endorsements.insert(from, signed);
        }
    }

    fn take_want(&mut self, from: PeerId, want: &Want, now: Time, out: &mut Vec<Output>) {
        if want.kind == ChunkKind::Piece {
            return self.want_pieces(from, want, now, out);
        }
        if want.kind == ChunkKind::State {
            return self.donor.state(from, want, &self.standing, &self.members, now, out);
        }
        match self.exchange_of(&want.of) {
            Some(exchange) => exchange.wanted(&from, want, out),
            None if want.kind == ChunkKind::Result => self.donor.results(from, want, out),
            None => {}
        }
    }

    /// The exchange that is under way, if it is of this plan.
    pub(crate) fn exchange_of(&mut self, plan: &Digest) -> Option<&mut Exchange> {
        match &mut self.stage {
            Stage::Exchanging(exchange, _) if exchange.id == *plan => Some(exchange),
            _ => None,
        }
    }

    fn with_exchange(
        &mut self,
        plan: &Digest,
        act: impl FnOnce(&mut Exchange) -> Result<(), &'static str>,
    ) {
        if let Some(exchange) = self.exchange_of(plan) {
            let _ = act(exchange);
        }
    }

    /// Does something that a peer asked for; what is wrong with it counts against the peer.
    fn judge(
        &mut self,
        from: PeerId,
        now: Time,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Session, &mut Vec<Output>) -> Result<(), &'static str>,
    ) {
        if let Err(reason) = act(self, out) {
            self.strike(from, 1, reason.into(), now, out);
        }
    }

    fn sent(&mut self, to: &PeerId, out: &mut Vec<Output>) {
        if let Stage::Exchanging(exchange, _) = &mut self.stage {
            exchange.sent(to, out);
        }
    }

    fn reduced(
        &mut self,
        plan: Digest,
        index: u32,
        digest: Digest,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if let Some(exchange) = self.exchange_of(&plan) {
            exchange.reduced(index, digest, now, out);
        }
    }

    fn unsound(
        &mut self,
        plan: Digest,
        index: u32,
        member: u8,
        reason: String,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let liar =
            self.exchange_of(&plan).and_then(|exchange| exchange.unsound(index, member, out));
        if let Some(peer) = liar {
            self.strike(peer, 2, format!("contributed {reason}"), now, out);
        }
    }

    /// Counts a misdeed; a peer with too many is refused.
    pub(crate) fn strike(
        &mut self,
        peer: PeerId,
        weight: u32,
        reason: String,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Note(Note::Strike { peer, reason: reason.clone() }));
        self.members.heard(peer, now);
        if self.members.strike(&peer, weight, now) {
            out.push(Output::Send {
                to: peer,
                message: Message::Refusal { reason: reason.clone() },
            });
            out.push(Output::Refuse { peer, reason });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
