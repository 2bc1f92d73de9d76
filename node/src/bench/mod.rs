//! Speed of the parts that a round's time goes into, each beside the machine's limit in the same run.
//!
//! | file | holds |
//! |---|---|
//! | `codec` | encode, decode and accumulate beside memcpy |
//! | `allreduce` | the exchange of several peers over the real network |
//! | `limits` | what the machine can do: memcpy, loopback TCP, ChaCha20-Poly1305 |
//! | `cpu` | where a process's processor time goes |

pub mod allreduce;
pub mod codec;
mod cpu;
mod limits;
