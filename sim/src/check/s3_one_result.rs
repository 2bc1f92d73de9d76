//! S3: two different results for one plan never both commit (PROTOCOL, Promises).

use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::invariant;
use shoal_protocol::ledger::Record;
use shoal_protocol::wire::{Confirm, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// Results that were committed, and who has confirmed what.
#[derive(Default)]
pub struct Seen {
    results: BTreeMap<Digest, Digest>,
    confirms: BTreeMap<(Digest, Digest), BTreeSet<PeerId>>,
}

impl Seen {
    /// A peer's confirmation has reached another.
    pub fn confirmed(&mut self, from: &PeerId, confirm: &Confirm) {
        self.confirms.entry((confirm.plan, confirm.result)).or_default().insert(*from);
    }

    /// The result is the plan's only one.
    pub fn check(&mut self, record: &Record) {
        let first = *self.results.entry(record.plan).or_insert(record.result);
        assert_eq!(first, record.result, "S3 is broken: two results of one plan committed");
    }

    /// More than half of the plan's weight, the first to commit included, has confirmed the record's result.
    pub fn majority(&self, plan: &Plan, committer: &PeerId, record: &Record) {
        let peers = self.confirms.get(&(record.plan, record.result));
        let has =
            |peer: &PeerId| peer == committer || peers.is_some_and(|peers| peers.contains(peer));
        let members = plan.members.iter().enumerate().filter(|(_, member)| has(&member.peer));
        let confirmed = members.fold(0, |mask, (i, _)| mask | 1 << i);
        assert!(
            invariant::is_majority(plan, confirmed),
            "S3 is broken: round {} committed with confirmations {confirmed:b} of {plan:?}",
            record.round
        );
    }
}
