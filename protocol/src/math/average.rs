//! An exponential moving average of the committed parameters, in a fixed order of f32 operations.

/// The average of the states of one way through the ledger.
///
/// The first `n` states weigh alike until `1 / n` is what a new one gets by the decay (a plain mean at first, as in arXiv 1606.04838,
/// section 7.3): nothing of the state before the first is in it, and who begins later is honest about how few it has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    decay: f32,
    states: u64,
    params: Vec<f32>,
}

impl Average {
    /// Of no state yet. `decay`: what it keeps of itself at the most, below 1.
    pub fn new(decay: f32) -> Average {
        Average { decay, states: 0, params: Vec::new() }
    }

    /// As it was after so many states.
    pub fn resume(decay: f32, states: u64, params: Vec<f32>) -> Average {
        Average { decay, states, params }
    }

    /// States that are in it.
    pub fn states(&self) -> u64 {
        self.states
    }

    /// The averaged parameters, `[params]`; empty before the first state.
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// One more state.
    pub fn take(&mut self, params: &[f32]) {
        if self.states == 0 || self.params.len() != params.len() {
            self.restart(params);
            return;
        }
        let seen = self.states as f32;
        let keep = self.decay.min(seen / (seen + 1.0));
        let give = 1.0 - keep;
        self.params.iter_mut().zip(params).for_each(|(mean, x)| *mean = keep * *mean + give * x);
        self.states = self.states.saturating_add(1);
    }

    /// Begins anew with this state: those before it are of another way, or nobody here has seen them.
    pub fn restart(&mut self, params: &[f32]) {
        self.params.clear();
        self.params.extend_from_slice(params);
        self.states = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn averaged(decay: f32, states: &[f32]) -> (u64, f32) {
        let mut average = Average::new(decay);
        states.iter().for_each(|x| average.take(&[*x]));
        (average.states(), average.params()[0])
    }

    #[test]
    fn a_mean_at_first_and_the_decay_later() {
        assert_eq!(averaged(0.9, &[4.0]), (1, 4.0));
        assert_eq!(averaged(0.9, &[4.0, 2.0]), (2, 3.0));
        assert_eq!(averaged(0.5, &[4.0, 2.0, 1.0]), (3, 2.0));
        assert_eq!(averaged(0.5, &[4.0, 2.0, 1.0, 6.0]), (4, 4.0));
    }

    #[test]
    fn it_goes_on_where_it_was_or_begins_anew() {
        let mut whole = Average::new(0.75);
        [1.0, 3.0].iter().for_each(|x| whole.take(&[*x]));
        let mut later = Average::resume(0.75, whole.states(), whole.params().to_vec());
        [whole.clone(), later.clone()].iter_mut().for_each(|average| average.take(&[8.0]));
        whole.take(&[8.0]);
        later.take(&[8.0]);
        assert_eq!(whole, later);
        whole.restart(&[5.0]);
        assert_eq!((whole.states(), whole.params()), (1, &[5.0][..]));
    }
}
