//! What this peer has measured of committed states, and what it says of it; see [`plateau`](crate::plateau).

use crate::event::Output;
use crate::id::{Digest, PeerId};
use crate::ledger::Record;
use crate::plateau::Heldout;
use crate::sabotage::{Bug, planted};
use crate::session::Session;
use crate::time::Time;
use crate::wire::{Plan, Ready, WAY_MAX};
use std::collections::VecDeque;

/// Measurements that are remembered: a plan may still tell what this peer said before it measured the next state.
const KEPT: usize = 4;

/// What was asked for, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Digest of the record whose state is being measured, or was.
    asked: Option<Digest>,
    /// The newest last.
    all: VecDeque<Heldout>,
}

impl Session {
    /// Whether the run is over with the committed record.
    pub(crate) fn is_over(&self) -> bool {
        let record = &self.standing.record;
        if planted(Bug::OwnLoss) && self.spec.has_stopped(record) {
            let best = record.plateau.map(|plateau| plateau.best.loss);
            return self.measured.all.back().map(|mine| mine.loss) >= best;
        }
        self.spec.is_over(record)
    }

    /// The record that follows from the committed one.
    pub(crate) fn next_record(
        &self,
        plan: (Digest, &Plan),
        result: (Digest, u64),
        state: Digest,
    ) -> Record {
        let mut next = self.standing.record.next(&self.spec, self.digest, plan, result, state);
        if planted(Bug::OwnMedian)
            && let (Some(plateau), Some(mine)) = (&mut next.plateau, self.measured.all.back())
            && plateau.last.of == mine.of
        {
            plateau.last = *mine;
        }
        next
    }

    /// Has the committed state measured, once, if it is its turn.
    pub(crate) fn evaluate(&mut self, out: &mut Vec<Output>) {
        let (round, of) = (self.standing.record.round, self.digest);
        let due = self.spec.stop.as_ref().is_some_and(|stop| stop.evaluates(round));
        if due && self.settings.trains && self.measured.asked.replace(of) != Some(of) {
            out.push(Output::Evaluate { round, of });
        }
    }

    /// A state was measured. Whoever has said already that it is ready says so again, if it could tell no loss then.
    pub(crate) fn evaluated(&mut self, heldout: Heldout, now: Time, out: &mut Vec<Output>) {
        if self.measured.all.len() == KEPT {
            self.measured.all.pop_front();
        }
        self.measured.all.push_back(heldout);
        if self.has_said_ready() && self.work.heldout.is_none() {
            self.work.heldout = self.measured_now();
            self.repeat_ready_to_all(now, out);
        }
    }

    /// The newest measurement of a state on this peer's way whose loss is not decided.
    pub(crate) fn measured_now(&self) -> Option<Heldout> {
        let known = self.standing.record.plateau.map_or(0, |plateau| plateau.last.round);
        let here = |of: &Digest| *of == self.digest || self.way.has(of, WAY_MAX);
        let mut all = self.measured.all.iter().rev();
        all.find(|heldout| heldout.round > known && here(&heldout.of)).copied()
    }

    /// Whether a plan may say this of what this peer measured: nothing, or what it did measure.
    pub(crate) fn has_measured(&self, told: Option<&Heldout>) -> bool {
        told.is_none_or(|told| self.measured.all.contains(told))
    }

    /// Takes a loss out of a word of readiness that nobody can have measured: a plan that told it would be refused.
    pub(crate) fn judge_heldout(
        &mut self,
        from: PeerId,
        ready: &mut Ready,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let sound = |heldout: &Heldout| self.spec.may_tell(heldout, ready.round);
        if ready.heldout.as_ref().is_some_and(|heldout| !sound(heldout)) {
            ready.heldout = None;
            let reason = "tells the held-out loss of a state that is not evaluated";
            self.strike(from, 1, reason.into(), now, out);
        }
    }
}
