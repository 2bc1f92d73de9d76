//! The Shoal protocol: pure state machines and arithmetic.

pub mod event;
pub mod id;
pub mod ledger;
pub mod math;
pub mod run;
pub mod session;
pub mod time;
pub mod wire;
