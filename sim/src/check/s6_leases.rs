//! S6: within one epoch a sample is assigned to one peer at a time (PROTOCOL, Promises).

use crate::book::Book;
use crate::check::hold;
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::invariant;
use shoal_protocol::ledger::Record;
use std::ops::Range;

/// What a peer trained in this life, and on which record.
pub type Trained = Vec<(Range<u64>, Digest)>;

/// A new record carries the cursor on from its parent.
pub fn follows(parent: Option<&Record>, record: &Record) {
    let parent = parent.expect("S8 is broken: a record on a parent that nobody committed");
    hold("S6", &format!("round {}", record.round), invariant::record_follows(parent, record));
}

/// What a peer trains on is what the committed cursor leases to it.
pub fn lease_is_its_own(record: &Record, me: &PeerId, lease: &[Range<u64>]) {
    let leased = record.cursor.lease(me);
    let is_its_own = leased.is_some_and(|leased| leased.ranges == lease || leased.then == lease);
    assert!(
        is_its_own,
        "S6 is broken: {lease:?} is trained on, {leased:?} is leased in round {}",
        record.round
    );
}

/// A peer trains a position again only if it was taken from it in between.
pub fn not_again(book: &Book, me: &PeerId, before: &Trained, head: Digest, lease: &[Range<u64>]) {
    for range in lease {
        for (old, at) in before.iter().filter(|(old, _)| overlap(old, range)) {
            let kept = always_leased(book, me, *at, head, old);
            assert!(!kept, "S6 is broken: positions {range:?} are trained again after {old:?}");
        }
    }
}

/// Whether `range` stayed leased to `me`, at least in part, in every record between two.
fn always_leased(book: &Book, me: &PeerId, from: Digest, to: Digest, range: &Range<u64>) -> bool {
    let mut at = to;
    while at != from {
        let Some(entry) = book.records.get(&at) else { return false };
        let leased = entry.record.cursor.lease(me);
        if !leased.is_some_and(|lease| lease.positions().any(|lease| overlap(lease, range))) {
            return false;
        }
        at = entry.record.parent;
    }
    true
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
