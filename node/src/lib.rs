//! A Shoal node: drives the protocol with actix, libp2p and tch.

/// The actors.
pub mod actor;
/// Training text without what names people.
pub mod anonymise;
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
/// The data beside a gossip run's machine: a peer's numbers, frames, and the thread that owns both.
pub mod gossip;
/// Ctrl-C as a flag.
pub mod interrupt;
pub mod joining;
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
/// How much memory a run takes, and how to train with less.
pub mod plan;
/// Data for training: read, cleaned, deduplicated, tokenised, in shards that are named by their digests.
pub mod prepare;
/// Asking a node for its status.
pub mod probe;
mod processor;
/// Models with fewer weights: of a checkpoint alone.
pub mod prune;
/// The file of a session's life.
pub mod recording;
/// Run files: what people write down of a run.
pub mod runfile;
/// What a node is started with.
pub mod settings;
/// What a node tells of itself.
pub mod status;
pub mod stopping;
/// Checkpoints, the bytes of committed state, Hugging Face folders and GGUF files.
pub mod store;
pub mod teach;
/// Local training: the device thread, inner optimisers, schedules, evaluation and sampling.
pub mod train;
