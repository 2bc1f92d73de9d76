//! What is trained on, as far as all peers of a run must agree on it: the order of an epoch, and the stories that a spec names
//! by their seed. Integers only, the same on every machine.

pub mod order;
pub mod rng;
pub mod shards;
pub mod stories;

pub use order::Permutation;
pub use shards::{Order, WINDOW_PIECES, Window};
