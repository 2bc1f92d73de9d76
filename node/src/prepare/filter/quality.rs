//! Gopher's rules of quality (Rae et al. 2021, section A.1.1).

use super::Dropped;
use super::language::Language;
use super::rule::{Rule, Rules};
use super::words::Words;

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
const BULLETS: [char; 7] = ['•', '‣', '▪', '●', '◦', '-', '*'];

pub(super) fn judge(rules: &Rules, text: &str, words: &Words) -> Result<(), Dropped> {
    length(rules, words)?;
    word_length(rules, words)?;
    symbols(rules, text, words)?;
    lines(rules, text)?;
    alphabetic(rules, words)?;
    stop_words(rules, words)
}

fn length(rules: &Rules, words: &Words) -> Result<(), Dropped> {
    let (min, max, count) = (rules.at("words-min"), rules.at("words-max"), words.len() as f64);
    let against = !(min..=max).contains(&count);
    rules.drop_if(Rule::Length, against, || format!("{count} words, not {min} to {max}"))
}

fn word_length(rules: &Rules, words: &Words) -> Result<(), Dropped> {
    let (min, max) = (rules.at("word-length-min"), rules.at("word-length-max"));
    let mean = words.chars() as f64 / words.len().max(1) as f64;
    let why = || format!("words of {mean:.1} characters in the mean, not {min} to {max}");
    rules.drop_if(Rule::WordLength, !(min..=max).contains(&mean), why)
}

fn symbols(rules: &Rules, text: &str, words: &Words) -> Result<(), Dropped> {
    let most = rules.at("symbols-per-word");
    let hashes = text.matches('#').count();
    let ellipses = text.matches("...").count() + text.matches('…').count();
    let ratio = hashes.max(ellipses) as f64 / words.len().max(1) as f64;
    let why = || format!("{ratio:.2} hash signs or ellipses a word, above {most}");
    rules.drop_if(Rule::Symbols, ratio > most, why)
}

fn lines(rules: &Rules, text: &str) -> Result<(), Dropped> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let share = |of: fn(&str) -> bool| {
        lines.iter().filter(|line| of(line)).count() as f64 / lines.len().max(1) as f64
    };
    let (bullets, ellipses) = (share(is_bullet), share(is_ellipsis));
    let why = |share: f64, most: f64| move || format!("{share:.2} of the lines, above {most}");
    let most = rules.at("bullets");
    rules.drop_if(Rule::Bullets, bullets > most, why(bullets, most))?;
    let most = rules.at("ellipses");
    rules.drop_if(Rule::Ellipses, ellipses > most, why(ellipses, most))
}

/// A sign of a list and a space: a dash that opens speech or a number has none after it.
fn is_bullet(line: &str) -> bool {
    line.strip_prefix(BULLETS).is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

fn is_ellipsis(line: &str) -> bool {
    line.ends_with("...") || line.ends_with('…')
}

fn alphabetic(rules: &Rules, words: &Words) -> Result<(), Dropped> {
    let least = rules.at("alphabetic");
    let count = words.text.iter().filter(|word| word.chars().any(char::is_alphabetic)).count();
    let share = count as f64 / words.len().max(1) as f64;
    let why = || format!("{share:.2} of the words have a letter, below {least}");
    rules.drop_if(Rule::Alphabetic, share < least, why)
}

fn stop_words(rules: &Rules, words: &Words) -> Result<(), Dropped> {
    if rules.language.is_some_and(|language| !language.is_english()) {
        return Ok(());
    }
    let least = rules.at("stop-words");
    let has = |stop: &&&str| words.text.iter().any(|word| word.eq_ignore_ascii_case(stop));
    let found = STOP_WORDS.iter().filter(has).count() as f64;
    let why = || format!("{found} of the commonest words, {least} at least");
    rules.drop_if(Rule::StopWords, found < least, why)
}

impl Language {
    fn is_english(self) -> bool {
        self.code() == "en"
    }
}
