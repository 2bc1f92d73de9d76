//! Lab files: settings that all methods share, in the tables of a run file, and for each method what is different.

use super::place::line_of;
use crate::runfile::{RunFile, RunFileError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Tables of a run file, which are read as there.
const SHARED: [&str; 8] =
    ["model", "tokenizer", "data", "strategy", "inner", "regularisation", "outer", "exchange"];
/// Those of them that a method may change.
const OWN: [&str; 5] = ["strategy", "inner", "regularisation", "outer", "exchange"];
/// Those of them that are of rounds, which not every kind has.
const OF_ROUNDS: [&str; 3] = ["strategy", "outer", "exchange"];
/// What must be alike for all, or follows from the rest of the file.
const FIXED: [(&str, &str); 3] = [
    ("batch", "must be alike for all methods: set it in [inner] at the top"),
    (
        "warmup_rounds",
        "follows from `warmup`, a share of all tokens: set that, outside of all tables",
    ),
    ("round_ms", "does not go with a comparison at equal tokens: leave it out"),
];
/// Most workers: one round of the protocol.
const WORKERS_MAX: usize = 64;

/// A whole lab file.
#[derive(Clone, Debug)]
pub struct LabFile {
    /// A short name for people.
    pub name: String,
    /// Tokens that each run learns from, all workers together.
    pub tokens: u64,
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// Seeds of initial parameters and data order.
    pub seeds: Vec<u64>,
    /// The seed that candidates are compared on.
    pub tuning_seed: u64,
    /// The method that others are compared with.
    pub baseline: usize,
    /// Share of all tokens in which the inner rate rises.
    pub warmup: f64,
    /// How often the held-out loss is taken.
    pub evaluations: u64,
    /// The loss to which time is taken, if it is given.
    pub target_loss: Option<f64>,
    /// Another text to measure on than the end of the training text.
    pub heldout: Option<PathBuf>,
    /// Held-out sequences that are measured.
    pub heldout_sequences: u64,
    /// Training sequences that are measured beside them, without dropout; 0 for none.
    pub training_sequences: u64,
    /// What each worker's computer and link are like.
    pub network: Network,
    /// What is compared.
    pub methods: Vec<Method>,
}

/// A worker's computer and link.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Uplink.
    pub up_mbit: f64,
    /// Downlink.
    pub down_mbit: f64,
    /// One way to the core of the network.
    pub latency_ms: f64,
    /// Training speed in virtual time.
    pub tokens_per_s: f64,
}

/// One of the methods.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// How it trains.
    pub kind: Kind,
    /// Settings to choose from, one at least.
    pub candidates: Vec<Candidate>,
}

/// How a method trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By the protocol: local steps, exchange, outer step.
    #[default]
    Shoal,
    /// Data parallel: each step the inner optimiser takes the mean gradient of all workers' batches. Computed directly, as one
    /// batch on one model; its bytes and times are those of a ring all-reduce in f32, by formula.
    Sync,
    /// One worker that learns from all tokens by itself, with the batch of one.
    Alone,
}

/// Settings of a method.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What sets it apart from the method's others; empty if there are none.
    pub label: String,
    /// As in a run file; number of rounds and seed mean nothing here.
    pub run: RunFile,
    /// Whether the file names the size of chunks.
    pub chunks_given: bool,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    tokens: u64,
    workers: Vec<usize>,
    seeds: Vec<u64>,
    #[serde(default = "one")]
    trials: usize,
    tuning_seed: Option<u64>,
    baseline: Option<String>,
    #[serde(default = "warmup")]
    warmup: f64,
    #[serde(default = "evaluations")]
    evaluations: u64,
    target_loss: Option<f64>,
    #[serde(default)]
    heldout: Heldout,
    network: Network,
    method: Vec<WrittenMethod>,
    #[serde(flatten)]
    shared: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heldout {
    text: Option<PathBuf>,
    #[serde(default = "sequences")]
    sequences: u64,
    /// Of the training text, beside them.
    #[serde(default)]
    training: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMethod {
    name: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    tune: Table,
    #[serde(default)]
    strategy: Table,
    #[serde(default)]
    inner: Table,
    #[serde(default)]
    regularisation: Table,
    #[serde(default)]
    outer: Table,
    #[serde(default)]
    exchange: Table,
}

impl WrittenMethod {
    /// What it says in one of the tables that it may change.
    fn table(&self, name: &str) -> &Table {
        match name {
            "strategy" => &self.strategy,
            "regularisation" => &self.regularisation,
            "outer" => &self.outer,
            "exchange" => &self.exchange,
            _ => &self.inner,
        }
    }
}

impl Default for Heldout {
    fn default() -> Heldout {
        Heldout { text: None, sequences: sequences(), training: 0 }
    }
}

fn one() -> usize {
    1
}

fn warmup() -> f64 {
    0.05
}

fn evaluations() -> u64 {
    10
}

fn sequences() -> u64 {
    128
}

/// A fault: in which method (by number), of which key, and what would be right.
type Wrong = (Option<usize>, String, String);

impl LabFile {
    /// Reads a lab file; paths in it count from its folder.
    ///
    /// # Errors
    /// The file cannot be read, or the first fault in it: file, line, key and what would be right.
    pub fn read(path: &Path) -> anyhow::Result<LabFile> {
        let text = std::fs::read_to_string(path).map_err(|why| {
            anyhow::anyhow!("{}: {why}: give the path of a lab file", path.display())
        })?;
        Ok(LabFile::parse(&text, path)?)
    }

    /// Reads the text of the lab file at `path`.
    ///
    /// # Errors
    /// The first fault: line, key and what would be right.
    pub fn parse(text: &str, path: &Path) -> Result<LabFile, RunFileError> {
        let fault = |line, reason| RunFileError { path: path.to_owned(), line, reason };
        let written: Written = toml::from_str(text).map_err(|why| {
            let at = why.span().map_or(0, |span| span.start.min(text.len()));
            fault(1 + text[..at].matches('\n').count(), why.message().to_owned())
        })?;
        let wrong = |(method, key, reason): Wrong| {
            fault(line_of(text, method, &key), format!("`{key}`: {reason}"))
        };
        let file = understand(written, path).map_err(wrong)?;
        file.check().map_err(wrong)?;
        Ok(file)
    }

    /// Local steps of a worker in the whole run, and rounds that count work. Both are whole: [`LabFile::parse`] has checked.
    pub fn length(&self, method: &Method, candidate: &Candidate, workers: usize) -> Length {
        let sequences =
            u64::from(candidate.run.inner.batch) * u64::from(candidate.run.model.context);
        let together = if method.kind == Kind::Alone { 1 } else { workers as u64 };
        let steps = self.tokens / (sequences * together);
        let in_round = u64::from(candidate.run.inner.steps);
        let rounds = if method.kind == Kind::Shoal { steps / in_round } else { steps };
        Length { steps, rounds }
    }

    fn check(&self) -> Result<(), Wrong> {
        for method in &self.methods {
            for candidate in &method.candidates {
                self.check_tokens(method, candidate)?;
            }
        }
        Ok(())
    }

    /// All tokens are whole rounds.
    fn check_tokens(&self, method: &Method, candidate: &Candidate) -> Result<(), Wrong> {
        for workers in &self.workers {
            let inner = &candidate.run.inner;
            let step = u64::from(inner.batch) * u64::from(candidate.run.model.context);
            let (together, steps) = match method.kind {
                Kind::Alone => (1, 1),
                Kind::Sync => (*workers as u64, 1),
                Kind::Shoal => (*workers as u64, u64::from(inner.steps)),
            };
            let round = step * together * steps;
            if self.tokens == 0 || !self.tokens.is_multiple_of(round) {
                let near = self.tokens.div_ceil(round).max(1) * round;
                let why = format!(
                    "must be whole rounds of {round} tokens for {:?} with {workers} workers ({together} x {steps} steps x {} \
                     sequences x {} tokens): {near} would be",
                    method.name, inner.batch, candidate.run.model.context
                );
                return Err((None, "tokens".into(), why));
            }
        }
        Ok(())
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Local steps of a worker.
    pub steps: u64,
    /// Exchanges.
    pub rounds: u64,
}

fn understand(written: Written, path: &Path) -> Result<LabFile, Wrong> {
    let whole = |key: &str, reason: &str| (None, key.to_owned(), reason.to_owned());
    check_head(&written)?;
    let mut methods = Vec::new();
    for (m, method) in written.method.iter().enumerate() {
        methods.push(read_method(m, method, &written, path)?);
    }
    let names: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
    let named = |name: &String| names.iter().position(|known| known == name);
    let baseline = match &written.baseline {
        None => 0,
        Some(name) => named(name).ok_or_else(|| {
            whole("baseline", &format!("{name:?} is none of the methods: {}", names.join(", ")))
        })?,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let most = written.seeds.iter().max().copied().unwrap_or(0);
    Ok(LabFile {
        baseline,
        tuning_seed: written.tuning_seed.unwrap_or(most + 1),
        heldout: written.heldout.text.map(|text| folder.join(text)),
        heldout_sequences: written.heldout.sequences,
        training_sequences: written.heldout.training,
        name: written.name,
        tokens: written.tokens,
        workers: written.workers,
        seeds: written.seeds,
        warmup: written.warmup,
        evaluations: written.evaluations,
        target_loss: written.target_loss,
        network: written.network,
        methods,
    })
}

fn check_head(written: &Written) -> Result<(), Wrong> {
    let network = &written.network;
    let distinct = |all: &[u64]| all.iter().collect::<BTreeSet<_>>().len() == all.len();
    let workers: Vec<u64> = written.workers.iter().map(|n| *n as u64).collect();
    let in_bounds = workers.iter().all(|n| (1..=WORKERS_MAX as u64).contains(n));
    let positive = |x: f64| x > 0.0 && x.is_finite();
    let unknown = written.shared.keys().find(|key| !SHARED.contains(&key.as_str()));
    if let Some(key) = unknown {
        let right = "there is no such key; right would be name, tokens, workers, seeds, trials, tuning_seed, baseline, \
                     warmup, evaluations, target_loss, [heldout], [network], [[method]], and a run file's ";
        return Err((None, key.clone(), format!("{right}{}", SHARED.join(", "))));
    }
    let rules = [
        (
            !workers.is_empty() && in_bounds && distinct(&workers),
            "workers",
            "must be different numbers from 1 to 64, like [4, 8]",
        ),
        (
            !written.seeds.is_empty() && distinct(&written.seeds),
            "seeds",
            "must be different numbers, like [1, 2, 3]",
        ),
        ((1..=1000).contains(&written.trials), "trials", "must be 1 to 1000"),
        (
            (0.0..1.0).contains(&written.warmup),
            "warmup",
            "must be a share of all tokens, from 0 to below 1",
        ),
        ((1..=10_000).contains(&written.evaluations), "evaluations", "must be 1 to 10000"),
        (written.heldout.sequences > 0, "heldout.sequences", "must be at least 1"),
        (positive(network.up_mbit), "network.up_mbit", "must be above 0"),
        (positive(network.down_mbit), "network.down_mbit", "must be above 0"),
        (network.latency_ms >= 0.0, "network.latency_ms", "must not be negative"),
        (
            network.tokens_per_s >= 1.0 && network.tokens_per_s.is_finite(),
            "network.tokens_per_s",
            "must be at least 1",
        ),
        (!written.method.is_empty(), "method", "is missing: write at least one [[method]]"),
    ];
    match rules.into_iter().find(|(holds, _, _)| !holds) {
        Some((_, key, right)) => Err((None, key.into(), right.into())),
        None => Ok(()),
    }
}

fn read_method(
    m: usize,
    method: &WrittenMethod,
    written: &Written,
    path: &Path,
) -> Result<Method, Wrong> {
    let wrong = |key: &str, reason: String| (Some(m), key.to_owned(), reason);
    if written.method[..m].iter().any(|other| other.name == method.name) {
        return Err(wrong("name", format!("{:?} is another method's already", method.name)));
    }
    for (key, reason) in FIXED {
        if method.inner.contains_key(key) {
            return Err(wrong(&format!("inner.{key}"), reason.into()));
        }
    }
    let foreign = OF_ROUNDS.into_iter().find(|table| !method.table(table).is_empty());
    if let Some(key) = foreign.filter(|_| method.kind != Kind::Shoal) {
        return Err(wrong(key, "this kind has no outer step and no codecs: leave it out".into()));
    }
    let own = |table: &str| (table.to_owned(), Value::Table(method.table(table).clone()));
    let given = Table::from_iter(OWN.map(own));
    let mut candidates = Vec::new();
    for (label, tuned) in product(&method.tune).map_err(|(key, why)| wrong(&key, why))? {
        let mut table = run_file(written);
        lay_over(&mut table, &given);
        lay_over(&mut table, &tuned);
        candidates.push(candidate(label, &table, path).map_err(|(key, why)| {
            let method = line_owner(&key, method).then_some(m);
            (method, key, why)
        })?);
    }
    let (got, trials) = (candidates.len(), written.trials);
    if got != trials {
        let why = format!(
            "makes {got} candidates, and `trials` gives every method {trials}, the baseline too: write as many values"
        );
        return Err(wrong("tune", why));
    }
    Ok(Method { name: method.name.clone(), kind: method.kind, candidates })
}

/// Whether a method has a say about the table of a key.
fn line_owner(key: &str, method: &WrittenMethod) -> bool {
    let (table, name) = key.split_once('.').unwrap_or((key, ""));
    if !OWN.contains(&table) {
        return false;
    }
    let own = method.table(table);
    let tuned = method.tune.get(table).and_then(Value::as_table);
    own.contains_key(name) || tuned.is_some_and(|tuned| tuned.contains_key(name))
}

/// The run file that all methods begin with.
fn run_file(written: &Written) -> Table {
    let mut table = written.shared.clone();
    table.insert("name".into(), "lab".into());
    table
}

/// Replaces what `over` says, table by table.
fn lay_over(table: &mut Table, over: &Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => lay_over(below, over),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

fn candidate(label: String, table: &Table, path: &Path) -> Result<Candidate, (String, String)> {
    let of = |section: &str| table.get(section).and_then(Value::as_table);
    for (key, reason) in &FIXED[1..] {
        if of("inner").is_some_and(|inner| inner.contains_key(*key)) {
            return Err((format!("inner.{key}"), (*reason).to_owned()));
        }
    }
    let run = RunFile::parse(&table.to_string(), path).map_err(|error| split(&error.reason))?;
    let chunks_given = of("exchange").is_some_and(|exchange| exchange.contains_key("chunk_elems"));
    Ok(Candidate { label, run, chunks_given })
}

/// Key and reason of a run file's fault: its line is one of a text that nobody has written.
fn split(reason: &str) -> (String, String) {
    let parts = reason.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
    parts.map_or((String::new(), reason.to_owned()), |(key, why)| (key.into(), why.into()))
}

/// Every choice of one value from each list, with its name; one without any if there are no lists.
fn product(tune: &Table) -> Result<Vec<(String, Table)>, (String, String)> {
    let mut all = vec![(String::new(), Table::new())];
    for (section, keys) in tune {
        let key = format!("tune.{section}");
        let right = "must name lists, like tune.outer.lr = [0.4, 0.7, 1.0]; of strategy, inner, regularisation, outer or exchange";
        let known = OWN.contains(&section.as_str());
        let keys = keys.as_table().filter(|_| known).ok_or((key, right.to_owned()))?;
        for (name, values) in keys {
            let key = format!("{section}.{name}");
            let values = values.as_array().filter(|values| !values.is_empty());
            let values = values.ok_or((key.clone(), right.to_owned()))?;
            if let Some((_, reason)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
                return Err((key, (*reason).to_owned()));
            }
            all = all
                .iter()
                .flat_map(|chosen| values.iter().map(|value| with(chosen, section, name, value)))
                .collect();
        }
    }
    Ok(all)
}

fn with(
    (label, table): &(String, Table),
    section: &str,
    name: &str,
    value: &Value,
) -> (String, Table) {
    let gap = if label.is_empty() { "" } else { ", " };
    let mut table = table.clone();
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Some(entry) = entry.as_table_mut() {
        entry.insert(name.to_owned(), value.clone());
    }
    (format!("{label}{gap}{section}.{name} = {value}"), table)
}
