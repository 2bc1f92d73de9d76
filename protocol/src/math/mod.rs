//! Arithmetic on `&[f32]` and bytes, with the same bits on every machine.
//!
//! | file | holds |
//! |---|---|
//! | [`codec`] | how a chunk of numbers becomes bytes, block by block |
//! | [`workspace`] | one peer's pseudo-gradient and its error feedback; what is sent, added and kept |
//! | [`replica`] | local parameters that outlast rounds |
//! | [`inner`] | the inner optimisers' steps, element by element |
//! | [`outer`] | the outer optimisers: SGD, Nesterov, sign, the inner one on the mean |
//! | `average` | a moving average of committed parameters |
//! | [`prune`] | which weights become zero, and that they stay so |
//! | [`schedule`] | the learning rate over a run |
//! | [`mod@partition`] | who adds up which chunks, by measured bandwidth |
//! | `vector` | elementwise loops |
//! | `wide` | runs one such loop with wider registers where the CPU has them |
//!
//! Bit-identical by construction: every result element comes from its own inputs through a fixed sequence of
//! IEEE 754 additions and multiplications, each rounded on its own. No multiplication is contracted into an
//! addition (FMA), and a float sum that runs across elements has an order of its own, so the width of the registers
//! cannot show.

#[macro_use]
mod wide;

mod average;
pub mod codec;
pub mod inner;
pub mod outer;
pub mod partition;
pub mod prune;
pub mod replica;
pub mod schedule;
mod vector;
pub mod workspace;

pub use average::Average;
pub use codec::{BLOCK, BLOCK_MAX, Codec, CodecError, Coder, Context, all_finite};
pub use partition::{Capacity, partition};
pub use replica::{Merge, Others, Replica};
pub use workspace::{Outcome, Part, ReduceError, Reduced, Source, Workspace};
