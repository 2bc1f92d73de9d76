//! The lab: where methods of training together are compared, on the real model with the real codecs and the real protocol, in
//! the simulator's virtual time.
//!
//! | file | holds |
//! |---|---|
//! | [`file`] | what a person writes down: settings that all share, methods, candidates |
//! | [`grid`] | which runs that makes, tuning first |
//! | [`course`] | the simulator's learner that trains with libtorch as a node does |
//! | [`direct`] | the baselines that the protocol does not have |
//! | [`gossip`] | groups and outer steps of runs by gossip |
//! | [`point`] | one finished run, kept as a file |
//! | [`network`] | how long a run takes on other networks |
//! | [`statistics`] | means and intervals of paired differences |
//! | [`fit`] | training loss beside held-out loss: what overfits |
//! | [`report`], [`picture`] | tables and pictures |
//!
//! Runs repeat: the same file on the same machine with the same number of threads gives the same bits. Other machines or numbers
//! of threads add up matrix products in another order, and losses differ in their last digits from there on.

pub mod course;
pub mod direct;
pub mod file;
pub mod fit;
pub mod gossip;
pub mod grid;
pub mod network;
pub mod picture;
mod place;
pub mod point;
pub mod report;
pub mod statistics;
pub mod text;

#[cfg(test)]
mod tests;
