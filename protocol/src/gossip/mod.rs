//! Gossip mode: for runs too large or too unstable for one exact group.
//!
//! Every peer has a state of its own, and a place in a grid ([`grid`]): drawn from its id, or, where all know each other, claimed ([`seats`]).
//! Its *neighbours* are those who share all of its coordinates but one. In round r those who differ along axis r mod d alone, a *cell*, meet: whoever has done its local work says so to
//! the cell's convener (first in hash order), who divides those that came into groups, pairs or all together. A group averages
//! one vector x = beta * progress + gamma * parameters, slice by slice, each member adding up one of the slices, and each member takes its outer
//! step ([`step`]) with what has come back; a slice that did not come is stepped as if it were alone. No round waits for anybody for longer
//! than its deadlines, and after d rounds everybody has heard of everybody.
//!
//! | promise | here |
//! |---|---|
//! | S1 | a sum takes each member's slice once ([`group`]) |
//! | S2 | members have the same bits of a mean, since its owner encodes it once; their states stay their own |
//! | S4 | who is lost costs its groups one slice of one round |
//! | S6 | does not hold: each peer draws its samples by itself, from an order of its own |
//! | S7 | what is kept for others is bounded by the group's size and [`EARLY_MAX`](session) |
//! | S8 | does not hold: there is no digest that others confirm. What a neighbour says or sends is taken, within bounds |
//! | L3, L4 | hold by construction: alone, a peer steps by itself; a healed cut is one more meeting |
//!
//! [`GossipSession`] has the surface of [`Session`](crate::session::Session): inputs in, outputs out, one deadline.

pub mod event;
pub mod grid;
pub mod group;
pub mod numbers;
pub mod seats;
mod session;
pub mod step;

pub use event::{Frame, FrameKind, Input, Message, Output};
pub use numbers::Numbers;
pub use session::{GossipSession, Known, groups};
