//! Who watches a preparation: hears how far it is, and may stop it.

use super::read::Amount;

/// A watcher.
pub trait Watch {
    /// A pass begins, over so much.
    fn begin(&mut self, pass: &'static str, unit: Unit);
    /// It has come so far, with so many documents.
    fn at(&mut self, amount: Amount, documents: u64);
    /// Whether to stop at the next good place.
    fn stop(&self) -> bool;
}

/// What a pass counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Documents.
    Documents,
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watch for Nobody {
    fn begin(&mut self, _: &'static str, _: Unit) {}
    fn at(&mut self, _: Amount, _: u64) {}
    fn stop(&self) -> bool {
        false
    }
}
