//! Many seeds of one scenario, on several threads. Each seed is a world of its own, so that threads change nothing.

use crate::cluster;
use crate::parallel;
use crate::scenario::Scenario;
use shoal_protocol::id::Digest;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The first seed that broke a promise.
pub struct Failed {
    pub seed: u64,
    /// Which promise, and how.
    pub why: String,
}

/// What a sweep without a failure comes to.
pub struct Swept {
    pub seeds: u64,
    pub inputs: u64,
    /// BLAKE3 over the traces of all seeds, in order.
    pub trace: Digest,
}

/// Runs all seeds. What a broken promise has to say goes to the standard error where it breaks; after the first, no new seed
/// begins.
///
/// # Errors
/// The first seed that broke a promise.
pub fn sweep(
    scenario: &Scenario,
    seeds: Range<u64>,
    jobs: usize,
    again: impl Fn(u64) -> String + Sync,
) -> Result<Swept, Failed> {
    let work = |seed| (seed, one(scenario, seed, &again(seed), |_| true));
    let runs = parallel::map_until(jobs, seeds, work, |(_, run)| run.is_err());
    let mut swept = Swept { seeds: runs.len() as u64, inputs: 0, trace: Digest::default() };
    let mut trace = blake3::Hasher::new();
    for (seed, run) in runs {
        let (inputs, digest) = run.map_err(|why| Failed { seed, why })?;
        swept.inputs += inputs;
        trace.update(&digest.0);
    }
    swept.trace = Digest(*trace.finalize().as_bytes());
    Ok(swept)
}

/// One seed with some of its faults: its inputs and its trace, or what broke.
pub fn one(
    scenario: &Scenario,
    seed: u64,
    again: &str,
    befalls: impl Fn(usize) -> bool,
) -> Result<(u64, Digest), String> {
    let run = catch_unwind(AssertUnwindSafe(|| {
        let world = cluster::run(scenario, seed, again, befalls);
        (world.inputs, world.trace_digest())
    }));
    run.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("a panic", |text| text).to_owned(),
    })
}
