//! Whole runs in memory: 1 to 32 sessions in virtual time, with faults drawn from a seed, and every promise checked after
//! every event.
//!
//! A failure prints the promise that broke, the last events, where every peer stands, and the command that repeats it:
//! `SHOAL_SEED=<n> cargo test -p shoal-protocol --test mesh -- <test>`. `SHOAL_SEEDS=<n>` runs more seeds of every test.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the event queue, virtual time, starting and killing peers |
//! | `perform` | the one `match` on [`shoal_protocol::event::Output`] |
//! | `peer`, `store` | one peer: its session; its numbers and the bytes that it holds |
//! | `net` | links: latency, bandwidth, loss, duplicates, partitions |
//! | `book` | what has really happened, from outside: who gave what to which committed record |
//! | `check/` | one promise a file |
//! | `liar` | a peer that says what no honest peer says |
//! | `calm`, `churn`, `weather`, `lies` | the scenarios |

mod book;
mod calm;
mod check;
mod churn;
mod keys;
mod liar;
mod lies;
mod model;
mod net;
mod peer;
mod perform;
mod report;
mod rng;
mod seeds;
mod store;
mod weather;
mod world;
