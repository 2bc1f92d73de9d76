//! The flags of `plan`, and where its page goes.

use super::{Ask, Plan, derive, page, picture, plan};
use crate::save;
use crate::scenario::Scenario;
use clap::Args;
use std::path::{Path, PathBuf};

/// What `plan` is asked for.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A scenario file: its groups say how fast hosts and links are
    cluster: PathBuf,
    /// Parameters of the model, such as 350M or 1.5B; the scenario's if absent. Hosts are as much slower as it is larger
    #[arg(long, value_parser = derive::size)]
    params: Option<u64>,
    /// Tokens to train on in all; 20 a parameter if absent
    #[arg(long, value_parser = derive::size)]
    tokens: Option<u64>,
    /// Sequences in a local step; the scenario's if absent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Share of the time that hosts are to train
    #[arg(long, default_value = "0.9", value_parser = share)]
    utilisation: f64,
    /// Most local steps between two exchanges: what more of them cost the model is little tested
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps_max: u32,
    /// Draws the hosts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; all cores if absent
    #[arg(long)]
    jobs: Option<usize>,
    /// For machines
    #[arg(long)]
    json: bool,
    /// Folder for plan.html, plan.svg and plan.json
    #[arg(long)]
    out: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.01..=0.99).contains(share));
    share.ok_or_else(|| "must be a share from 0.01 to 0.99, such as 0.9".into())
}

impl Arguments {
    /// Makes the plan.
    ///
    /// # Errors
    /// What is wrong with the scenario or a flag, or which file cannot be written.
    pub fn run(self) -> Result<String, String> {
        let scenario = Scenario::read(&self.cluster).map_err(|why| why.to_string())?;
        let ask = self.ask();
        let made =
            plan(&scenario, &ask).map_err(|why| format!("{}: {why}", self.cluster.display()))?;
        if let Some(dir) = &self.out {
            write(dir, &made)?;
        }
        Ok(if self.json { json(&made) } else { page::text(&made) })
    }

    fn ask(&self) -> Ask {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ask {
            params: self.params,
            tokens: self.tokens,
            batch: self.batch,
            utilisation: self.utilisation,
            steps_max: self.steps_max,
            seed: self.seed,
            jobs: self.jobs.unwrap_or_else(cores),
        }
    }
}

fn json(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).expect("numbers and names make JSON")
}

fn write(dir: &Path, plan: &Plan) -> Result<(), String> {
    let picture = picture::picture(plan);
    let files = [
        ("plan.html", page::html(plan, &picture)),
        ("plan.svg", picture),
        ("plan.json", json(plan)),
    ];
    save::folder(dir, &files)
}
