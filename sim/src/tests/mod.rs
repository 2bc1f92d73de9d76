//! Whole runs in memory: 1 to 32 sessions in virtual time, with faults drawn from a seed, and every promise checked after
//! every event.
//!
//! A failure prints the promise that broke, the last events, where every peer stands, and the command that repeats it:
//! `SHOAL_SEED=<n> cargo test -p shoal-sim -- <test>`. `SHOAL_SEEDS=<n>` runs more seeds of every test.

mod arena;
mod calm;
mod churn;
mod data;
mod learning;
mod lies;
mod replay;
mod sabotage;
mod seeds;
pub mod spec;
mod stopping;
mod weather;
