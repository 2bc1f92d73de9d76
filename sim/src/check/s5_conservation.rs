//! S5 (and the sums behind S1 and S4): decoded(sent) + residual = input (PROTOCOL, Promises).
//!
//! For every peer, over its whole life, element by element, with "counted" as the owners decoded it:
//!
//! - up: trained + folded = counted + lost + residual up + delta + what is not offered yet;
//! - down: rest of its results = returned through contributions + residual down.
//!
//! Work that is counted twice, dropped, or settled as what it was not, breaks the first.

use crate::book::Account;
use crate::check::hold;
use crate::store::Store;
use shoal_protocol::invariant;

/// Rounding of f32 sums of numbers of magnitude 1 over some hundred rounds; a lost sample is 0.1. Larger numbers round more.
const TOLERANCE: f64 = 1e-4;

/// Both laws hold for a peer.
pub fn holds(who: usize, account: &Account, store: &Store) {
    let work = &store.work;
    let pairs =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| f64::from(*x)).collect() };
    let given = pairs(&account.trained, &account.folded);
    let taken = pairs(&account.counted, &account.lost);
    let kept = store.held();
    let who = format!("p{who}");
    let tolerance = TOLERANCE * given.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    hold("S5", &who, invariant::conserved(&given, &taken, &kept, tolerance));
    let down = wide(work.residual_down());
    let verdict = invariant::conserved(&account.owed, &account.returned, &down, tolerance);
    hold("S5 (downward)", &who, verdict);
}
