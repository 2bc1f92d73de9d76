//! Local work as on a node: from the committed parameters, one step for each batch of a lease's samples, and the way that was
//! gone as the pseudo-gradient.

use super::optimizer::Optimizer;
use super::{Task, Worker};
use shoal_protocol::data::Permutation;
use shoal_protocol::id::Round;
use shoal_protocol::run::RunSpec;
use std::ops::Range;
use std::sync::Arc;

/// Parameters beyond this learn nothing any more, and sums of their squares would soon overflow.
const LARGEST: f32 = 1e9;

/// A host's trainer, with its inner optimiser.
#[derive(Debug)]
pub struct Local {
    task: Arc<dyn Task>,
    optimizer: Optimizer,
    batch: usize,
    seed: u64,
}

impl Local {
    /// A trainer without history.
    pub fn new(task: Arc<dyn Task>, spec: &RunSpec) -> Local {
        let optimizer = Optimizer::new(&spec.inner, task.params());
        let (batch, seed) = (spec.inner.batch as usize, spec.seed);
        Local { task, optimizer, batch, seed }
    }

    /// The samples at the positions of a lease, in order: each epoch has an order of its own.
    fn samples(&self, lease: &[Range<u64>]) -> Vec<u64> {
        let n = self.task.samples();
        let (mut epoch, mut order) = (0, Permutation::new(n, self.seed, 0));
        let mut sample = |position: u64| {
            if position / n != epoch {
                epoch = position / n;
                order = Permutation::new(n, self.seed, epoch);
            }
            order.get(position % n)
        };
        lease.iter().cloned().flatten().map(&mut sample).collect()
    }
}

impl Worker for Local {
    fn steps(&mut self, _: Round, local: &mut [f32], positions: &[Range<u64>]) -> bool {
        let n = self.task.params();
        // What pads the vector is not trained.
        let (params, mut gradient) = (&mut local[..n], vec![0.0; n]);
        for batch in self.samples(positions).chunks(self.batch) {
            let loss = self.task.gradient(params, batch, &mut gradient);
            if !loss.is_finite() {
                return false;
            }
            self.optimizer.step(params, &gradient);
        }
        params.iter().all(|p| p.abs() < LARGEST)
    }

    fn gradient(&mut self, params: &[f32], positions: &[Range<u64>]) -> Option<Vec<f32>> {
        let n = self.task.params();
        let (mut sum, mut gradient) = (vec![0.0; params.len()], vec![0.0; n]);
        let samples = self.samples(positions);
        for batch in samples.chunks(self.batch) {
            let loss = self.task.gradient(&params[..n], batch, &mut gradient);
            let share = batch.len() as f32 / samples.len() as f32;
            sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += share * g);
            if !loss.is_finite() {
                return None;
            }
        }
        Some(sum)
    }
}

/// Compares a task's gradient on `samples` with central differences, in each of these coordinates.
#[cfg(test)]
pub fn assert_gradient_is_exact(
    task: &dyn Task,
    params: &[f32],
    samples: &[u64],
    coordinates: impl IntoIterator<Item = usize>,
) {
    let mut gradient = vec![0.0; task.params()];
    task.gradient(params, samples, &mut gradient);
    let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    let mut scratch = vec![0.0; task.params()];
    let mut moved = params.to_vec();
    for i in coordinates {
        let mut at = |x: f32| {
            moved[i] = x;
            (task.gradient(&moved, samples, &mut scratch), f64::from(x))
        };
        let (above, below) = (at(params[i] + 0.01), at(params[i] - 0.01));
        moved[i] = params[i];
        let slope = (above.0 - below.0) / (above.1 - below.1);
        let off = (slope - f64::from(gradient[i])).abs();
        assert!(off < 2e-4 * f64::from(norm), "{i}: {} is not {slope}", gradient[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::convex::Convex;
    use crate::learn::text::Text;
    use crate::rng;
    use crate::tests::spec;
    use shoal_protocol::run::InnerOptimizer;

    fn local() -> Local {
        let mut spec = spec::small(&mut rng::Rng::new(1));
        spec.inner.lr = 0.1;
        spec.inner.optimizer = InnerOptimizer::Sgd { momentum: 0.0, nesterov: false };
        Local::new(Arc::new(Convex::new(8, 10.0, 0.1, 2)), &spec)
    }

    #[test]
    fn local_work_is_one_step_for_each_batch() {
        let mut local = local();
        let batch = local.batch as u64;
        let mut params = [0.0; 9];
        assert!(local.steps(1, &mut params, &[0..batch, 10..10 + batch]), "it does not diverge");
        assert_eq!(params[8], 0.0);
        let mut by_hand = vec![0.0; 8];
        let mut gradient = vec![0.0; 8];
        for lease in [0..batch, 10..10 + batch] {
            let samples = local.samples(&[lease]);
            local.task.gradient(&by_hand, &samples, &mut gradient);
            local.optimizer.step(&mut by_hand, &gradient);
        }
        assert_eq!(by_hand, params[..8]);
    }

    /// As on a node: position over samples is the epoch, the rest a place in its order.
    #[test]
    fn an_epoch_holds_every_sample_once_in_an_order_of_its_own() {
        let text: Vec<u8> = (0..200).collect();
        let task = Text::new(&text, (2, 1, 1), 10).expect("it is long enough");
        let spec = spec::small(&mut rng::Rng::new(1));
        let local = Local::new(Arc::new(task), &spec);
        let epochs = [local.samples(&[0..10, 10..17]), local.samples(&[17..34, 34..34])];
        assert_ne!(epochs[0], epochs[1]);
        for mut samples in epochs {
            samples.sort_unstable();
            assert!(samples.into_iter().eq(0..17));
        }
        let second = Permutation::new(17, spec.seed, 1);
        assert_eq!(local.samples(&[15..19, 20..20])[2..], [second.get(0), second.get(1)]);
    }

    #[test]
    fn what_diverges_gives_nothing() {
        let mut local = local();
        assert!(!local.steps(1, &mut [f32::INFINITY; 8], &[0..2, 2..4]));
        assert!(!local.steps(1, &mut [2.0 * LARGEST; 8], &[]));
        assert_eq!(local.gradient(&[f32::INFINITY; 8], &[0..2, 2..4]), None);
    }
}
