//! Peers that die, come back, and come late.

use super::seeds::for_seeds;
use super::spec;
use crate::check::{l1_together, l2_survivors, l3_progress};
use crate::keys;
use crate::rng::Rng;
use crate::world::World;
use shoal_protocol::convene;
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::time::Span;

/// Runs until an exchange of a later round is under way: its round and plan.
fn exchange_begins(world: &mut World) -> (Round, Digest) {
    let (_, round) = world.rounds();
    world.run_until("an exchange begins", Span::from_secs(120), |world| {
        world.under_way.is_some_and(|(newest, _)| newest > round)
    });
    world.under_way.expect("it was just seen")
}

/// Links so narrow that an exchange takes seconds, and faults fall into its middle. A whole state takes six seconds, which is
/// more than a round: whoever needs one can only stay behind, so that scenarios in which many do take `slow` links.
fn narrow(world: &mut World) {
    set_rates(world, 6_000);
}

/// Links on which a whole state takes a second or two.
fn slow(world: &mut World) {
    set_rates(world, 25_000);
}

fn set_rates(world: &mut World, least: u64) {
    for p in 0..world.peers.len() {
        let rate = least + world.rng.below(least);
        world.net.set_rate(p, rate, 2 * rate);
    }
}

#[test]
fn five_peers_two_killed_mid_exchange() {
    for_seeds(30, |seed| {
        let mut world = World::new("five_peers_two_killed_mid_exchange", seed, 5);
        narrow(&mut world);
        world.start_all();
        l3_progress::rounds(&mut world, 3, Span::from_secs(180));
        let (round, plan) = exchange_begins(&mut world);
        let victims = world.rng.shuffled(5);
        for &victim in &victims[..2] {
            let pause = world.rng.millis(0, 1500);
            world.run_for(pause);
            world.kill(victim);
        }
        l2_survivors::same_plan(&mut world, round, plan, Span::from_secs(120));
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
        l3_progress::rounds(&mut world, 3, Span::from_secs(180));
        slow(&mut world);
        victims[..2].iter().for_each(|&victim| world.start(victim));
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
        l1_together::stays(&mut world, 3, Span::from_secs(180));
    });
}

#[test]
fn everyone_killed_everyone_restarts() {
    for_seeds(15, |seed| {
        let mut world = World::new("everyone_killed_everyone_restarts", seed, 4);
        narrow(&mut world);
        world.start_all();
        l3_progress::rounds(&mut world, 3, Span::from_secs(180));
        exchange_begins(&mut world);
        let pause = world.rng.millis(0, 2000);
        world.run_for(pause);
        let (_, reached) = world.rounds();
        (0..4).for_each(|p| world.kill(p));
        world.run_for(Span::from_secs(5));
        for p in world.rng.shuffled(4) {
            let pause = world.rng.millis(0, 500);
            world.run_for(pause);
            world.start(p);
        }
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
        assert!(world.rounds().1 >= reached, "a committed round is lost");
        l1_together::stays(&mut world, 4, Span::from_secs(180));
    });
}

#[test]
fn late_joiner_catches_up_from_several_donors() {
    for_seeds(3, |seed| {
        let test = "late_joiner_catches_up_from_several_donors";
        let mut world = World::with(test, seed, 4, 0, spec::large);
        (0..4).for_each(|p| world.net.set_rate(p, 2_000_000, 4_000_000));
        (0..3).for_each(|p| world.start(p));
        l3_progress::rounds(&mut world, 6, Span::from_secs(300));
        world.net.weather.bulk_loss = 0.05;
        world.start(3);
        let downloading = world.rng.millis(100, 1500);
        world.run_for(downloading);
        world.kill(2);
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
        world.net.weather.bulk_loss = 0.0;
        l1_together::stays(&mut world, 2, Span::from_secs(240));
    });
}

/// The peer that made the newest plan, if it is alive.
fn convener(world: &World) -> Option<usize> {
    let (_, plan) = world.under_way?;
    let convener = world.book.plans.get(&plan)?.convener;
    world.alive().into_iter().find(|p| world.peers[*p].id == convener)
}

#[test]
fn convener_dies_after_plan() {
    for_seeds(15, |seed| {
        let mut world = World::new("convener_dies_after_plan", seed, 4);
        narrow(&mut world);
        world.start_all();
        l3_progress::rounds(&mut world, 2, Span::from_secs(120));
        let (round, plan) = exchange_begins(&mut world);
        // Its plan has reached the others by then, or they have it from each other.
        world.run_for(Span::from_millis(150));
        let convener = convener(&world).expect("it has just made a plan");
        world.kill(convener);
        l2_survivors::same_plan(&mut world, round, plan, Span::from_secs(120));
        l1_together::stays(&mut world, 3, Span::from_secs(180));
    });
}

/// Kills whoever ranks first for the round while everybody still trains.
#[test]
fn convener_dies_before_plan() {
    for_seeds(15, |seed| {
        let mut world = World::new("convener_dies_before_plan", seed, 4);
        world.start_all();
        l3_progress::rounds(&mut world, 2, Span::from_secs(120));
        for _ in 0..3 {
            let (low, _) = world.rounds();
            world.run_until("a round", Span::from_secs(60), |world| {
                world.rounds().0 > low && world.is_together()
            });
            let victim = first_in_rank(&world);
            world.kill(victim);
            l3_progress::rounds(&mut world, 1, Span::from_secs(60));
            l1_together::within_three_rounds(&mut world, Span::from_secs(60));
            world.start(victim);
            l1_together::within_three_rounds(&mut world, Span::from_secs(60));
        }
        l1_together::stays(&mut world, 2, Span::from_secs(120));
    });
}

fn first_in_rank(world: &World) -> usize {
    let living: Vec<PeerId> = world.alive().iter().map(|p| world.peers[*p].id).collect();
    let order = convene::rank(&world.spec.id(), world.rounds().1 + 1, &living);
    keys::number(&order[0]).expect("somebody lives")
}

/// Anything, at random instants; then nothing any more, and all must be well.
#[test]
fn random_churn() {
    for_seeds(25, |seed| {
        let n = 3 + (seed % 6) as usize;
        let mut world = World::new("random_churn", seed, n);
        slow(&mut world);
        let mut rng = world.rng.fork();
        storm(&mut world, &mut rng);
        for p in 0..n {
            if !world.peers[p].is_alive() {
                world.start(p);
            }
        }
        world.net.weather = crate::net::Weather::calm();
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
        l1_together::stays(&mut world, 3, Span::from_secs(240));
    });
}

fn storm(world: &mut World, rng: &mut Rng) {
    let n = world.peers.len();
    world.net.weather.control_loss = rng.pick(&[0.0, 0.0, 0.02]);
    world.net.weather.bulk_loss = rng.pick(&[0.0, 0.0, 0.02]);
    world.net.weather.duplicate = rng.pick(&[0.0, 0.02]);
    for p in rng.shuffled(n) {
        world.start(p);
        world.run_for(rng.millis(0, 3000));
    }
    for _ in 0..12 {
        world.run_for(rng.millis(100, 6000));
        let p = rng.index(n);
        match (rng.below(4), world.peers[p].is_alive()) {
            (0, true) => world.stall(p, rng.millis(100, 8000)),
            (1 | 2, true) => world.kill(p),
            (_, false) => world.start(p),
            _ => {}
        }
    }
}
