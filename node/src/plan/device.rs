//! Bytes on the device that trains, from the tensors that `model` and `train` hold at once. Whoever changes what those keep for the
//! backward pass changes this count.

use crate::model::{Layout, Role, Thrift};
use shoal_protocol::math::inner::states;
use shoal_protocol::run::{InnerOptimizer, ModelSpec, RunSpec};

/// What trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor: f32 throughout, in the memory of the process.
    Cpu,
    /// A CUDA device: matrices in bf16.
    Cuda,
}

/// Of a process with libtorch in it, before any model. Measured (`shoal bench train --preset 1m --batch 1`, less what is counted).
const PROGRAM: u64 = 165_000_000;
/// What libtorch takes of a CUDA device before any model: context and libraries. A guess.
const CONTEXT: u64 = 600_000_000;
/// Hundredths of what a pass takes that glibc keeps beside it, in pieces that do not fit, where a node does not have it return memory
/// (`train::return_memory`). Measured: 17 to 38 on models of 1 to 5 million parameters.
const SLACK: u64 = 30;
/// Bytes from which on glibc returns memory in any case.
const RETURNED: u64 = 32 << 20;
/// Bytes of an f32.
const F32: u64 = 4;

/// Bytes on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Program and libraries.
    pub program: u64,
    /// Parameters, and on CUDA their bf16 copy.
    pub weights: u64,
    /// The inner optimiser's vectors.
    pub optimiser: u64,
    /// Gradients, by weight and as one vector: both are there for a moment.
    pub gradients: u64,
    /// What is kept of a micro-batch for its backward pass.
    pub activations: u64,
    /// All the time.
    pub resting: u64,
    /// The most at once.
    pub peak: u64,
}

/// What a run takes on a device.
pub fn device(spec: &RunSpec, thrift: Thrift, on: Device) -> Load {
    let model = &spec.model;
    let params = model.params();
    let size = Size::new(spec, thrift, on);
    let weights = params * (F32 + if on == Device::Cuda { 2 } else { 0 }) + turns(model);
    let optimiser = F32 * optimiser_elems(spec);
    let program = if on == Device::Cuda { CONTEXT } else { PROGRAM };
    let resting = program + weights + optimiser;
    // With several micro-batches the sum of those before is there as well.
    let sum = if size.rows < u64::from(spec.inner.batch) { F32 * params } else { 0 };
    let phases = if thrift.recompute { size.recomputed() } else { size.kept() };
    let gradients = 2 * F32 * params;
    let spares = thrift.recompute || size.rows < u64::from(spec.inner.batch);
    let large = F32 * size.hidden.max(size.logits) > RETURNED;
    let slack = if spares || large || on == Device::Cuda { 0 } else { phases.most * SLACK / 100 };
    let most = (phases.most + slack + sum).max(gradients);
    Load {
        program,
        weights,
        optimiser,
        gradients,
        activations: phases.activations,
        resting,
        peak: resting + most,
    }
}

fn turns(model: &ModelSpec) -> u64 {
    u64::from(model.context) * u64::from(model.head_dim()) * F32
}

/// Elements of the inner optimiser's vectors; Muon keeps one for each of its matrices.
fn optimiser_elems(spec: &RunSpec) -> u64 {
    let of = |role| match (spec.inner.optimizer, role) {
        (InnerOptimizer::Muon { .. }, Role::Inner | Role::Residual) => 1,
        (optimizer, _) => states(&optimizer) as u64,
    };
    Layout::new(&spec.model).slots.iter().map(|slot| of(slot.role) * slot.len() as u64).sum()
}

/// Sizes that activations are made of; all in elements unless they say bytes.
struct Size {
    /// Sequences at once.
    rows: u64,
    layers: u64,
    /// `[B, T]`
    tokens: u64,
    /// `[B, T, dim]`
    stream: u64,
    /// `[B, T, kv_dim]`, or of all heads where those share them: then they are copied.
    kv: u64,
    /// `[B, T, hidden]`
    hidden: u64,
    /// `[B, T, vocab]`
    logits: u64,
    /// `[B, heads, T]`
    head_rows: u64,
    /// `[B, heads, T, T]`, if weights of attention are dropped.
    scores: u64,
    /// Masks of the residual stream's size: of embeddings, of a layer.
    masks: (u64, u64),
    /// Bytes of an element that matrices are multiplied with.
    matrix: u64,
    /// Elements of one layer's weights, of those of them into which gains go, of the head.
    weights: (u64, u64, u64),
    smoothed: bool,
}

/// What a pass forward and back takes beside weights and optimiser, bytes.
struct Phases {
    activations: u64,
    most: u64,
}

impl Size {
    fn new(spec: &RunSpec, thrift: Thrift, on: Device) -> Size {
        let (model, dropout) = (&spec.model, spec.regularisation.dropout);
        let [dim, hidden, heads, kv_heads, vocab, context] =
            [model.dim, model.hidden, model.heads, model.kv_heads, model.vocab, model.context]
                .map(u64::from);
        let rows = u64::from(thrift.micro_batch.unwrap_or(spec.inner.batch).min(spec.inner.batch));
        let (tokens, kv_dim) = (rows * context, u64::from(model.head_dim()) * kv_heads);
        let folded = dim * (dim + 2 * kv_dim + 2 * hidden);
        let stream = tokens * dim;
        Size {
            rows,
            layers: u64::from(model.layers),
            tokens,
            stream,
            kv: tokens * if heads == kv_heads { kv_dim } else { dim },
            hidden: tokens * hidden,
            logits: tokens * vocab,
            head_rows: tokens * heads,
            scores: if dropout.attention > 0.0 { tokens * heads * context } else { 0 },
            masks: (
                if dropout.embedding > 0.0 { stream } else { 0 },
                if dropout.residual > 0.0 { 2 * stream } else { 0 },
            ),
            matrix: if on == Device::Cuda { 2 } else { F32 },
            weights: (folded + dim * (dim + hidden) + 2 * dim, folded, vocab * dim),
            smoothed: spec.regularisation.label_smoothing > 0.0,
        }
    }

    /// Bytes that one layer keeps for its backward pass: the stream before attention and before the feed-forward, what both read of
    /// it, q, k, v, the mixed values, and four of the feed-forward's width (gate, its SiLU, up, their product); norms and masks.
    fn layer(&self) -> u64 {
        let matrices = 2 * self.stream + self.stream + 2 * self.kv + self.stream + 4 * self.hidden;
        let weights = self.scores * (2 * F32 + self.matrix);
        let copies = if self.scores > 0 { 3 * self.stream * self.matrix } else { 0 };
        let rest = 2 * self.stream + self.masks.1 + 4 * self.tokens + self.head_rows;
        self.matrix * matrices + F32 * rest + weights + copies
    }

    /// Bytes beside those while its backward pass is under way: three gradients of the feed-forward's width, where the first of what
    /// was kept is let go of, and two of the stream's; or two of attention's weights.
    fn layer_passing(&self) -> u64 {
        let hidden = 2 * self.hidden * self.matrix + 2 * self.stream * F32;
        hidden.max(2 * self.scores * F32 + 2 * self.stream * F32)
    }

    /// Bytes of the head: stream, what it reads of it, and logarithms of the probabilities, which are kept; two more of those in
    /// passing, and one for smoothing.
    fn head(&self) -> (u64, u64) {
        let kept = self.stream * (F32 + self.matrix) + F32 * self.logits;
        (kept, F32 * self.logits * if self.smoothed { 3 } else { 2 })
    }

    fn kept(&self) -> Phases {
        let folded = self.matrix * (self.layers * self.weights.1 + self.weights.2);
        let (head, passing) = self.head();
        let layers = self.layers * self.layer() + F32 * self.masks.0;
        let at_head = layers + head + passing + folded;
        let at_last = layers + self.layer_passing() + folded + F32 * self.weights.2;
        Phases { activations: layers + head, most: at_head.max(at_last) }
    }

    fn recomputed(&self) -> Phases {
        let (head, passing) = self.head();
        let stream = F32 * self.stream;
        let entries = self.layers * stream;
        let at_head = entries + head + passing + self.matrix * self.weights.2;
        // What a layer takes when it is computed again: also what comes out of it, and the product that sends its gradient back.
        let again = self.layer() + self.layer_passing() + 2 * stream + self.matrix * self.weights.1;
        let head_gradient = F32 * self.weights.2;
        let at_last = entries - stream + again + head_gradient;
        let at_first = again + head_gradient + F32 * (self.layers - 1) * self.weights.0;
        let most = at_head.max(at_last).max(at_first);
        Phases { activations: entries + self.layer(), most }
    }
}
