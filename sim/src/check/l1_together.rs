//! L1: once faults stop, all connected peers are in the same round with the same digest within three rounds (PROTOCOL).

use crate::peer::Peer;
use crate::world::World;
use shoal_protocol::id::Round;
use shoal_protocol::time::Span;

impl World {
    /// The earliest and the latest committed round among the living.
    pub fn rounds(&self) -> (Round, Round) {
        let rounds = || self.peers.iter().filter_map(|peer| Some(peer.stands()?.0));
        (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0))
    }

    /// Whether all that live stand on one digest.
    pub fn is_together(&self) -> bool {
        let mut stands = self.peers.iter().filter_map(Peer::stands);
        let first = stands.next();
        stands.all(|other| Some(other) == first)
    }
}

/// Runs until all that live stand on one digest, which must be before any of them is more than three rounds further on.
pub fn within_three_rounds(world: &mut World, patience: Span) {
    let (_, start) = world.rounds();
    world.run_until("L1: all on one digest", patience, |world| world.is_together());
    let (_, now) = world.rounds();
    assert!(now <= start + 4, "L1 is broken: it took from round {start} to {now}");
}

/// Runs until the run is over for all that live, on one digest, though it was never the last round.
pub fn until_all_have_stopped(world: &mut World, patience: Span) {
    world.run_until("L1: all have stopped on one digest", patience, World::is_over);
}

/// Stays together for some rounds: nobody is ever more than one round behind, and all meet again.
pub fn stays(world: &mut World, rounds: u64, patience: Span) {
    let (_, start) = world.rounds();
    world.run_until("L1: staying together", patience, |world| {
        let (low, high) = world.rounds();
        assert!(high - low <= 2, "L1 is broken: rounds {low} and {high} at one time");
        low >= start + rounds && world.is_together()
    });
}
