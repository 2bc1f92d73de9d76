//! Text without what names people: addresses, numbers, keys and names found by forms, checksums and lists, then masked,
//! replaced, or the document left out.
//!
//! ```text
//! let rules = Rules::parse(&text_of_the_rules_file, &path)?;     // or Rules::default(): all kinds masked
//! let anonymiser = Anonymiser::new(&rules, Some(Key::derive(secret)))?;
//! let cleaned = anonymiser.clean("Write to jane@example.net.");    // text, counts, drop, findings
//! let mut stream = anonymiser.stream();                            // the same for a document in pieces
//! let part = stream.push(piece);
//! let end = stream.finish();
//! ```
//!
//! An [`Anonymiser`] is made once and shared by threads; memory is bounded whatever a document's length. What is found and
//! what is missed is told in docs/ANONYMISE.md.

mod address;
mod checksum;
mod credentials;
mod kind;
mod name;
mod names;
mod national;
mod network;
mod numbers;
mod phone;
mod pseudonym;
mod rules;
mod scan;
mod secret;
mod stream;
#[cfg(test)]
mod tests;

pub use kind::{Action, Counts, Finding, Kind};
pub use pseudonym::Key;
pub use rules::{Rules, RulesError};
pub use stream::Stream;

use pseudonym::Pseudonyms;
use rules::Rule;
use scan::Skip;

/// A text without its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The text, with masks or pseudonyms in the items' places.
    pub text: String,
    /// How many items were found, kind by kind; kinds that are off are not counted.
    pub counts: Counts,
    /// The document is to be left out: it holds an item whose action is [`Action::Drop`].
    pub drop: bool,
    /// The items, with their places in the text as it came.
    pub findings: Vec<Finding>,
}

/// Pseudonyms were asked for and there is no key to make them with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` asks for pseudonyms, which are made under a secret key: give one, or take \"mask\"")]
pub struct KeyMissing(pub String);

/// Finds items and replaces them.
pub struct Anonymiser {
    actions: [Action; Kind::BUILT_IN.len()],
    rules: Vec<Rule>,
    skip: Skip,
    pseudonyms: Option<Pseudonyms>,
}

impl Anonymiser {
    /// Follows `rules`; pseudonyms are made under `key`.
    pub fn new(rules: &Rules, key: Option<Key>) -> Result<Anonymiser, KeyMissing> {
        if let (Some(name), None) = (rules.asking_for_pseudonyms(), &key) {
            return Err(KeyMissing(name));
        }
        Ok(Anonymiser {
            actions: rules.actions,
            rules: rules.custom.clone(),
            skip: stream::skip(|kind| rules.action(kind)),
            pseudonyms: key.map(Pseudonyms::new),
        })
    }

    /// Cleans a whole document.
    pub fn clean(&self, text: &str) -> Cleaned {
        let mut stream = self.stream();
        let mut cleaned = stream.push(text);
        let rest = stream.finish();
        cleaned.text.push_str(&rest.text);
        cleaned.counts.merge(&rest.counts);
        cleaned.findings.extend(rest.findings);
        cleaned.drop |= rest.drop;
        cleaned
    }

    /// Begins a document that comes in pieces.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self)
    }

    /// What a kind is called: its key in a rules file, or the name that its rule has there.
    pub fn name(&self, kind: Kind) -> &str {
        match kind {
            Kind::Custom(index) => {
                self.rules.get(usize::from(index)).map_or("custom", |rule| &rule.name)
            }
            built_in => built_in.name(),
        }
    }

    fn action(&self, kind: Kind) -> Action {
        match (kind, kind.index()) {
            (Kind::Custom(index), _) => {
                self.rules.get(usize::from(index)).map_or(Action::Mask, |rule| rule.action)
            }
            (_, Some(index)) => self.actions[index],
            (_, None) => Action::Mask,
        }
    }

    /// What an item becomes.
    fn replacement(&self, kind: Kind, item: &str) -> String {
        let check = match kind {
            Kind::Custom(index) => self.rules.get(usize::from(index)).and_then(|rule| rule.check),
            _ => None,
        };
        let pseudonyms =
            self.pseudonyms.as_ref().filter(|_| self.action(kind) == Action::Pseudonym);
        pseudonyms
            .and_then(|pseudonyms| pseudonyms.of(kind, self.name(kind), item, check))
            .unwrap_or_else(|| format!("<{}>", self.name(kind).to_uppercase()))
    }
}
