//! The way that led to the committed record, and what a peer offers when it leaves a branch of its own for a heavier one (L4).
//!
//! A branch's parameters are where its members' work has led. Whoever leaves it takes their difference from the new branch's as
//! its pseudo-gradient, as after a round of local work: what both branches have in common cancels out. It is scaled so that all
//! members of the branch together move the parameters to the mean of both branches by tokens, as parameter averaging does
//! (McMahan et al., arXiv 1602.05629), and weighs what this peer gave to the branch.

use crate::event::Output;
use crate::id::{Digest, Round};
use crate::ledger::Record;
use crate::sabotage::{Bug, planted};
use crate::session::Session;
use crate::wire::{Manifest, Milestone, WAY_MAX};
use crate::work::{Piece, tokens};
use std::collections::VecDeque;

/// The rounds before the committed one, the latest first; at most [`WAY_MAX`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    milestones: VecDeque<Milestone>,
    /// What this peer gave to the committed round, and to each before it.
    given: VecDeque<Vec<Piece>>,
}

/// What a peer gave to a branch since it forked from another which does not count it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// What this peer gave.
    pub given: Vec<Piece>,
    /// The branch's part of the tokens that both branches have counted since.
    pub share: f32,
}

impl Way {
    /// The way to a record of which only its parent is known.
    pub fn to(record: &Record) -> Way {
        Way::along(vec![Milestone { digest: record.parent, ..Milestone::default() }])
    }

    /// A way that somebody else has gone.
    pub fn along(milestones: Vec<Milestone>) -> Way {
        let given = std::iter::repeat_n(Vec::new(), milestones.len() + 1).collect();
        Way { milestones: milestones.into(), given }
    }

    /// One round further: from `before`, with this work of this peer's in the new record.
    pub fn goes_on(&mut self, before: Milestone, given: Vec<Piece>) {
        self.milestones.push_front(before);
        self.given.push_front(given);
        self.milestones.truncate(WAY_MAX);
        self.given.truncate(WAY_MAX + 1);
    }

    /// Digests of the last rounds, the latest first; at most so many.
    pub fn digests(&self, most: usize) -> Vec<Digest> {
        self.milestones.iter().take(most).map(|milestone| milestone.digest).collect()
    }

    /// Whether a digest is among the last rounds, of which at most so many count.
    pub fn has(&self, digest: &Digest, most: usize) -> bool {
        self.milestones.iter().take(most).any(|milestone| milestone.digest == *digest)
    }

    /// The milestones before a record on this way; all of them if it is not on it.
    pub fn before(&self, digest: &Digest) -> Vec<Milestone> {
        let at = self.milestones.iter().position(|milestone| milestone.digest == *digest);
        self.milestones.iter().skip(at.map_or(0, |at| at + 1)).copied().collect()
    }

    /// What this peer gave since the last record that `here` and the other branch's record have in common; `None` if it
    /// gave nothing, or if nobody remembers where they part.
    pub fn offer(&self, here: &Record, there: &Manifest) -> Option<Offer> {
        let mine = |round: Round| at(&self.milestones, here, round);
        let theirs = |round: Round| at(there.way.iter(), &there.record, round);
        let common = |round: &Round| matches!((mine(*round), theirs(*round)), (Some(a), Some(b)) if a.digest == b.digest);
        let fork = (0..=here.round.min(there.record.round)).rev().take(WAY_MAX + 1).find(common)?;
        let rounds = (here.round - fork) as usize;
        let given = self.given.iter().take(rounds).flatten();
        let given: Vec<Piece> = given.filter(|piece| !piece.is_counted(there)).cloned().collect();
        let since = |record: &Record, from: Option<Milestone>| {
            record.tokens.saturating_sub(from.map_or(0, |from| from.tokens)) as f64
        };
        let (ours, others) = (since(here, mine(fork)), since(&there.record, theirs(fork)));
        (!given.is_empty())
            .then(|| Offer { given, share: (ours / (ours + others).max(1.0)) as f32 })
    }
}

/// Where a way to `record` was in a round.
fn at<'a>(
    way: impl IntoIterator<Item = &'a Milestone>,
    record: &Record,
    round: Round,
) -> Option<Milestone> {
    match record.round.checked_sub(round)? {
        0 => Some(Milestone::of(record)),
        back => way.into_iter().nth(back as usize - 1).copied(),
    }
}

impl Session {
    /// What this peer gave to the branch that it is about to leave for another, if it leaves one.
    pub(crate) fn offer_to(&self, manifest: &Manifest) -> Option<Offer> {
        let offer = self.way.offer(&self.standing.record, manifest);
        offer.filter(|_| !planted(Bug::OfferDropped))
    }

    /// Before the other branch's state is committed: its difference from this one's becomes this peer's pseudo-gradient,
    /// with what is in hand.
    pub(crate) fn take_along(&mut self, offer: Offer, out: &mut Vec<Output>) {
        let (in_hand, given) = (self.work.tokens(), tokens(&offer.given));
        out.push(Output::TakeAlong { share: offer.share, given, tokens: in_hand });
        if planted(Bug::OfferTwice) {
            self.work.pieces.extend(offer.given.iter().cloned());
        }
        self.work.pieces.extend(offer.given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;

    fn record(round: Round, tokens: u64, salt: u8) -> Record {
        let genesis = Record::genesis(RunId::default(), Digest([salt; 32]));
        Record { round, tokens, plan: Digest([salt + round as u8; 32]), included: 0b10, ..genesis }
    }

    fn piece(plans: &[u8]) -> Piece {
        let plans = plans.iter().map(|plan| (Digest([*plan; 32]), 1)).collect();
        Piece { tokens: 40, lease: Vec::new(), plans }
    }

    /// A branch of three rounds of 100 tokens, 40 of them this peer's, and one of rounds of 300 that leaves it after the first.
    #[test]
    fn what_was_given_since_the_fork_is_offered() {
        let mine: Vec<Record> = (0..4).map(|round| record(round, 100 * round, 1)).collect();
        let mut way = Way::default();
        way.given.push_front(Vec::new());
        for (before, plan) in mine[..3].iter().zip([2, 3, 4]) {
            way.goes_on(Milestone::of(before), vec![piece(&[plan])]);
        }
        let theirs: Vec<Record> =
            (2..5).map(|round| record(round, 100 + 300 * (round - 1), 10)).collect();
        let there = |n: usize| {
            let way =
                theirs[..n].iter().rev().chain(mine[..2].iter().rev()).map(Milestone::of).collect();
            Manifest { record: theirs[n].clone(), chunks: Vec::new(), way }
        };
        let given = vec![piece(&[4]), piece(&[3])];
        let offer = |share| Some(Offer { given: given.clone(), share });
        assert_eq!(way.offer(&mine[3], &there(0)), offer(0.4));
        assert_eq!(way.offer(&mine[3], &there(2)), offer(200.0 / 1100.0));
        let mut forgotten = there(2);
        forgotten.way.truncate(2);
        assert_eq!(way.offer(&mine[3], &forgotten), None);
        assert_eq!(way.before(&mine[1].digest()), [Milestone::of(&mine[0])]);
    }

    /// The plan of the round after the fork was given up here, and carried out there.
    #[test]
    fn what_the_other_branch_counts_is_not_offered() {
        let root = record(1, 100, 1);
        let (mine, theirs) = (record(2, 200, 1), record(2, 400, 10));
        let mut way = Way::default();
        way.goes_on(Milestone::of(&root), vec![piece(&[12, 3])]);
        let way_there = vec![Milestone::of(&root)];
        let there = Manifest { record: theirs.clone(), chunks: Vec::new(), way: way_there };
        assert_eq!(way.offer(&mine, &there), None);
        let later = record(3, 700, 10);
        let way_there = vec![Milestone::of(&theirs), Milestone::of(&root)];
        let there = Manifest { record: later, chunks: Vec::new(), way: way_there };
        assert_eq!(way.offer(&mine, &there), None);
        // It was carried out without this peer's work.
        let left_out = Record { included: 0b101, ..theirs };
        let way_there = vec![Milestone::of(&root)];
        let there = Manifest { record: left_out, chunks: Vec::new(), way: way_there };
        let given = vec![piece(&[12, 3])];
        assert_eq!(way.offer(&mine, &there), Some(Offer { given, share: 0.25 }));
    }

    #[test]
    fn nothing_is_offered_to_the_own_branch() {
        let records: Vec<Record> = (0..6).map(|round| record(round, 100 * round, 1)).collect();
        let mut way = Way::default();
        for before in &records[..3] {
            way.goes_on(Milestone::of(before), vec![piece(&[])]);
        }
        let way_there = records[..5].iter().rev().map(Milestone::of).collect();
        let there = Manifest { record: records[5].clone(), chunks: Vec::new(), way: way_there };
        assert_eq!(way.offer(&records[3], &there), None);
    }
}
