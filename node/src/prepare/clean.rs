//! What becomes of one record: normalised, judged, made anonymous, marked.

use super::filter::{Rule, Rules};
use super::near::{Mark, Signature, minhash};
use super::normal::normalise;
use super::read::{Bad, Record};
use shoal_protocol::id::Digest;
use std::collections::BTreeMap;

/// Takes personal data out of texts.
pub trait Anonymise: Sync {
    /// What it is and how it is set, so that an interrupted preparation is not gone on with differently.
    fn identity(&self) -> String;
    /// The text without what it masks.
    fn clean(&self, text: &str) -> Masked;
}

/// A text without personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// What is left.
    pub text: String,
    /// How much was masked, by kind.
    pub counts: BTreeMap<String, u64>,
    /// Why the whole document goes, if it does.
    pub drop: Option<String>,
}

/// What every record goes through.
pub struct Cleaner<'a> {
    /// The filters.
    pub rules: &'a Rules,
    /// Masks personal data, if anything does.
    pub anonymise: Option<&'a dyn Anonymise>,
    /// Whether near-duplicates will be looked for.
    pub near: bool,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It goes on.
    Kept(Box<Kept>),
    /// A rule was against it.
    Dropped {
        /// The rule's name.
        rule: String,
        /// Why, and how the text begins.
        example: String,
        /// Bytes that were read.
        bytes: u64,
        /// Lines that were taken out before, by rule.
        lines: Vec<(Rule, u64)>,
    },
    /// It could not be read.
    Bad(Bad),
}

/// A document that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its text.
    pub text: String,
    /// What tells it from others; where it lies is not known yet.
    pub mark: Mark,
    /// Bytes that were read.
    pub bytes: u64,
    /// Lines that were taken out, by rule.
    pub lines: Vec<(Rule, u64)>,
    /// What was masked, by kind.
    pub masked: BTreeMap<String, u64>,
}

/// Characters of an example.
const EXAMPLE_CHARS: usize = 120;

impl Cleaner<'_> {
    /// Cleans one record.
    pub fn clean(&self, record: Record) -> Outcome {
        let raw = match record {
            Record::Text(text) => text,
            Record::Bad(bad) => return Outcome::Bad(bad),
        };
        let (mut text, bytes, mut lines) = (normalise(&raw), raw.len() as u64, Vec::new());
        drop(raw);
        if let Some(edited) = self.rules.edit(&text) {
            (text, lines) = (edited.text, edited.lines);
        }
        if let Err(dropped) = self.rules.judge(&text) {
            let example = format!("{}: {}", dropped.why, self.shown(&text));
            return Outcome::Dropped { rule: dropped.rule.name().into(), example, bytes, lines };
        }
        let mut masked = BTreeMap::new();
        if let Some(anonymise) = self.anonymise {
            let clean = anonymise.clean(&text);
            if let Some(example) = clean.drop {
                return Outcome::Dropped { rule: "personal-data".into(), example, bytes, lines };
            }
            (text, masked) = (clean.text, clean.counts);
        }
        if text.is_empty() {
            let (rule, example) = ("empty".into(), "nothing is left of it".into());
            return Outcome::Dropped { rule, example, bytes, lines };
        }
        let mark = self.mark(&text);
        Outcome::Kept(Box::new(Kept { text, mark, bytes, lines, masked }))
    }

    fn mark(&self, text: &str) -> Mark {
        let signature = if self.near { minhash(text) } else { Signature::none() };
        Mark { digest: Digest::of(text.as_bytes()).0, at: 0, signature }
    }

    /// How a text begins, without what must not be seen.
    fn shown(&self, text: &str) -> String {
        let start = beginning(text);
        match self.anonymise {
            Some(anonymise) => anonymise.clean(&start).text,
            None => start,
        }
    }
}

/// How a text begins, in one line.
pub(super) fn beginning(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(EXAMPLE_CHARS).collect();
    let start = start.split_whitespace().collect::<Vec<_>>().join(" ");
    if chars.next().is_some() { start + "…" } else { start }
}
