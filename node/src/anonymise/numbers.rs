//! Items made of digits: stretches of digits that lie close together, and the forms that are looked for within them.
//!
//! Most digits of a text are years, prices and page numbers. They lie in stretches too short for any form, and cost a count.

use super::checksum::{Check, compact};
use super::{Finding, Kind, national, phone};
use regex::Regex;
use std::ops::{Range, RangeInclusive};
use std::sync::LazyLock;

/// Digits further apart belong to different stretches: the two letters and two spaces within `12 34 AB 56`.
const GAP_BYTES_MAX: usize = 4;
/// What of an item may stand before its first digit, as in a codice fiscale or behind `+` and brackets.
const BEFORE_BYTES: usize = 12;
/// What of an item may stand behind a stretch: a last letter, or an extension.
const AFTER_BYTES: usize = 14;
/// How far before an item the words are looked for that some forms need.
const NEAR_BYTES: usize = 48;

/// So many groups of digits behind a telephone number are told from it.
const GROUPS_CUT_MAX: usize = 4;

/// One written form of a number.
pub(super) struct Form {
    /// What it is.
    pub kind: Kind,
    /// The form, to be found between word boundaries.
    pub pattern: &'static str,
    /// How many digits it has.
    pub digits: RangeInclusive<usize>,
    /// What holds of a true one beside its form.
    pub test: Test,
    /// One of these must stand shortly before it, in lower case; none means that the form is enough.
    pub near: &'static [&'static str],
}

/// What is asked of a text that has a number's form.
#[derive(Clone, Copy)]
pub(super) enum Test {
    /// Nothing.
    Form,
    /// A checksum.
    Code(Check),
    /// Something else about it.
    Text(fn(&str) -> bool),
}

impl Test {
    fn holds(self, text: &str) -> bool {
        match self {
            Test::Form => true,
            Test::Code(check) => check(&compact(text)),
            Test::Text(test) => test(text),
        }
    }
}

/// Digits that lie close together.
pub(super) struct Stretch {
    /// From the first digit to behind the last.
    pub span: Range<usize>,
    /// How many they are.
    pub digits: usize,
}

/// A form with its expression ready.
struct Ready {
    form: &'static Form,
    regex: Regex,
}

/// Card numbers in the groups that cards show, or in none.
const CARDS: [Form; 4] = [
    card_form(r"\b[2-6][0-9]{3}(?:[ \x{a0}-]?[0-9]{4}){3}(?:[ \x{a0}-]?[0-9]{3})?\b"),
    card_form(r"\b3[0-9]{3}[ \x{a0}-]?[0-9]{6}[ \x{a0}-]?[0-9]{4,5}\b"),
    card_form(r"\b[56][0-9]{11,18}\b"),
    card_form(r"\b(?:4[0-9]{12}|2131[0-9]{11}|1800[0-9]{11})\b"),
];

const fn card_form(pattern: &'static str) -> Form {
    let test = Test::Code(super::checksum::card);
    Form { kind: Kind::Card, pattern, digits: 12..=19, test, near: &[] }
}

static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let all = CARDS.iter().chain(&national::FORMS).chain(&phone::FORMS);
    let mut ready: Vec<Ready> =
        all.map(|form| Ready { form, regex: expression(form.pattern) }).collect();
    ready.sort_by_key(|ready| *ready.form.digits.start());
    ready
});

/// Compiles one of this crate's own patterns; `\b` is that of ASCII, which the fast engine knows for every text.
pub(super) fn expression(pattern: &str) -> Regex {
    let ascii = pattern.replace(r"\b", r"(?-u:\b)");
    // A test compiles every one of them.
    Regex::new(&ascii).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Calls `each` with every stretch of `text`.
pub(super) fn stretches(text: &str, mut each: impl FnMut(Stretch)) {
    let bytes = text.as_bytes();
    let mut current: Option<Stretch> = None;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match &mut current {
            Some(stretch) if at - stretch.span.end <= GAP_BYTES_MAX => {
                stretch.span.end = at + 1;
                stretch.digits += 1;
            }
            _ => {
                let new = Stretch { span: at..at + 1, digits: 1 };
                current.replace(new).map(&mut each);
            }
        }
    }
    current.map(each);
}

/// Finds what has one of the forms within a stretch.
pub(super) fn find(text: &str, stretch: &Stretch, found: &mut Vec<Finding>) {
    let within = around(text, &stretch.span, BEFORE_BYTES, AFTER_BYTES);
    for ready in READY.iter().take_while(|ready| *ready.form.digits.start() <= stretch.digits) {
        ready.find(text, &within, found);
    }
}

/// `span` with so many bytes more on each side, at characters' borders.
pub(super) fn around(text: &str, span: &Range<usize>, before: usize, after: usize) -> Range<usize> {
    floor(text, span.start.saturating_sub(before))..ceil(text, span.end + after)
}

/// The border of a character at `at` or before it.
pub(super) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The border of a character at `at` or behind it.
pub(super) fn ceil(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

impl Ready {
    fn find(&self, text: &str, within: &Range<usize>, found: &mut Vec<Finding>) {
        let mut at = within.start;
        while let Some(hit) = self.regex.find_at(&text[..within.end], at) {
            let start = hit.start();
            match self.longest(text, hit.range()) {
                Some(span) => {
                    at = span.end;
                    found.push(Finding { kind: self.form.kind, span });
                }
                None => at = ceil(text, start + 1),
            }
        }
    }

    /// The span, or of a telephone number what is left of it without groups that go on behind it.
    fn longest(&self, text: &str, mut span: Range<usize>) -> Option<Range<usize>> {
        for _ in 0..GROUPS_CUT_MAX {
            if self.accepts(text, &span) {
                return Some(span);
            }
            let cut = text[span.clone()].rfind(' ').filter(|_| self.form.kind == Kind::Phone)?;
            span.end = span.start + cut;
        }
        None
    }

    fn accepts(&self, text: &str, span: &Range<usize>) -> bool {
        let item = &text[span.clone()];
        let digits = item.bytes().filter(u8::is_ascii_digit).count();
        self.form.digits.contains(&digits)
            && stands_alone(text, span)
            && !(self.form.kind == Kind::Phone && continues(text, span.start))
            && self.form.test.holds(item)
            && (self.form.near.is_empty() || is_near(text, span.start, self.form.near))
    }

    /// Whether `text` as a whole is such a number.
    fn is(&self, text: &str) -> bool {
        self.regex.find(text).is_some_and(|hit| hit.len() == text.len())
            && self.form.test.holds(text)
    }
}

/// A test that `item` passes, for others to pass as well: the first form of its kind that it has, with its check.
pub(super) fn likeness(kind: Kind, item: &str) -> Option<impl Fn(&str) -> bool> {
    let all = || READY.iter().filter(|ready| ready.form.kind == kind);
    let sure = all().find(|ready| ready.form.near.is_empty() && ready.is(item));
    let ready = sure.or_else(|| all().find(|ready| ready.is(item)))?;
    Some(|text: &str| ready.is(text))
}

/// Whether one of `words` stands shortly before `place`, on the same line and with no other number between.
fn is_near(text: &str, place: usize, words: &[&str]) -> bool {
    let before = &text[floor(text, place.saturating_sub(NEAR_BYTES))..place];
    let before = before
        .rsplit(|c: char| c.is_ascii_digit() || c == '\n')
        .next()
        .unwrap_or("")
        .to_lowercase();
    words.iter().any(|word| begins_a_word(&before, word))
}

/// Whether `word` stands in `text` at the beginning of a word: `Patel` says nothing of a telephone.
fn begins_a_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(char::is_alphabetic))
}

/// Whether a group of digits stands right before: then this is the rest of a longer number.
fn continues(text: &str, start: usize) -> bool {
    let mut before = text[..start].chars().rev();
    matches!(before.next(), Some(' ' | '\u{a0}'))
        && before.next().is_some_and(|c| c.is_ascii_digit())
}

/// Whether nothing goes on on either side: no letter or digit, and no sign that joins it to one, as in a version,
/// a path or a UUID.
pub(super) fn stands_alone(text: &str, span: &Range<usize>) -> bool {
    let (before, after) = (&text[..span.start], &text[span.end..]);
    !joins(before.chars().rev()) && !joins(after.chars())
}

fn joins(mut outwards: impl Iterator<Item = char>) -> bool {
    let (next, second) = (outwards.next(), outwards.next());
    let alphanumeric = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    alphanumeric(next)
        || next.is_some_and(|c| "-./_\u{2011}".contains(c)) && alphanumeric(second)
        || next == Some(',') && second.is_some_and(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_compiles_and_stretches_are_counted() {
        assert_eq!(READY.len(), CARDS.len() + national::FORMS.len() + phone::FORMS.len());
        let mut seen = Vec::new();
        stretches("in 1999 and 12 34 AB 56 and 7", |s| seen.push((s.span, s.digits)));
        assert_eq!(seen, [(3..7, 4), (12..23, 6), (28..29, 1)]);
    }
}
