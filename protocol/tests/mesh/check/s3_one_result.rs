//! S3: two different results for one plan never both commit (PROTOCOL, Promises).

use crate::invariant;
use shoal_protocol::id::Digest;
use shoal_protocol::ledger::Record;
use shoal_protocol::wire::{Confirm, Plan};
use std::collections::BTreeMap;

/// Results that were committed, and who has confirmed what.
#[derive(Default)]
pub struct Seen {
    results: BTreeMap<Digest, Digest>,
    confirms: BTreeMap<(Digest, Digest), u64>,
}

impl Seen {
    /// A member of a plan confirms a result.
    pub fn confirmed(&mut self, plan: &Plan, member: usize, confirm: &Confirm) {
        debug_assert_eq!(plan.digest(), confirm.plan);
        *self.confirms.entry((confirm.plan, confirm.result)).or_default() |= 1 << member;
    }

    /// The result is the plan's only one.
    pub fn check(&mut self, record: &Record) {
        let first = *self.results.entry(record.plan).or_insert(record.result);
        assert_eq!(first, record.result, "S3 is broken: two results of one plan committed");
    }

    /// More than half of the plan's weight has confirmed the record's result.
    pub fn majority(&self, plan: &Plan, record: &Record) {
        let confirmed = self.confirms.get(&(record.plan, record.result)).copied().unwrap_or(0);
        assert!(
            invariant::is_majority(plan, confirmed),
            "S3 is broken: round {} committed with confirmations {confirmed:b} of {plan:?}",
            record.round
        );
    }
}
