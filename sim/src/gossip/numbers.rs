//! The numbers of one peer, and who learns: local work on its own samples.

use crate::learn::{Lesson, Worker};
use crate::scenario::Scenario;
use shoal_protocol::gossip::{self, grid};
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::run::RunSpec;
use std::rc::Rc;

/// A peer's numbers; all vectors have the model's length.
#[derive(Debug)]
pub struct Numbers {
    held: gossip::Numbers,
    worker: Box<dyn Worker>,
    position: u64,
    spec: Rc<RunSpec>,
}

impl Numbers {
    /// At round 0; `None` for a learner of sizes alone.
    pub fn initial(
        scenario: &Scenario,
        lesson: Option<&Lesson>,
        spec: &Rc<RunSpec>,
        me: &PeerId,
    ) -> Option<Numbers> {
        let (setup, lesson, gossip) = (scenario.lesson.as_ref()?, lesson?, spec.gossip?);
        let codecs = (spec.exchange.up, spec.exchange.down);
        let held = gossip::Numbers::new(gossip, codecs, setup.initial(spec).params);
        let worker = lesson.worker(spec);
        let position = grid::first_position(&spec.id(), me);
        Some(Numbers { held, worker, position, spec: spec.clone() })
    }

    /// Outer parameters, those that are compared.
    pub fn outer(&self) -> &[f32] {
        self.held.outer()
    }

    /// Local work on the next samples; what it leads to is brought to the round's group. What diverges is left out.
    pub fn train(&mut self, round: Round) {
        let inner = &self.spec.inner;
        let samples = u64::from(inner.steps) * u64::from(inner.batch);
        let mut local = self.held.outer().as_ref().clone();
        let here = self.position..self.position + samples;
        self.position += samples;
        if !self.worker.steps(round, &mut local, &[here]) {
            local.copy_from_slice(self.held.outer());
        }
        self.held.learned(&local);
    }

    /// This peer's part of a slice, encoded; what the codec leaves out goes into the next.
    pub fn part(&mut self, slices: u64, slice: u64) -> Vec<u8> {
        self.held.part(slices, slice)
    }

    /// The mean of this peer's slice; `parts` in the group's order, its own as `None`.
    pub fn average(&self, slices: u64, slice: u64, parts: &[Option<&[u8]>]) -> Vec<u8> {
        self.held.average(slices, slice, parts).expect("honest peers' bytes")
    }

    /// The outer step with these slices' means, and for the rest alone.
    pub fn step(&mut self, slices: u64, means: &[(u64, Rc<Vec<u8>>)]) {
        let means: Vec<(u64, &[u8])> =
            means.iter().map(|(slice, bytes)| (*slice, bytes.as_slice())).collect();
        assert_eq!(self.held.step(slices, &means), [], "honest peers' bytes");
    }

    /// Takes over a neighbour's parameters.
    pub fn load(&mut self, outer: &[f32]) {
        self.held.load(outer.to_vec());
    }
}

/// What exact averaging needs beside that.
impl Numbers {
    /// Adds a share of what it brings, [`elems`].
    pub fn add_to(&self, mean: &mut [f32], share: f32) {
        mean.iter_mut().zip(self.held.brings()).for_each(|(sum, x)| *sum += share * x);
    }

    /// The outer step with the mean of all.
    pub fn step_with(&mut self, mean: &[f32]) {
        self.held.step_with(mean);
    }
}
