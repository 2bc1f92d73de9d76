//! A small language model on the bytes of a text, cut as a node cuts it: the text's end is never trained on, the rest is
//! sequences of `context` bytes that do not overlap but for the byte that the last target needs.

use super::Task;
use super::mlp::{Mlp, Shape};
use shoal_protocol::id::Digest;

/// Held-out share at the text's end, in thousandths.
pub const HELDOUT_PERMILLE: u16 = 100;
/// Most held-out tokens that are looked at, spread evenly over the held-out part.
const HELDOUT_TOKENS: usize = 8192;

/// A text, and the model of it.
pub struct Text {
    /// The text as tokens: each byte's place among the bytes that occur.
    tokens: Vec<u16>,
    shape: Shape,
    context: usize,
    digest: Digest,
    /// Tokens before the held-out part.
    training: usize,
}

impl Text {
    /// A model of these widths on a text. `context`: bytes in a sample. Its vocabulary is the bytes that occur, held-out part
    /// included.
    ///
    /// # Errors
    /// The text is too short for one sample to train on and one that is held out: how long it must be.
    pub fn new(
        text: &[u8],
        (window, embedding, hidden): (usize, usize, usize),
        context: usize,
    ) -> Result<Text, String> {
        let heldout = text.len() * usize::from(HELDOUT_PERMILLE) / 1000;
        let training = text.len() - heldout;
        if training <= context || heldout <= context {
            let least = (context + 1) * 1000 / usize::from(HELDOUT_PERMILLE);
            let bytes = text.len();
            return Err(format!("a text of {bytes} bytes is too short: it takes {least}"));
        }
        let (tokens, vocab) = tokens(text);
        let shape = Shape { vocab, window, embedding, hidden };
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("text {shape:?} {context}").as_bytes()).update(text);
        let digest = Digest(*hasher.finalize().as_bytes());
        Ok(Text { tokens, shape, context, digest, training })
    }

    /// For each token of the sequence that begins at `start`: what the model sees before it, oldest first, and the token.
    fn each(&self, start: usize, mut learn: impl FnMut(&[usize], usize)) {
        let mut history = vec![self.shape.vocab; self.shape.window];
        for at in start..start + self.context {
            history.rotate_left(1);
            history[self.shape.window - 1] = usize::from(self.tokens[at]);
            learn(&history, usize::from(self.tokens[at + 1]));
        }
    }

    /// Where the held-out sequences begin that are looked at.
    fn heldout(&self) -> impl Iterator<Item = usize> {
        let all = (self.tokens.len() - self.training - 1) / self.context;
        let count = all.min((HELDOUT_TOKENS / self.context).max(1));
        let (first, context) = (self.training, self.context);
        (0..count).map(move |i| first + i * all / count * context)
    }
}

/// The text as tokens, and how many there are.
fn tokens(text: &[u8]) -> (Vec<u16>, usize) {
    let mut places = [0u16; 256];
    text.iter().for_each(|byte| places[usize::from(*byte)] = 1);
    let mut vocab = 0;
    for place in places.iter_mut().filter(|place| **place == 1) {
        *place = vocab;
        vocab += 1;
    }
    (text.iter().map(|byte| places[usize::from(*byte)]).collect(), usize::from(vocab))
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "text {} of {} bytes, {:?}", self.digest.short(), self.tokens.len(), self.shape)
    }
}

impl Task for Text {
    fn params(&self) -> usize {
        self.shape.params()
    }

    fn samples(&self) -> u64 {
        ((self.training - 1) / self.context) as u64
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn initial(&self, seed: u64) -> Vec<f32> {
        self.shape.initial(seed)
    }

    fn gradient(&self, params: &[f32], samples: &[u64], gradient: &mut [f32]) -> f64 {
        gradient.fill(0.0);
        let (mut model, mut loss) = (Mlp::new(self.shape), 0.0);
        let tokens = (samples.len() * self.context).max(1);
        let share = 1.0 / tokens as f32;
        for sample in samples {
            self.each(*sample as usize * self.context, |history, target| {
                loss += model.learn(params, (history, target), share, gradient);
            });
        }
        loss / tokens as f64
    }

    fn loss(&self, params: &[f32]) -> f64 {
        let (mut model, mut loss, mut tokens) = (Mlp::new(self.shape), 0.0, 0);
        for start in self.heldout() {
            self.each(start, |history, target| {
                loss += model.loss(params, history, target);
                tokens += 1;
            });
        }
        loss / f64::from(tokens)
    }

    fn optimum(&self) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::local::assert_gradient_is_exact;
    use shoal_protocol::data::stories::stories;

    fn text() -> Text {
        Text::new(&stories(1, 3000), (3, 4, 9), 16).expect("it is long enough")
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let task = text();
        let n = task.params();
        // Every matrix has some of them; 7 divides none of their widths.
        assert_gradient_is_exact(&task, &task.initial(5), &[0, 3, 40], (0..n).step_by(7));
    }

    #[test]
    fn sequences_are_a_nodes_and_the_end_is_held_out() {
        let bytes: Vec<u8> = (0..200).collect();
        let task = Text::new(&bytes, (2, 1, 1), 10).expect("it is long enough");
        // 200 bytes, 20 held out: 180 to train on make 17 sequences and a last target.
        assert_eq!((task.samples(), task.heldout().collect::<Vec<_>>()), (17, vec![180]));
        let mut seen = Vec::new();
        task.each(20, |history, target| seen.push((history.to_vec(), target)));
        assert_eq!(seen[0], (vec![200, 20], 21));
        assert_eq!(seen[9], (vec![28, 29], 30));
        assert_eq!(
            Text::new(&bytes, (2, 1, 1), 20).err(),
            Some("a text of 200 bytes is too short: it takes 210".into())
        );
    }

    #[test]
    fn a_start_without_knowledge_is_as_good_as_chance() {
        let task = text();
        let chance = libm::log(task.shape.vocab as f64);
        let loss = task.loss(&vec![0.0; task.params()]);
        assert!((loss - chance).abs() < 1e-6, "{loss} is not {chance}");
    }
}
