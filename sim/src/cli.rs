//! The command line: `run` one seed, `sweep` many, `compare` settings, `plan` a run, `replay` what a node has recorded.

use crate::cluster;
use crate::compare::{self, Vary};
use crate::gossip;
use crate::replay;
use crate::report;
use crate::save;
use crate::scenario::Scenario;
use crate::shrink;
use crate::sweep::{self, Failed};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the Shoal protocol over virtual clusters.
#[derive(Parser)]
#[command(name = "shoal-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One run of a scenario: a table, and with --out its rounds, events and timeline
    #[command(
        after_help = "Example: shoal-sim run examples/clusters/one-straggler.toml --out straggler"
    )]
    Run {
        /// A scenario file
        scenario: PathBuf,
        /// All chance follows from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only these of its faults, by number: what a sweep names when it has shrunk a failing plan
        #[arg(long, value_delimiter = ',')]
        faults: Option<Vec<usize>>,
        /// Folder for report.html, timeline.svg, rounds.csv and events.csv
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Many seeds of a scenario, every promise checked after every event; fails at the first that breaks one
    #[command(
        after_help = "Example: shoal-sim sweep examples/clusters/partition.toml --seeds 0..100"
    )]
    Sweep {
        /// A scenario file
        scenario: PathBuf,
        /// Which, first..end (the end is not among them)
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// Threads; all cores if absent
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// One scenario with several values for one of its keys: a table, and with --out a picture
    #[command(
        after_help = "Example: shoal-sim compare examples/clusters/one-straggler.toml --vary group.slow.tokens_per_s=20,40,80"
    )]
    Compare {
        /// A scenario file
        scenario: PathBuf,
        /// Key and values; a group by its name or number: run.steps=10,20 or group.slow.up_mbit=5,20
        #[arg(long, value_name = "KEY=a,b,c")]
        vary: Vary,
        /// All chance follows from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The picture, an SVG file
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// What a node was told goes through the same machine again: same outputs, byte for byte, or the first difference (exit
    /// status 1; 2 if the file is damaged)
    #[command(
        after_help = "Example: shoal up run.toml --record life.rec, and later: shoal-sim replay life.rec"
    )]
    Replay {
        /// A recording, as `shoal up --record FILE` writes it
        #[arg(value_name = "LOG")]
        log: PathBuf,
    },
    /// What a run on a cluster will be like, how many local steps to take, and what limits it
    #[command(
        after_help = "Example: shoal-sim plan examples/clusters/sixteen-at-home.toml --params 1B --tokens 20B"
    )]
    Plan(crate::plan::cli::Arguments),
}

/// Why a command did not do what it was to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// The program's exit status.
    pub code: u8,
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure { why, code: 1 }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Failure {}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "write them as 0..1000, the second above the first".into())
}

/// Runs the program of these arguments, the first of which is its name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(why) => {
            let _ = why.print();
            return ExitCode::from(why.exit_code() as u8);
        }
    };
    match cli.command.run() {
        Ok(text) => {
            // Who reads only the first lines has closed the pipe.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What is wrong with the scenario, or which promise was broken, and the command that repeats it; or what differs in a
    /// replay.
    pub fn run(self) -> Result<String, Failure> {
        match self {
            Command::Run { scenario, seed, faults, out } => {
                Ok(run(&scenario, seed, faults.as_deref(), out.as_deref())?)
            }
            Command::Sweep { scenario, seeds, jobs } => Ok(sweep(&scenario, seeds, jobs)?),
            Command::Compare { scenario, vary, seed, out } => {
                Ok(compare(&scenario, &vary, seed, out.as_deref())?)
            }
            Command::Replay { log } => replay::replay(&log),
            Command::Plan(arguments) => Ok(arguments.run()?),
        }
    }
}

fn again(file: &Path, seed: u64) -> String {
    format!("shoal-sim run {} --seed {seed}", file.display())
}

fn run(
    file: &Path,
    seed: u64,
    faults: Option<&[usize]>,
    out: Option<&Path>,
) -> Result<String, String> {
    let scenario = Scenario::read(file).map_err(|why| why.to_string())?;
    if scenario.run.gossip.is_some() {
        return by_gossip(&scenario, seed, out);
    }
    let befalls = |n: usize| faults.is_none_or(|faults| faults.contains(&n));
    let world = cluster::run(&scenario, seed, &again(file, seed), befalls);
    let summary = cluster::summary(&scenario, &world);
    if let (Some(dir), Some(recorder)) = (out, &world.recorder) {
        report::write(dir, &summary, recorder, world.now)?;
    }
    Ok(summary.table())
}

fn by_gossip(scenario: &Scenario, seed: u64, out: Option<&Path>) -> Result<String, String> {
    let (summary, kept) = gossip::run(scenario, seed);
    if let Some(dir) = out {
        gossip::write(dir, &summary, &kept)?;
    }
    Ok(summary.table())
}

fn sweep(file: &Path, seeds: Range<u64>, jobs: Option<usize>) -> Result<String, String> {
    let scenario = Scenario::read(file).map_err(|why| why.to_string())?;
    if scenario.run.gossip.is_some() {
        return sweep_gossip(file, &scenario, seeds);
    }
    let jobs = jobs.or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
    let swept = sweep::sweep(&scenario, seeds, jobs.unwrap_or(1), |seed| again(file, seed))
        .map_err(|failed| explain(file, &scenario, &failed))?;
    Ok(format!(
        "{} seeds, every promise held; {} inputs; trace {}",
        swept.seeds,
        swept.inputs,
        swept.trace.short()
    ))
}

/// A broken promise panics with its name; the command that repeats it is told first.
fn sweep_gossip(file: &Path, scenario: &Scenario, seeds: Range<u64>) -> Result<String, String> {
    let mut inputs = 0;
    for seed in seeds.clone() {
        let run = std::panic::AssertUnwindSafe(|| gossip::run(scenario, seed));
        let ran = std::panic::catch_unwind(run);
        let (summary, _) = ran.map_err(|_| format!("seed {seed}: {}", again(file, seed)))?;
        inputs += summary.inputs;
    }
    Ok(format!("{} seeds, every promise held; {inputs} inputs", seeds.end - seeds.start))
}

fn compare(file: &Path, vary: &Vary, seed: u64, out: Option<&Path>) -> Result<String, String> {
    let text = Scenario::text(file).map_err(|why| why.to_string())?;
    Scenario::parse(&text, &file.display().to_string()).map_err(|why| why.to_string())?;
    let again = format!("shoal-sim compare {} --seed {seed}", file.display());
    let runs = compare::compare(&text, vary, seed, &again)?;
    if let Some(out) = out {
        save::file(out, &compare::picture(vary, &runs))?;
    }
    Ok(compare::table(vary, &runs))
}

/// Which seed broke what, the fewest faults that it takes, and the command that repeats it.
fn explain(file: &Path, scenario: &Scenario, failed: &Failed) -> String {
    let (seed, again) = (failed.seed, again(file, failed.seed));
    let mut text = format!("seed {seed}: {}\n{again}", failed.why);
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink::shrink(scenario, seed, &failed.why);
    let numbers: Vec<String> = shrunk.faults.iter().map(|(n, _)| n.to_string()).collect();
    if shrunk.faults.len() < shrunk.of {
        text += &format!("\nof its {} faults it takes {}:", shrunk.of, numbers.len());
        shrunk.faults.iter().for_each(|(n, fault)| text += &format!("\n  {n}: {fault}"));
        text += &format!("\n{}\n{again} --faults {}", shrunk.why, numbers.join(","));
    }
    text
}
