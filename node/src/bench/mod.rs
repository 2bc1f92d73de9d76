//! Speed of the parts that a round's time goes into, each beside the machine's limit in the same run.
//!
//! | file | holds |
//! |---|---|
//! | `codec` | encode, decode and accumulate beside memcpy |
//! | `limits` | what the machine can do: memcpy, loopback TCP, ChaCha20 |

pub mod codec;
mod limits;
