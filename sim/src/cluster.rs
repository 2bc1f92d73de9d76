//! A scenario made into a world: hosts drawn from their groups, faults and churn laid out in time, and the run to its end.

use crate::book::Book;
use crate::check::{l1_together, l4_nothing_lost};
use crate::cpu::Cpu;
use crate::fault::{self, Fault, seconds};
use crate::keys;
use crate::learn::Lesson;
use crate::liar::Liar;
use crate::losses::Losses;
use crate::net::{Host, Loss, Net};
use crate::noise::{self, Numbers};
use crate::peer::Peer;
use crate::phantom;
use crate::record::Recorder;
use crate::report::Summary;
use crate::rng::Rng;
use crate::scenario::{Chaos, DataFrom, Group, Learner, Scenario};
use crate::shelf::Shelf;
use crate::store::{Disk, Saved};
use crate::world::{Chance, World};
use shoal_protocol::run::{OuterKind, RunSpec};
use shoal_protocol::time::{Span, Time};
use std::rc::Rc;

/// A host as it was drawn.
pub struct Drawn {
    pub group: usize,
    pub tokens_per_s: u64,
    /// Cores for exchanges, if they are counted.
    pub cores: Option<f64>,
    pub host: Host,
}

/// The hosts that a seed draws, as [`build`] takes them, and their names.
pub fn hosts(scenario: &Scenario, seed: u64) -> (Vec<Drawn>, Vec<String>) {
    let hosts = draw_hosts(scenario, &mut Rng::new(seed).fork());
    let names = name_hosts(scenario, &hosts);
    (hosts, names)
}

/// The cluster of a seed, before anything has happened, and the faults that are to befall it; `again` is the command that
/// repeats it.
pub fn build(scenario: &Scenario, seed: u64, again: &str) -> (World, Vec<Fault>) {
    let mut rng = Rng::new(seed);
    let mut hosts = draw_hosts(scenario, &mut rng.fork());
    let mut chance = rng.fork();
    if let Some(chaos) = &scenario.chaos {
        hosts.truncate(fewer(chaos, &mut chance));
    }
    let mut spec = |run| {
        let mut spec = scenario.spec(run).expect("it was checked when it was read");
        scenario.chaos.iter().for_each(|chaos| vary(&mut spec, chaos, &mut chance));
        Rc::new(spec)
    };
    let specs: Vec<Rc<RunSpec>> = (0..scenario.runs).map(&mut spec).collect();
    let disks: Vec<Disk> = specs.iter().map(|spec| disk(scenario, spec)).collect();
    let peer = |(p, drawn): (usize, &Drawn)| {
        let run = drawn.host.run;
        let mut peer =
            Peer::new(keys::peer_id(p), specs[run].clone(), drawn.tokens_per_s, disks[run].clone());
        peer.settings.owns = !scenario.group[drawn.group].nat;
        let group = &scenario.group[drawn.group];
        peer.shelf = Shelf::of(&specs[run], group.data_from == DataFrom::Disk);
        peer.settings.data_cap = group.data_cap_mb.map(|mb| (mb * 1e6) as u64);
        peer.cpu = drawn.cores.map(Cpu::new);
        peer.settings.beacon_every = seconds(scenario.beacon_every_s);
        peer
    };
    let peers: Vec<Peer> = hosts.iter().enumerate().map(peer).collect();
    let peers_n = peers.len();
    let names = name_hosts(scenario, &hosts);
    let lying = |_| draw_host(&scenario.group[0], 0, 0, &mut rng.clone()).host;
    let links = hosts.iter().map(|drawn| drawn.host.clone()).chain((0..scenario.liars).map(lying));
    let net = Net::new(links.collect(), rng.fork());
    let book = open_book(&disks, &hosts, specs[0].elems() as usize);
    let mut world = World::assemble(again, seed, specs[0].clone(), peers, net, book, rng.fork());
    let liar = |i| Liar::new(peers_n + i, world.rng.fork());
    world.liars = (0..scenario.liars).map(liar).collect();
    let tells_losses = world.spec.stop.is_some();
    world.liars.iter_mut().for_each(|liar| liar.tells_losses = tells_losses);
    let mut recorder = Recorder::new(names, scenario.runs, scenario.rounds);
    world.lesson = scenario.lesson.clone().map(|setup| Lesson::new(Box::new(setup)));
    recorder.losses = world.lesson.as_mut().map(|lesson| losses(scenario, lesson, &disks));
    world.recorder = Some(recorder);
    lay_out(scenario, &hosts, &mut world, &mut rng);
    let groups: Vec<usize> = hosts.iter().map(|drawn| drawn.group).collect();
    (world, fault::all(scenario, &groups, &mut chance))
}

fn fewer(chaos: &Chaos, rng: &mut Rng) -> usize {
    let [least, most] = *chaos.hosts.get_ref();
    least + rng.index(most - least + 1)
}

/// What the peers agree on is drawn too: codecs, outer optimiser, chunks.
fn vary(spec: &mut RunSpec, chaos: &Chaos, rng: &mut Rng) {
    let codecs = chaos.codecs.get_ref();
    let (up, down) = (rng.pick(codecs), rng.pick(codecs));
    (spec.exchange.up, spec.exchange.down) = (up, down);
    spec.exchange.chunk_elems = spec.chunk_from(rng.pick(&[512, 1024, 2048]));
    if rng.chance(0.5) {
        (spec.outer.kind, spec.outer.momentum) = (OuterKind::Sgd, 0.0);
    }
}

fn disk(scenario: &Scenario, spec: &RunSpec) -> Disk {
    if scenario.learner.get_ref().kind == Learner::Phantom {
        return Disk::Phantom(Box::new(phantom::genesis(spec)));
    }
    let numbers = match &scenario.lesson {
        Some(lesson) => lesson.initial(spec),
        None => Numbers::initial(spec),
    };
    let elems = spec.elems() as usize;
    let (up, down) = (vec![0.0; elems], vec![0.0; elems]);
    let record = noise::standing(spec, &numbers).record;
    Disk::Real(Box::new(Saved { record, numbers, up, down }))
}

/// The outside view of numbers of this length; without numbers there is nothing to see.
fn open_book(disks: &[Disk], hosts: &[Drawn], elems: usize) -> Book {
    let mut book = Book::default();
    for (run, disk) in disks.iter().enumerate() {
        let Disk::Real(saved) = disk else { continue };
        if run == 0 {
            book = Book::new(&saved.record, hosts.len(), elems);
        }
        let peers = (0..hosts.len()).filter(|p| hosts[*p].host.run == run);
        book.begins(&saved.record, peers);
    }
    book
}

/// The losses that the runs begin with, and which are wanted.
fn losses(scenario: &Scenario, lesson: &mut Lesson, disks: &[Disk]) -> Losses {
    let mut begin = |disk: &Disk| match disk {
        Disk::Real(saved) => lesson.evaluate(saved.record.state, 0, &saved.numbers.params),
        Disk::Phantom(_) => None,
    };
    let begin = |disk| begin(disk).map_or(f64::NAN, |(loss, _)| loss);
    let begins = disks.iter().map(begin).collect();
    let target = scenario.target_loss.as_ref().map(|target| *target.get_ref());
    Losses::new(begins, lesson.optimum(), target)
}

fn draw_hosts(scenario: &Scenario, rng: &mut Rng) -> Vec<Drawn> {
    let mut hosts = Vec::new();
    for (g, group) in scenario.group.iter().enumerate() {
        for _ in 0..*group.count.get_ref() {
            let run = hosts.len() % scenario.runs;
            hosts.push(draw_host(group, g, run, rng));
        }
    }
    hosts
}

fn draw_host(group: &Group, g: usize, run: usize, rng: &mut Rng) -> Drawn {
    let bytes_per_s = |mbit: f64| (mbit * 125_000.0).max(1.0) as u64;
    let lost = group.loss_percent / 100.0;
    // In a burst everything is lost, outside nothing.
    let leaves = 1.0 / group.loss_burst.max(1.0);
    let loss = Loss {
        good_loss: 0.0,
        bad_loss: 1.0,
        p_good_to_bad: if lost > 0.0 { leaves * lost / (1.0 - lost) } else { 0.0 },
        p_bad_to_good: leaves,
    };
    Drawn {
        group: g,
        tokens_per_s: group.tokens_per_s.get_ref().draw(rng).max(1.0) as u64,
        cores: group.cores.as_ref().map(|cores| cores.get_ref().draw(rng)),
        host: Host {
            run,
            region: group.region,
            up_bytes_per_s: bytes_per_s(group.up_mbit.get_ref().draw(rng)),
            down_bytes_per_s: bytes_per_s(group.down_mbit.get_ref().draw(rng)),
            latency: seconds(group.latency_ms.get_ref().draw(rng) / 1e3),
            jitter: seconds(group.jitter_ms / 1e3),
            loss,
        },
    }
}

fn name_hosts(scenario: &Scenario, hosts: &[Drawn]) -> Vec<String> {
    let mut seen = vec![0; scenario.group.len()];
    let mut name = |drawn: &Drawn| {
        seen[drawn.group] += 1;
        format!("{}-{}", scenario.group[drawn.group].name, seen[drawn.group])
    };
    hosts.iter().map(&mut name).collect()
}

/// Schedules who starts, leaves and fails, and when.
fn lay_out(scenario: &Scenario, hosts: &[Drawn], world: &mut World, rng: &mut Rng) {
    let end = Time::ZERO + seconds(scenario.hours * 3600.0);
    let mut seen = vec![0; scenario.group.len()];
    for (p, drawn) in hosts.iter().enumerate() {
        let group = &scenario.group[drawn.group];
        if let Some(churn) = &group.churn {
            lay_out_stays(world, p, churn.of(seen[drawn.group]), end);
            seen[drawn.group] += 1;
            continue;
        }
        let mut at = Time::ZERO + seconds(group.starts_s.draw(rng));
        world.happens(at, Chance::Start(p));
        while let Some(stays) = &group.stays_h {
            at = at + seconds(stays.draw(rng) * 3600.0) + Span(1);
            world.happens(at, Chance::Kill(p));
            at = at + seconds(group.away_h.draw(rng) * 3600.0) + Span(1);
            world.happens(at, Chance::Start(p));
            if at > end {
                break;
            }
        }
    }
    (0..scenario.liars)
        .for_each(|liar| world.happens(Time::ZERO + Span::from_secs(1), Chance::Lie(liar)));
}

/// A host comes and goes as a file says.
fn lay_out_stays(world: &mut World, p: usize, stays: &[(f64, f64)], end: Time) {
    for (from, until) in stays {
        world.happens(Time::ZERO + seconds(*from), Chance::Start(p));
        let leaves = Time::ZERO + seconds(until.min(1e9));
        if leaves < end {
            world.happens(leaves, Chance::Kill(p));
        }
    }
}

/// Runs a scenario to its end; every promise is checked on the way, and a broken one panics with its name. `befalls`: which of
/// the faults, by number.
pub fn run(scenario: &Scenario, seed: u64, again: &str, befalls: impl Fn(usize) -> bool) -> World {
    let (mut world, faults) = build(scenario, seed, again);
    let faults = faults.into_iter().enumerate().filter(|(n, _)| befalls(*n));
    let faults: Vec<Fault> = faults.map(|(_, fault)| fault).collect();
    faults.iter().for_each(|fault| fault.lay_out(&mut world));
    let end = Time::ZERO + seconds(scenario.hours * 3600.0);
    let stops = world.spec.stop.is_some_and(|stop| stop.patience > 0);
    if scenario.together {
        let last = faults.iter().map(Fault::ends).max().unwrap_or(Time::ZERO);
        world.run_for(last.since(world.now));
        let patience = seconds(scenario.patience_s);
        if stops {
            l1_together::until_all_have_stopped(&mut world, patience);
        } else {
            l1_together::within_three_rounds(&mut world, patience);
        }
        if scenario.runs == 1 && !world.has_liars() && !faults.iter().any(Fault::costs_work) {
            l4_nothing_lost::all_is_counted_or_in_hand(&world);
        }
        if !stops {
            l1_together::stays(&mut world, 3, patience);
        }
    }
    let reached = |world: &World| world.recorder.as_ref().is_some_and(Recorder::is_done);
    let done = |world: &World| reached(world) || stops && world.is_over();
    while !(done(&world) && world.is_even()) && world.step(end) {}
    world.ends();
    world
}

/// What a finished run comes to.
pub fn summary(scenario: &Scenario, world: &World) -> Summary {
    let recorder = world.recorder.as_ref().expect("it was made with one");
    recorder.summary(&scenario.name, world)
}
