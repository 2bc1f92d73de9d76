//! The flags that `prepare` and `synth` share, and what comes of a preparation in words.

use clap::Args;
use shoal_node::prepare::filter::{Language, Rule, Rules};
use shoal_node::prepare::near::Search;
use shoal_node::prepare::report::{Report, size};
use shoal_node::prepare::{Choice, Prepared};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Text that is worked on at a time: enough for all cores, and little memory.
pub const BATCH_BYTES: usize = 8 << 20;

/// Which documents stay.
#[derive(Args, Clone, Debug)]
pub struct Filters {
    /// Keep documents in this language alone, like en or de
    #[arg(long, value_name = "CODE", value_parser = language)]
    language: Option<Language>,
    /// Switch rules off: names with commas between (--list-rules tells them), or `all`
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    without: Vec<String>,
    /// Switch rules on that are off at first, or after `--without all`
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    with: Vec<String>,
    /// Another threshold than the papers', like words-min=20; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = threshold)]
    threshold: Vec<(String, f64)>,
}

/// Which duplicates go, and into what the rest is made.
#[derive(Args, Clone, Debug)]
pub struct Making {
    /// The folder to write; of an interrupted preparation, to go on with
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Drop documents whose word 5-grams are at least so similar to an earlier one's (Jaccard, 0.3 to 1); `off` keeps them
    #[arg(long, value_name = "S", value_parser = similarity)]
    near: Option<Near>,
    /// Keep documents of the same text as well
    #[arg(long)]
    keep_duplicates: bool,
    /// Tokenise with this tokenizer.json [default: one token a byte]
    #[arg(long, value_name = "PATH", conflicts_with = "bpe")]
    tokenizer: Option<PathBuf>,
    /// Tokenise with so many byte pairs, learned from the data
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(257..=1 << 20))]
    bpe: Option<u32>,
    /// Largest size of a shard
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 12))]
    shard_mib: u64,
    /// Memory for sorting, the most that deduplication takes
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=1 << 16))]
    sort_mib: u64,
}

/// `--near`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Near(Option<f64>);

impl Filters {
    /// The rules; `at_first` are those that are on without any flag.
    pub fn rules(&self, at_first: Rules) -> anyhow::Result<Rules> {
        let mut rules =
            if self.without.iter().any(|name| name == "all") { Rules::none() } else { at_first };
        for name in self.without.iter().filter(|name| *name != "all") {
            rules.switch(name, false)?;
        }
        self.with.iter().try_for_each(|name| rules.switch(name, true))?;
        self.threshold.iter().try_for_each(|(name, value)| rules.set(name, *value))?;
        if let Some(language) = self.language {
            rules.language = Some(language);
            rules.switch(Rule::Language.name(), true)?;
        }
        Ok(rules)
    }
}

impl Making {
    /// Which duplicates go; `near` is the similarity without any flag.
    pub fn search(&self, near: Option<f64>) -> Search {
        let near = self.near.map_or(near, |near| near.0);
        let exact = !self.keep_duplicates;
        Search { exact, near: near.filter(|_| exact), memory: (self.sort_mib << 20) as usize / 2 }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Choice {
        match (&self.tokenizer, self.bpe) {
            (Some(path), _) => Choice::File(path.clone()),
            (None, Some(vocab)) => Choice::Bpe { vocab },
            (None, None) => Choice::Bytes,
        }
    }

    /// Most bytes of a shard.
    pub fn shard_bytes(&self) -> u64 {
        self.shard_mib << 20
    }
}

/// What came of it, for people.
pub fn told(prepared: &Prepared, output: &Path) -> String {
    let Prepared { manifest, report, before } = prepared;
    let mut out = String::new();
    if *before {
        let _ = writeln!(out, "{} was prepared by the same command before:", output.display());
    }
    tell_report(report, &mut out);
    let _ = writeln!(
        out,
        "made      {} tokens in {} shards, {}\nname      {}\nreport    {}",
        manifest.tokens,
        manifest.shards.len(),
        size(manifest.bytes),
        manifest.digest(),
        output.join("report.md").display()
    );
    let _ = writeln!(out, "In a run file: text = {:?} under [data].", output.display().to_string());
    out
}

fn tell_report(report: &Report, out: &mut String) {
    let amounts = |documents: u64, bytes: u64| format!("{documents} documents, {}", size(bytes));
    let _ = writeln!(out, "read      {}", amounts(report.read.documents, report.read.bytes));
    for (name, cases) in report.bad.iter().chain(&report.dropped) {
        let _ = writeln!(out, "dropped   {} ({name})", amounts(cases.documents, cases.bytes));
        if let Some(example) = cases.examples.first() {
            let example: String = example.chars().take(100).collect();
            let _ = writeln!(out, "            {}", example.replace(['\n', '\r'], " "));
        }
    }
    for (name, count) in &report.masked {
        let _ = writeln!(out, "masked    {count} ({name})");
    }
    if let Some(overlaps) = &report.overlaps {
        let (mean, greatest) = (overlaps.mean, overlaps.greatest);
        let _ = writeln!(
            out,
            "in common {mean:.3} in the mean, {greatest:.3} at most, with the training text"
        );
    }
    let _ = writeln!(out, "kept      {}", amounts(report.kept.documents, report.kept.bytes));
}

fn language(code: &str) -> Result<Language, String> {
    Language::parse(code).ok_or_else(|| {
        format!("{code:?} is no language's code that is known: give one like en, de, fr (ISO 639)")
    })
}

fn similarity(text: &str) -> Result<Near, String> {
    if text == "off" {
        return Ok(Near(None));
    }
    let number = text.parse().ok().filter(|number| (0.3..=1.0).contains(number));
    number.map(|number| Near(Some(number))).ok_or("give a number from 0.3 to 1, or off".into())
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("{text:?} is no NAME=VALUE like words-min=20");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), value.parse().map_err(|_| wrong())?))
}

/// Every rule and threshold, for people.
pub fn list_rules() -> String {
    let on = Rules::default();
    let mut out = String::from("rules\n");
    for rule in Rule::all() {
        let off = if on.is_on(rule) { "" } else { "  (off at first)" };
        let _ = writeln!(out, "  {}{off}", rule.name());
    }
    out.push_str("thresholds\n");
    for known in Rules::thresholds() {
        let _ = writeln!(out, "  {:<28} {:>8}  {}", known.name, known.value, known.meaning);
    }
    out
}
