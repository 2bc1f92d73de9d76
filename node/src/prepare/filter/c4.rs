//! C4's rules (Raffel et al. 2020, section 2.2): some take lines out, some drop the document.

use super::rule::{Rule, Rules};
use super::{Dropped, Edited};

/// What a sentence may end with: a period, an exclamation or question mark, or an end quotation mark.
const TERMINAL: [char; 12] = ['.', '!', '?', '"', '”', '’', '»', '。', '！', '？', '…', '\''];

/// Takes out lines; `None` if every one stays.
pub(super) fn edit(rules: &Rules, text: &str) -> Option<Edited> {
    let mut taken = [(Rule::JavascriptLines, 0), (Rule::TerminalLines, 0), (Rule::ShortLines, 0)];
    let lines = taken.map(|(rule, _)| rules.is_on(rule));
    if !lines.contains(&true) {
        return None;
    }
    let stays = |line: &&str| match against(rules, lines, line) {
        None => true,
        Some(which) => {
            taken[which].1 += 1;
            false
        }
    };
    let kept: Vec<&str> = text.lines().filter(stays).collect();
    if taken.iter().all(|(_, count)| *count == 0) {
        return None;
    }
    let lines = taken.into_iter().filter(|(_, count)| *count > 0).collect();
    Some(Edited { text: kept.join("\n").trim().to_owned(), lines })
}

/// The place of the rule that is against a line.
fn against(rules: &Rules, [javascript, terminal, short]: [bool; 3], line: &str) -> Option<usize> {
    if line.trim().is_empty() {
        return None;
    }
    if javascript && line.to_ascii_lowercase().contains("javascript") {
        return Some(0);
    }
    // C4 takes lines that break off in an ellipsis for unfinished.
    let ends = line.trim_end().ends_with(TERMINAL) && !line.trim_end().ends_with("...");
    if terminal && !ends {
        return Some(1);
    }
    (short && (line.split_whitespace().count() as f64) < rules.at("line-words")).then_some(2)
}

pub(super) fn judge(rules: &Rules, text: &str) -> Result<(), Dropped> {
    let lorem = rules.is_on(Rule::LoremIpsum) && text.to_ascii_lowercase().contains("lorem ipsum");
    rules.drop_if(Rule::LoremIpsum, lorem, || "it has \"lorem ipsum\" in it".into())?;
    let (braces, most) = (text.matches('{').count() as f64, rules.at("curly-braces"));
    let why = || format!("{braces} curly braces, above {most}");
    rules.drop_if(Rule::CurlyBraces, braces > most, why)?;
    if !rules.is_on(Rule::Sentences) {
        return Ok(());
    }
    let (found, least) = (sentences(text) as f64, rules.at("sentences"));
    let why = || format!("{found} sentences, {least} at least");
    rules.drop_if(Rule::Sentences, found < least, why)
}

/// Signs that end a sentence, with white space or the text's end after them and any quotation marks.
fn sentences(text: &str) -> usize {
    let ends = |word: &&str| {
        word.trim_end_matches(['"', '”', '’', '\'', ')', '»']).ends_with(['.', '!', '?'])
    };
    text.split_whitespace().filter(ends).count()
}
