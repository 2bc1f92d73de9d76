//! S8: state and results are used only after their BLAKE3 is verified against what a quorum confirmed (PROTOCOL, Promises).

use crate::book::Book;
use shoal_protocol::ledger::Record;

/// A committed result is what an owner really added up, bit for bit.
pub fn made_by_an_owner(made: bool, record: &Record, index: u32) {
    assert!(made, "S8 is broken: no owner made chunk {index} of round {}", record.round);
}

/// A state that is taken over is one that peers have committed.
pub fn is_committed(book: &Book, who: usize, record: &Record) {
    let known = book.records.contains_key(&record.digest());
    assert!(known, "S8 is broken: p{who} loads {record:?}, which nobody committed");
}
