//! All kinds looked for in one piece of text, and which of the findings that overlap stand.
//!
//! Every kind has something cheap that gives it away (an `@`, digits close together, a prefix, a capital); expressions run
//! only around that.

use super::rules::Rule;
use super::{Finding, Kind, address, credentials, name, national, network, numbers, secret};
use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

/// How far from a house number the word for its street stands.
const STREET_BYTES: usize = 72;

/// Mailboxes with the `@` spelt out.
const HIDDEN_AT: [&str; 9] =
    ["[at]", "(at)", "{at}", "<at>", "[ at ]", "( at )", "[ät]", "(ät)", "[@]"];

static BEGINNINGS: LazyLock<AhoCorasick> =
    LazyLock::new(|| automaton(secret::beginnings().chain(HIDDEN_AT), true));
static SECRETS: LazyLock<usize> = LazyLock::new(|| secret::beginnings().count());
static STREETS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton(address::words(), false));

fn automaton(words: impl Iterator<Item = &'static str>, any_case: bool) -> AhoCorasick {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(any_case).match_kind(MatchKind::Standard);
    // A few dozen short words are far below its limits.
    builder.build(words).unwrap_or_else(|error| unreachable!("{error}"))
}

/// What need not be looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skip {
    /// Postal addresses.
    pub addresses: bool,
    /// Names.
    pub names: bool,
}

/// Everything found in `text`, in order, without overlaps.
pub(super) fn scan(text: &str, rules: &[Rule], skip: Skip) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        // A rules file holds fewer rules than that; its reader sees to it.
        let kind = Kind::Custom(u16::try_from(index).unwrap_or(u16::MAX));
        found.extend(rule.spans(text).map(|span| Finding { kind, span }));
    }
    beginnings(text, &mut found);
    credentials::find(text, &mut found);
    network::emails(text, &mut found);
    network::ipv6(text, &mut found);
    digits(text, skip, &mut found);
    if !skip.names {
        name::find(text, &mut found);
    }
    settle(found)
}

fn beginnings(text: &str, found: &mut Vec<Finding>) {
    for hit in BEGINNINGS.find_overlapping_iter(text) {
        match hit.pattern().as_usize() {
            index if index < *SECRETS => secret::find(text, index, hit.range(), found),
            _ => network::hidden_email(text, &hit.range(), found),
        }
    }
}

fn digits(text: &str, skip: Skip, found: &mut Vec<Finding>) {
    let mut streets = 0..0;
    numbers::stretches(text, |stretch| {
        ibans(text, &stretch.span, found);
        if stretch.digits >= 4 {
            network::ipv4(text, &stretch, found);
        }
        numbers::find(text, &stretch, found);
        if !skip.addresses {
            address::postcodes(text, &stretch, found);
            let around = numbers::around(text, &stretch.span, STREET_BYTES, STREET_BYTES);
            if around.start > streets.end {
                in_streets(text, &streets, found);
                streets = around;
            } else {
                streets.end = around.end;
            }
        }
    });
    in_streets(text, &streets, found);
}

fn in_streets(text: &str, within: &Range<usize>, found: &mut Vec<Finding>) {
    for hit in STREETS.find_overlapping_iter(&text[within.clone()]) {
        let place = within.start + hit.start()..within.start + hit.end();
        address::find(text, hit.pattern().as_usize(), place, found);
    }
}

/// IBANs whose check number lies in a stretch of digits.
fn ibans(text: &str, stretch: &Range<usize>, found: &mut Vec<Finding>) {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    for at in stretch.clone().filter(|at| *at >= 2) {
        if !(digit(at) && digit(at + 1) && letter(at - 1) && letter(at - 2)) {
            continue;
        }
        let span = national::iban_end(text, at - 2).map(|end| at - 2..end);
        let span = span.filter(|span| national::is_iban(&text[span.clone()]));
        let span = span.filter(|span| numbers::stands_alone(text, span));
        found.extend(span.map(|span| Finding { kind: Kind::Iban, span }));
    }
}

/// Of findings that overlap the one with the higher rank stands, then the longer, then the earlier.
fn settle(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by_key(|one| (std::cmp::Reverse((one.kind.rank(), one.span.len())), one.span.start));
    let mut standing: BTreeMap<usize, Finding> = BTreeMap::new();
    for one in found {
        let before = standing.range(..one.span.end).next_back();
        if before.is_none_or(|(_, other)| other.span.end <= one.span.start) && !one.span.is_empty()
        {
            standing.insert(one.span.start, one);
        }
    }
    standing.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surer_of_two_findings_stands() {
        let one = |kind, span| Finding { kind, span };
        let found = vec![
            one(Kind::Phone, 0..12),
            one(Kind::Card, 2..18),
            one(Kind::Phone, 18..30),
            one(Kind::Phone, 20..40),
        ];
        assert_eq!(settle(found), [one(Kind::Card, 2..18), one(Kind::Phone, 20..40)]);
    }
}
