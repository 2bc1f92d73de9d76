//! L3: a peer alone keeps training and checkpointing (PROTOCOL, Promises); and nobody who could train stands still.

use crate::world::World;
use shoal_protocol::time::Span;

/// The slowest of those that live commits this many more rounds in time.
pub fn rounds(world: &mut World, rounds: u64, patience: Span) {
    let (low, _) = world.rounds();
    world.run_until("L3: rounds go on", patience, |world| world.rounds().0 >= low + rounds);
}
