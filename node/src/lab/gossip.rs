//! Gossip in the lab: the protocol's groups, codecs and outer steps, computed directly. Nobody is late or lost, so that every worker
//! meets whom the protocol would have it meet; bytes are those of the groups' slices, and times follow by formula.

use super::course::TorchCourse;
use super::file::Network;
use super::point::{Measured, Setting};
use shoal_protocol::gossip::{self, Numbers, grid};
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::run::RunSpec;
use shoal_protocol::run::gossip::GossipSpec;
use shoal_sim::cohort::{Course, Worker};
use std::collections::BTreeMap;

/// What came of it.
pub struct Gossiped {
    /// Losses of the first worker's own parameters.
    pub curve: Vec<Measured>,
    /// By worker: bytes sent and received.
    pub bytes: Vec<(u64, u64)>,
}

/// One virtual worker.
struct Member {
    peer: PeerId,
    numbers: Numbers,
    worker: Box<dyn Worker>,
    /// Its next sample, in an order of its own.
    position: u64,
    sent: u64,
    received: u64,
}

/// Carries a run out; a course that fails makes the rest cost nothing.
pub fn carry(
    setting: &Setting,
    spec: &GossipSpec,
    course: &TorchCourse,
    params: &[f32],
) -> Gossiped {
    let run = &setting.spec;
    let begin = |index| Member::new(index, run, spec, course, params);
    let mut members: Vec<Member> = (0..setting.workers).map(begin).collect();
    let mut curve = Vec::new();
    for round in 1..=setting.length.rounds + 1 {
        if round > 1 {
            members.iter_mut().for_each(|member| member.train(run, round));
            meet(&mut members, run, spec, round);
        }
        // As in the protocol's other runs the first round counts no work.
        let loss = course.loss(round, members[0].numbers.outer());
        let done = round - 1;
        curve.extend(loss.map(|loss| Measured {
            tokens: done * tokens_of_round(setting),
            round: done,
            at_s: done as f64 * round_s(setting, spec, &setting.network),
            loss,
            training: course.training_loss(done),
        }));
    }
    Gossiped { curve, bytes: members.iter().map(|member| (member.sent, member.received)).collect() }
}

/// How long a round takes on a network: local work, the slices of a group up and then down, and two ways.
pub fn round_s(setting: &Setting, spec: &GossipSpec, network: &Network) -> f64 {
    let run = &setting.spec;
    let elems = run.elems() as usize;
    let together = if spec.pairs { 2 } else { setting.workers }.min(setting.workers).max(1);
    let slice = gossip::step::slice(elems, together as u64, 0).len();
    let coded = run.exchange.up.encoded_len(slice) + run.exchange.down.encoded_len(slice);
    let bytes = ((together - 1) * coded) as f64;
    let bytes_per_s = network.up_mbit.min(network.down_mbit) * 125_000.0;
    let ways = 2.0 * 2.0 * network.latency_ms / 1e3;
    let tokens = tokens_of_round(setting) as f64 / setting.workers as f64;
    tokens / network.tokens_per_s + bytes / bytes_per_s + ways
}

/// Tokens of all workers.
fn tokens_of_round(setting: &Setting) -> u64 {
    samples(&setting.spec) * u64::from(setting.spec.model.context) * setting.workers as u64
}

/// Samples of one worker in a round.
fn samples(run: &RunSpec) -> u64 {
    u64::from(run.inner.steps) * u64::from(run.inner.batch)
}

/// All groups of a round: who meets is what the protocol's convener would say if all came.
fn meet(members: &mut [Member], run: &RunSpec, spec: &GossipSpec, round: Round) {
    let axis = grid::axis(round, spec);
    let mut cells: BTreeMap<(usize, Vec<u8>), Vec<PeerId>> = BTreeMap::new();
    for (seat, member) in (0..).zip(&*members) {
        cells.entry(grid::Place::at(seat, spec).cell(axis)).or_default().push(member.peer);
    }
    for ready in cells.values() {
        for group in gossip::groups(&run.id(), round, ready, spec.pairs) {
            average(members, &group);
        }
    }
}

/// A group averages slice by slice, each member adding up one of them, and each takes its outer step with what has come back.
fn average(members: &mut [Member], group: &[PeerId]) {
    let index = |peer: &PeerId| members.iter().position(|member| member.peer == *peer);
    let group: Vec<usize> = group.iter().filter_map(index).collect();
    let slices = group.len() as u64;
    let mut means = Vec::new();
    for (slice, owner) in (0..).zip(&group) {
        let mut parts = Vec::new();
        for giver in &group {
            let part = (giver != owner).then(|| members[*giver].numbers.part(slices, slice));
            let len = part.as_ref().map_or(0, |bytes| bytes.len() as u64);
            members[*giver].sent += len;
            members[*owner].received += len;
            parts.push(part);
        }
        let parts: Vec<Option<&[u8]>> = parts.iter().map(Option::as_deref).collect();
        let mean = members[*owner].numbers.average(slices, slice, &parts).expect("own bytes");
        for taker in group.iter().filter(|taker| *taker != owner) {
            members[*owner].sent += mean.len() as u64;
            members[*taker].received += mean.len() as u64;
        }
        means.push((slice, mean));
    }
    let means: Vec<(u64, &[u8])> = means.iter().map(|(slice, mean)| (*slice, &**mean)).collect();
    for member in group {
        let unsound = members[member].numbers.step(slices, &means);
        assert_eq!(unsound, [], "own bytes");
    }
}

impl Member {
    fn new(
        index: usize,
        run: &RunSpec,
        spec: &GossipSpec,
        course: &TorchCourse,
        params: &[f32],
    ) -> Member {
        let peer = PeerId([index as u8; 32]);
        Member {
            peer,
            numbers: Numbers::new(*spec, (run.exchange.up, run.exchange.down), params.to_vec()),
            worker: course.worker(run),
            position: grid::first_position(&run.id(), &peer),
            sent: 0,
            received: 0,
        }
    }

    /// Local work on the next samples; what it leads to is brought to the round's group.
    fn train(&mut self, run: &RunSpec, round: Round) {
        let here = self.position..self.position + samples(run);
        self.position = here.end;
        let mut local = self.numbers.outer().as_ref().clone();
        self.worker.steps(round, &mut local, &[here]);
        self.numbers.learned(&local);
    }
}
