//! Claimed places: peers that all know each other fill the grid evenly, with nobody to seat them.
//!
//! Drawn places ([`Place::of`](super::grid::Place::of)) need no word between peers and are even enough for thousands. Of four peers on a grid of two by two a draw leaves
//! one alone, or two diagonals that never meet, more often than not. So each claims a seat and says which; seat s is the cell
//! with the digits of s. Whoever starts a round looks at all claims it has heard of: of several on one seat the first in hash order
//! keeps it, the others and those beyond the last seat move to the free ones. With equal views all agree at once, a newcomer moves
//! nobody, and the place of one that is gone costs one move.

use crate::id::{PeerId, RunId};
use std::collections::{BTreeMap, BTreeSet};

/// Everybody's seat, from what each claims (`None`: nothing yet): 0, 1, … without a gap. What a claim may be is bounded by
/// nothing: one that is out of reach counts as none.
pub fn settle(run: &RunId, claims: &BTreeMap<PeerId, Option<u32>>) -> BTreeMap<PeerId, u32> {
    let mut order: Vec<(&PeerId, Option<u32>)> =
        claims.iter().map(|(peer, seat)| (peer, *seat)).collect();
    order.sort_by_cached_key(|(peer, _)| rank(run, peer));
    let mut taken = BTreeSet::new();
    let mut seats = BTreeMap::new();
    let mut displaced = Vec::new();
    for (peer, claim) in order {
        let seat = claim.filter(|seat| (*seat as usize) < claims.len() && taken.insert(*seat));
        match seat {
            Some(seat) => drop(seats.insert(*peer, seat)),
            None => displaced.push(*peer),
        }
    }
    let free = (0..claims.len() as u32).filter(|seat| !taken.contains(seat));
    seats.extend(displaced.into_iter().zip(free));
    seats
}

fn rank(run: &RunId, peer: &PeerId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"seat").update(&run.0).update(&peer.0);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: RunId = RunId([7; 32]);

    fn id(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn claims(seats: &[Option<u32>]) -> BTreeMap<PeerId, Option<u32>> {
        seats.iter().enumerate().map(|(n, seat)| (id(n as u8), *seat)).collect()
    }

    /// Seats of peers 0, 1, …
    fn settled(seats: &[Option<u32>]) -> Vec<u32> {
        settle(&RUN, &claims(seats)).into_values().collect()
    }

    #[test]
    fn a_seat_that_one_alone_claims_is_its_own() {
        assert_eq!(settled(&[]), []);
        assert_eq!(settled(&[Some(2), Some(0), Some(1)]), [2, 0, 1]);
        // A newcomer takes what is left; the last closes the gap of one that is gone.
        assert_eq!(settled(&[Some(2), Some(0), Some(1), None]), [2, 0, 1, 3]);
        assert_eq!(settled(&[Some(3), Some(0), Some(1)]), [2, 0, 1]);
        assert_eq!(settled(&[Some(u32::MAX), Some(0)]), [1, 0]);
    }

    #[test]
    fn of_two_on_one_seat_one_moves() {
        let mut seats = settled(&[Some(0), Some(0), Some(2)]);
        assert_eq!(seats.pop(), Some(2));
        seats.sort_unstable();
        assert_eq!(seats, [0, 1]);
    }

    proptest! {
        #[test]
        fn all_seats_are_taken_once_and_settled_ones_stay(
            seats in prop::collection::vec(prop::option::of(0u32..40), 0..30),
        ) {
            let first = settle(&RUN, &claims(&seats));
            let taken: BTreeSet<u32> = first.values().copied().collect();
            prop_assert_eq!(taken, (0..seats.len() as u32).collect::<BTreeSet<_>>());
            let again = first.iter().map(|(peer, seat)| (*peer, Some(*seat))).collect();
            prop_assert_eq!(settle(&RUN, &again), first);
        }

        #[test]
        fn whoever_goes_costs_one_move_at_most(n in 2u8..30, gone in 0u8..30) {
            let mut all = settle(&RUN, &claims(&vec![None; usize::from(n)]));
            all.remove(&id(gone % n));
            let left = all.iter().map(|(peer, seat)| (*peer, Some(*seat))).collect();
            let moved = settle(&RUN, &left).iter().filter(|(peer, seat)| all[peer] != **seat).count();
            prop_assert!(moved <= 1, "{moved}");
        }
    }
}
