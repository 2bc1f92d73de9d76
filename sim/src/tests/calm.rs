//! Runs in which nothing goes wrong.

use super::seeds::for_seeds;
use super::spec;
use crate::check::{l1_together, l3_progress};
use crate::world::World;
use shoal_protocol::time::Span;

#[test]
fn two_peers_train_together() {
    for_seeds(20, |seed| {
        let mut world = World::new("two_peers_train_together", seed, 2);
        world.start_all();
        l3_progress::rounds(&mut world, 6, Span::from_secs(120));
        l1_together::stays(&mut world, 6, Span::from_secs(120));
        assert_both_count(&world);
    });
}

/// Every committed round after the first two holds work of all peers.
fn assert_both_count(world: &World) {
    for entry in world.book.records.values().filter(|entry| entry.record.round > 3) {
        let counted = entry.record.contributions.len();
        assert_eq!(counted, world.peers.len(), "round {} left somebody out", entry.record.round);
    }
}

#[test]
fn alone_then_company() {
    for_seeds(20, |seed| {
        let mut world = World::new("alone_then_company", seed, 2);
        world.start(0);
        l3_progress::rounds(&mut world, 5, Span::from_secs(120));
        world.start(1);
        l1_together::within_three_rounds(&mut world, Span::from_secs(60));
        l1_together::stays(&mut world, 5, Span::from_secs(120));
        let (_, last) = world.rounds();
        let both =
            world.book.records.values().any(|entry| {
                entry.record.round + 2 > last && entry.record.contributions.len() == 2
            });
        assert!(both, "the newcomer's work does not count");
    });
}

#[test]
fn thirty_two_peers() {
    for_seeds(2, |seed| {
        let mut world = World::new("thirty_two_peers", seed, 32);
        world.start_all();
        l3_progress::rounds(&mut world, 4, Span::from_secs(300));
        l1_together::stays(&mut world, 3, Span::from_secs(120));
    });
}

#[test]
fn some_train_and_some_only_add_up() {
    for_seeds(10, |seed| {
        let mut world = World::new("some_train_and_some_only_add_up", seed, 4);
        world.peers[1].settings.trains = false;
        world.peers[2].settings.owns = false;
        world.start_all();
        l3_progress::rounds(&mut world, 5, Span::from_secs(120));
        l1_together::stays(&mut world, 3, Span::from_secs(120));
    });
}

/// The inputs of one peer, given to a fresh session, lead to the same outputs, byte for byte.
#[test]
fn replay() {
    for_seeds(6, |seed| {
        let mut world = World::new("replay", seed, 3);
        world.peers[0].tape = Some(Vec::new());
        world.net.weather.control_loss = 0.02;
        world.net.weather.bulk_loss = 0.02;
        world.start_all();
        world.run_for(Span::from_secs(40));
        world.kill(2);
        world.run_for(Span::from_secs(40));
        let peer = &world.peers[0];
        let (begun, standing) = peer.start.clone().expect("it has started");
        let mut again = peer.session(begun, standing);
        let tape = peer.tape.as_ref().expect("it is taped");
        assert!(tape.len() > 100);
        for (now, input, outputs) in tape {
            let mut repeated = Vec::new();
            again.handle(*now, input.clone(), &mut repeated);
            assert_eq!(
                format!("{outputs:?}"),
                format!("{repeated:?}"),
                "at {now:?} after {input:?}"
            );
        }
    });
}

/// The driver itself: the same seed gives the same run.
#[test]
fn a_seed_is_a_run() {
    let digest = |seed| {
        let mut world = World::with("a_seed_is_a_run", seed, 3, 1, spec::small);
        world.start_all();
        world.run_for(Span::from_secs(30));
        (world.now, world.peers.iter().map(|peer| peer.stands()).collect::<Vec<_>>())
    };
    assert_eq!(digest(5), digest(5));
}
