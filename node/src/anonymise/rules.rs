//! A rules file: what is done with each kind, and rules of one's own. Every fault is told by its line, its key and what is right.

use super::checksum::{Check, NAMED, compact};
use super::numbers::floor;
use super::{Action, Kind};
use regex::Regex;
use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How far before an item its context words are looked for, in bytes.
const NEAR_BYTES: usize = 48;
/// The most rules of one file (guess: each runs over all the text).
const RULES_MAX: usize = 1000;

/// What is wrong with a rules file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {reason}", path.display())]
pub struct RulesError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, what is wrong with it, and what is right.
    pub reason: String,
}

/// What is looked for and what is done with it; by default all kinds are masked.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) actions: [Action; Kind::BUILT_IN.len()],
    pub(super) custom: Vec<Rule>,
}

/// A rule of a rules file.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) regex: Regex,
    pub(super) check: Option<Check>,
    pub(super) action: Action,
    /// In lower case; none means that the expression is enough.
    pub(super) context: Vec<String>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { actions: [Action::Mask; Kind::BUILT_IN.len()], custom: Vec::new() }
    }
}

impl Rules {
    /// Reads the text of the rules file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Rules, RulesError> {
        let fault = |error: toml::de::Error| RulesError {
            path: path.to_owned(),
            line: line(text, error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        };
        let root = DeTable::parse(text).map_err(fault)?;
        let file = File { text, path };
        let mut rules = Rules::default();
        for (key, value) in root.get_ref() {
            match key.get_ref().as_ref() {
                "kinds" => file.kinds(key, value, &mut rules)?,
                "rule" => file.rules(key, value, &mut rules)?,
                other => {
                    return Err(file.fault(
                        key,
                        other,
                        "there is no such key; right would be [kinds] or [[rule]]",
                    ));
                }
            }
        }
        Ok(rules)
    }

    /// Does `action` with all items of a built-in kind.
    pub fn set(&mut self, kind: Kind, action: Action) {
        if let Some(index) = kind.index() {
            self.actions[index] = action;
        }
    }

    /// What is done with a kind.
    pub fn action(&self, kind: Kind) -> Action {
        match (kind, kind.index()) {
            (Kind::Custom(index), _) => {
                self.custom.get(usize::from(index)).map_or(Action::Mask, |rule| rule.action)
            }
            (_, index) => index.map_or(Action::Mask, |index| self.actions[index]),
        }
    }

    /// The first kind or rule whose items become pseudonyms.
    pub(super) fn asking_for_pseudonyms(&self) -> Option<String> {
        let kinds = Kind::BUILT_IN
            .into_iter()
            .zip(self.actions)
            .map(|(kind, action)| (kind.name(), action));
        let rules = self.custom.iter().map(|rule| (rule.name.as_str(), rule.action));
        kinds
            .chain(rules)
            .find(|(_, action)| *action == Action::Pseudonym)
            .map(|(name, _)| name.to_owned())
    }
}

impl Rule {
    /// Places of this rule's items.
    pub(super) fn spans<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        let items = self
            .regex
            .captures_iter(text)
            .filter_map(|hit| Some((hit.get(0)?, hit.get(1).or(hit.get(0))?)));
        items
            .filter(|(whole, item)| self.accepts(text, whole.start(), item.as_str()))
            .map(|(_, item)| item.range())
    }

    fn accepts(&self, text: &str, start: usize, item: &str) -> bool {
        let from = floor(text, start.saturating_sub(NEAR_BYTES));
        let before = || text[from..start].to_lowercase();
        self.check.is_none_or(|check| check(&compact(item)))
            && (self.context.is_empty()
                || self.context.iter().any(|word| before().contains(word.as_str())))
    }
}

type Name<'a> = Spanned<Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// The file that faults are told of.
struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl File<'_> {
    fn fault(&self, place: &Name, key: &str, reason: impl Into<String>) -> RulesError {
        let reason = format!("`{key}`: {}", reason.into());
        RulesError { path: self.path.to_owned(), line: line(self.text, place.span().start), reason }
    }

    fn kinds(&self, key: &Name, value: &Value, rules: &mut Rules) -> Result<(), RulesError> {
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| {
            self.fault(key, "kinds", "must be a table: write [kinds] on a line of its own")
        })?;
        for (name, value) in table {
            let full = format!("kinds.{}", name.get_ref());
            let kind = Kind::BUILT_IN.into_iter().find(|kind| kind.name() == name.get_ref());
            let names = Kind::BUILT_IN.map(Kind::name).join(", ");
            let kind = kind.ok_or_else(|| {
                self.fault(name, &full, format!("there is no such kind; right would be {names}"))
            })?;
            rules.set(kind, self.action(name, &full, value)?);
        }
        Ok(())
    }

    fn rules(&self, key: &Name, value: &Value, rules: &mut Rules) -> Result<(), RulesError> {
        let list = value.get_ref().as_array();
        let list = list.ok_or_else(|| {
            self.fault(key, "rule", "must be a list of tables: write [[rule]] on a line of its own")
        })?;
        if list.len() > RULES_MAX {
            return Err(self.fault(
                key,
                "rule",
                format!("{} rules are too many: {RULES_MAX} are the most", list.len()),
            ));
        }
        for one in list.iter() {
            let table = one.get_ref().as_table();
            let table = table.ok_or_else(|| {
                self.fault(key, "rule", "must be a table: write [[rule]] on a line of its own")
            })?;
            let rule = self.rule(key, table, line(self.text, one.span().start))?;
            if rules.custom.iter().any(|other| other.name == rule.name) {
                let reason =
                    format!("two rules are called {:?}: give each its own name", rule.name);
                return Err(self.fault(
                    self.key(table, "name").unwrap_or(key),
                    "rule.name",
                    reason,
                ));
            }
            rules.custom.push(rule);
        }
        Ok(())
    }

    fn key<'t, 'a>(&self, table: &'t DeTable<'a>, name: &str) -> Option<&'t Name<'a>> {
        table.iter().map(|(key, _)| key).find(|key| key.get_ref() == name)
    }

    fn rule(&self, list: &Name, table: &DeTable, at_line: usize) -> Result<Rule, RulesError> {
        let (mut name, mut regex, mut check, mut action, mut context) =
            (None, None, None, Action::Mask, Vec::new());
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => name = Some(self.name(key, value)?),
                "regex" => regex = Some(self.regex(key, value)?),
                "checksum" => check = Some(self.checksum(key, value)?),
                "action" => action = self.action(key, "rule.action", value)?,
                "context" => context = self.words(key, value)?,
                other => {
                    let reason = "there is no such key; right would be name, regex, checksum, action, context";
                    return Err(self.fault(key, &format!("rule.{other}"), reason));
                }
            }
        }
        let missing =
            |key: &str, reason: &str| RulesError { line: at_line, ..self.fault(list, key, reason) };
        Ok(Rule {
            name: name.ok_or_else(|| {
                missing("rule.name", "is missing: give the rule a short name, like \"patient\"")
            })?,
            regex: regex.ok_or_else(|| {
                missing("rule.regex", "is missing: give the expression that finds its items")
            })?,
            check,
            action,
            context,
        })
    }

    fn text(&self, key: &Name, full: &str, value: &Value) -> Result<String, RulesError> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.ok_or_else(|| self.fault(key, full, "must be text in quotation marks"))
    }

    fn name(&self, key: &Name, value: &Value) -> Result<String, RulesError> {
        let name = self.text(key, "rule.name", value)?;
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.is_empty() || !plain {
            return Err(self.fault(
                key,
                "rule.name",
                format!("{name:?} is wrong here: small letters, digits and _ make a name"),
            ));
        }
        match Kind::BUILT_IN.iter().find(|kind| kind.name() == name) {
            Some(_) => Err(self.fault(
                key,
                "rule.name",
                format!("{name:?} is a built-in kind: take another name"),
            )),
            None => Ok(name),
        }
    }

    fn regex(&self, key: &Name, value: &Value) -> Result<Regex, RulesError> {
        let text = self.text(key, "rule.regex", value)?;
        let regex = Regex::new(&text).map_err(|error| {
            let reason = error.to_string();
            let last =
                reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.fault(key, "rule.regex", format!("is no expression of Rust's regex crate: {last}"))
        })?;
        if regex.is_match("") {
            return Err(self.fault(
                key,
                "rule.regex",
                "matches the empty text: ask for at least one character",
            ));
        }
        Ok(regex)
    }

    fn checksum(&self, key: &Name, value: &Value) -> Result<Check, RulesError> {
        let name = self.text(key, "rule.checksum", value)?;
        let known = NAMED.iter().find(|(known, _)| *known == name).map(|(_, check)| *check);
        let names = NAMED.map(|(name, _)| name).join(", ");
        known.ok_or_else(|| {
            self.fault(key, "rule.checksum", format!("{name:?} is unknown: right would be {names}"))
        })
    }

    fn action(&self, key: &Name, full: &str, value: &Value) -> Result<Action, RulesError> {
        let name = self.text(key, full, value)?;
        let right = "right would be \"mask\", \"pseudonym\", \"drop\" or \"off\"";
        Action::from_name(&name)
            .ok_or_else(|| self.fault(key, full, format!("{name:?} is no action: {right}")))
    }

    fn words(&self, key: &Name, value: &Value) -> Result<Vec<String>, RulesError> {
        let word = |value: &Value| {
            value.get_ref().as_str().filter(|word| !word.is_empty()).map(str::to_lowercase)
        };
        let list = value.get_ref().as_array();
        let words: Option<Vec<String>> = list.and_then(|list| list.iter().map(word).collect());
        words.filter(|words| !words.is_empty()).ok_or_else(|| {
            self.fault(
                key,
                "rule.context",
                "must be a list of words, like [\"patient\", \"record\"]",
            )
        })
    }
}

/// The line, from 1, of the byte at `place`.
fn line(text: &str, place: usize) -> usize {
    1 + text.bytes().take(place).filter(|byte| *byte == b'\n').count()
}
