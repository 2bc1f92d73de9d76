//! The gradient of a batch, and how much memory it takes: at once or in micro-batches, with all activations kept for the backward
//! pass or with each layer's made again from what went into it (Chen et al. 2016, arXiv 1604.06174).
//!
//! The result is the same but for rounding: means over micro-batches are weighed by their sequences, and dropout's masks follow
//! from a sequence's place in the run's data, so a layer that is computed again drops the same numbers.

use super::dropout::Dropout;
use super::linear::linear;
use super::llama::{Llama, embed};
use super::ready::{Ready, ReadyLayer, with_gain};
use super::weights::add_flat;
use tch::{Kind, Reduction, TchError, Tensor, no_grad};

const NO_TENSOR: Option<Tensor> = None;

/// How a node computes a gradient: its own choice, for its own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thrift {
    /// Most sequences that go through the model at once; all of a batch without a number.
    pub micro_batch: Option<u32>,
    /// Whether activations inside a layer are computed again in the backward pass instead of kept.
    pub recompute: bool,
}

/// A batch to learn from.
#[derive(Debug)]
pub struct Lesson {
    /// `[B, T]` i64, T at most the context.
    pub inputs: Tensor,
    /// `[B, T]` i64.
    pub targets: Tensor,
    /// What is dropped, of as many sequences.
    pub dropout: Option<Dropout>,
    /// Share of the target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
}

/// What a batch teaches.
#[derive(Debug)]
pub struct Learned {
    /// The gradient of the smoothed loss, `[params]` f32 in flat order.
    pub gradient: Tensor,
    /// Mean cross-entropy in nats, not smoothed.
    pub loss: f64,
}

impl Lesson {
    /// Nothing dropped, nothing smoothed.
    pub fn plain(inputs: Tensor, targets: Tensor) -> Lesson {
        Lesson { inputs, targets, dropout: None, label_smoothing: 0.0 }
    }

    fn rows(&self, first: i64, count: i64) -> Result<Lesson, TchError> {
        let dropout = self.dropout.as_ref();
        Ok(Lesson {
            inputs: self.inputs.f_narrow(0, first, count)?,
            targets: self.targets.f_narrow(0, first, count)?,
            dropout: dropout.map(|dropout| dropout.rows(first as usize, count as usize)),
            label_smoothing: self.label_smoothing,
        })
    }
}

impl Llama {
    /// The gradient of a batch's mean loss by all parameters.
    ///
    /// # Errors
    /// Shapes do not fit, no sequences, or the device failed.
    pub fn learn(&self, lesson: &Lesson, thrift: Thrift) -> Result<Learned, TchError> {
        let rows = lesson.inputs.size()[0];
        let most = thrift.micro_batch.map_or(rows, |most| i64::from(most).min(rows)).max(1);
        let (mut sum, mut loss) = (None, 0.0);
        for first in (0..rows).step_by(most as usize) {
            let count = most.min(rows - first);
            let (part, share) = (lesson.rows(first, count)?, count as f64 / rows as f64);
            let (gradients, mean) = match thrift.recompute {
                true => self.recompute(&part, share)?,
                false => self.keep(&part, share)?,
            };
            no_grad(|| add_flat(&mut sum, gradients))?;
            loss += share * mean;
        }
        let gradient = sum.ok_or_else(|| TchError::Shape("a batch without sequences".into()))?;
        Ok(Learned { gradient, loss })
    }

    /// The gradient of a scalar that was computed with this model, and its value; activations were kept.
    ///
    /// # Errors
    /// The device failed.
    pub fn learn_by(&self, objective: &Tensor) -> Result<Learned, TchError> {
        let leaves = self.weights.leaves();
        let gradients = Tensor::f_run_backward(&[objective], &leaves, false, false)?;
        let mut sum = None;
        no_grad(|| add_flat(&mut sum, gradients))?;
        let gradient = sum.ok_or_else(|| TchError::Shape("a model without weights".into()))?;
        Ok(Learned { gradient, loss: objective.f_double_value(&[])? })
    }

    /// The gradients of `share` times the loss by the leaves, and the loss; activations are kept.
    fn keep(&self, lesson: &Lesson, share: f64) -> Result<(Vec<Tensor>, f64), TchError> {
        let ready = Ready::new(self.spec(), &self.weights)?;
        let x = self.body(&ready, &lesson.inputs, None, lesson.dropout.as_ref())?;
        let (objective, loss) = self.objective(&ready.head, &x, lesson, share)?;
        drop((ready, x));
        let gradients = Tensor::f_run_backward(&[objective], &self.weights.leaves(), false, false)?;
        Ok((gradients, loss))
    }

    /// The same; only what goes into each layer is kept.
    fn recompute(&self, lesson: &Lesson, share: f64) -> Result<(Vec<Tensor>, f64), TchError> {
        let (weights, dropout) = (&self.weights, lesson.dropout.as_ref());
        let turns = self.turns(0, lesson.inputs.size()[1])?;
        let layer = |index: usize, x: &Tensor| {
            let ready = ReadyLayer::new(self.spec(), &weights.layers[index])?;
            self.layer(&ready, x, &turns, None, dropout.map(|dropout| (dropout, index)))
        };
        let mut top = no_grad(|| embed(&weights.embedding, &lesson.inputs, dropout))?;
        let mut entries = Vec::new();
        for index in 0..weights.layers.len() {
            let next = no_grad(|| layer(index, &top))?;
            entries.push(std::mem::replace(&mut top, next));
        }
        let top = top.f_set_requires_grad(true)?;
        let head = with_gain(&weights.head, &weights.norm)?;
        let (objective, loss) = self.objective(&head, &top, lesson, share)?;
        let [mut coming, norm, head] =
            backward(&[objective], [&top, &weights.norm, &weights.head])?;
        drop(top);
        let mut layers = Vec::new();
        while let Some(entry) = entries.pop() {
            let (entry, index) = (entry.f_set_requires_grad(true)?, entries.len());
            let through = along(&layer(index, &entry)?, &coming)?;
            let [q, k, v, out, gate, up, down, n1, n2] = weights.layers[index].leaves();
            let wanted = [&entry, q, k, v, out, gate, up, down, n1, n2];
            let [before, gradients @ ..] = backward(&[through], wanted)?;
            coming = before;
            layers.push(gradients);
        }
        let through = along(&embed(&weights.embedding, &lesson.inputs, dropout)?, &coming)?;
        let [embedding] = backward(&[through], [&weights.embedding])?;
        let layers = layers.into_iter().rev().flatten();
        let ends = if self.spec().tied { vec![norm] } else { vec![norm, head.shallow_clone()] };
        let embedding = if self.spec().tied { embedding.f_add(&head)? } else { embedding };
        Ok((std::iter::once(embedding).chain(layers).chain(ends).collect(), loss))
    }

    /// `share` times the smoothed loss, a scalar, and the loss that is not smoothed. `head`: `[vocab, dim]`, `x`: `[B, T, dim]`
    fn objective(
        &self,
        head: &Tensor,
        x: &Tensor,
        lesson: &Lesson,
        share: f64,
    ) -> Result<(Tensor, f64), TchError> {
        let logits = linear(&self.unit(x)?, head)?.f_to_kind(Kind::Float)?;
        let logs = logits.f_view([-1, i64::from(self.spec().vocab)])?.f_log_softmax(-1, None)?;
        let targets = lesson.targets.f_reshape([-1])?;
        let plain = logs.f_nll_loss(&targets, NO_TENSOR, Reduction::Mean, -100)?;
        let loss = plain.f_double_value(&[])?;
        let smoothing = lesson.label_smoothing;
        let smoothed = match smoothing > 0.0 {
            true => {
                let even = logs.f_mean(None)?.f_mul_scalar(-smoothing)?;
                plain.f_mul_scalar(1.0 - smoothing)?.f_add(&even)?
            }
            false => plain,
        };
        let objective = if share == 1.0 { smoothed } else { smoothed.f_mul_scalar(share)? };
        Ok((objective, loss))
    }
}

/// A scalar whose gradient by `out` is `coming`.
fn along(out: &Tensor, coming: &Tensor) -> Result<Tensor, TchError> {
    out.f_mul(coming)?.f_sum(Kind::Float)
}

fn backward<const N: usize>(
    objective: &[Tensor],
    wanted: [&Tensor; N],
) -> Result<[Tensor; N], TchError> {
    let gradients = Tensor::f_run_backward(objective, &wanted, false, false)?;
    gradients.try_into().map_err(|_| TchError::Shape("a gradient is missing".into()))
}

#[cfg(test)]
#[path = "learn_tests.rs"]
mod tests;
