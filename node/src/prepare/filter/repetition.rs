//! Gopher's rules against repetition (Rae et al. 2021, section A.1.1, table A1).
//!
//! Characters are those of words: white space counts nowhere. Of what occurs several times all but the first are duplicates.
//! Repeated runs of words are looked for from left to right and do not overlap, so that no character counts twice.

use super::Dropped;
use super::rule::{Rule, Rules};
use super::words::{Words, hash};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes are well mixed already.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }
    fn write_u64(&mut self, mixed: u64) {
        self.0 = mixed;
    }
}

type Seen = HashSet<u64, BuildHasherDefault<Mixed>>;
type Counts = HashMap<u64, (u32, u32), BuildHasherDefault<Mixed>>;

const TOP: [(usize, &str); 3] = [(2, "top-2-gram"), (3, "top-3-gram"), (4, "top-4-gram")];
const DUPLICATE: [(usize, &str); 6] = [
    (5, "duplicate-5-grams"),
    (6, "duplicate-6-grams"),
    (7, "duplicate-7-grams"),
    (8, "duplicate-8-grams"),
    (9, "duplicate-9-grams"),
    (10, "duplicate-10-grams"),
];

pub(super) fn judge(rules: &Rules, text: &str, words: &Words) -> Result<(), Dropped> {
    pieces(rules, Rule::DuplicateLines, text.lines())?;
    pieces(rules, Rule::DuplicateParagraphs, text.split("\n\n"))?;
    if rules.is_on(Rule::TopNgrams) {
        TOP.iter().try_for_each(|(n, name)| top(rules, words, *n, name))?;
    }
    if rules.is_on(Rule::DuplicateNgrams) {
        DUPLICATE.iter().try_for_each(|(n, name)| duplicates(rules, words, *n, name))?;
    }
    Ok(())
}

/// Lines or paragraphs that repeat, by number and by characters.
fn pieces<'a>(
    rules: &Rules,
    rule: Rule,
    pieces: impl Iterator<Item = &'a str>,
) -> Result<(), Dropped> {
    if !rules.is_on(rule) {
        return Ok(());
    }
    let (mut seen, mut all, mut again) = (Seen::default(), (0u64, 0u64), (0u64, 0u64));
    for piece in pieces.map(str::trim).filter(|piece| !piece.is_empty()) {
        let chars = piece.chars().count() as u64;
        all = (all.0 + 1, all.1 + chars);
        if !seen.insert(hash(piece.as_bytes())) {
            again = (again.0 + 1, again.1 + chars);
        }
    }
    let name = rule.name();
    let by_number = share(again.0, all.0);
    let most = rules.at(name);
    rules.drop_if(rule, by_number > most, || format!("a share of {by_number:.2}, above {most}"))?;
    let by_chars = share(again.1, all.1);
    let most = rules.at(&format!("{name}-chars"));
    let why = || format!("{by_chars:.2} of the characters, above {most}");
    rules.drop_if(rule, by_chars > most, why)
}

/// The run of `n` words that occurs most often.
fn top(rules: &Rules, words: &Words, n: usize, name: &str) -> Result<(), Dropped> {
    let mut counts = Counts::default();
    let mut most = (0, 0);
    for (key, chars) in ngrams(words, n) {
        let entry = counts.entry(key).or_insert((0, chars));
        entry.0 += 1;
        most = most.max(*entry);
    }
    if f64::from(most.0) < rules.at("top-ngram-times") {
        return Ok(());
    }
    let part = share(u64::from(most.0) * u64::from(most.1), words.chars());
    let limit = rules.at(name);
    let why =
        || format!("{n} words in a row, {} times, are {part:.2} of it, above {limit}", most.0);
    rules.drop_if(Rule::TopNgrams, part > limit, why)
}

/// Runs of `n` words that were there before.
fn duplicates(rules: &Rules, words: &Words, n: usize, name: &str) -> Result<(), Dropped> {
    let (mut seen, mut again, mut free) = (Seen::default(), 0u64, 0);
    for (at, (key, chars)) in ngrams(words, n).enumerate() {
        if at < free {
            continue;
        }
        if !seen.insert(key) {
            again += u64::from(chars);
            free = at + n;
        }
    }
    let (part, limit) = (share(again, words.chars()), rules.at(name));
    let why = || format!("repeated runs of {n} words are {part:.2} of it, above {limit}");
    rules.drop_if(Rule::DuplicateNgrams, part > limit, why)
}

/// Hash and characters of each run of `n` words.
fn ngrams<'a>(words: &'a Words, n: usize) -> impl Iterator<Item = (u64, u32)> + 'a {
    let key = |run: &[u64]| run.iter().fold(0u64, |key, word| key.rotate_left(9) ^ *word);
    let mixed = move |run: &[u64]| crate::data::rng::finalise(key(run));
    let runs = words.hashes.windows(n).map(mixed);
    runs.zip(words.chars.windows(n).map(|run| run.iter().sum()))
}

fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}
