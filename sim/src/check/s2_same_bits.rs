//! S2: members that commit the same plan hold bit-identical outer state (PROTOCOL, Promises).

use crate::noise::Numbers;
use shoal_protocol::id::Digest;
use shoal_protocol::ledger::{Record, state_root};
use std::collections::BTreeMap;

/// What was committed under each name.
#[derive(Default)]
pub struct Seen {
    states: BTreeMap<Digest, Digest>,
    records: BTreeMap<(u64, Digest), Digest>,
}

impl Seen {
    /// The state is the one that the record names, and the only one under the record's and the plan's names.
    pub fn check(&mut self, record: &Record, numbers: &Numbers) {
        let digest = record.digest();
        let state = Digest::of(&numbers.bytes());
        let root = state_root(&numbers.chunks());
        assert_eq!(root, record.state, "S2 is broken: a record names another state than is held");
        let first = *self.states.entry(digest).or_insert(state);
        assert_eq!(first, state, "S2 is broken: two states under {digest:?}");
        let first = *self.records.entry((record.round, record.plan)).or_insert(digest);
        assert_eq!(first, digest, "S2 is broken: two records of round {}", record.round);
    }
}
