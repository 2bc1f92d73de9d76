//! The numbers of one peer: its outer parameters, what it trains and brings to groups, and what of it the codec has left out so far.

use crate::learn::{Lesson, Worker};
use crate::scenario::Scenario;
use shoal_protocol::gossip::{grid, step};
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::run::{GossipSpec, RunSpec};
use std::rc::Rc;

/// A peer's numbers; all vectors have the model's length.
#[derive(Debug)]
pub struct Numbers {
    /// Outer parameters, those that are compared.
    pub outer: Vec<f32>,
    momentum: Vec<f32>,
    /// What it brings to its group; alone, what it steps with.
    x: Vec<f32>,
    /// What its parts did not carry yet.
    residual: Vec<f32>,
    worker: Box<dyn Worker>,
    position: u64,
    spec: Rc<RunSpec>,
    gossip: GossipSpec,
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
        let outer = setup.initial(spec).params;
        let zeros = || vec![0.0; outer.len()];
        let (momentum, x, residual) = (zeros(), zeros(), zeros());
        let worker = lesson.worker(spec);
        let position = grid::first_position(&spec.id(), me);
        let spec = spec.clone();
        Some(Numbers { outer, momentum, x, residual, worker, position, spec, gossip })
    }

    /// Local work on the next samples; what it leads to is brought to the round's group. What diverges is left out.
    pub fn train(&mut self, round: Round) {
        let inner = &self.spec.inner;
        let samples = u64::from(inner.steps) * u64::from(inner.batch);
        let mut local = self.outer.clone();
        let here = self.position..self.position + samples;
        self.position += samples;
        if !self.worker.steps(round, &mut local, &[here]) {
            local.copy_from_slice(&self.outer);
        }
        step::brings(&self.gossip, &self.outer, &local, &mut self.x);
    }

    /// This peer's part of a slice, encoded; what the codec leaves out goes into the next.
    pub fn part(&mut self, slices: u64, slice: u64) -> Vec<u8> {
        let codec = self.spec.exchange.up;
        let at = step::slice(self.x.len(), slices, slice);
        let (x, residual) = (&self.x[at.clone()], &mut self.residual[at]);
        residual.iter_mut().zip(x).for_each(|(rest, x)| *rest += x);
        let mut bytes = Vec::new();
        codec.encode(residual, &mut bytes);
        codec.accumulate(&bytes, -1.0, residual).expect("an encoder's bytes");
        bytes
    }

    /// The mean of this peer's slice; `parts` in the group's order, its own as `None`.
    pub fn average(&self, slices: u64, slice: u64, parts: &[Option<&[u8]>]) -> Vec<u8> {
        let own = &self.x[step::slice(self.x.len(), slices, slice)];
        let codecs = (self.spec.exchange.up, self.spec.exchange.down);
        step::average(codecs, own, parts).expect("honest peers' bytes")
    }

    /// The outer step with these slices' means, and for the rest alone.
    pub fn step(&mut self, slices: u64, means: &[(u64, Rc<Vec<u8>>)]) {
        for (slice, bytes) in means {
            let at = step::slice(self.x.len(), slices, *slice);
            let codec = self.spec.exchange.down;
            codec.decode(bytes, &mut self.x[at]).expect("honest peers' bytes");
        }
        step::take(&self.gossip, &mut self.outer, &mut self.momentum, &self.x);
    }

    /// Takes over a neighbour's parameters.
    pub fn load(&mut self, outer: &[f32]) {
        self.outer.copy_from_slice(outer);
        self.momentum.fill(0.0);
        self.residual.fill(0.0);
    }
}

/// What exact averaging needs beside that.
impl Numbers {
    /// Adds a share of what it brings, [`elems`].
    pub fn add_to(&self, mean: &mut [f32], share: f32) {
        mean.iter_mut().zip(&self.x).for_each(|(sum, x)| *sum += share * x);
    }

    /// The outer step with the mean of all.
    pub fn step_with(&mut self, mean: &[f32]) {
        step::take(&self.gossip, &mut self.outer, &mut self.momentum, mean);
    }
}
