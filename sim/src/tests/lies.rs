//! Liars among honest peers: these refuse them and go on (S7, S8).

use super::seeds::for_seeds;
use super::spec;
use crate::check::{l1_together, l3_progress};
use crate::cluster;
use crate::keys::peer_id;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::world::World;
use shoal_protocol::event::Input;
use shoal_protocol::time::Span;
use shoal_protocol::wire;

#[test]
fn random_bytes_are_no_messages() {
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let n = rng.index(200);
        let frame = rng.bytes(n);
        let input = wire::decode(peer_id(0), &frame);
        assert!(matches!(input, Input::Malformed { .. } | Input::Received { .. }));
    }
    let oversized = vec![0; wire::FRAME_BYTES_MAX + 1];
    assert!(matches!(wire::decode(peer_id(0), &oversized), Input::Malformed { .. }));
}

/// A list header that announces 2^60 entries, and lists in lists without end.
#[test]
fn deep_and_giant_frames_are_refused() {
    let deep = vec![0x81; 100_000];
    let giant: Vec<u8> = [&[0x9b][..], &(1u64 << 60).to_be_bytes()].concat();
    for frame in [deep, giant] {
        assert!(matches!(wire::decode(peer_id(0), &frame), Input::Malformed { .. }));
    }
}

#[test]
fn liars() {
    for_seeds(15, |seed| {
        let mut world = World::with("liars", seed, 4, 2, spec::small);
        world.start_all();
        l3_progress::rounds(&mut world, 8, Span::from_secs(300));
        l1_together::within_three_rounds(&mut world, Span::from_secs(120));
    });
}

/// Liars that pass for members: they are in plans, and what they owe never comes.
#[test]
fn lying_members() {
    for_seeds(15, |seed| {
        let mut world = World::with("lying_members", seed, 5, 1, spec::small);
        world.liars[0].insider = true;
        world.liars[0].pause_ms = 1000;
        world.start_all();
        l3_progress::rounds(&mut world, 6, Span::from_secs(600));
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
    });
}

/// A member whose bulk data is spoilt at times: undecodable contributions, deviating results.
#[test]
fn a_member_spoils_what_it_sends() {
    for_seeds(15, |seed| {
        let mut world = World::new("a_member_spoils_what_it_sends", seed, 5);
        world.peers[4].corrupts = 0.1;
        world.start_all();
        l3_progress::rounds(&mut world, 6, Span::from_secs(600));
        world.peers[4].corrupts = 0.0;
        world.run_for(Span::from_secs(60));
        l1_together::within_three_rounds(&mut world, Span::from_secs(240));
    });
}

/// An owner's result is spoilt on its way to the only member that has it when the owner is cut off: it decodes, the others commit
/// it, and the owner, which never sent its own part to anybody, has to settle what it did not encode.
#[test]
fn a_spoilt_result_that_is_committed_is_settled_by_its_owner() {
    let text = include_str!("../../../examples/clusters/all-faults.toml");
    let text = text.replace("learner = \"noise\"\n", "").replace("params = \"8K\"\n", "");
    let text = format!("{text}\n[learner]\nkind = \"text\"\n");
    let scenario = Scenario::parse(&text, "all-faults").unwrap_or_else(|why| panic!("{why}"));
    cluster::run(&scenario, 99, "", |_| true);
}

/// A donor whose state chunks are spoilt never leads a joiner to a wrong state (S8).
#[test]
fn a_donor_spoils_what_it_sends() {
    for_seeds(3, |seed| {
        let mut world = World::with("a_donor_spoils_what_it_sends", seed, 4, 0, spec::large);
        (0..4).for_each(|p| world.net.set_rate(p, 2_000_000, 4_000_000));
        (0..3).for_each(|p| world.start(p));
        l3_progress::rounds(&mut world, 6, Span::from_secs(300));
        world.peers[1].corrupts = 0.7;
        world.start(3);
        world.run_until("the joiner is in step", Span::from_secs(240), |world| {
            world.peers[3]
                .stands()
                .is_some_and(|(round, _)| round + 2 >= world.rounds().1 && round > 5)
        });
    });
}
