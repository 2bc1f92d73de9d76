//! S8: state, results and data are used only after their BLAKE3 is verified against what a quorum confirmed (PROTOCOL, Promises).

use crate::book::Book;
use shoal_protocol::ledger::Record;

/// A committed result is what an owner really added up, bit for bit.
pub fn made_by_an_owner(made: bool, record: &Record, index: u32) {
    assert!(made, "S8 is broken: no owner made chunk {index} of round {}", record.round);
}

/// A piece that is kept is the text's.
pub fn is_the_text_s(who: usize, piece: u32, is: bool) {
    assert!(is, "S8 is broken: p{who} keeps another piece {piece} than the text's");
}

/// What is trained on is here. `lacks`: a piece that is not.
pub fn data_are_here(who: usize, lacks: Option<u32>) {
    assert_eq!(lacks, None, "S8 is broken: p{who} trains on a piece that it does not hold");
}

/// A state that is taken over is one that peers have committed.
pub fn is_committed(book: &Book, who: usize, record: &Record) {
    let known = book.records.contains_key(&record.digest());
    assert!(known, "S8 is broken: p{who} loads {record:?}, which nobody committed");
}
