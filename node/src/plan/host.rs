//! Bytes that the exchange holds in the host's own memory, from what `exchange`, `actor/archive` and the protocol's workspace keep.
//! `shoal-sim`'s plan of a cluster counts the same.

use shoal_protocol::math::inner::states;
use shoal_protocol::run::{LocalWork, RunSpec};

/// Bytes of an f32.
const F32: u64 = 4;
/// Rounds whose results are kept for peers that are behind (`ROUNDS_KEPT` in the protocol's `donor`).
const ROUNDS_KEPT: u64 = 4;

/// Bytes in the host's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// While it trains: two states, pseudo-gradient, two residuals, the inner optimiser's state, results of some rounds.
    pub resting: u64,
    /// When a round is committed: the next state, copies for the checkpoint, contributions and results of the round as well.
    pub most: u64,
}

/// What a run takes of the host's memory beside the device that trains.
pub fn host(spec: &RunSpec) -> Host {
    let params = spec.elems();
    let state = spec.state_bytes();
    let inner = match spec.strategy.work {
        LocalWork::Steps => F32 * params * states(&spec.inner.optimizer) as u64,
        LocalWork::Gradient => 0,
    };
    let local = if spec.strategy.runs_on() { 2 * F32 * params } else { 0 };
    let chunk = spec.exchange.chunk_elems as usize;
    let volume = |codec: shoal_protocol::math::Codec| {
        spec.encoded_len(codec, chunk) as u64 * u64::from(spec.chunks_in(1))
    };
    let (up, down) = (volume(spec.exchange.up), volume(spec.exchange.down));
    let resting = 3 * F32 * params + inner + local + 2 * state + ROUNDS_KEPT * down;
    Host { resting, most: resting + state + 2 * F32 * params + up + down }
}
