//! What a host measures of the committed parameters when its session asks.

use crate::noise;
use crate::world::World;
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::plateau::{Heldout, Loss};

/// By so many nats do the losses differ that two neighbouring hosts measure: their floats are not the same.
const APART: f64 = 2e-6;
/// Hosts whose floats all differ.
const MACHINES: usize = 5;

impl World {
    /// Measures the held-out loss of what peer `p` has committed, and tells it.
    pub fn measure(&mut self, p: usize, round: Round, of: Digest) {
        let Some(nats) = self.loss_of(p, round) else { return };
        let measured = Loss::of(nats + (p % MACHINES) as f64 * APART);
        let loss = self.peers[p].says.unwrap_or(measured);
        let takes = self.rng.millis(5, 200);
        self.tell_later(p, takes, Input::Evaluated(Heldout { round, of, loss }));
    }

    fn loss_of(&self, p: usize, round: Round) -> Option<f64> {
        let real = self.peers[p].running.as_ref().and_then(|running| running.store.real());
        match (&self.lesson, real) {
            (Some(lesson), Some(store)) => lesson.loss(round, &store.numbers.params),
            _ => Some(noise::loss(round)),
        }
    }

    /// Whether all that live say that their runs are over, those of one run on one digest.
    pub fn is_over(&self) -> bool {
        let over = |running: &crate::peer::Running| {
            running.session.waiting().phase == shoal_protocol::session::Phase::Finished
        };
        let mut living = self.peers.iter().filter_map(|peer| peer.running.as_ref()).peekable();
        living.peek().is_some() && living.all(over) && self.runs_are_together()
    }

    fn runs_are_together(&self) -> bool {
        let mut ends = std::collections::BTreeMap::new();
        let stands =
            self.peers.iter().enumerate().filter_map(|(p, peer)| Some((p, peer.stands()?)));
        stands.into_iter().all(|(p, at)| *ends.entry(self.net.run_of(p)).or_insert(at) == at)
    }
}
