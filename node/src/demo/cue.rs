//! Who is killed and who joins, and when.

use crate::data::rng::{Rng, mix};

/// What is still to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cues {
    kills: Vec<u64>,
    joins: Vec<u64>,
    seed: u64,
}

impl Cues {
    pub(super) fn new(kills: &[u64], joins: &[u64], seed: u64) -> Cues {
        let sorted = |rounds: &[u64]| {
            let mut rounds = rounds.to_vec();
            rounds.sort_unstable_by(|a, b| b.cmp(a));
            rounds
        };
        Cues { kills: sorted(kills), joins: sorted(joins), seed }
    }

    /// The round of a kill that is due when `round` is the last committed one: in the exchange of the next.
    pub(super) fn next_kill(&mut self, round: u64) -> Option<u64> {
        self.kills.pop_if(|kill| *kill <= round + 1)
    }

    /// Whether a node joins now that `round` is committed.
    pub(super) fn next_join(&mut self, round: u64) -> bool {
        self.joins.pop_if(|join| *join <= round).is_some()
    }

    /// The victim's place among `candidates` nodes.
    pub(super) fn victim(&self, round: u64, candidates: usize) -> usize {
        Rng::new(mix(self.seed) ^ round).below(candidates as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cue_is_given_once_and_in_order() {
        let mut cues = Cues::new(&[9, 4], &[6], 1);
        assert_eq!((cues.next_kill(2), cues.next_join(2)), (None, false));
        assert_eq!((cues.next_kill(3), cues.next_kill(3)), (Some(4), None));
        assert_eq!((cues.next_join(7), cues.next_join(7)), (true, false));
        assert_eq!((cues.next_kill(11), cues.next_kill(12)), (Some(9), None));
    }

    #[test]
    fn any_node_may_be_the_victim() {
        let cues = |seed| Cues::new(&[4], &[], seed);
        let mut victims: Vec<usize> = (0..40).map(|seed| cues(seed).victim(4, 4)).collect();
        assert_eq!(victims[1], cues(1).victim(4, 4));
        victims.sort_unstable();
        victims.dedup();
        assert_eq!(victims, [0, 1, 2, 3]);
    }
}
