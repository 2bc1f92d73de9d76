//! S7: no message causes work or memory out of proportion to its size (PROTOCOL, Promises).

use crate::store::Store;
use shoal_protocol::event::Input;
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::Time;
use shoal_protocol::wire::EARLY_MAX;

/// Rounds whose results may be kept for others.
const ROUNDS_HELD: usize = 4;

/// Inputs that one peer may get in one second, on average of all. A calm run has some tens.
const BUSTLE_MAX: u64 = 3_000;

/// Counts the inputs of each second.
#[derive(Default)]
pub struct Bustle {
    second: u64,
    inputs: u64,
}

impl Bustle {
    /// One more input: no message may set off an endless exchange of messages.
    pub fn count(&mut self, now: Time, peers: usize) {
        let second = now.0 / 1_000_000;
        self.inputs = if second == self.second { self.inputs + 1 } else { 0 };
        self.second = second;
        let most = BUSTLE_MAX * peers as u64;
        assert!(self.inputs <= most, "S7 is broken: {} inputs within a second", self.inputs);
    }
}

/// Outputs to one input: at the most every chunk to every member, and some messages to each.
pub fn outputs(spec: &RunSpec, peers: usize, input: &Option<Input>, outputs: usize) {
    let most = 64 + peers * (16 + 4 * spec.chunks() as usize);
    assert!(outputs <= most, "S7 is broken: {outputs} outputs to {input:?}");
}

/// Frames that are held: contributions and results of this plan and the kept ones, state chunks, and what came early.
pub fn held(who: usize, store: &Store, peers: usize) {
    let chunks = store.spec.chunks() as usize;
    let state = store.numbers.chunks().len();
    let plans = ROUNDS_HELD + 2;
    let most = peers * (EARLY_MAX + state + plans * 2 * chunks);
    let held = store.frames();
    assert!(held <= most, "S7 is broken: p{who} holds {held} frames");
    let served = store.served.len();
    assert!(served <= 4, "S7 is broken: p{who} holds {served} states");
}
