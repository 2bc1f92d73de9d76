//! A TOML file read key by key, so that every fault can be told by its line, its key and what would be right.

use super::RunFileError;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Entry<'a> = (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

/// A parsed file that still knows its text, and what was asked of it.
pub(super) struct Document<'a> {
    text: &'a str,
    path: &'a Path,
    root: Spanned<DeTable<'a>>,
    asked: RefCell<Vec<Asked>>,
}

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its name, with its table's.
    pub(super) key: String,
    /// What it takes.
    pub(super) takes: String,
    /// What it is when absent, where that is a number or a switch.
    pub(super) default: Option<String>,
}

impl<'a> Document<'a> {
    /// Parses `text`, which came from `path`.
    pub(super) fn parse(text: &'a str, path: &'a Path) -> Result<Document<'a>, RunFileError> {
        let root = DeTable::parse(text).map_err(|error| RunFileError {
            path: path.to_owned(),
            line: line(text, error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        Ok(Document { text, path, root, asked: RefCell::default() })
    }

    /// All keys that were asked for, in that order.
    pub(super) fn into_asked(self) -> Vec<Asked> {
        self.asked.into_inner()
    }

    /// The keys outside of all tables.
    pub(super) fn root(&self) -> Section<'_> {
        Section {
            document: self,
            name: "",
            place: 0..0,
            table: Some(self.root.get_ref()),
            known: Vec::new(),
        }
    }

    /// The table `[name]`; an empty one if it is absent.
    pub(super) fn section(&self, name: &'static str) -> Result<Section<'_>, RunFileError> {
        let entry = self.root.get_ref().iter().find(|(key, _)| key.get_ref() == name);
        let (place, table) = match entry {
            None => (0..0, None),
            Some((key, value)) => match value.get_ref().as_table() {
                Some(table) => (key.span(), Some(table)),
                None => {
                    return Err(self.fault(
                        &key.span(),
                        name,
                        format!("must be a table: write [{name}] on a line of its own"),
                    ));
                }
            },
        };
        Ok(Section { document: self, name, place, table, known: Vec::new() })
    }

    /// A fault of the key `name` (with dots), found by its name; of its table or the file if the key is absent.
    pub(super) fn fault_of(&self, name: &str, reason: impl Into<String>) -> RunFileError {
        let place = self.find(name).unwrap_or(0..0);
        self.fault(&place, name, reason)
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        let (table, key) = name.split_once('.').unwrap_or((name, ""));
        let (place, value) = entry(self.root.get_ref(), table)?;
        let inner = value.get_ref().as_table().and_then(|table| entry(table, key));
        Some(inner.map_or(place.span(), |(place, _)| place.span()))
    }

    fn fault(&self, place: &Range<usize>, name: &str, reason: impl Into<String>) -> RunFileError {
        let reason = format!("`{name}`: {}", reason.into());
        RunFileError { path: self.path.to_owned(), line: line(self.text, place.start), reason }
    }
}

/// The keys of one table. Each is asked for once; [`Section::finish`] refuses those that nobody asked for.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    name: &'static str,
    place: Range<usize>,
    table: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// A whole number within `range`, or `default` if the key is absent.
    pub(super) fn whole<N: TryFrom<u64> + Display>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: N,
    ) -> Result<N, RunFileError> {
        let reason = || format!("must be a whole number from {} to {}", range.start(), range.end());
        let read = |value: &DeValue| {
            let digits = value.as_integer()?;
            let number =
                u64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()).ok()?;
            if range.contains(&number) { N::try_from(number).ok() } else { None }
        };
        self.note(key, reason(), Some(default.to_string()));
        Ok(self.read(key, read, reason)?.unwrap_or(default))
    }

    /// A number, or `default` if the key is absent.
    pub(super) fn number(&mut self, key: &'static str, default: f32) -> Result<f32, RunFileError> {
        let read = |value: &DeValue| {
            let digits = value.as_float().map(|float| float.as_str());
            let digits = digits.or_else(|| value.as_integer().map(|whole| whole.as_str()))?;
            digits.replace('_', "").parse().ok()
        };
        let reason = || "must be a number, like 0.5".into();
        self.note(key, reason(), Some(format!("{default:?}")));
        Ok(self.read(key, read, reason)?.unwrap_or(default))
    }

    /// `true` or `false`, or `default` if the key is absent.
    pub(super) fn switch(
        &mut self,
        key: &'static str,
        default: bool,
    ) -> Result<bool, RunFileError> {
        let reason = || "must be true or false".into();
        self.note(key, reason(), Some(default.to_string()));
        Ok(self.read(key, DeValue::as_bool, reason)?.unwrap_or(default))
    }

    /// A text in quotation marks.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, RunFileError> {
        let read = |value: &DeValue| value.as_str().map(str::to_owned);
        let reason = || "must be text in quotation marks".into();
        self.note(key, reason(), None);
        self.read(key, read, reason)
    }

    /// A text that `parse` makes something of; `right` says what it takes.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Option<T>,
        right: &str,
    ) -> Result<Option<T>, RunFileError> {
        let reason = || format!("must be {right}");
        self.note(key, reason(), None);
        self.read(key, |value| parse(value.as_str()?), reason)
    }

    fn note(&self, key: &str, right: String, default: Option<String>) {
        let takes = right.trim_start_matches("must be ").to_owned();
        self.document.asked.borrow_mut().push(Asked { key: self.full(key), takes, default });
    }

    /// Whether the table is there.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| entry(table, key).is_some())
    }

    /// A fault of one of its keys, or of the table if the key is absent.
    pub(super) fn fault(&self, key: &str, reason: impl Into<String>) -> RunFileError {
        let place = self.table.and_then(|table| entry(table, key));
        let place = place.map_or(self.place.clone(), |(key, _)| key.span());
        self.document.fault(&place, &self.full(key), reason)
    }

    /// Counts `keys` as asked for.
    pub(super) fn know(&mut self, keys: &[&'static str]) {
        let new = keys.iter().filter(|key| !self.known.contains(key));
        self.known = self.known.iter().chain(new).copied().collect();
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(self) -> Result<(), RunFileError> {
        let table = self.table.into_iter().flatten();
        match table.map(|(key, _)| key.get_ref()).find(|key| !self.known.contains(&key.as_ref())) {
            Some(unknown) => Err(self.fault(unknown, self.instead_of(unknown))),
            None => Ok(()),
        }
    }

    /// What was perhaps meant by an unknown key.
    fn instead_of(&self, unknown: &str) -> String {
        let near = self.known.iter().map(|key| (distance(key, unknown), key)).min();
        match near {
            Some((distance, key)) if distance <= 2 => {
                format!("there is no such key; did you mean `{}`?", self.full(key))
            }
            _ => format!("there is no such key; right would be {}", self.known.join(", ")),
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'d>) -> Option<T>,
        right: impl Fn() -> String,
    ) -> Result<Option<T>, RunFileError> {
        self.know(&[key]);
        let Some((_, value)) = self.table.and_then(|table| entry(table, key)) else {
            return Ok(None);
        };
        match read(value.get_ref()) {
            Some(read) => Ok(Some(read)),
            None => {
                let written = self.document.text.get(value.span()).unwrap_or_default();
                Err(self.fault(key, format!("{written} is wrong here: it {}", right())))
            }
        }
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

fn entry<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<Entry<'t>>
where
    'a: 't,
{
    table.iter().find(|(name, _)| name.get_ref() == key)
}

/// The line, from 1, of the byte at `place`.
fn line(text: &str, place: usize) -> usize {
    1 + text.bytes().take(place).filter(|byte| *byte == b'\n').count()
}

/// Letters to add, drop or change to make `b` of `a` (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}
