//! The one `match` on a gossip session's outputs.

use super::numbers::Numbers;
use super::world::{Event, Payload, World};
use crate::fault::seconds;
use crate::keys;
use shoal_protocol::gossip::{Frame, FrameKind, Input, Output, step};
use shoal_protocol::id::{PeerId, Round};
use std::rc::Rc;

impl World {
    /// Does what a peer's session says.
    pub fn perform(&mut self, p: usize, output: Output) {
        match output {
            Output::Send { to, message } => self.send(p, &to, message),
            Output::Train { round } => self.train(p, round),
            Output::Begin { members, .. } => self.peers[p].slices = members,
            Output::Part { to, frame } => self.part(p, &to, frame),
            Output::Sum { frame, parts } => self.sum(p, frame, &parts),
            Output::Mean { to, frame } => self.mean(p, &to, frame),
            Output::Step { round, slices, here, group } => {
                let mean = |slice| Frame { group, slice, kind: FrameKind::Mean };
                let here: Vec<Frame> = here.into_iter().map(mean).collect();
                self.outer_step(p, round, slices, &here);
            }
            Output::SendState { to, frame } => {
                let outer = self.peers[p].numbers.as_ref().map(Numbers::outer);
                let payload = outer.map(|outer| Rc::new(bytes_of(outer)));
                self.send_bulk(p, &to, frame, 4 * self.spec.elems() as usize, payload);
            }
            Output::Load { from, frame } => self.load(p, &from, frame),
        }
    }

    fn train(&mut self, p: usize, round: Round) {
        let (peer, inner) = (&mut self.peers[p], &self.spec.inner);
        let tokens =
            u64::from(inner.steps) * u64::from(inner.batch) * u64::from(self.spec.model.context);
        let takes = seconds(tokens as f64 / peer.tokens_per_s as f64);
        peer.trained = peer.trained + takes;
        if let Some(numbers) = &mut peer.numbers {
            numbers.train(round);
        }
        let life = peer.life;
        self.happens(self.now + takes, Event::Input(p, life, Input::Trained));
    }

    fn part(&mut self, p: usize, to: &PeerId, frame: Frame) {
        let slices = self.peers[p].slices;
        let numbers = self.peers[p].numbers.as_mut();
        let payload = numbers.map(|numbers| Rc::new(numbers.part(slices, frame.slice)));
        let bytes = self.slice_bytes(slices, frame.slice);
        self.send_bulk(p, to, frame, bytes, payload);
    }

    fn slice_bytes(&self, slices: u64, slice: u64) -> usize {
        let elems = step::slice(self.spec.elems() as usize, slices, slice).len();
        self.spec.exchange.up.encoded_len(elems)
    }

    fn sum(&mut self, p: usize, frame: Frame, parts: &[PeerId]) {
        self.counts_once(p, frame, parts);
        let peer = &mut self.peers[p];
        let taken: Vec<Payload> = parts
            .iter()
            .map(|part| peer.held.remove(&(frame, keys::number(part)?)).flatten())
            .collect();
        let Some(numbers) = &peer.numbers else { return };
        let parts: Vec<Option<&[u8]>> =
            taken.iter().map(|payload| payload.as_ref().map(|bytes| bytes.as_slice())).collect();
        let mean = numbers.average(peer.slices, frame.slice, &parts);
        let frame = Frame { kind: FrameKind::Mean, ..frame };
        peer.held.insert((frame, p), Some(Rc::new(mean)));
    }

    /// S1: a sum takes each part once, and only parts that have come.
    fn counts_once(&self, p: usize, frame: Frame, parts: &[PeerId]) {
        let peer = &self.peers[p];
        let mut seen = std::collections::BTreeSet::new();
        for part in parts {
            assert!(seen.insert(part), "S1 is broken: p{p} counts {} twice", part.short());
            let number = keys::number(part).expect("members are hosts");
            let came = number == p || peer.held.contains_key(&(frame, number));
            assert!(came, "S1 is broken: p{p} counts what p{number} has not sent");
        }
    }

    fn mean(&mut self, p: usize, to: &PeerId, frame: Frame) {
        let payload = self.peers[p].held.get(&(frame, p)).cloned().flatten();
        let bytes = self.slice_bytes(self.peers[p].slices, frame.slice);
        self.send_bulk(p, to, frame, bytes, payload);
    }

    fn outer_step(&mut self, p: usize, round: Round, slices: u64, here: &[Frame]) {
        let peer = &mut self.peers[p];
        if let Some(numbers) = &mut peer.numbers {
            let mean = |frame: &Frame| {
                let held = peer.held.iter().find(|((held, _), _)| held == frame);
                Some((frame.slice, held?.1.clone()?))
            };
            let means: Vec<(u64, Rc<Vec<u8>>)> = here.iter().filter_map(mean).collect();
            assert_eq!(means.len(), here.len(), "S1 is broken: p{p} steps with means it lacks");
            numbers.step(slices, &means);
        }
        if let Some(frame) = here.first() {
            peer.held.retain(|(held, _), _| held.group != frame.group);
        }
        assert!(round > peer.committed, "S4 is broken: p{p} steps back to round {round}");
        assert!(
            peer.held.len() <= MOST_HELD,
            "S7 is broken: p{p} holds {} frames",
            peer.held.len()
        );
        peer.committed = round;
        self.stepped(round, slices);
    }

    fn load(&mut self, p: usize, from: &PeerId, frame: Frame) {
        let from = keys::number(from).expect("members are hosts");
        let peer = &mut self.peers[p];
        let state = peer.held.remove(&(frame, from)).flatten();
        if let (Some(numbers), Some(bytes)) = (&mut peer.numbers, state) {
            numbers.load(&floats(&bytes));
        }
        peer.committed = peer.committed.max(frame.slice);
    }
}

/// Frames that a peer may hold: some of its group's, and those that came early.
const MOST_HELD: usize = 1024;

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    bytes.chunks_exact(4).map(number).collect()
}
