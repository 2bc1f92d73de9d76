//! Local work: when a peer trains, what it trained until a committed round counts it, and which plans that was given to.

use crate::event::Output;
use crate::exchange::MemberIndex;
use crate::id::Digest;
use crate::ledger::Lease;
use crate::plateau::Heldout;
use crate::sabotage::{Bug, planted};
use crate::session::Session;
use crate::time::{Span, Time};
use crate::wire::{Manifest, Ready, WANTS_MAX};
use std::ops::Range;

/// Local work.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Since when it is under way.
    pub training_since: Option<Time>,
    /// On what.
    pub training_on: Vec<Range<u64>>,
    /// Whether what there is to train on waits for its data.
    pub lacks: bool,
    /// How long it took last time.
    pub took: Span,
    /// What the workspace's delta was trained on, which no committed round has.
    pub pieces: Vec<Piece>,
    /// What was trained since something was last offered: not in the delta yet. Only where local parameters outlast rounds.
    pub fresh: Vec<Piece>,
    /// Since when it is done and nothing has been committed, however often the gather began again.
    pub ready_since: Option<Time>,
    /// Samples asked for with the last word of readiness.
    pub wants: u32,
    /// What the last word of readiness said of a committed state's loss.
    pub heldout: Option<Heldout>,
    /// Whether nothing has been committed since a restart: an earlier life may have sent what the residuals still hold.
    pub first_after_restart: bool,
    /// When what would be contributed last changed: it names the content.
    pub nonce: u64,
}

impl Work {
    /// Tokens that the workspace's delta was trained on.
    pub fn tokens(&self) -> u64 {
        tokens(&self.pieces)
    }

    /// Tokens of what is not in the delta yet.
    pub fn fresh_tokens(&self) -> u64 {
        tokens(&self.fresh)
    }

    /// What there is to train on of a lease, if any: it may go on into the one that follows.
    fn untrained<'a>(&self, lease: &'a Lease) -> Option<&'a [Range<u64>]> {
        let trained = |ranges: &[Range<u64>]| {
            let done = self.pieces.iter().chain(&self.fresh).any(|piece| piece.lease == ranges);
            done && !planted(Bug::TrainsAgain)
        };
        [&lease.ranges, &lease.then]
            .into_iter()
            .map(Vec::as_slice)
            .find(|ranges| !ranges.is_empty() && *ranges != self.training_on && !trained(ranges))
    }

    /// How many leases are finished when what is offered is counted.
    pub fn finishes(&self, lease: Option<&Lease>) -> u8 {
        let then = lease.map_or(&[][..], |lease| &lease.then);
        let both = !then.is_empty() && self.pieces.iter().any(|piece| piece.lease == then);
        if both { 2 } else { 1 }
    }
}

/// Most plans that are remembered of one piece of work. Only those of one round are likely to be carried out apart.
const PLANS_MAX: usize = 64;

/// Local work of one lease. Others may carry out a plan that this peer has given up: whoever leaves a branch that counts its
/// work for one that counts it as well has nothing to offer (S1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Tokens that it was trained on.
    pub tokens: u64,
    /// The samples.
    pub lease: Vec<Range<u64>>,
    /// The plans that it was given to, in order, and which of their members this peer was.
    pub plans: Vec<(Digest, MemberIndex)>,
}

impl Piece {
    /// The work is given to one more plan.
    pub fn given_to(&mut self, plan: Digest, me: MemberIndex) {
        if self.plans.len() == PLANS_MAX {
            self.plans.remove(0);
        }
        self.plans.push((plan, me));
    }

    /// Whether it was given to this plan.
    pub fn is_given_to(&self, plan: &Digest) -> bool {
        self.plans.iter().any(|(given, _)| given == plan)
    }

    /// Whether the way to a state counts it.
    pub fn is_counted(&self, there: &Manifest) -> bool {
        let tip = (there.record.plan, there.record.included);
        let way = there.way.iter().map(|milestone| (milestone.plan, milestone.included));
        let counts = |(plan, included): (Digest, u64)| {
            self.plans.iter().any(|(given, me)| *given == plan && included & (1 << me) != 0)
        };
        std::iter::once(tip).chain(way).any(counts)
    }
}

/// Tokens of all pieces.
pub(crate) fn tokens(pieces: &[Piece]) -> u64 {
    pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.tokens))
}

impl Session {
    /// Trains on what this peer has leased, unless that is done or under way.
    pub(crate) fn train(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.work.training_since.is_some() || !self.settings.trains || self.is_over() {
            return;
        }
        let lease = self.standing.record.cursor.lease(&self.me);
        let untrained = lease.and_then(|lease| self.work.untrained(lease)).map(<[_]>::to_vec);
        self.work.lacks = untrained.as_ref().is_some_and(|lease| self.lacks_data(lease));
        if let Some(lease) = untrained.filter(|_| !self.work.lacks || planted(Bug::TrainsBlind)) {
            self.work.training_since = Some(now);
            self.work.training_on.clone_from(&lease);
            out.push(Output::Train { round: self.standing.record.round + 1, lease });
        }
    }

    /// The data may have come that training waits for; or another has trained, so that this round is worth going on with.
    pub(crate) fn look_for_data(&mut self, now: Time, out: &mut Vec<Output>) {
        if !self.work.lacks {
            return;
        }
        let free = self.work.training_since.is_none();
        if free && (self.spec.strategy.overlaps() || self.work.tokens() == 0) {
            self.train(now, out);
        }
        if self.work.training_since.is_none() && !self.has_said_ready() && !self.holds_back(now) {
            self.say_ready(now, out);
        }
    }

    /// A round begins: who has nothing to train on is ready at once, unless it holds back.
    pub(crate) fn be_ready_unless_training(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.work.training_since.is_none() && !self.holds_back(now) {
            self.say_ready(now, out);
            self.stage_until = Some(now);
        }
    }

    /// Whoever lacks the data of its lease holds nobody up, and hurries nobody: it is ready as soon as another is that has trained. A
    /// round in which nobody trains would be one of the run's rounds for nothing.
    pub(crate) fn holds_back(&self, now: Time) -> bool {
        let next = self.standing.record.round + 1;
        let trained =
            |ready: &Ready| ready.round == next && ready.base == self.digest && ready.tokens > 0;
        let others = || self.members.living(now).filter_map(|(_, peer)| peer.ready.as_ref());
        self.work.lacks && self.work.tokens() == 0 && !others().any(trained)
    }

    /// The trainer is done; its delta lies in the workspace, whatever round is being gathered now.
    pub(crate) fn local_work_ready(&mut self, tokens: u64, now: Time, out: &mut Vec<Output>) {
        let Some(since) = self.work.training_since.take() else { return };
        self.work.took = now.since(since);
        let lease = std::mem::take(&mut self.work.training_on);
        let runs_on = self.spec.strategy.runs_on();
        let done = if runs_on { &mut self.work.fresh } else { &mut self.work.pieces };
        if tokens > 0 {
            done.push(Piece { tokens, lease, plans: Vec::new() });
        }
        if !runs_on {
            self.work.nonce = now.0;
        }
        if !runs_on || !self.has_said_ready() {
            self.say_ready(now, out);
        }
        // What has come to nothing is tried again with the next round.
        if tokens > 0 && self.spec.strategy.overlaps() {
            self.train(now, out);
        }
    }

    /// What has been trained since the last time is offered to the round that is being gathered.
    pub(crate) fn offer_fresh(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.work.fresh.is_empty() {
            return;
        }
        self.work.pieces.append(&mut self.work.fresh);
        self.work.nonce = now.0;
        out.push(Output::Offer { round: self.standing.record.round + 1 });
    }

    /// Samples for the next lease: a fixed number of steps, or as many as fit the round's time at the measured speed.
    pub(crate) fn samples_wanted(&self) -> u32 {
        let (inner, context) = (&self.spec.inner, u64::from(self.spec.model.context));
        if !self.settings.trains {
            return 0;
        }
        let speed = self.tokens_per_s();
        let steps = if inner.round_ms == 0 || speed == 0 {
            u64::from(inner.steps)
        } else {
            (speed.saturating_mul(inner.round_ms) / 1_000 / (u64::from(inner.batch) * context))
                .max(1)
        };
        steps.saturating_mul(u64::from(inner.batch)).min(u64::from(WANTS_MAX)) as u32
    }

    /// Takes the pieces of work that a plan has counted: all, but for what was offered since it was given up by this peer.
    pub(crate) fn given_to(&mut self, plan: &Digest) -> Vec<Piece> {
        let pieces = std::mem::take(&mut self.work.pieces);
        if !self.spec.strategy.runs_on() {
            return pieces;
        }
        let (given, kept) = pieces.into_iter().partition(|piece| piece.is_given_to(plan));
        self.work.pieces = kept;
        given
    }
}
