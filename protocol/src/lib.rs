//! The Shoal protocol: pure state machines and arithmetic. No clock, no randomness of its own, no socket, no thread, no
//! tensor library.
//!
//! # The driver contract
//!
//! One [`session::Session`] is one peer in one run. A driver (a node with real sockets, a simulator with virtual ones)
//!
//! 1. calls [`session::Session::handle`] with the time and an [`event::Input`] for everything that happens,
//! 2. performs every [`event::Output`] in order, then
//! 3. sleeps until something happens or [`session::Session::next_wake`] has come, and brings [`event::Input::Wake`].
//!
//! Outputs name bulk data; the bytes stay with the driver, and [`math`] works on them.
//!
//! # The map
//!
//! | room | what is in it |
//! |---|---|
//! | [`session`] | the root machine; start reading here |
//! | [`round`] | the turns of a round |
//! | [`convene`] | who convenes, quorum and grace, the plan |
//! | [`exchange`], `outbox` | the all-reduce of one plan; what waits to leave |
//! | `straggler`, `repair` | its deadlines; what the dead owned |
//! | `arrivals` | bulk frames, and those that come before their plan |
//! | `follow`, [`catchup`], [`donor`] | getting in step; helping others to |
//! | `blob`, `requests` | fetching a run's files from peers, and serving them; who is asked for which piece |
//! | [`membership`] | who is alive, how fast, where in the run |
//! | [`plateau`], `measured` | when a run stops early; what this peer measured of committed states |
//! | [`gossip`] | runs without one state for all: a root machine of its own |
//! | [`ledger`] | committed rounds, and whose samples are whose |
//! | [`deadline`] | deadlines that learn |
//! | [`run`] | what all peers of a run agree on |
//! | [`data`] | the order of an epoch; stories that every peer makes alike |
//! | [`wire`] | messages, and every bound on them |
//! | [`event`] | inputs and outputs |
//! | [`recording`] | a session's life as bytes, to be repeated elsewhere |
//! | [`math`] | codecs, error feedback, partition, outer optimisers |
//! | [`time`], [`id`] | small types |

mod arrivals;
mod blob;
pub mod catchup;
pub mod convene;
pub mod data;
pub mod deadline;
pub mod donor;
pub mod event;
pub mod exchange;
mod follow;
mod fork;
pub mod gossip;
pub mod id;
pub mod invariant;
pub mod ledger;
pub mod math;
mod measured;
pub mod membership;
mod outbox;
pub mod plateau;
pub mod recording;
mod repair;
mod requests;
pub mod round;
pub mod run;
#[doc(hidden)]
pub mod sabotage;
pub mod session;
mod straggler;
pub mod time;
pub mod wire;
mod work;
