//! L2: a round in which some members die completes without starting over (PROTOCOL, Promises).

use crate::world::World;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::time::Span;

/// The round is committed by all that live, with the very plan that was under way.
pub fn same_plan(world: &mut World, round: Round, plan: Digest, patience: Span) {
    world.run_until("L2: the round completes", patience, |world| world.rounds().0 >= round);
    let committed = world.book.records.values().filter(|entry| entry.record.round == round);
    let plans: Vec<Digest> = committed.map(|entry| entry.record.plan).collect();
    assert_eq!(plans, [plan], "L2 is broken: round {round} was planned anew");
}
