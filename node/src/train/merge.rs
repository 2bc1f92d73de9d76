//! The work of a node's devices as one contribution, and what arrives while they work.

use rayon::prelude::*;
use shoal_protocol::math::Merge;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Elements that one task adds.
const CHUNK: usize = 1 << 16;

/// What commits have done to local parameters since work on them began, in order. Devices look for new ones between steps.
#[derive(Debug, Default)]
pub struct Merges(Mutex<Vec<Arc<Merge>>>);

impl Merges {
    /// One more.
    pub fn push(&self, merge: Arc<Merge>) {
        self.all().push(merge);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those after the first `seen`.
    pub fn after(&self, seen: usize) -> Vec<Arc<Merge>> {
        self.all().iter().skip(seen).cloned().collect()
    }

    /// The first `seen`.
    pub fn first(&self, seen: usize) -> Vec<Arc<Merge>> {
        self.all().iter().take(seen).cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Merge>>> {
        // A push cannot leave the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mean of pseudo-gradients weighted by the tokens behind each, and the sum of the tokens.
///
/// All have the same length. Adds in the given order, so the result depends on nothing else; `None` without any tokens.
pub fn merge_by_tokens(parts: Vec<(u64, Vec<f32>)>) -> Option<(u64, Vec<f32>)> {
    let total: u64 = parts.iter().map(|(tokens, _)| tokens).sum();
    let mut parts = parts.into_iter().filter(|(tokens, _)| *tokens > 0);
    let (tokens, mut sum) = parts.next()?;
    if tokens == total {
        return Some((total, sum));
    }
    let share = |tokens: u64| (tokens as f64 / total as f64) as f32;
    sum.par_iter_mut().with_min_len(CHUNK).for_each(|x| *x *= share(tokens));
    for (tokens, delta) in parts {
        let weight = share(tokens);
        let both = sum.par_iter_mut().with_min_len(CHUNK).zip(&delta);
        both.for_each(|(x, d)| *x += weight * d);
    }
    Some((total, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighs_by_tokens() {
        type Part = (u64, Vec<f32>);
        let cases: [(Vec<Part>, Option<Part>); 5] = [
            (vec![], None),
            (vec![(0, vec![1.0])], None),
            (vec![(5, vec![1.0, 2.0])], Some((5, vec![1.0, 2.0]))),
            (vec![(0, vec![f32::NAN]), (5, vec![1.0])], Some((5, vec![1.0]))),
            (vec![(1, vec![4.0, 0.0]), (3, vec![0.0, 8.0])], Some((4, vec![1.0, 6.0]))),
        ];
        for (parts, expected) in cases {
            assert_eq!(merge_by_tokens(parts), expected);
        }
    }
}
