//! What a node keeps of each parameter, and where. Counted from what `node` holds; `shoal-sim` does not know that crate, so
//! whoever changes what it names changes this table.

use super::Codecs;
use serde::Serialize;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::{STATE_CHUNK_BYTES, STATE_CHUNKS_MAX};

/// Bytes for each parameter on the training device: f32 parameters and their bf16 copy (`node/src/model/llama.rs`), gradient, and
/// AdamW's two moments (`node/src/train/inner/`); the other optimisers keep fewer.
const DEVICE: f64 = 4.0 + 2.0 + 4.0 + 8.0;
/// Pseudo-gradient and two residuals (`protocol/src/math/workspace.rs`).
const WORKSPACE: f64 = 12.0;
/// The inner optimiser's state as it was after the last work, for the next checkpoint (`node/src/actor/archive.rs`): AdamW's.
const INNER: f64 = 8.0;
/// Parameters and outer momentum of one state (`node/src/exchange/arithmetic.rs`).
const STATE: f64 = 8.0;
/// Copies of both residuals that a checkpoint is written from.
const CHECKPOINT: f64 = 8.0;
/// Rounds whose results are kept for peers that are behind (`ROUNDS_KEPT` in `protocol/src/donor.rs`).
const ROUNDS_KEPT: f64 = 4.0;

/// Memory of one node, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// On the training device, without activations.
    pub device: f64,
    /// In the host's own memory while it trains.
    pub resting: f64,
    /// In the host's own memory when an exchange is committed.
    pub most: f64,
    /// What a host that joins late has to fetch.
    pub state: f64,
    /// Whether it can: a manifest names so many chunks and no more.
    pub can_join: bool,
}

/// Of a run in which every parameter takes so many bytes on its way.
pub fn memory(spec: &RunSpec, codecs: &Codecs) -> Memory {
    let params = spec.elems() as f64;
    let volume = codecs.volume(spec);
    let resting = params * (WORKSPACE + INNER + 2.0 * STATE) + ROUNDS_KEPT * volume.down;
    let chunks = (8 * spec.elems()).div_ceil(STATE_CHUNK_BYTES as u64);
    Memory {
        device: params * DEVICE,
        resting,
        most: resting + params * (STATE + CHECKPOINT) + volume.up + volume.down,
        state: params * STATE,
        can_join: chunks <= STATE_CHUNKS_MAX as u64,
    }
}
