//! A failure told in one sentence: what is wrong, and what mends it.

use std::fmt;

/// What is wrong and what mends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    what: String,
    mend: String,
}

impl Fault {
    /// A fault from its two halves; neither ends in a full stop.
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}.", self.what, self.mend)
    }
}
