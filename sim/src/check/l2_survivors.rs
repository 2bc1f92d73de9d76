//! L2: a round in which some members die completes without starting over (PROTOCOL, Promises).

use crate::world::World;
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::invariant;
use shoal_protocol::time::Span;

/// The round is committed by all that live, with the very plan that was under way if those that live hold more than half of
/// its weight, and any of them has begun it: a plan that died with its convener on the way is no plan.
pub fn same_plan(world: &mut World, round: Round, plan: Digest, patience: Span) {
    let survives = survives(world, plan) && is_begun(world, plan);
    world.run_until("L2: the round completes", patience, |world| world.rounds().0 >= round);
    let committed = world.book.records.values().filter(|entry| entry.record.round == round);
    let plans: Vec<Digest> = committed.map(|entry| entry.record.plan).collect();
    let same = plans == [plan];
    assert!(same || !survives, "L2 is broken: round {round} was planned anew: {plans:?}");
}

fn is_begun(world: &World, plan: Digest) -> bool {
    let mut stores = world.peers.iter().filter_map(|peer| peer.running.as_ref()?.store.real());
    stores.any(|store| store.sent.keys().chain(store.reduced.keys()).any(|at| at.0 == plan))
}

fn survives(world: &World, plan: Digest) -> bool {
    let plan = &world.book.plans[&plan];
    let lives = |peer: &PeerId| world.peers.iter().any(|p| p.id == *peer && p.is_alive());
    let members = plan.members.iter().enumerate().filter(|(_, member)| lives(&member.peer));
    invariant::is_majority(plan, members.fold(0, |mask, (i, _)| mask | 1 << i))
}
