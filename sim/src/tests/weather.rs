//! Bad links, slow peers, and networks that fall apart.

use super::seeds::for_seeds;
use crate::check::{l1_together, l3_progress};
use crate::net::Weather;
use crate::world::World;
use shoal_protocol::time::Span;

#[test]
fn lossy_links() {
    for_seeds(15, |seed| {
        let mut world = World::new("lossy_links", seed, 5);
        world.net.weather.control_loss = 0.05;
        world.net.weather.bulk_loss = 0.05;
        world.start_all();
        l3_progress::rounds(&mut world, 8, Span::from_secs(400));
        world.net.weather = Weather::calm();
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
        l1_together::stays(&mut world, 3, Span::from_secs(120));
    });
}

#[test]
fn reordering_and_duplicates() {
    for_seeds(15, |seed| {
        let mut world = World::new("reordering_and_duplicates", seed, 4);
        world.net.weather.reorder = true;
        world.net.weather.jitter_ms = 400;
        world.net.weather.duplicate = 0.2;
        world.start_all();
        l3_progress::rounds(&mut world, 8, Span::from_secs(300));
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
    });
}

/// One peer is five times slower: its work is counted now and then, and the others wait for it no longer than grace allows.
#[test]
fn stragglers() {
    for_seeds(15, |seed| {
        let mut world = World::new("stragglers", seed, 4);
        let slow = world.rng.index(4);
        world.peers[slow].speed /= 5;
        world.start_all();
        l3_progress::rounds(&mut world, 3, Span::from_secs(120));
        let (begun, (_, first)) = (world.now, world.rounds());
        let trains =
            world.peers[(slow + 1) % 4].training_takes(8 * u64::from(super::spec::CONTEXT));
        l3_progress::rounds(&mut world, 12, Span::from_secs(400));
        let rounds = world.rounds().1 - first;
        let each = world.now.since(begun).as_secs_f64() / rounds as f64;
        let bound = trains.as_secs_f64() * 1.5 + 3.0;
        assert!(each <= bound, "a round takes {each:.2} s, training {:.2} s", trains.as_secs_f64());
        assert_counted(&world, slow);
    });
}

fn assert_counted(world: &World, slow: usize) {
    let id = world.peers[slow].id;
    let records = world.book.records.values();
    let counted =
        records.filter(|entry| entry.record.contributions.iter().any(|c| c.peer == id)).count();
    assert!(counted >= 2, "the straggler's work was counted {counted} times");
}

#[test]
fn stalls() {
    for_seeds(15, |seed| {
        let mut world = World::new("stalls", seed, 4);
        world.start_all();
        l3_progress::rounds(&mut world, 2, Span::from_secs(120));
        for _ in 0..8 {
            let (p, span) = (world.rng.index(4), world.rng.millis(200, 20_000));
            world.stall(p, span);
            let pause = world.rng.millis(500, 8000);
            world.run_for(pause);
        }
        world.run_for(Span::from_secs(20));
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
        l1_together::stays(&mut world, 3, Span::from_secs(120));
    });
}

#[test]
fn partition_heals() {
    for_seeds(15, |seed| {
        let mut world = World::new("partition_heals", seed, 5);
        world.start_all();
        l3_progress::rounds(&mut world, 3, Span::from_secs(120));
        let pause = world.rng.millis(0, 4000);
        world.run_for(pause);
        let groups: Vec<u8> = (0..5).map(|_| world.rng.below(2) as u8).collect();
        world.cut(&groups);
        let apart = world.rng.millis(1000, 60_000);
        world.run_for(apart);
        world.heal();
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
        l1_together::stays(&mut world, 3, Span::from_secs(120));
    });
}

/// Both sides of a cut go on by themselves.
#[test]
fn nobody_stands_still_while_cut_off() {
    for_seeds(8, |seed| {
        let mut world = World::new("nobody_stands_still_while_cut_off", seed, 4);
        world.start_all();
        l3_progress::rounds(&mut world, 2, Span::from_secs(120));
        world.cut(&[0, 0, 0, 1]);
        l3_progress::rounds(&mut world, 3, Span::from_secs(240));
        world.heal();
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
    });
}
