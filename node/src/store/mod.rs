//! What lasts: checkpoints on disk, committed state as bytes for peers that catch up, and Hugging Face folders.

pub mod best;
pub mod checkpoint;
pub mod disk;
pub mod error;
pub(crate) mod floats;
pub mod hf;
pub mod manifest;
pub mod state;
mod tensors;

pub use checkpoint::{Checkpoint, Found, load, newest_intact, save};
pub use error::StoreError;
pub use manifest::Manifest;
pub use state::{CHUNK_BYTES, StateBytes};
