//! A Shoal node: drives the protocol with actix, libp2p and tch.

/// The actors.
pub mod actor;
/// Speed: training, codecs, all-reduce.
pub mod bench;
/// The run's files piece by piece: what was brought, what peers gave.
pub mod blob;
/// The loss curve as a picture.
pub mod chart;
/// A node's status over HTTP.
pub mod dashboard;
/// Text as tokens: corpora, tokenizers, the order of samples, the story generator.
pub mod data;
/// Several nodes on this machine, one killed, one late.
pub mod demo;
/// The data beside the protocol: workspace, chunks, states.
pub mod exchange;
/// Methods of training together, compared in virtual time.
pub mod lab;
/// What is logged, where, and in which form.
pub mod log;
/// Every message between the actors.
pub mod message;
/// The architecture: a Llama-style decoder whose parameters are one flat vector.
pub mod model;
/// The network: discovery, control frames, bulk streams, identity, tickets.
pub mod net;
/// A node from start to stop.
pub mod node;
/// Asking a node for its status.
pub mod probe;
/// The file of a session's life.
pub mod recording;
/// Run files: what people write down of a run.
pub mod runfile;
/// What a node is started with.
pub mod settings;
/// What a node tells of itself.
pub mod status;
/// Checkpoints, the bytes of committed state, and Hugging Face folders.
pub mod store;
/// Local training: the device thread, inner optimisers, schedules, evaluation and sampling.
pub mod train;
