//! What a teacher tells of a text, for those who have no room for the teacher: at each place the likeliest next tokens, and how likely
//! each is.
//!
//! A probability is told as its negative logarithm in steps of 1/2048 nat, so that all are told equally well; less likely than
//! e^-32 is told as that. On the wire: all tokens, in 2 bytes each or 4 if the vocabulary is larger, then all logarithms in 2.

use shoal_protocol::run::RunSpec;

/// Steps of a nat.
const STEPS: f32 = 2048.0;
/// Bytes of a logarithm.
const CODE_BYTES: usize = 2;
/// By how much the probabilities of one place may sum to more than 1: half a step each, and the sender's own rounding.
const SLACK: f32 = 0.01;
/// How much worse than by chance, in nats a token, a teacher may know a text before it is none.
const WORSE: f64 = 1.0;
/// What is told in one answer, in bytes; of one sequence it may be more.
const ANSWER_BYTES: usize = 1 << 20;

/// What the answers of a run are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telling {
    /// Places of a sequence.
    pub context: usize,
    /// Tokens that there are.
    pub vocab: u32,
    /// Tokens that are told at each place, likeliest first.
    pub top: usize,
    /// What the distribution is softened by before it is told.
    pub temperature: f32,
}

/// What was told of some sequences. Both are `[places, top]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The likeliest next tokens.
    pub tokens: Vec<i64>,
    /// Their negative log-probabilities, in 1/2048 nat.
    pub codes: Vec<u16>,
}

impl Telling {
    /// Of a run in which the teacher is told.
    pub fn of(spec: &RunSpec) -> Option<Telling> {
        let distill = spec.distill.as_ref()?;
        Some(Telling {
            context: spec.model.context as usize,
            vocab: spec.model.vocab,
            top: distill.top? as usize,
            temperature: distill.temperature,
        })
    }

    /// The most sequences of one question.
    pub fn rows_max(&self) -> usize {
        (ANSWER_BYTES / self.bytes(self.context)).max(1)
    }

    fn token_bytes(&self) -> usize {
        if self.vocab <= 1 << 16 { 2 } else { 4 }
    }

    /// Bytes of an answer about so many places.
    fn bytes(&self, places: usize) -> usize {
        places * self.top * (self.token_bytes() + CODE_BYTES)
    }
}

impl Told {
    /// Of negative log-probabilities, likeliest first.
    pub fn new(tokens: Vec<i64>, nats: &[f32]) -> Told {
        let code = |nats: &f32| (nats * STEPS).round().clamp(0.0, f32::from(u16::MAX)) as u16;
        Told { tokens, codes: nats.iter().map(code).collect() }
    }

    /// Log-probabilities, `[places, top]`.
    pub fn log_probabilities(&self) -> Vec<f32> {
        self.codes.iter().map(|code| -f32::from(*code) / STEPS).collect()
    }

    /// Goes on with what was told of further sequences.
    pub fn append(&mut self, mut other: Told) {
        self.tokens.append(&mut other.tokens);
        self.codes.append(&mut other.codes);
    }

    /// As bytes.
    pub fn encode(&self, telling: &Telling) -> Vec<u8> {
        let width = telling.token_bytes();
        let tokens = self.tokens.iter().map(|token| (*token as u32).to_le_bytes());
        let codes = self.codes.iter().flat_map(|code| code.to_le_bytes());
        tokens.flat_map(|bytes| bytes.into_iter().take(width)).chain(codes).collect()
    }

    /// Reads what was told of so many places.
    ///
    /// # Errors
    /// It is no answer of this run: what is wrong.
    pub fn decode(telling: &Telling, places: usize, bytes: &[u8]) -> Result<Told, String> {
        if bytes.len() != telling.bytes(places) {
            return Err(format!("{} bytes instead of {}", bytes.len(), telling.bytes(places)));
        }
        let (width, count) = (telling.token_bytes(), places * telling.top);
        let (tokens, codes) = bytes.split_at(count * width);
        let token =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
        let told = Told {
            tokens: tokens.chunks_exact(width).map(token).collect(),
            codes: codes.as_chunks().0.iter().map(|code| u16::from_le_bytes(*code)).collect(),
        };
        let probabilities: Vec<f32> =
            told.log_probabilities().iter().map(|log| log.exp()).collect();
        for place in 0..places {
            let at = place * telling.top..(place + 1) * telling.top;
            check_place(telling, &told.tokens[at.clone()], &told.codes[at.clone()])?;
            let sum: f32 = probabilities[at].iter().sum();
            if sum > 1.0 + SLACK {
                return Err(format!("probabilities that sum to {sum}"));
            }
        }
        Ok(told)
    }

    /// Whether it was told by one who knows the text at all: the tokens that do come next, `[places]`, are no less likely than by
    /// chance. What is not told shares what is left evenly.
    ///
    /// # Errors
    /// How unlikely they are.
    pub fn check_against(&self, telling: &Telling, next: &[i64]) -> Result<(), String> {
        let logs = self.log_probabilities();
        let places = self.tokens.chunks_exact(telling.top).zip(logs.chunks_exact(telling.top));
        let rest = f64::from(telling.vocab) - telling.top as f64;
        let surprise = |((tokens, logs), next): ((&[i64], &[f32]), &i64)| {
            if let Some(place) = tokens.iter().position(|token| token == next) {
                return -f64::from(logs[place]);
            }
            let told: f64 = logs.iter().map(|log| f64::from(*log).exp()).sum();
            -((1.0 - told).max(1e-6) / rest.max(1.0)).ln()
        };
        let mean = places.zip(next).map(surprise).sum::<f64>() / next.len().max(1) as f64;
        // Below 1 a temperature sharpens, and with it what is wrong.
        let sharper = f64::from(telling.temperature).min(1.0).recip();
        let most = f64::from(telling.vocab).ln() * sharper + WORSE;
        if mean <= most { Ok(()) } else { Err(format!("the text at {mean:.2} nats a token")) }
    }
}

fn check_place(telling: &Telling, tokens: &[i64], codes: &[u16]) -> Result<(), String> {
    if let Some(token) = tokens.iter().find(|token| **token >= i64::from(telling.vocab)) {
        return Err(format!("token {token} of {}", telling.vocab));
    }
    if !codes.is_sorted() {
        return Err("a less likely token before a likelier one".into());
    }
    let mut sorted = tokens.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("token {} twice", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELLING: Telling = Telling { context: 2, vocab: 9, top: 2, temperature: 1.0 };

    fn told(tokens: &[i64], probabilities: &[f32]) -> Told {
        let nats: Vec<f32> = probabilities.iter().map(|p| -p.ln()).collect();
        Told::new(tokens.to_vec(), &nats)
    }

    #[test]
    fn bytes_by_hand_and_back() {
        let told = told(&[7, 1, 0, 8], &[0.5, 0.25, 1.0, 0.0]);
        assert_eq!(told.codes, [1420, 2839, 0, u16::MAX]);
        let bytes = told.encode(&TELLING);
        assert_eq!(bytes, [7, 0, 1, 0, 0, 0, 8, 0, 0x8c, 5, 0x17, 0x0b, 0, 0, 255, 255]);
        assert_eq!(Told::decode(&TELLING, 2, &bytes), Ok(told.clone()));
        let wide = Telling { vocab: 70_000, ..TELLING };
        let large = Told { tokens: vec![69_999, 1, 0, 8], ..told };
        assert_eq!(large.encode(&wide).len(), 24);
        assert_eq!(Told::decode(&wide, 2, &large.encode(&wide)), Ok(large));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let good = [0.5, 0.25, 0.5, 0.25];
        for (tokens, probabilities, reason) in [
            ([7, 9, 0, 1], good, "token 9 of 9"),
            ([7, 7, 0, 1], good, "token 7 twice"),
            ([7, 1, 0, 1], [0.25, 0.5, 0.5, 0.25], "a less likely token"),
            ([7, 1, 0, 1], [0.5, 0.25, 0.6, 0.6], "sum to 1.2"),
        ] {
            let bytes = told(&tokens, &probabilities).encode(&TELLING);
            let refused = Told::decode(&TELLING, 2, &bytes).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(
            Told::decode(&TELLING, 2, &[0; 15]).unwrap_err().contains("15 bytes instead of 16")
        );
    }

    #[test]
    fn who_does_not_know_the_text_is_no_teacher() {
        let sure = told(&[7, 1, 0, 8], &[0.98, 0.01, 0.98, 0.01]);
        assert_eq!(sure.check_against(&TELLING, &[7, 0]), Ok(()));
        // 0.01 is left for seven tokens: 6.6 nats each, where chance has 2.2.
        let refused = sure.check_against(&TELLING, &[5, 5]).unwrap_err();
        assert!(refused.starts_with("the text at 6.5"), "{refused}");
        let fair = told(&[7, 1, 0, 8], &[1.0 / 9.0; 4]);
        assert_eq!(fair.check_against(&TELLING, &[5, 5]), Ok(()));
    }

    #[test]
    fn an_answer_has_a_bound() {
        assert_eq!(TELLING.rows_max(), (1 << 20) / 16);
        let long = Telling { context: 1 << 17, top: 4, ..TELLING };
        assert_eq!(long.rows_max(), 1);
    }
}
