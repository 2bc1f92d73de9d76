//! Data for training from files as they are: read, cleaned, rid of what is not worth learning from, made anonymous, tokenised and
//! written as shards that are named by their digests.
//!
//! [`Preparation::run`] does it; [`manifest`] is what is left for others: a run reads a prepared folder, a peer can fetch one by
//! the manifest's BLAKE3.

mod clean;
mod compare;
mod error;
pub mod filter;
pub mod inspect;
pub mod manifest;
pub mod near;
mod normal;
mod passes;
pub mod read;
pub mod report;
mod shards;
pub mod sort;
mod spool;
mod state;
pub mod synth;
pub mod tokenise;
mod watch;
mod write;

pub use clean::{Anonymise, Masked};
pub use error::PrepareError;
pub use manifest::{Manifest, ManifestError};
pub use normal::normalise;
pub use passes::{Preparation, Prepared};
pub use report::Report;
pub use state::WORK;
pub use tokenise::Choice;
pub use watch::{Nobody, Unit, Watch};

#[cfg(test)]
mod tests;
