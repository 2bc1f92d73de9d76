//! Text from a model: temperature and nucleus sampling (Holtzman et al. 2020, section 3.1), from a seed.

use super::error::TrainError;
use crate::data::{Tokenizer, rng::Rng};
use crate::model::Llama;
use tch::Tensor;

/// What text to make.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSpec {
    /// What the text begins with; not empty.
    pub prompt: String,
    /// Tokens to add.
    pub tokens: usize,
    /// 0 takes the likeliest token, 1 the model's own distribution.
    pub temperature: f64,
    /// Only the likeliest tokens that make up this share are drawn from; 1 keeps all.
    pub top_p: f64,
    /// The same seed gives the same text.
    pub seed: u64,
}

impl Default for SampleSpec {
    fn default() -> Self {
        let prompt = "Once upon a time".into();
        SampleSpec { prompt, tokens: 300, temperature: 0.7, top_p: 0.95, seed: 1 }
    }
}

/// The text that follows the prompt, without the prompt.
///
/// # Errors
/// An empty prompt, a tokenizer that fails, or a device that does.
pub fn sample(
    model: &Llama,
    tokenizer: &Tokenizer,
    spec: &SampleSpec,
) -> Result<String, TrainError> {
    let mut tokens: Vec<i64> = tokenizer.encode(&spec.prompt)?.into_iter().map(i64::from).collect();
    let vocab = i64::from(model.spec().vocab);
    if tokens.is_empty() || tokens.iter().any(|token| *token >= vocab) {
        return Err(TrainError::Prompt(format!(
            "{:?} is {} tokens of which each must be below {vocab}; at least one is needed",
            spec.prompt,
            tokens.len()
        )));
    }
    let prompt = tokens.len();
    extend(model, &mut tokens, spec)?;
    let new: Vec<u32> = tokens[prompt..].iter().map(|token| *token as u32).collect();
    Ok(tokenizer.decode(&new)?)
}

/// Appends the wanted tokens one by one.
fn extend(model: &Llama, tokens: &mut Vec<i64>, spec: &SampleSpec) -> Result<(), TrainError> {
    let context = model.spec().context as usize;
    let mut rng = Rng::new(spec.seed);
    let mut cache = model.cache()?;
    // Tokens that the model has not seen: at first the prompt's end, then always the newest.
    let mut unseen = tokens.len().min(context);
    for _ in 0..spec.tokens {
        if cache.seen() as usize + unseen > context {
            // Full: begin anew with the newer half, so that places stay within the context.
            cache.clear();
            unseen = (context / 2).max(1);
        }
        let row = Tensor::f_from_slice(&tokens[tokens.len() - unseen..])?.f_view([1, -1])?;
        let logits = model.next_logits(&row.f_to(model.device())?, &mut cache)?;
        let logits = Vec::<f32>::try_from(logits.f_reshape([-1])?)?;
        tokens.push(draw(&logits, spec, rng.unit()) as i64);
        unseen = 1;
    }
    Ok(())
}

/// The token that `chance`, in 0..1, falls on.
fn draw(logits: &[f32], spec: &SampleSpec, chance: f64) -> usize {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    if spec.temperature <= 0.0 {
        return order[0];
    }
    let top = f64::from(logits[order[0]]);
    let weight = |token: &usize| ((f64::from(logits[*token]) - top) / spec.temperature).exp();
    let total: f64 = order.iter().map(weight).sum();
    let mut kept = 0.0;
    let nucleus = order.iter().take_while(|token| {
        let before = kept;
        kept += weight(token) / total;
        before < spec.top_p
    });
    let nucleus: Vec<(usize, f64)> = nucleus.map(|token| (*token, weight(token))).collect();
    let mut rest = chance * nucleus.iter().map(|(_, weight)| weight).sum::<f64>();
    let hit = nucleus.iter().find(|(_, weight)| {
        rest -= weight;
        rest < 0.0
    });
    hit.map_or(order[0], |(token, _)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_params;
    use crate::train::trainer::test_spec;
    use tch::Device;

    #[test]
    fn draws_by_share_within_the_nucleus() {
        // Shares 0.5, 0.3, 0.2 of tokens 1, 0, 2.
        let logits = [0.3f32.ln(), 0.5f32.ln(), 0.2f32.ln()];
        let rows = [
            (1.0, 1.0, 0.49, 1),
            (1.0, 1.0, 0.51, 0),
            (1.0, 1.0, 0.81, 2),
            (1.0, 0.6, 0.61, 1),
            (1.0, 0.6, 0.63, 0),
            (1.0, 0.0, 0.99, 1),
            (0.0, 1.0, 0.99, 1),
            (0.1, 1.0, 0.99, 1),
        ];
        for (temperature, top_p, chance, expected) in rows {
            let spec = SampleSpec { temperature, top_p, ..SampleSpec::default() };
            assert_eq!(draw(&logits, &spec, chance), expected, "{spec:?} {chance}");
        }
    }

    #[test]
    fn runs_past_the_context_and_repeats_by_seed() {
        let spec = test_spec();
        let mut model = Llama::new(&spec.model, Device::Cpu).unwrap();
        model.load_flat(&initial_params(&spec.model, 1)).unwrap();
        let wanted = SampleSpec { tokens: 50, prompt: "a".repeat(40), ..SampleSpec::default() };
        let text = sample(&model, &Tokenizer::Bytes, &wanted).unwrap();
        assert_eq!(text, sample(&model, &Tokenizer::Bytes, &wanted).unwrap());
        assert!(!text.is_empty());
        let empty = SampleSpec { prompt: String::new(), ..wanted };
        assert!(matches!(sample(&model, &Tokenizer::Bytes, &empty), Err(TrainError::Prompt(_))));
    }
}
