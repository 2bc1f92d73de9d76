//! A neural n-gram language model (Bengio et al., JMLR 2003): the last few tokens' embeddings side by side, one hidden layer of
//! tanh, and a softmax over the vocabulary. Back-propagation is exact and written out.
//!
//! Parameters lie in one vector: embeddings `[vocab + 1, embedding]`, the last of which stands for "before the beginning",
//! `w1 [window * embedding, hidden]`, `b1 [hidden]`, `w2 [hidden, vocab]`, `b2 [vocab]`.

use shoal_protocol::data::rng::Rng;
use std::ops::Range;

/// Numbers that are added side by side in a dot product, so that the compiler can use wide registers: the order is fixed.
const LANES: usize = 8;

/// The model's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens.
    pub vocab: usize,
    /// Tokens that it sees.
    pub window: usize,
    /// Width of a token's embedding.
    pub embedding: usize,
    /// Hidden units.
    pub hidden: usize,
}

/// Where each matrix lies in the vector.
struct Layout {
    embeddings: Range<usize>,
    w1: Range<usize>,
    b1: Range<usize>,
    w2: Range<usize>,
    b2: Range<usize>,
}

/// A model at work: buffers for one token at a time.
pub struct Mlp {
    shape: Shape,
    layout: Layout,
    /// Inputs and their gradient, `[window * embedding]`.
    x: Vec<f32>,
    dx: Vec<f32>,
    /// Hidden activations and their gradient, `[hidden]`.
    a: Vec<f32>,
    da: Vec<f32>,
    /// Logits, then probabilities, then their gradient, `[vocab]`.
    out: Vec<f32>,
}

impl Shape {
    /// Length of the parameter vector.
    pub fn params(&self) -> usize {
        self.layout().b2.end
    }

    /// Width of the input: all embeddings that it sees.
    fn input(&self) -> usize {
        self.window * self.embedding
    }

    fn layout(&self) -> Layout {
        let mut end = 0;
        let mut next = |len: usize| {
            end += len;
            end - len..end
        };
        Layout {
            embeddings: next((self.vocab + 1) * self.embedding),
            w1: next(self.input() * self.hidden),
            b1: next(self.hidden),
            w2: next(self.hidden * self.vocab),
            b2: next(self.vocab),
        }
    }

    /// Uniform numbers, each matrix by its fan-in (LeCun et al. 1998); biases are 0.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        let (mut params, layout) = (vec![0.0; self.params()], self.layout());
        let mut draw = |range: Range<usize>, fan_in: usize| {
            let scale = (3.0 / fan_in as f64).sqrt();
            let uniform = |x: &mut f32| *x = (scale * (2.0 * rng.unit() - 1.0)) as f32;
            params[range].iter_mut().for_each(uniform);
        };
        draw(layout.embeddings, 3);
        draw(layout.w1, self.input());
        draw(layout.w2, self.hidden);
        params
    }
}

impl Mlp {
    pub fn new(shape: Shape) -> Mlp {
        let zeros = |n: usize| vec![0.0; n];
        Mlp {
            shape,
            layout: shape.layout(),
            x: zeros(shape.input()),
            dx: zeros(shape.input()),
            a: zeros(shape.hidden),
            da: zeros(shape.hidden),
            out: zeros(shape.vocab),
        }
    }

    /// The loss of `target` after `history`, in nats. The history is as long as the window.
    pub fn loss(&mut self, params: &[f32], history: &[usize], target: usize) -> f64 {
        self.forward(params, history);
        let logit = f64::from(self.out[target]);
        softmax(&mut self.out) - logit
    }

    /// The same; its gradient times `share` is added to `gradient` (`[params]`).
    pub fn learn(
        &mut self,
        params: &[f32],
        (history, target): (&[usize], usize),
        share: f32,
        gradient: &mut [f32],
    ) -> f64 {
        let loss = self.loss(params, history, target);
        self.backward(params, (history, target), share, gradient);
        loss
    }

    /// Leaves the logits.
    fn forward(&mut self, params: &[f32], history: &[usize]) {
        let Shape { embedding, hidden, vocab, .. } = self.shape;
        let table = &params[self.layout.embeddings.clone()];
        for (x, token) in self.x.chunks_exact_mut(embedding).zip(history) {
            x.copy_from_slice(&table[token * embedding..][..embedding]);
        }
        self.a.copy_from_slice(&params[self.layout.b1.clone()]);
        let w1 = params[self.layout.w1.clone()].chunks_exact(hidden);
        w1.zip(&self.x).for_each(|(row, x)| add_scaled(&mut self.a, *x, row));
        self.a.iter_mut().for_each(|a| *a = libm::tanhf(*a));
        self.out.copy_from_slice(&params[self.layout.b2.clone()]);
        let w2 = params[self.layout.w2.clone()].chunks_exact(vocab);
        w2.zip(&self.a).for_each(|(row, a)| add_scaled(&mut self.out, *a, row));
    }

    /// From the probabilities that [`Mlp::loss`] has left.
    fn backward(
        &mut self,
        params: &[f32],
        (history, target): (&[usize], usize),
        share: f32,
        gradient: &mut [f32],
    ) {
        let Shape { embedding, hidden, vocab, .. } = self.shape;
        self.out[target] -= 1.0;
        self.out.iter_mut().for_each(|d| *d *= share);
        add_scaled(&mut gradient[self.layout.b2.clone()], 1.0, &self.out);
        let (w2, dw2) = both(params, gradient, &self.layout.w2);
        back(w2, dw2, vocab, &self.a, &self.out, &mut self.da);
        self.da.iter_mut().zip(&self.a).for_each(|(d, a)| *d *= 1.0 - a * a);
        add_scaled(&mut gradient[self.layout.b1.clone()], 1.0, &self.da);
        let (w1, dw1) = both(params, gradient, &self.layout.w1);
        back(w1, dw1, hidden, &self.x, &self.da, &mut self.dx);
        let table = &mut gradient[self.layout.embeddings.clone()];
        for (dx, token) in self.dx.chunks_exact(embedding).zip(history) {
            add_scaled(&mut table[token * embedding..][..embedding], 1.0, dx);
        }
    }
}

/// One matrix of the parameters and of the gradient.
fn both<'a>(
    params: &'a [f32],
    gradient: &'a mut [f32],
    range: &Range<usize>,
) -> (&'a [f32], &'a mut [f32]) {
    (&params[range.clone()], &mut gradient[range.clone()])
}

/// Back through `out = x w`, with `w` of rows of `wide`: `dw[j] += x[j] dout`, `dx[j] = w[j] dout`.
fn back(w: &[f32], dw: &mut [f32], wide: usize, x: &[f32], dout: &[f32], dx: &mut [f32]) {
    let rows = w.chunks_exact(wide).zip(dw.chunks_exact_mut(wide));
    for ((row, drow), (x, dx)) in rows.zip(x.iter().zip(dx)) {
        add_scaled(drow, *x, dout);
        *dx = dot(row, dout);
    }
}

/// `acc[i] += factor * x[i]`
fn add_scaled(acc: &mut [f32], factor: f32, x: &[f32]) {
    acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += factor * x);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        (0..LANES).for_each(|i| sums[i] += a[i] * b[i]);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Logits become probabilities, in place. The logarithm of the sum that they are divided by, as logits stand.
fn softmax(out: &mut [f32]) -> f64 {
    let most = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.iter_mut().for_each(|x| *x = libm::expf(*x - most));
    let sum: f32 = out.iter().sum();
    out.iter_mut().for_each(|x| *x /= sum);
    f64::from(most) + libm::log(f64::from(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vocab: 11, window: 3, embedding: 4, hidden: 9 };

    #[test]
    fn the_vector_holds_each_matrix_once() {
        let layout = SHAPE.layout();
        assert_eq!(layout.embeddings.len(), 48);
        assert_eq!((layout.w1.len(), layout.b1.len()), (108, 9));
        assert_eq!((layout.w2.len(), layout.b2.len()), (99, 11));
        assert_eq!(SHAPE.params(), 48 + 108 + 9 + 99 + 11);
    }

    #[test]
    fn probabilities_sum_to_1() {
        let mut model = Mlp::new(SHAPE);
        let loss = model.loss(&SHAPE.initial(1), &[1, 2, 11], 4);
        assert!((loss + libm::log(f64::from(model.out[4]))).abs() < 1e-6);
        assert!((model.out.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(model.out.iter().all(|p| *p > 0.0));
    }

    #[test]
    fn a_dot_product_by_hand() {
        let a: Vec<f32> = (0..11).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 385.0);
    }
}
