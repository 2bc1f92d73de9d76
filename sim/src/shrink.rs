//! Of the faults of a failing seed, those without which it would not fail: one after the other is left out, as long as the same
//! promise breaks without it.

use crate::cluster;
use crate::scenario::Scenario;
use crate::sweep;
use std::collections::BTreeSet;

/// Most runs that are spent on it.
const TRIALS_MAX: usize = 200;

/// What is left of a fault plan.
pub struct Shrunk {
    /// The faults by number, and each in words.
    pub faults: Vec<(usize, String)>,
    /// Of so many.
    pub of: usize,
    /// What breaks with these alone.
    pub why: String,
}

/// The smallest plan that is found by leaving out one fault at a time; `why` is what broke with all of them.
pub fn shrink(scenario: &Scenario, seed: u64, why: &str) -> Shrunk {
    let (world, faults) = cluster::build(scenario, seed, "");
    let names = world.recorder.as_ref().map(|recorder| recorder.names.clone()).unwrap_or_default();
    let mut kept: BTreeSet<usize> = (0..faults.len()).collect();
    let (mut why, mut trials) = (why.to_owned(), 0);
    while trials < TRIALS_MAX {
        let without = |n: usize| {
            let fewer: BTreeSet<usize> = kept.iter().copied().filter(|kept| *kept != n).collect();
            trials += 1;
            let broken = sweep::one(scenario, seed, "", |n| fewer.contains(&n)).err()?;
            (promise(&broken) == promise(&why)).then_some((fewer, broken))
        };
        let last_first: Vec<usize> = kept.iter().rev().copied().collect();
        let Some((fewer, broken)) = last_first.into_iter().find_map(without) else { break };
        (kept, why) = (fewer, broken);
    }
    let faults_n = faults.len();
    let in_words = kept.into_iter().map(|n| (n, faults[n].describe(&names)));
    Shrunk { faults: in_words.collect(), of: faults_n, why }
}

/// What a panic is about: its first word.
fn promise(why: &str) -> &str {
    why.split([' ', ':']).next().unwrap_or(why)
}
