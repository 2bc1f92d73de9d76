//! Runs by gossip: the protocol's other root machine over virtual hosts. No host knows all others, so this world has links between
//! neighbours alone, and holds tens of thousands of peers of one run.

mod exact;
mod numbers;
mod page;
mod perform;
mod report;
mod world;

#[cfg(test)]
mod tests;

pub use page::write;
pub use world::run;
