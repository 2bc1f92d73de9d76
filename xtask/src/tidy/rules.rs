//! The rules, one table or function each.

use super::functions::percentile;
use super::mask::is_word;
use super::source::Source;

/// The longest file, its tests aside.
const FILE_LINES_MAX: usize = 600;

/// The median function is shorter than this.
const MEDIAN_LINES_BELOW: usize = 15;

/// Names that say nothing of what a file holds.
const EMPTY_NAMES: [&str; 8] =
    ["manager", "managers", "helper", "helpers", "util", "utils", "common", "misc"];

/// What the protocol and the simulator never name: clocks, ambient chance, unordered maps, and the node's libraries.
const BEHIND_THE_WALL: [&str; 11] = [
    "HashMap",
    "HashSet",
    "std::time",
    "Instant",
    "SystemTime",
    "thread_rng",
    "tokio",
    "actix*",
    "libp2p*",
    "tch",
    "torch_sys",
];

/// Promises left open, and tests left skipped.
const LEFT_OPEN: [&str; 3] = ["todo!(", "unimplemented!(", "#[ignore*"];

/// The only file that names the unmaintained CBOR library.
const WIRE: &str = "protocol/src/wire.rs";

/// Every breach in the file, as `file:line: rule`.
pub fn breaches(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if source.is_rust() {
        found.extend(length_breach(source));
        found.extend(doc_breach(source));
        found.extend(occurrences(source, &LEFT_OPEN, "is left open; finish it or take it out"));
        if source.path != WIRE {
            found.extend(occurrences(
                source,
                &["serde_cbor"],
                "may be named in protocol/src/wire.rs alone",
            ));
        }
    }
    found.extend(name_breach(source));
    if ["protocol/", "sim/"].iter().any(|wall| source.path.starts_with(wall)) {
        found.extend(occurrences(source, &BEHIND_THE_WALL, "stays out of protocol and sim"));
    }
    found
}

/// The breach of the rule on functions' length, measured over all crates.
pub fn median_breach(sorted_lengths: &[usize]) -> Option<String> {
    let median = percentile(sorted_lengths, 50);
    (median >= MEDIAN_LINES_BELOW).then(|| {
        format!(
            "the median function has {median} lines; it should have fewer than {MEDIAN_LINES_BELOW}"
        )
    })
}

fn length_breach(source: &Source) -> Option<String> {
    let lines = source.lines_without_tests();
    (lines > FILE_LINES_MAX).then(|| {
        let path = &source.path;
        format!(
            "{path}:{FILE_LINES_MAX}: {lines} lines without tests; {FILE_LINES_MAX} are the most"
        )
    })
}

fn doc_breach(source: &Source) -> Option<String> {
    (!source.text.starts_with("//!"))
        .then(|| format!("{}:1: begins without a `//!` line on its purpose", source.path))
}

fn name_breach(source: &Source) -> Option<String> {
    let words = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
    let empty = words.into_iter().find(|word| EMPTY_NAMES.contains(word))?;
    Some(format!("{}:1: `{empty}` in a name does not tell what the file holds", source.path))
}

fn occurrences(source: &Source, phrases: &[&str], rule: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in source.code.lines().enumerate() {
        let named = phrases.iter().filter(|phrase| names(line, phrase));
        found.extend(named.map(|phrase| {
            let shown = phrase.trim_end_matches(['*', '(', ' ']);
            format!("{}:{}: `{shown}` {rule}", source.path, index + 1)
        }));
    }
    found
}

/// Whether the line holds the phrase as whole words; a `*` at its end lets the last word go on.
fn names(line: &str, phrase: &str) -> bool {
    let (wanted, open_ended) = match phrase.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (phrase, !phrase.ends_with(is_word)),
    };
    line.match_indices(wanted).any(|(at, _)| {
        let starts_word = !wanted.starts_with(is_word) || !line[..at].ends_with(is_word);
        starts_word && (open_ended || !line[at + wanted.len()..].starts_with(is_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(path: &str, text: &str) -> Vec<String> {
        breaches(&Source::new(path, text))
    }

    #[test]
    fn each_rule_names_file_and_line() {
        let rows = [
            ("node/src/a.rs", "fn a() {}", "node/src/a.rs:1: begins without"),
            (
                "node/src/a.rs",
                "//! A.\nfn a() { todo!() }",
                "node/src/a.rs:2: `todo!` is left open",
            ),
            (
                "node/src/a.rs",
                "//! A.\n#[ignore = \"slow\"]",
                "node/src/a.rs:2: `#[ignore` is left open",
            ),
            ("node/src/peer_utils.rs", "//! A.", "node/src/peer_utils.rs:1: `utils`"),
            ("node/tests/common/mod.rs", "//! A.", "node/tests/common/mod.rs:1: `common`"),
            (
                "node/src/a.rs",
                "//! A.\nuse serde_cbor::Value;",
                "node/src/a.rs:2: `serde_cbor` may be named",
            ),
            (
                "sim/src/a.rs",
                "//! A.\nuse std::time::Duration;",
                "sim/src/a.rs:2: `std::time` stays out",
            ),
            ("sim/src/a.rs", "//! A.\nuse actix_web::App;", "sim/src/a.rs:2: `actix` stays out"),
            (
                "protocol/Cargo.toml",
                "[dependencies]\ntokio = \"1\"",
                "protocol/Cargo.toml:2: `tokio` stays out",
            ),
        ];
        for (path, text, expected) in rows {
            let found = breaches_of(path, text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected} in {found:?}");
        }
    }

    #[test]
    fn what_only_resembles_a_breach_is_none() {
        let rows = [
            ("protocol/src/a.rs", "//! No HashMap, no Instant.\nlet note = \"tokio\"; // tch"),
            ("protocol/src/a.rs", "//! A.\nlet instant_patch = catch; use crate::time::Time;"),
            ("protocol/src/wire.rs", "//! A.\nuse serde_cbor::Value;"),
            ("protocol/Cargo.toml", "# never tokio\nserde_cbor = \"0.11\""),
            ("node/src/a.rs", "//! A.\nuse std::time::Instant;"),
        ];
        for (path, text) in rows {
            assert_eq!(breaches_of(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_long_file_is_measured_without_its_tests() {
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(FILE_LINES_MAX));
        assert_eq!(breaches_of("node/src/a.rs", &long).len(), 1);
        let tested = format!(
            "//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn a() {}\n".repeat(FILE_LINES_MAX)
        );
        assert_eq!(breaches_of("node/src/a.rs", &tested), Vec::<String>::new());
    }

    #[test]
    fn the_median_must_stay_short() {
        assert_eq!(median_breach(&[1, 14, 90]), None);
        assert!(median_breach(&[1, 15, 90]).is_some());
    }
}
