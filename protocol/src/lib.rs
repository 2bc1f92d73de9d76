//! The Shoal protocol: pure state machines and arithmetic.

pub mod id;
pub mod math;
pub mod run;
pub mod time;
pub mod wire;
