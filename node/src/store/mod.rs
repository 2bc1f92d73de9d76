//! What lasts: checkpoints on disk, committed state as bytes for peers that catch up, Hugging Face folders and GGUF files.

pub mod best;
pub mod checkpoint;
pub mod committed;
pub mod disk;
pub mod error;
pub mod floats;
pub mod gguf;
pub mod hf;
pub mod manifest;
pub mod place;
pub mod state;
pub mod teacher;
mod tensors;

pub use checkpoint::{Checkpoint, Found, load, newest_intact, save};
pub use error::StoreError;
pub use manifest::Manifest;
pub use state::{CHUNK_BYTES, StateBytes};
