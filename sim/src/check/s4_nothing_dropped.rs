//! S4: a lost peer costs its own uncommitted work and nothing else (PROTOCOL, Promises).

use crate::book::Moved;
use shoal_protocol::event::Settle;
use shoal_protocol::id::Round;

/// A peer that goes on living never goes back to an earlier round of its own branch.
pub fn no_step_back(who: usize, from: Round, to: Round, moved: Moved) {
    assert_ne!(moved, Moved::Back, "S4 is broken: p{who} went back from round {from} to {to}");
}

/// A contribution is settled chunk by chunk, all of it or none of it.
pub fn settled_whole(who: usize, settle: &[Settle], chunks: u32) {
    assert!(
        settle.is_empty() || settle.len() == chunks as usize,
        "S4 is broken: p{who} settles {} of {chunks} chunks",
        settle.len()
    );
}

/// Work is let go without knowing what became of it only by a peer that others are rounds ahead of.
pub fn let_go_only_after_long(who: usize, settle: &[Settle], from: Round, to: Round) {
    let unknown = settle.iter().filter(|settle| **settle == Settle::Unknown).count();
    assert!(
        unknown == 0 || to > from + 1,
        "S4 is broken: p{who} lets go of {unknown} chunks on its way from round {from} to {to}"
    );
}
