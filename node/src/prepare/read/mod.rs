//! Where documents come from: files of text, JSON Lines and Parquet, plain or compressed, read one record at a time.

mod compressed;
mod files;
mod json;
mod lines;
mod parquet;
mod text;

pub use files::{Files, How};

use super::error::PrepareError;
use super::watch::Unit;

/// A document, or why there is none at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Its text, as it was there.
    Text(String),
    /// A record that cannot be read.
    Bad(Bad),
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong with it, the same words for the same fault.
    pub fault: &'static str,
    /// Where it is, and how it begins.
    pub example: String,
}

impl Record {
    fn bad(fault: &'static str, place: &str, detail: impl std::fmt::Display) -> Record {
        Record::Bad(Bad { fault, example: format!("{place}: {detail}") })
    }
}

/// Documents in a fixed order, unit by unit, each from any record on.
pub trait Source {
    /// What the source is, so that an interrupted preparation is not gone on with from another.
    fn identity(&self) -> String;
    /// Units, like files.
    fn units(&self) -> usize;
    /// A unit's name.
    fn name(&self, unit: usize) -> String;
    /// The records of a unit from number `start` on.
    ///
    /// # Errors
    /// Not for what is wrong with the input: that is a [`Record::Bad`].
    fn open(&self, unit: usize, start: u64) -> Result<Records<'_>, PrepareError>;
    /// How much there is, and how much was read since the source was made: bytes of files, or documents.
    fn progress(&self) -> Amount;
    /// What [`Source::progress`] counts.
    fn unit(&self) -> Unit {
        Unit::Bytes
    }
    /// What kept the records from going on, if they ended before their time; asked once.
    fn fault(&self) -> Option<PrepareError> {
        None
    }
    /// Records to take at a time at most.
    fn batch(&self) -> usize {
        2048
    }
}

/// Records one after another.
pub type Records<'a> = Box<dyn Iterator<Item = Record> + 'a>;

/// How far reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What is done.
    pub done: u64,
    /// All there is to do.
    pub all: u64,
}

#[cfg(test)]
mod tests;
