//! Batches with what was told of them. While one is trained on, the next ones are asked for.

use super::Asking;
use crate::data::{Batch, DataError};
use crate::train::TrainError;
use shoal_protocol::id::Round;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

/// Batches that are asked for before they are needed. Guess: enough that a teacher is never idle for want of a question.
const AHEAD: usize = 4;

/// An iterator over batches with what was told of them.
pub struct Ahead<'a, I> {
    batches: I,
    asking: &'a Asking,
    round: Round,
    cancel: &'a AtomicBool,
    asked: VecDeque<(Batch, Vec<u64>)>,
}

impl<'a, I: Iterator<Item = Result<Batch, DataError>>> Ahead<'a, I> {
    /// Of the work that leads to `round`, until `cancel` is raised.
    pub fn new(batches: I, asking: &'a Asking, round: Round, cancel: &'a AtomicBool) -> Self {
        Ahead { batches, asking, round, cancel, asked: VecDeque::new() }
    }
}

impl<I: Iterator<Item = Result<Batch, DataError>>> Iterator for Ahead<'_, I> {
    type Item = Result<Batch, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.asked.len() < AHEAD {
            match self.batches.next() {
                Some(Ok(batch)) => {
                    let names = self.asking.ask(&batch);
                    self.asked.push_back((batch, names));
                }
                Some(Err(error)) => return Some(Err(error.into())),
                None => break,
            }
        }
        let (batch, names) = self.asked.pop_front()?;
        let told = self.asking.wait(&names, self.round, self.cancel);
        self.asking.forget(&names);
        Some(told.map(|told| Batch { told: Some(told), ..batch }))
    }
}

impl<I> Drop for Ahead<'_, I> {
    fn drop(&mut self) {
        self.asked.iter().for_each(|(_, names)| self.asking.forget(names));
    }
}
