//! Names of persons by rules and lists: titles, given names with what follows, initials with surnames, signatures and labels.
//!
//! A lone given name stays, and so does a name that no list knows and nothing announces.

use super::names::{Known, known};
use super::numbers::{ceil, floor};
use super::{Finding, Kind};
use std::ops::Range;

/// The most words of a name, particles and initials included.
const WORDS_MAX: usize = 6;
/// The most words that are looked at together.
const RUN_MAX: usize = 12;

/// Stand between given name and surname, or before the latter.
const PARTICLES: [&str; 32] = [
    "de", "del", "della", "di", "da", "das", "dos", "do", "du", "van", "von", "vom", "der", "den",
    "het", "ten", "ter", "zu", "zum", "zur", "y", "e", "af", "av", "bin", "ibn", "al", "el", "la",
    "le", "los", "te",
];

/// Before a name: `Patient: ...`.
const LABELS: [&str; 24] = [
    "name:",
    "name is",
    "patient:",
    "author:",
    "contact person:",
    "attn:",
    "signed:",
    "signed by",
    "written by",
    "owner:",
    "customer:",
    "client:",
    "employee:",
    "recipient:",
    "sender:",
    "kunde:",
    "patientin:",
    "autor:",
    "nom :",
    "nom:",
    "nombre:",
    "je m'appelle",
    "me llamo",
    "ich heiße",
];

/// End the line before a signature.
const CLOSINGS: [&str; 20] = [
    "regards,",
    "regards",
    "sincerely,",
    "faithfully,",
    "wishes,",
    "truly,",
    "love,",
    "cheers,",
    "grüßen",
    "grüßen,",
    "grüße",
    "grüße,",
    "cordialement,",
    "cordialement",
    "salutations,",
    "saludos,",
    "saludos",
    "saluti,",
    "respectfully,",
    "yours,",
];

/// A word of a run of capitalised words.
struct Word {
    span: Range<usize>,
    known: Known,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `Smith`.
    Capital,
    /// `SMITH`.
    Upper,
    /// `J.` or `J`.
    Initial,
    /// `van`.
    Particle,
}

/// What stands before a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    Nothing,
    /// A label, or the closing of a letter: what follows is a name.
    Name,
}

/// Finds names.
pub(super) fn find(text: &str, found: &mut Vec<Finding>) {
    let mut at = 0;
    while let Some(start) = next_capital(text, at) {
        let run = run(text, start);
        at = ceil(text, run.last().map_or(start + 1, |word| word.span.end).max(start + 1));
        names_in(&run, lead(text, start, at), found);
    }
}

/// The next capital that begins a word.
fn next_capital(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    (from..bytes.len()).find(|&at| match bytes[at] {
        b'A'..=b'Z' => begins(text, at),
        0xc3.. => {
            text.is_char_boundary(at)
                && text[at..].starts_with(char::is_uppercase)
                && begins(text, at)
        }
        _ => false,
    })
}

fn begins(text: &str, at: usize) -> bool {
    match text.as_bytes()[..at].last() {
        None => true,
        Some(before) if before.is_ascii() => {
            !before.is_ascii_alphanumeric() && !b"@#_/\\$'".contains(before)
                || *before == b'\'' && !text[..at - 1].ends_with(char::is_alphanumeric)
        }
        Some(_) => !text[..at].ends_with(char::is_alphanumeric),
    }
}

/// The words from `start` on that may belong to one name: one space apart, capitalised or particles.
fn run(text: &str, start: usize) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut at = start;
    while words.len() < RUN_MAX {
        let Some((word, next)) = word(text, at) else { break };
        words.push(word);
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    while words.last().is_some_and(|word| word.form == Form::Particle) {
        words.pop();
    }
    words
}

/// The word at `at`, and where the next would begin.
fn word(text: &str, at: usize) -> Option<(Word, Option<usize>)> {
    let rest = &text[at..];
    let mut end = at + letters(rest);
    let (mut said, whole) = (&text[at..end], end);
    for possessive in ["'s", "’s"] {
        said = said.strip_suffix(possessive).unwrap_or(said);
    }
    end = at + said.len();
    let form = form(said)?;
    let mut known = if form == Form::Particle { Known::default() } else { look_up(said, form) };
    let point = text[end..].starts_with('.');
    if form == Form::Initial {
        end += usize::from(point);
    }
    known.title &= form != Form::Initial;
    let after = whole.max(end) + usize::from(point && known.title);
    let next = gap(&text[after..]).map(|gap| after + gap).filter(|_| end == whole.max(end));
    // `J.R.R. Tolkien`
    let next = if form == Form::Initial && text[after..].starts_with(char::is_uppercase) {
        Some(after)
    } else {
        next
    };
    Some((Word { span: at..end, known, form }, next))
}

/// Bytes of the letters at the beginning, with apostrophes and hyphens between them.
fn letters(text: &str) -> usize {
    let mut end = 0;
    let mut joined = false;
    for (at, c) in text.char_indices() {
        if c.is_alphabetic() {
            end = at + c.len_utf8();
            joined = false;
        } else if joined || !"'’-".contains(c) || at == 0 {
            break;
        } else {
            joined = true;
        }
    }
    end
}

fn gap(rest: &str) -> Option<usize> {
    let gap = rest.chars().next().filter(|c| matches!(c, ' ' | '\u{a0}'))?;
    Some(gap.len_utf8())
}

fn form(word: &str) -> Option<Form> {
    let mut chars = word.chars();
    let first = chars.next()?;
    if first.is_lowercase() {
        return PARTICLES.contains(&word).then_some(Form::Particle);
    }
    if is_compound(word) {
        return None;
    }
    let upper = word.chars().all(|c| !c.is_lowercase());
    if upper && word.len() > 1 && PARTICLES.contains(&word.to_lowercase().as_str()) {
        return Some(Form::Particle);
    }
    match (first.is_uppercase(), chars.next().is_some()) {
        (false, _) => None,
        (true, false) => Some(Form::Initial),
        (true, true) if upper => Some(Form::Upper),
        (true, true) => Some(Form::Capital),
    }
}

/// `MemberIndex`: capitals within, but not as in `McAllister`, `O'Brien` or `Lloyd-Webber`.
fn is_compound(word: &str) -> bool {
    let within = word.char_indices().skip(1).find(|(_, c)| c.is_uppercase());
    within.is_some_and(|(at, _)| {
        let before = &word[..at];
        before.ends_with(char::is_lowercase)
            && !["Mc", "Mac", "De", "Di", "Du", "La", "Le", "Van", "Von", "Fitz"].contains(&before)
    })
}

/// What is known of a word; of one with a hyphen what is known of its parts.
fn look_up(word: &str, form: Form) -> Known {
    let small = match form {
        Form::Upper => titled(word),
        _ => word.to_owned(),
    };
    let whole = known(&small);
    if whole.given.is_some() || whole.surname.is_some() || !small.contains('-') {
        return whole;
    }
    let mut parts = small.split('-').map(known);
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |all, part| Known {
        given: all.given,
        surname: all.surname.or(part.surname),
        common: all.common && part.common,
        place: all.place || part.place,
        title: false,
    })
}

/// `MÜLLER-LÜDENSCHEIDT` as `Müller-Lüdenscheidt`.
pub(super) fn titled(word: &str) -> String {
    let mut begins = true;
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = !c.is_alphabetic();
    }
    out
}

fn lead(text: &str, start: usize, end: usize) -> Lead {
    let before = text[..start].trim_end_matches([' ', '\u{a0}']);
    let line = before.trim_end_matches('\n');
    let label = before.ends_with([':', 's', 'y', 'e', 'o']) && ends_with(before, &LABELS);
    let signs = line.len() < before.len()
        && line.ends_with([',', 's', 'n', 'e', 't'])
        && ends_with(line, &CLOSINGS);
    let alone = text[end..].trim_start_matches([' ', '.']).starts_with('\n')
        || text[end..].trim().is_empty();
    if label || signs && alone { Lead::Name } else { Lead::Nothing }
}

fn ends_with(text: &str, endings: &[&str]) -> bool {
    let tail = text[floor(text, text.len().saturating_sub(20))..].to_lowercase();
    endings.iter().any(|ending| tail.ends_with(ending))
}

fn names_in(run: &[Word], lead: Lead, found: &mut Vec<Finding>) {
    let mut at = 0;
    while at < run.len() {
        let announced = if at == 0 { lead } else { Lead::Nothing };
        match name_at(run, at, announced) {
            Some(name) => {
                at = name.end;
                found.push(Finding {
                    kind: Kind::Name,
                    span: run[name.start].span.start..run[name.end - 1].span.end,
                });
            }
            None => at += 1,
        }
    }
}

/// The name that begins with word `at`, as words from and to.
fn name_at(run: &[Word], at: usize, lead: Lead) -> Option<Range<usize>> {
    let first = &run[at];
    if first.known.title && first.form != Form::Upper {
        let from = at + run[at..].iter().take_while(|word| word.known.title).count();
        let end = extend(run, from, |word| word.surname_like() || word.known.given.is_some());
        if end > from {
            return Some(from..end);
        }
    }
    if lead == Lead::Name {
        let end = extend(run, at, |word| word.surname_like() || word.known.given.is_some());
        // `owner: Option<...>`: one word that no list knows is as often a program's.
        let listed = first.known.given.or(first.known.surname) == Some(true);
        let named = end > at + 1 || listed && first.form == Form::Capital;
        return (end > at && named && !followed_by_place(run, end)).then_some(at..end);
    }
    let end = extend(run, at + 1, |word| word.follows(first));
    let named = end > at + 1 && run[at + 1..end].iter().any(|word| word.form != Form::Initial);
    let begins = first.begins(&run[at + 1..end]);
    (named && begins && !followed_by_place(run, end) && !after_place(run, at)).then_some(at..end)
}

/// How far from word `from` on a name goes; it does not end with a particle.
fn extend(run: &[Word], from: usize, belongs: impl Fn(&Word) -> bool) -> usize {
    let fits = |word: &&Word| matches!(word.form, Form::Initial | Form::Particle) || belongs(word);
    let count = run[from.min(run.len())..].iter().take(WORDS_MAX).take_while(fits).count();
    let mut end = from + count;
    while end > from && matches!(run[end - 1].form, Form::Particle | Form::Initial) {
        end -= 1;
    }
    end
}

fn followed_by_place(run: &[Word], end: usize) -> bool {
    run.get(end).is_some_and(|word| word.known.place)
}

fn after_place(run: &[Word], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| {
        let word = &run[before];
        word.known.place && !word.known.title
    })
}

impl Word {
    /// Could be a surname where one is expected.
    fn surname_like(&self) -> bool {
        let known = self.known;
        known.surname.is_some() && !known.place || !known.common && !known.place && !known.title
    }

    /// Not what stands behind a letter that counts: `A. Introduction`.
    fn is_no_heading(&self) -> bool {
        self.span.len() >= 5 && !self.known.place || self.form == Form::Initial
    }

    /// Could go on the name that `first` begins.
    fn follows(&self, first: &Word) -> bool {
        let listed = self.known.surname.is_some() || self.known.given.is_some();
        match first.form {
            Form::Upper => {
                self.form == Form::Upper && (listed && !self.known.place || self.surname_like())
            }
            Form::Initial => self.surname_like() && self.form != Form::Upper,
            _ => {
                self.surname_like() && self.form != Form::Upper
                    || listed && self.known.surname == Some(true)
            }
        }
    }

    /// Whether a name begins with this word, given the words that would follow it.
    fn begins(&self, rest: &[Word]) -> bool {
        let sure = rest.iter().any(|word| word.known.surname == Some(true));
        let listed = rest.iter().any(|word| word.known.surname.is_some());
        let few = rest.iter().filter(|word| word.form != Form::Particle).count() <= 2;
        let initial = rest.iter().any(|word| word.form == Form::Initial);
        match (self.form, self.known.given) {
            (Form::Particle, _) => false,
            (Form::Initial, _) => {
                listed || few && self.span.len() > 1 && rest.iter().all(Word::is_no_heading)
            }
            // Whole lines are in capitals: what no list knows is a surname only where little stands.
            (Form::Upper, Some(true)) => listed || few,
            (_, Some(true)) => true,
            (_, Some(false)) => sure || listed && initial,
            (Form::Upper, None) => {
                sure && few && !self.known.common && !self.known.place && !self.known.title
            }
            (Form::Capital, None) => {
                sure && !self.known.common && !self.known.place && !self.known.title
                    || self.known.surname == Some(true) && sure
            }
        }
    }
}
