//! When the whole mesh stops, decided once for everybody: a pure function of the ledger.
//!
//! Every so many rounds each member measures the held-out loss of the committed parameters and says so in its word of readiness.
//! Floats differ from machine to machine, so these values nearly agree and no more. The plan carries them, each member holds the
//! plan against what it said itself, and the record's loss is their *weighted median* by the plan's weight: of those who speak of
//! one and the same record, if they hold two thirds of the weight. Members who hold less than a third of it can therefore not move
//! it beyond what the others measured. What few have measured in time stays open and is decided in a later round.
//!
//! The record holds where the rule stands, so whoever fetches a whole state knows it too, and each comes to the same end in the
//! same round. Losses are whole millionths of a nat: what is compared has the same bits everywhere, and no value is not a number.

use crate::id::{Digest, Round};
use crate::ledger::Record;
use crate::run::{RunSpec, StopSpec};
use crate::wire::{Member, Plan};
use serde::{Deserialize, Serialize};

/// A held-out loss in millionths of a nat per token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Loss(pub u32);

impl Loss {
    /// The largest that is told, 1000 nats: what is larger, or no number, counts as this.
    pub const MAX: Loss = Loss(1_000_000_000);

    /// The nearest to so many nats.
    pub fn of(nats: f64) -> Loss {
        match (nats * 1e6).round() {
            micro if micro <= f64::from(Loss::MAX.0) => Loss(micro.max(0.0) as u32),
            _ => Loss::MAX,
        }
    }

    /// In nats.
    pub fn nats(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4}", self.nats())
    }
}

/// The held-out loss of a committed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heldout {
    /// The round that ended with the state.
    pub round: Round,
    /// Digest of the record that commits to it.
    pub of: Digest,
    /// What was measured.
    pub loss: Loss,
}

/// Where the rule stands after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// What was decided last.
    pub last: Heldout,
    /// In which round.
    pub decided: Round,
    /// The lowest loss so far.
    pub best: Heldout,
    /// From where a gain is measured: the loss that the last gain led to.
    pub mark: Loss,
    /// Evaluations since then.
    pub idle: u32,
}

impl Plateau {
    /// The rule one evaluation further, which a record of `round` holds.
    fn after(before: Option<&Plateau>, spec: &StopSpec, last: Heldout, round: Round) -> Plateau {
        let gain = Loss::of(f64::from(spec.min_gain)).0.max(1);
        let Some(before) = before else {
            return Plateau { last, decided: round, best: last, mark: last.loss, idle: 0 };
        };
        let gained = last.loss.0.saturating_add(gain) <= before.mark.0;
        Plateau {
            last,
            decided: round,
            best: if last.loss < before.best.loss { last } else { before.best },
            mark: if gained { last.loss } else { before.mark },
            idle: if gained { 0 } else { before.idle.saturating_add(1) },
        }
    }

    /// Whether a run ends here.
    pub fn is_end(&self, spec: &StopSpec) -> bool {
        spec.patience > 0 && self.idle >= spec.patience
    }
}

/// The rule after a plan was carried out on top of a record whose rule is `before`.
pub(crate) fn after(spec: &RunSpec, before: Option<&Plateau>, plan: &Plan) -> Option<Plateau> {
    let stop = spec.stop.as_ref()?;
    match decided(before, plan) {
        Some(last) => Some(Plateau::after(before, stop, last, plan.round)),
        None => before.copied(),
    }
}

/// What the members' words come to: the weighted median, if enough of them speak of one state that is not decided yet.
fn decided(before: Option<&Plateau>, plan: &Plan) -> Option<Heldout> {
    let weightless = !plan.trained();
    let weight = |member: &Member| if weightless { 1 } else { u128::from(member.tokens) };
    let all: u128 = plan.members.iter().map(weight).sum();
    let known = before.map_or(0, |before| before.last.round);
    let told = plan.members.iter().filter_map(|m| Some((m.heldout?, weight(m))));
    let mut told: Vec<(Heldout, u128)> =
        told.filter(|(heldout, _)| heldout.round > known).collect();
    told.sort_by_key(|(heldout, _)| (heldout.round, heldout.of, heldout.loss));
    let one_state =
        |a: &(Heldout, u128), b: &(Heldout, u128)| (a.0.round, a.0.of) == (b.0.round, b.0.of);
    told.chunk_by(one_state).find_map(|told| {
        let of_it: u128 = told.iter().map(|(_, weight)| weight).sum();
        (3 * of_it >= 2 * all && of_it > 0).then(|| median(told, of_it))?
    })
}

/// The lower weighted median of what is in order of loss; `None` of nothing.
fn median(told: &[(Heldout, u128)], all: u128) -> Option<Heldout> {
    let mut below = 0;
    let mut reached = |weight: u128| {
        below += weight;
        2 * below >= all
    };
    told.iter().find(|(_, weight)| reached(*weight)).map(|(heldout, _)| *heldout)
}

impl RunSpec {
    /// Whether the run is over with this record: its last round, or its loss has stood still for long enough.
    pub fn is_over(&self, record: &Record) -> bool {
        record.round >= self.rounds || self.has_stopped(record)
    }

    /// Whether the loss has stood still for long enough with this record.
    pub fn has_stopped(&self, record: &Record) -> bool {
        let stop = self.stop.as_ref().zip(record.plateau.as_ref());
        stop.is_some_and(|(stop, plateau)| plateau.is_end(stop))
    }

    /// Whether a record lies beyond the run's end: no honest peer makes one.
    pub fn is_beyond(&self, record: &Record) -> bool {
        let went_on = |plateau: &Plateau| plateau.decided < record.round;
        let stopped = self.has_stopped(record) && record.plateau.as_ref().is_some_and(went_on);
        record.round > self.rounds || stopped
    }

    /// Whether a member may say this of a held-out loss towards `round`.
    pub(crate) fn may_tell(&self, heldout: &Heldout, round: Round) -> bool {
        let evaluates = |stop: &StopSpec| stop.evaluates(heldout.round);
        self.stop.as_ref().is_some_and(evaluates) && heldout.round < round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    const STOP: StopSpec =
        StopSpec { every: 2, patience: 2, min_gain: 0.01, sequences: 8, ema: 0.0 };

    fn heldout(round: Round, micro: u32) -> Heldout {
        Heldout { round, of: Digest([round as u8; 32]), loss: Loss(micro) }
    }

    /// Members by tokens and what they say.
    fn plan(members: &[(u64, Option<Heldout>)]) -> Plan {
        let member = |(n, (tokens, heldout)): (usize, &(u64, Option<Heldout>))| Member {
            peer: PeerId([n as u8; 32]),
            tokens: *tokens,
            wants: 0,
            nonce: 0,
            leases: 1,
            heldout: *heldout,
            chunks: 0,
        };
        Plan {
            run: Default::default(),
            round: 9,
            base: Digest::default(),
            attempt: 0,
            convener: PeerId::default(),
            members: members.iter().enumerate().map(member).collect(),
            lost: vec![],
        }
    }

    #[test]
    fn losses_are_whole_millionths_and_always_numbers() {
        let rows = [(1.25, 1_250_000), (-3.0, 0), (f64::NAN, 1_000_000_000), (1e30, 1_000_000_000)];
        for (nats, micro) in rows {
            assert_eq!(Loss::of(nats), Loss(micro), "{nats}");
        }
        assert_eq!(Loss(1_234_560).to_string(), "1.2346");
    }

    /// A liar of less than a third cannot move the median beyond what the others say, whatever it says.
    #[test]
    fn the_weighted_median_lies_among_the_honest() {
        for lie in [0, 1_000_000_000] {
            let members = [
                (30, Some(heldout(8, 11))),
                (32, Some(heldout(8, lie))),
                (38, Some(heldout(8, 13))),
            ];
            let loss = decided(None, &plan(&members)).map(|heldout| heldout.loss.0);
            assert!(matches!(loss, Some(11..=13)), "{loss:?}");
        }
        let lower = [(1, Some(heldout(8, 5))), (1, Some(heldout(8, 7)))];
        assert_eq!(decided(None, &plan(&lower)), Some(heldout(8, 5)));
    }

    #[test]
    fn less_than_two_thirds_of_one_state_decide_nothing() {
        let (here, there) = (heldout(8, 5), Heldout { of: Digest([77; 32]), ..heldout(8, 5) });
        let rows = [
            (vec![(2, Some(here)), (1, None)], Some(here)),
            (vec![(199, Some(here)), (101, None)], None),
            (vec![(1, Some(here)), (1, Some(there))], None),
            (vec![(1, Some(here)), (2, Some(there))], Some(there)),
            (vec![(0, Some(here)), (0, Some(here)), (0, None)], Some(here)),
            (vec![(0, Some(here)), (5, None)], None),
            (vec![(1, None)], None),
        ];
        for (members, expected) in rows {
            assert_eq!(decided(None, &plan(&members)), expected, "{members:?}");
        }
        let known = Plateau::after(None, &STOP, heldout(8, 5), 9);
        assert_eq!(decided(Some(&known), &plan(&[(1, Some(here))])), None);
    }

    /// Losses in thousandths of a nat, one an evaluation; what is best and how long there was no gain after each.
    #[test]
    fn small_gains_add_up_to_one_and_the_lowest_is_the_best() {
        let losses = [900, 895, 889, 895, 888, 880, 878];
        let expected = [(900, 0), (895, 1), (889, 0), (889, 1), (888, 2), (880, 3), (878, 0)];
        let mut plateau = None;
        for (round, (loss, (best, idle))) in (1..).zip(losses.into_iter().zip(expected)) {
            let next =
                Plateau::after(plateau.as_ref(), &STOP, heldout(round, loss * 1000), round + 1);
            assert_eq!((next.best.loss.0 / 1000, next.idle), (best, idle), "after {loss}");
            assert_eq!(next.is_end(&STOP), idle >= 2);
            plateau = Some(next);
        }
    }

    #[test]
    fn a_record_after_the_stop_lies_beyond_the_end() {
        let spec = RunSpec { stop: Some(STOP), ..crate::session::tests::spec() };
        let flat = Plateau { idle: 2, ..Plateau::after(None, &STOP, heldout(4, 7), 6) };
        let genesis = Record::genesis(spec.id(), Digest::default());
        let at = |round, plateau| Record { round, plateau, ..genesis.clone() };
        let told = |record: &Record| (spec.is_over(record), spec.is_beyond(record));
        assert_eq!(told(&at(6, Some(flat))), (true, false));
        assert_eq!(told(&at(7, Some(flat))), (true, true));
        assert_eq!(told(&at(7, Some(Plateau { idle: 1, ..flat }))), (false, false));
        assert_eq!(told(&at(100, None)), (true, false));
        assert_eq!(told(&at(101, None)), (true, true));
        let never = RunSpec { stop: Some(StopSpec { patience: 0, ..STOP }), ..spec };
        assert!(!never.is_over(&at(6, Some(flat))));
    }
}
