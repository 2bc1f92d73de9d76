//! Hosts that are all alike carry a run from its first round to its last, without faults: with a learner that the caller brings,
//! or with sizes alone.
//!
//! The protocol, the codecs and the outer step are those of every world; only the outside view that checks each promise is not
//! kept, since it remembers every number that was ever sent. A world of sizes alone takes the same time and the same bytes.

pub use crate::learn::{Course, Worker};

use crate::book::Book;
use crate::fault::seconds;
use crate::keys;
use crate::learn::Lesson;
use crate::net::{Host, Loss, Net, Traffic};
use crate::noise::{self, Numbers};
use crate::peer::Peer;
use crate::phantom;
use crate::record::{Recorder, RoundRow};
use crate::rng::Rng;
use crate::shelf;
use crate::store::{Disk, Saved};
use crate::world::{Chance, World};
use shoal_protocol::id::Digest;
use shoal_protocol::run::RunSpec;
use shoal_protocol::time::Time;
use shoal_protocol::wire::{self, ChunkId, ChunkKind};
use std::rc::Rc;

/// Lengths of header and payload, before each bulk frame's header.
const LENGTHS_BYTES: u64 = 6;
/// How much longer than its training and its bytes alone a run may take before it is given up.
const PATIENCE: f64 = 20.0;

/// Hosts that are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hosts {
    /// How many; at most 64.
    pub count: usize,
    /// Training speed.
    pub tokens_per_s: f64,
    /// Uplink.
    pub up_mbit: f64,
    /// Downlink.
    pub down_mbit: f64,
    /// One way to the core of the network.
    pub latency_ms: f64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Held-out loss of the parameters of round 0, if the course tells one.
    pub begins: Option<f64>,
    /// The rounds that counted work, in order.
    pub rounds: Vec<Round>,
    /// By host: bytes that it sent and received. Payloads, their headers and control frames; no encryption, no TCP.
    pub bytes: Vec<(u64, u64)>,
    /// Names all that happened, losses included.
    pub trace: Digest,
}

/// A committed round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// When the first host committed it.
    pub at_s: f64,
    /// Hosts whose work it counts.
    pub members: usize,
    /// What they trained on.
    pub tokens: u64,
    /// Held-out loss, if the course tells one.
    pub loss: Option<f64>,
}

/// Runs `spec` on `hosts` until `rounds` rounds have counted work. `course`: what is learned, and the parameters of round 0,
/// `[elems]`; sizes alone if absent. The first round of all only deals out leases, so that the spec needs one more.
///
/// # Errors
/// The cluster did not get there in many times the time that training and sending take: how far it came.
pub fn carry(
    spec: RunSpec,
    hosts: &Hosts,
    seed: u64,
    rounds: u64,
    course: Option<(Box<dyn Course>, Vec<f32>)>,
) -> Result<Carried, String> {
    let end = Time::ZERO + seconds(patience_s(&spec, hosts, rounds));
    let mut world = assemble(shelf::at_hand(spec), hosts, seed, course);
    let begins = begins(&mut world);
    let (mut seen, mut counted) = (0, 0);
    while counted < rounds {
        if !world.step(end) {
            let at = world.now.since(Time::ZERO).as_secs_f64();
            let why = format!("only {counted} of {rounds} rounds counted work");
            return Err(format!("{why} within {at:.0} virtual seconds"));
        }
        let all = rows(&world).len();
        if all > seen {
            (seen, counted) = (all, counting(&world).count() as u64);
        }
    }
    while !world.is_even() && world.step(end) {}
    Ok(Carried {
        begins,
        rounds: counting(&world).map(round).collect(),
        bytes: world.net.traffic.iter().map(bytes).collect(),
        trace: world.trace_digest(),
    })
}

/// The loss that all begin with.
fn begins(world: &mut World) -> Option<f64> {
    let (lesson, Disk::Real(saved)) = (world.lesson.as_mut()?, &world.peers[0].disk) else {
        return None;
    };
    Some(lesson.evaluate(saved.record.state, 0, &saved.numbers.params)?.0)
}

fn rows(world: &World) -> &[RoundRow] {
    &world.recorder.as_ref().expect("it was made with one").rounds
}

/// The committed rounds that count work.
fn counting(world: &World) -> impl Iterator<Item = &RoundRow> {
    rows(world).iter().filter(|row| row.tokens > 0)
}

fn round(row: &RoundRow) -> Round {
    let at_s = row.at.since(Time::ZERO).as_secs_f64();
    Round { at_s, members: row.members, tokens: row.tokens, loss: row.loss }
}

fn bytes(traffic: &Traffic) -> (u64, u64) {
    let (of, kind) = (Digest::default(), ChunkKind::Contribution);
    let header = wire::to_cbor(&ChunkId { of, kind, index: 0, included: 0 }).len() as u64;
    let framing = |frames: u64| frames * (header + LENGTHS_BYTES);
    (traffic.sent + framing(traffic.bulk_sent), traffic.received + framing(traffic.bulk_received))
}

/// How long the run may take at the most.
fn patience_s(spec: &RunSpec, hosts: &Hosts, rounds: u64) -> f64 {
    let sequences = f64::from(spec.inner.steps) * f64::from(spec.inner.batch);
    let training = sequences * f64::from(spec.model.context) / hosts.tokens_per_s;
    let least_mbit = hosts.up_mbit.min(hosts.down_mbit);
    let sending = 8.0 * spec.elems() as f64 / (least_mbit * 125_000.0);
    PATIENCE * (rounds + 2) as f64 * (training + sending + hosts.latency_ms / 100.0) + 600.0
}

fn assemble(
    spec: RunSpec,
    hosts: &Hosts,
    seed: u64,
    course: Option<(Box<dyn Course>, Vec<f32>)>,
) -> World {
    let (mut rng, spec) = (Rng::new(seed), Rc::new(spec));
    let (course, params) = course.unzip();
    let disk = disk(&spec, params);
    let speed = hosts.tokens_per_s.max(1.0) as u64;
    let peer = |p| Peer::new(keys::peer_id(p), spec.clone(), speed, disk.clone());
    let peers: Vec<Peer> = (0..hosts.count).map(peer).collect();
    let net = Net::new(vec![host(hosts); hosts.count], rng.fork());
    let (names, goal) = (vec![String::new(); hosts.count], u64::MAX);
    let mut world = World::assemble("", seed, spec, peers, net, Book::default(), rng.fork());
    world.lesson = course.map(Lesson::new);
    world.recorder = Some(Recorder::new(names, 1, goal));
    (0..hosts.count).for_each(|p| world.happens(Time::ZERO, Chance::Start(p)));
    world
}

fn disk(spec: &RunSpec, params: Option<Vec<f32>>) -> Disk {
    let Some(params) = params else { return Disk::Phantom(Box::new(phantom::genesis(spec))) };
    let zeros = || vec![0.0; params.len()];
    let (momentum, up, down) = (vec![0.0; params.len() * spec.outer_states()], zeros(), zeros());
    let numbers = Numbers { params, momentum };
    let record = noise::standing(spec, &numbers).record;
    Disk::Real(Box::new(Saved { record, numbers, up, down }))
}

fn host(hosts: &Hosts) -> Host {
    let bytes_per_s = |mbit: f64| (mbit * 125_000.0).max(1.0) as u64;
    Host {
        run: 0,
        region: None,
        up_bytes_per_s: bytes_per_s(hosts.up_mbit),
        down_bytes_per_s: bytes_per_s(hosts.down_mbit),
        latency: seconds(hosts.latency_ms / 1e3),
        jitter: seconds(0.0),
        loss: Loss { good_loss: 0.0, bad_loss: 1.0, p_good_to_bad: 0.0, p_bad_to_good: 1.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use shoal_protocol::math::Codec;
    use shoal_protocol::run::{Blob, DataSpec, InnerSchedule, Strategy, TokenizerSpec};

    const HOSTS: Hosts =
        Hosts { count: 4, tokens_per_s: 200.0, up_mbit: 20.0, down_mbit: 200.0, latency_ms: 10.0 };

    /// A scenario that learns, and its spec for so many rounds that count work.
    fn learning(rounds: u64) -> (Scenario, RunSpec) {
        let text = "name = \"c\"\nrounds = 9\nlearner = \"convex\"\n[run]\ncontext = 16\nsteps = 10\n\
             batch = 4\nouter = \"sgd\"\nouter_lr = 1.0\nquorum_percent = 100\n[[group]]\nname = \"a\"\n\
             count = 4\ntokens_per_s = 200\nup_mbit = 20\ndown_mbit = 200\nlatency_ms = 10\n";
        let scenario = Scenario::parse(text, "c").unwrap_or_else(|why| panic!("{why}"));
        let spec = scenario.spec(0).expect("it was checked");
        (scenario, RunSpec { rounds: rounds + 1, ..spec })
    }

    fn learn(rounds: u64) -> Carried {
        let (scenario, spec) = learning(rounds);
        teach(scenario, spec, &HOSTS, rounds)
    }

    fn teach(scenario: Scenario, spec: RunSpec, hosts: &Hosts, rounds: u64) -> Carried {
        let setup = scenario.lesson.expect("it learns");
        let params = setup.initial(&spec).params;
        carry(spec, hosts, 1, rounds, Some((Box::new(setup), params))).expect("it gets there")
    }

    /// The losses of hosts that take so many local steps of gradient descent in a round, exchange numbers as they are, and do
    /// with them what `change` says.
    fn losses(hosts: usize, steps: u32, rounds: u64, change: impl Fn(&mut RunSpec)) -> Vec<f64> {
        let (scenario, mut spec) = learning(rounds);
        spec.inner.steps = steps;
        spec.inner.schedule = InnerSchedule::Constant;
        (spec.exchange.up, spec.exchange.down) = (Codec::F32, Codec::F32);
        change(&mut spec);
        spec.validate().expect("it is a sound spec");
        let carried = teach(scenario, spec, &Hosts { count: hosts, ..HOSTS }, rounds);
        carried.rounds.iter().filter_map(|round| round.loss).collect()
    }

    #[track_caller]
    fn same_to_rounding(left: &[f64], right: &[f64]) {
        assert_eq!(left.len(), right.len());
        for (left, right) in left.iter().zip(right) {
            assert!((left / right - 1.0).abs() < 1e-5, "{left} {right}");
        }
    }

    #[test]
    fn one_step_and_plain_averaging_is_data_parallel_training() {
        let averaged = losses(4, 1, 8, |_| {});
        let sync = Strategy::Sync.usual();
        let parallel =
            losses(4, 1, 8, |spec| (spec.strategy, spec.outer) = (sync.pieces, sync.outer.clone()));
        same_to_rounding(&averaged, &parallel);
        // One host with the batch of four sees the same samples in each step.
        let alone = losses(1, 1, 8, |spec| {
            spec.inner.batch *= 4;
            (spec.strategy, spec.outer) = (sync.pieces, sync.outer.clone());
        });
        same_to_rounding(&averaged, &alone);
    }

    #[test]
    fn a_text_and_a_tokenizer_of_some_name_are_at_hand() {
        let (scenario, mut spec) = learning(2);
        let pieces = Some(Blob { root: Digest([7; 32]), bytes: 9 });
        spec.tokenizer = TokenizerSpec::File { digest: Digest([7; 32]), pieces };
        let samples = spec.data.samples();
        spec.data = DataSpec::Text {
            digest: Digest([7; 32]),
            bytes: 5_000_000,
            samples,
            heldout_permille: 10,
            pieces: Some(Digest([7; 32])),
            id_bytes: Some(1),
            window: None,
        };
        assert_eq!(teach(scenario, spec, &HOSTS, 2).rounds.len(), 2);
    }

    #[test]
    fn alone_an_exchange_changes_nothing() {
        let rounds = losses(1, 5, 6, |_| {});
        let steps = losses(1, 1, 30, |_| {});
        let every_fifth: Vec<f64> = steps.into_iter().skip(4).step_by(5).collect();
        same_to_rounding(&rounds, &every_fifth);
    }

    #[test]
    fn every_host_has_a_part_in_every_round_and_the_loss_falls() {
        let carried = learn(6);
        assert_eq!(carried.rounds.len(), 6);
        for round in &carried.rounds {
            assert_eq!((round.members, round.tokens), (4, 4 * 10 * 4 * 16), "{round:?}");
        }
        let losses: Vec<f64> = carried.rounds.iter().filter_map(|round| round.loss).collect();
        assert!(losses.len() == 6 && losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
        assert_eq!(carried, learn(6));
    }

    /// What is learned has no part in time and bytes: payloads are of one size.
    #[test]
    fn sizes_alone_take_the_same_time_and_the_same_bytes() {
        let (real, (_, spec)) = (learn(6), learning(6));
        let sized = carry(spec, &HOSTS, 1, 6, None).expect("it gets there");
        for (real, sized) in real.rounds.iter().zip(&sized.rounds) {
            assert!((real.at_s / sized.at_s - 1.0).abs() < 0.01, "{real:?} {sized:?}");
        }
        for (real, sized) in real.bytes.iter().zip(&sized.bytes) {
            assert!((real.0 as f64 / sized.0 as f64 - 1.0).abs() < 0.01, "{real:?} {sized:?}");
        }
    }

    #[test]
    fn what_does_not_get_there_is_told() {
        let (_, spec) = learning(6);
        let why = carry(RunSpec { rounds: 3, ..spec }, &HOSTS, 1, 6, None).unwrap_err();
        assert!(why.starts_with("only 2 of 6 rounds"), "{why}");
    }
}
