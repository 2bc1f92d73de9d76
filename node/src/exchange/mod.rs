//! The data beside the protocol: what the machine's outputs name, this room holds and computes.
//!
//! | file | holds |
//! |---|---|
//! | `hold` | bytes of contributions, results and state chunks, by name |
//! | `arithmetic` | the workspace and the committed states; what each output asks of them |
//! | `average` | the moving average of committed parameters, and its bytes |
//! | `thread` | the one thread that owns both, and its jobs |

mod arithmetic;
pub mod average;
mod hold;
mod thread;

pub use arithmetic::{Arithmetic, Committed, State};
pub use hold::Frame;
pub use thread::{ExchangeThread, Feedback, Job};
