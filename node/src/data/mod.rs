//! Text as tokens, without anything random: a position in a run's data names the same sequence on every peer.
//!
//! [`Corpus`] is bytes (a file, a folder, or made stories); [`Tokens`] is the same as token ids; [`Dataset`] cuts them into
//! sequences, keeps the held-out part apart and orders each epoch by a seeded permutation.

pub mod corpus;
pub mod dataset;
pub mod error;
pub mod late;
pub mod tokenizer;
pub mod tokens;
pub mod told;

pub use corpus::Corpus;
pub use dataset::{Batch, Dataset};
pub use error::DataError;
pub use late::Late;
pub use shoal_protocol::data::{Order, Permutation, WINDOW_PIECES, order, rng, stories};
pub use tokenizer::Tokenizer;
pub use tokens::Tokens;
pub use told::{Telling, Told};
