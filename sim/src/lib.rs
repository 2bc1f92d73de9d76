//! Drives the Shoal protocol over virtual clusters: the same state machines as the nodes, in virtual time, with links, faults
//! and arithmetic that follow from one seed.

mod book;
mod check;
mod holdings;
mod keys;
mod liar;
mod log;
mod net;
mod noise;
mod peer;
mod perform;
mod phantom;
mod queue;
mod rng;
mod store;
mod world;

#[cfg(test)]
mod tests;
