//! The data beside a gossip run's machine: what its outputs name, this room holds and computes.
//!
//! | file | holds |
//! |---|---|
//! | `frames` | frames in pieces that fit a bulk chunk, put together again, by name |
//! | `sending` | pieces on their way out, a few at a time for each peer |
//! | `thread` | the one thread that owns these and the numbers, and its jobs |

mod frames;
mod sending;
mod thread;

pub use thread::{Beginning, Feedback, GossipThread, Job, Stepped};
