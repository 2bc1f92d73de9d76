//! Drives the Shoal protocol over virtual clusters: the same state machines as the nodes, in virtual time, with links, faults
//! and arithmetic that follow from one seed.

mod book;
mod check;
pub mod cli;
mod clock;
mod cluster;
pub mod cohort;
mod compare;
mod cpu;
mod curve;
mod fault;
mod frame;
mod gossip;
mod heldout;
mod holdings;
mod keys;
mod learn;
mod liar;
mod log;
mod losses;
mod markup;
mod net;
mod noise;
mod parallel;
mod peer;
mod perform;
mod phantom;
mod plan;
mod queue;
mod record;
mod replay;
mod report;
mod rng;
mod save;
mod scenario;
mod shelf;
mod shrink;
mod store;
mod sweep;
mod trace;
mod training;
mod world;

#[cfg(test)]
mod tests;
