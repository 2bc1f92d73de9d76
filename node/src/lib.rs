//! A Shoal node: drives the protocol with actix, libp2p and tch.

pub mod net;
