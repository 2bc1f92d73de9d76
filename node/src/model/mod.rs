//! A Llama-style decoder whose parameters are one flat vector of f32.
//!
//! Peers exchange, hash and store parameters as one vector, so that vector is the master copy here too:
//! [`layout`] says which weight lies where, [`init`] fills it from a seed, [`llama`] computes with views of it.

pub mod cache;
pub mod init;
pub mod layout;
pub mod linear;
pub mod llama;
pub mod preset;
mod ready;
mod weights;

pub use cache::Cache;
pub use init::initial_params;
pub use layout::{Layout, Role, Slot};
pub use llama::Llama;
pub use preset::preset;
