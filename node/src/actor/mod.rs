//! The actors: one a noun, one a file. A handler translates a message, calls the machine, performs what it asks, and nothing else.

pub mod archive;
mod devices;
pub mod gossip;
pub mod mesh;
pub mod session;
pub mod supervise;
pub mod trainer;
pub mod witness;
