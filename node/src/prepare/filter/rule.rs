//! The rules by name, which of them are on, and their thresholds.

use super::language::Language;
use crate::prepare::error::PrepareError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A rule against a document, or against some of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Too few or too many words (Gopher).
    Length,
    /// Words of an unusual mean length (Gopher).
    WordLength,
    /// Too many hash signs or ellipses for so many words (Gopher).
    Symbols,
    /// Nearly all lines are points of a list (Gopher).
    Bullets,
    /// Too many lines end in an ellipsis (Gopher).
    Ellipses,
    /// Too few words have a letter in them (Gopher).
    Alphabetic,
    /// Too few of the commonest English words (Gopher). Not asked of other languages.
    StopWords,
    /// Lines repeat (Gopher, table A1).
    DuplicateLines,
    /// Paragraphs repeat (Gopher, table A1).
    DuplicateParagraphs,
    /// One run of 2 to 4 words makes up much of the text (Gopher, table A1).
    TopNgrams,
    /// Runs of 5 to 10 words repeat (Gopher, table A1).
    DuplicateNgrams,
    /// Not in the wanted language.
    Language,
    /// Placeholder text (C4).
    LoremIpsum,
    /// Program text, by its curly braces (C4).
    CurlyBraces,
    /// Lines that speak of JavaScript are taken out (C4).
    JavascriptLines,
    /// Lines that do not end as a sentence does are taken out (C4). Off at first: verse and hard-wrapped lines end anyhow.
    TerminalLines,
    /// Lines of few words are taken out (C4). Off at first.
    ShortLines,
    /// Too few sentences (C4). Off at first.
    Sentences,
}

/// A number that a rule compares with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Its name for `--threshold`.
    pub name: &'static str,
    /// Its value unless told otherwise.
    pub value: f64,
    /// What it bounds, and where the value comes from.
    pub meaning: &'static str,
}

const fn threshold(name: &'static str, value: f64, meaning: &'static str) -> Threshold {
    Threshold { name, value, meaning }
}

/// Every rule, by name; those of the second half of C4 are off at first.
const RULES: [(Rule, &str, bool); 18] = [
    (Rule::Length, "length", true),
    (Rule::WordLength, "word-length", true),
    (Rule::Symbols, "symbols", true),
    (Rule::Bullets, "bullets", true),
    (Rule::Ellipses, "ellipses", true),
    (Rule::Alphabetic, "alphabetic", true),
    (Rule::StopWords, "stop-words", true),
    (Rule::DuplicateLines, "duplicate-lines", true),
    (Rule::DuplicateParagraphs, "duplicate-paragraphs", true),
    (Rule::TopNgrams, "top-ngrams", true),
    (Rule::DuplicateNgrams, "duplicate-ngrams", true),
    (Rule::Language, "language", true),
    (Rule::LoremIpsum, "lorem-ipsum", true),
    (Rule::CurlyBraces, "curly-braces", true),
    (Rule::JavascriptLines, "javascript-lines", true),
    (Rule::TerminalLines, "terminal-lines", false),
    (Rule::ShortLines, "short-lines", false),
    (Rule::Sentences, "sentences", false),
];

/// Every threshold.
const THRESHOLDS: [Threshold; 28] = [
    threshold("words-min", 50.0, "length: fewest words (Gopher A.1.1)"),
    threshold("words-max", 100_000.0, "length: most words (Gopher A.1.1)"),
    threshold("word-length-min", 3.0, "word-length: least mean, in characters (Gopher A.1.1)"),
    threshold("word-length-max", 10.0, "word-length: greatest mean, in characters (Gopher A.1.1)"),
    threshold(
        "symbols-per-word",
        0.1,
        "symbols: most hash signs, or ellipses, a word (Gopher A.1.1)",
    ),
    threshold("bullets", 0.9, "bullets: greatest share of lines (Gopher A.1.1)"),
    threshold("ellipses", 0.3, "ellipses: greatest share of lines (Gopher A.1.1)"),
    threshold("alphabetic", 0.8, "alphabetic: least share of words (Gopher A.1.1)"),
    threshold(
        "stop-words",
        2.0,
        "stop-words: fewest of the, be, to, of, and, that, have, with (Gopher A.1.1)",
    ),
    threshold("duplicate-lines", 0.3, "duplicate-lines: greatest share of lines (Gopher table A1)"),
    threshold(
        "duplicate-lines-chars",
        0.2,
        "duplicate-lines: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-paragraphs",
        0.3,
        "duplicate-paragraphs: greatest share of paragraphs (Gopher table A1)",
    ),
    threshold(
        "duplicate-paragraphs-chars",
        0.2,
        "duplicate-paragraphs: greatest share of characters (Gopher table A1)",
    ),
    threshold("top-2-gram", 0.20, "top-ngrams: greatest share of characters (Gopher table A1)"),
    threshold("top-3-gram", 0.18, "top-ngrams: greatest share of characters (Gopher table A1)"),
    threshold("top-4-gram", 0.16, "top-ngrams: greatest share of characters (Gopher table A1)"),
    threshold(
        "duplicate-5-grams",
        0.15,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-6-grams",
        0.14,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-7-grams",
        0.13,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-8-grams",
        0.12,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-9-grams",
        0.11,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "duplicate-10-grams",
        0.10,
        "duplicate-ngrams: greatest share of characters (Gopher table A1)",
    ),
    threshold(
        "language-confidence",
        0.0,
        "language: least confidence of the guess, 0 to 1 (a guess)",
    ),
    threshold("language-chars", 2000.0, "language: characters that are looked at (a guess)"),
    threshold("curly-braces", 0.0, "curly-braces: most braces (C4 section 2.2)"),
    threshold("line-words", 5.0, "short-lines: fewest words of a line (C4 section 2.2)"),
    threshold("sentences", 3.0, "sentences: fewest (C4 section 2.2)"),
    threshold("top-ngram-times", 2.0, "top-ngrams: fewer times is no repetition (a guess)"),
];

impl Rule {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        RULES.iter().find(|(rule, _, _)| *rule == self).map_or("", |(_, name, _)| name)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Rule> {
        RULES.iter().map(|(rule, _, _)| *rule)
    }

    /// All names, in order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RULES.iter().map(|(_, name, _)| *name)
    }
}

/// The rules that are on, with their thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    on: BTreeSet<Rule>,
    thresholds: BTreeMap<String, f64>,
    /// The wanted language; any if none.
    pub language: Option<Language>,
}

impl Default for Rules {
    fn default() -> Rules {
        let on = RULES.iter().filter(|(_, _, on)| *on).map(|(rule, _, _)| *rule);
        let thresholds = THRESHOLDS.iter().map(|told| (told.name.to_owned(), told.value));
        Rules { on: on.collect(), thresholds: thresholds.collect(), language: None }
    }
}

impl Rules {
    /// No rule at all.
    pub fn none() -> Rules {
        Rules { on: BTreeSet::new(), ..Rules::default() }
    }

    /// Every threshold with its default.
    pub fn thresholds() -> &'static [Threshold] {
        &THRESHOLDS
    }

    /// What is on, and which thresholds are not the papers', in one line.
    pub fn identity(&self) -> String {
        let on: Vec<&str> = self.on.iter().map(|rule| rule.name()).collect();
        let mut told =
            format!("rules: {}", if on.is_empty() { "none".into() } else { on.join(", ") });
        let changed = |known: &&Threshold| self.at(known.name) != known.value;
        for known in THRESHOLDS.iter().filter(changed) {
            told += &format!("; {} {}", known.name, self.at(known.name));
        }
        if let Some(language) = self.language {
            told += &format!("; language {}", language.code());
        }
        told
    }

    /// Whether a rule is on.
    pub fn is_on(&self, rule: Rule) -> bool {
        self.on.contains(&rule)
    }

    /// Switches the rule `name`.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn switch(&mut self, name: &str, on: bool) -> Result<(), PrepareError> {
        let known = RULES.iter().find(|(_, known, _)| *known == name);
        let Some((rule, _, _)) = known else {
            let names: Vec<&str> = Rule::names().collect();
            let told = format!("there is no rule {name:?}: the rules are {}", names.join(", "));
            return Err(PrepareError::Setting(told));
        };
        if on {
            self.on.insert(*rule)
        } else {
            self.on.remove(rule)
        };
        Ok(())
    }

    /// Sets the threshold `name`.
    ///
    /// # Errors
    /// There is no such threshold, or the value is no number from 0 up.
    pub fn set(&mut self, name: &str, value: f64) -> Result<(), PrepareError> {
        if !(value.is_finite() && value >= 0.0) {
            let told = format!("the threshold {name} cannot be {value}: give a number from 0 up");
            return Err(PrepareError::Setting(told));
        }
        match self.thresholds.get_mut(name) {
            Some(known) => *known = value,
            None => {
                let names: Vec<&str> = THRESHOLDS.iter().map(|told| told.name).collect();
                let names = names.join(", ");
                let told = format!("there is no threshold {name:?}: the thresholds are {names}");
                return Err(PrepareError::Setting(told));
            }
        }
        Ok(())
    }

    /// A threshold's value.
    pub(super) fn at(&self, name: &str) -> f64 {
        // Names are this module's own; a test asks for each. An unknown one would bound nothing.
        self.thresholds.get(name).copied().unwrap_or(f64::NAN)
    }
}
