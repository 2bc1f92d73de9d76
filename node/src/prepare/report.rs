//! What was read, dropped, masked and kept, with examples: `report.json`, and `report.md` for people.

use super::clean::Outcome;
use super::synth::Overlaps;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The report for programs.
pub const REPORT_JSON: &str = "report.json";
/// The report for people.
pub const REPORT_MD: &str = "report.md";
/// Examples of each reason.
const EXAMPLES: usize = 3;

/// What became of everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Names the command: input, rules and settings, as BLAKE3 in hex.
    pub command: String,
    /// The same in words.
    pub settings: Vec<String>,
    /// Files, or other units of the input.
    pub units: u64,
    /// Files in folders that are of no kind that is read.
    pub passed_over: u64,
    /// Documents read, and the bytes of their text.
    pub read: Amounts,
    /// Records that could not be read, by fault.
    pub bad: BTreeMap<String, Cases>,
    /// Documents dropped, by rule.
    pub dropped: BTreeMap<String, Cases>,
    /// Lines taken out of documents, by rule.
    pub lines: BTreeMap<String, u64>,
    /// What was masked, by kind.
    pub masked: BTreeMap<String, u64>,
    /// Documents kept, and the bytes of their text as it was kept.
    pub kept: Amounts,
    /// Tokens of the shards.
    pub tokens: u64,
    /// Documents by length: at place n those of 2^n tokens up to 2^(n+1).
    pub lengths: Vec<u64>,
    /// How much made text has in common with the text its model learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<Overlaps>,
}

/// Some documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// How many.
    pub documents: u64,
    /// Their text in bytes.
    pub bytes: u64,
}

/// Documents with the same fate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cases {
    /// How many.
    pub documents: u64,
    /// Their text in bytes, where it is known.
    pub bytes: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Amounts {
    /// One more.
    pub fn add(&mut self, bytes: u64) {
        self.documents += 1;
        self.bytes += bytes;
    }
}

impl Cases {
    fn add(&mut self, bytes: u64, example: impl FnOnce() -> String) {
        self.documents += 1;
        self.bytes += bytes;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

impl Report {
    /// Counts what became of a record of the input.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Bad(bad) => {
                let cases = self.bad.entry(bad.fault.into()).or_default();
                cases.add(0, || bad.example.clone());
            }
            Outcome::Dropped { rule, example, bytes, lines } => {
                self.read.add(*bytes);
                self.count_lines(lines);
                self.drop(rule, *bytes, || example.clone());
            }
            Outcome::Kept(kept) => {
                self.read.add(kept.bytes);
                self.kept.add(kept.text.len() as u64);
                self.count_lines(&kept.lines);
                for (kind, count) in &kept.masked {
                    *self.masked.entry(kind.clone()).or_default() += count;
                }
            }
        }
    }

    /// Counts a document that a rule drops.
    pub fn drop(&mut self, rule: &str, bytes: u64, example: impl FnOnce() -> String) {
        self.dropped.entry(rule.to_owned()).or_default().add(bytes, example);
    }

    /// Takes a document back that was counted as kept.
    pub fn unkeep(&mut self, rule: &str, bytes: u64, example: impl FnOnce() -> String) {
        self.kept.documents -= 1;
        self.kept.bytes -= bytes;
        self.drop(rule, bytes, example);
    }

    /// Counts a document of so many tokens in a shard.
    pub fn count_tokens(&mut self, tokens: u64) {
        let place = tokens.max(1).ilog2() as usize;
        if self.lengths.len() <= place {
            self.lengths.resize(place + 1, 0);
        }
        self.lengths[place] += 1;
        self.tokens += tokens;
    }

    /// The rule that dropped most, or the commonest fault.
    pub fn worst(&self) -> Option<&str> {
        let all = self.dropped.iter().chain(&self.bad);
        all.max_by_key(|(_, cases)| cases.documents).map(|(name, _)| name.as_str())
    }

    fn count_lines(&mut self, lines: &[(super::filter::Rule, u64)]) {
        for (rule, count) in lines {
            *self.lines.entry(rule.name().into()).or_default() += count;
        }
    }

    /// As JSON.
    pub fn json(&self) -> Vec<u8> {
        // Maps with string keys and numbers: JSON can say it.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// For people; `name` is the data's.
    pub fn markdown(&self, name: &str) -> String {
        let mut out = format!("# Prepared data {name}\n\n");
        let Amounts { documents, bytes } = self.read;
        let _ = writeln!(
            out,
            "Read: {documents} documents, {} of text, from {} files. Kept: {} documents, {}, {} tokens.\n",
            size(bytes),
            self.units,
            self.kept.documents,
            size(self.kept.bytes),
            self.tokens
        );
        self.settings.iter().for_each(|line| {
            let _ = writeln!(out, "- {line}");
        });
        if self.passed_over > 0 {
            let _ = writeln!(out, "- {} files of other kinds were passed over", self.passed_over);
        }
        table(&mut out, "Could not be read", &self.bad);
        table(&mut out, "Dropped", &self.dropped);
        list(&mut out, "Lines taken out", &self.lines);
        list(&mut out, "Masked", &self.masked);
        if let Some(overlaps) = &self.overlaps {
            out.push_str(&overlaps.markdown());
        }
        self.histogram(&mut out);
        out
    }

    fn histogram(&self, out: &mut String) {
        let _ = writeln!(out, "\n## Lengths of documents\n\n| tokens | documents |\n|---:|---:|");
        for (place, count) in self.lengths.iter().enumerate().filter(|(_, count)| **count > 0) {
            let _ = writeln!(out, "| {} to {} | {count} |", 1u64 << place, (2u64 << place) - 1);
        }
    }
}

fn table(out: &mut String, title: &str, cases: &BTreeMap<String, Cases>) {
    if cases.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## {title}\n\n| reason | documents | text |\n|---|---:|---:|");
    for (name, cases) in cases {
        let _ = writeln!(out, "| {name} | {} | {} |", cases.documents, size(cases.bytes));
    }
    for (name, cases) in cases {
        let _ = writeln!(out, "\n{name}, for example:\n");
        for example in &cases.examples {
            let _ = writeln!(out, "    {}", example.replace(['\n', '\r'], " "));
        }
    }
}

fn list(out: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## {title}\n\n| what | how often |\n|---|---:|");
    for (name, count) in counts {
        let _ = writeln!(out, "| {name} | {count} |");
    }
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
