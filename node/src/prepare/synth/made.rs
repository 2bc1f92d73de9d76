//! Documents that are made, each from its number, as a source like any other.

use crate::data::stories::story;
use crate::prepare::error::PrepareError;
use crate::prepare::read::{Amount, Record, Records, Source};
use std::cell::Cell;

/// Makes the document of a number. Same number, same document.
pub type Make<'a> = dyn Fn(u64) -> Result<String, PrepareError> + 'a;

/// Documents 0 to `documents`.
pub struct Made<'a> {
    identity: String,
    documents: u64,
    make: Box<Make<'a>>,
    done: Cell<u64>,
    failed: Cell<Option<PrepareError>>,
}

impl<'a> Made<'a> {
    /// So many documents; `identity` names all that they follow from.
    pub fn new(
        identity: String,
        documents: u64,
        make: impl Fn(u64) -> Result<String, PrepareError> + 'a,
    ) -> Made<'a> {
        let (done, failed) = (Cell::new(0), Cell::new(None));
        Made { identity, documents, make: Box::new(make), done, failed }
    }

    fn next(&self, number: u64) -> Option<Record> {
        if number >= self.documents {
            return None;
        }
        match (self.make)(number) {
            Ok(text) => {
                self.done.set(number + 1);
                Some(Record::Text(text))
            }
            Err(error) => {
                self.failed.set(Some(error));
                None
            }
        }
    }
}

/// Stories of the grammar that every peer has.
pub fn stories(seed: u64, documents: u64) -> Made<'static> {
    let identity = format!("{documents} stories of the grammar, seed {seed}");
    Made::new(identity, documents, move |number| Ok(story(seed, number)))
}

impl Source for Made<'_> {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn units(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        self.identity.clone()
    }

    fn open(&self, _: usize, start: u64) -> Result<Records<'_>, PrepareError> {
        let mut numbers = start..;
        Ok(Box::new(std::iter::from_fn(move || self.next(numbers.next()?))))
    }

    fn progress(&self) -> Amount {
        Amount { done: self.done.get(), all: self.documents }
    }

    fn unit(&self) -> crate::prepare::watch::Unit {
        crate::prepare::watch::Unit::Documents
    }

    fn fault(&self) -> Option<PrepareError> {
        self.failed.take()
    }

    fn batch(&self) -> usize {
        16
    }
}
