//! A Llama-style decoder whose parameters are one flat vector of f32.
//!
//! Peers exchange, hash and store parameters as one vector, so that vector is the master copy here too:
//! the protocol's layout says which weight lies where, [`init`] fills it from a seed, [`llama`] computes with views of it.

pub mod activations;
pub mod cache;
pub mod dropout;
pub mod init;
pub mod learn;
pub mod linear;
pub mod llama;
pub mod preset;
mod ready;
mod weights;

pub use cache::Cache;
pub use dropout::Dropout;
pub use init::initial_params;
pub use learn::{Learned, Lesson, Thrift};
pub use llama::Llama;
pub use preset::preset;
pub use shoal_protocol::run::layout::{Layout, Role, Slot};
