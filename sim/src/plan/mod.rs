//! What a run on a described cluster will be like: round time, utilisation and bytes for each strategy and codec, how many local
//! steps to take, and what limits it. Every figure is simulated, with the same protocol code as a run; a bound in closed form
//! stands beside the exchange's.

mod bound;
pub mod cli;
mod derive;
mod limit;
mod measure;
mod memory;
mod page;
mod picture;
mod render;
mod steps;

#[cfg(test)]
mod tests;

use crate::parallel;
use crate::scenario::Scenario;
use bound::Volume;
use derive::{Cluster, Host};
use limit::{Limit, WhatIf};
use measure::{Round, measure};
use memory::Memory;
use serde::Serialize;
use shoal_protocol::math::Codec;
use shoal_protocol::run::RunSpec;
use std::fmt;
use steps::Prospect;

/// Tokens for each parameter if none are asked for: Hoffmann et al., arXiv 2203.15556 ("Chinchilla").
const TOKENS_A_PARAMETER: u64 = 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Parameters of the model; the scenario's if absent.
    pub params: Option<u64>,
    /// Tokens to train on in all; 20 a parameter if absent.
    pub tokens: Option<u64>,
    /// Sequences in a local step; the scenario's if absent.
    pub batch: Option<u32>,
    /// Share of the time that hosts are to train, above 0 and below 1.
    pub utilisation: f64,
    /// Most local steps between two exchanges.
    pub steps_max: u32,
    /// Draws the hosts.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
}

/// How a run spec says how much a host trains between two exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// The same number of local steps for everybody (`inner.steps`).
    Steps,
    /// As many as each expects to finish in the same time (`inner.round_ms`).
    Time,
}

/// How pseudo-gradients travel, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Codecs {
    /// To the owners.
    pub up: Codec,
    /// From the owners.
    pub down: Codec,
}

/// What a run spec would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What the amount is of.
    pub pace: Pace,
    /// How numbers travel.
    pub codec: Codecs,
    /// Local steps, or milliseconds.
    pub amount: u64,
}

/// A plan.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The scenario's name.
    pub cluster: String,
    /// It drew the hosts.
    pub seed: u64,
    /// Parameters of the simulated model.
    pub params: u64,
    /// Tokens to train on in all.
    pub tokens: u64,
    /// Sequences in a local step of one host.
    pub batch: u32,
    /// Bytes of a whole contribution.
    pub contribution_bytes: f64,
    /// Wanted share of time in training.
    pub utilisation: f64,
    /// Most local steps between two exchanges.
    pub steps_max: u32,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The scenario's speeds times this are those of the hosts.
    pub speed_factor: f64,
    /// What of the scenario was left out.
    pub left_out: Vec<String>,
    /// Elements of a chunk: in the predictions, and in the run.
    pub chunk_elems: (u32, u32),
    /// Every strategy with every codec, the recommended one first.
    pub prospects: Vec<Prospect>,
    /// The recommended one once more, in the run's own chunks and with its own beacons.
    pub check: Round,
    /// What limits the recommended one.
    pub limit: Limit,
    /// What would become of it on other clusters.
    pub what_ifs: Vec<WhatIf>,
    /// What a node needs for the recommended one.
    pub memory: Memory,
}

impl Pace {
    /// All there are.
    pub const ALL: [Pace; 2] = [Pace::Steps, Pace::Time];
}

impl Codecs {
    /// One codec both ways.
    pub fn both(codec: Codec) -> Codecs {
        Codecs { up: codec, down: codec }
    }

    /// Bytes of the whole model.
    pub fn volume(&self, spec: &RunSpec) -> Volume {
        let bytes = |codec: Codec| spec.encoded_model(codec) as f64;
        Volume { up: bytes(self.up), down: bytes(self.down) }
    }
}

impl fmt::Display for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.up == self.down {
            true => write!(f, "{}", self.up),
            false => write!(f, "{} up, {} down", self.up, self.down),
        }
    }
}

impl Plan {
    /// What is recommended.
    pub fn best(&self) -> &Prospect {
        &self.prospects[0]
    }

    /// Share of the recommended exchange in which a host's uplink is busy.
    pub fn uplink_busy(&self, host: usize) -> f64 {
        let round = &self.best().round;
        let busy_s = round.hosts[host].sent / self.hosts[host].up_bytes_per_s;
        // Control frames outside of the exchange are counted too.
        if round.exchange_s > 0.0 { (busy_s / round.exchange_s).min(1.0) } else { 0.0 }
    }

    /// Days that a prospect takes for all tokens.
    pub fn days(&self, round: &Round) -> f64 {
        self.tokens as f64 / round.tokens_per_s / 86_400.0
    }
}

/// Every strategy with every codec of which the loss needs no thought, and the scenario's own pair.
fn options(scenario: &Scenario) -> Vec<(Pace, Codecs)> {
    let mut codecs: Vec<Codecs> = Codec::NEARLY_EXACT.into_iter().map(Codecs::both).collect();
    let own = Codecs { up: scenario.run.up(), down: scenario.run.down() };
    if !codecs.contains(&own) {
        codecs.push(own);
    }
    let with = |codec: &Codecs| Pace::ALL.map(|pace| (pace, *codec));
    codecs.iter().flat_map(with).collect()
}

/// Predicts a run of the scenario's cluster.
///
/// # Errors
/// What cannot be planned with, why, and what would be right.
pub fn plan(scenario: &Scenario, ask: &Ask) -> Result<Plan, String> {
    let cluster = Cluster::new(scenario, ask)?;
    let search = |(pace, codec): (Pace, Codecs)| steps::search(&cluster, ask, pace, codec);
    let found = parallel::map(ask.jobs, options(scenario), search);
    let mut prospects = found.into_iter().collect::<Result<Vec<Prospect>, String>>()?;
    prospects.sort_by(steps::better_first);
    let best = prospects[0].clone();
    let volume = best.setting.codec.volume(&cluster.spec);
    let limit = limit::limit(&cluster, &best.round, &volume);
    let (check, what_ifs) = probe(&cluster, ask, &best, &limit)?;
    Ok(Plan {
        cluster: scenario.name.clone(),
        seed: ask.seed,
        params: cluster.spec.elems(),
        tokens: ask.tokens.unwrap_or(TOKENS_A_PARAMETER * cluster.spec.elems()),
        batch: cluster.spec.inner.batch,
        contribution_bytes: volume.up,
        utilisation: ask.utilisation,
        steps_max: ask.steps_max,
        speed_factor: cluster.speed_factor,
        left_out: cluster.left_out.clone(),
        chunk_elems: (cluster.coarse_chunk(), cluster.spec.exchange.chunk_elems),
        memory: memory::memory(&cluster.spec, &best.setting.codec),
        hosts: cluster.hosts,
        prospects,
        check,
        limit,
        what_ifs,
    })
}

/// The recommended setting in full, and on other clusters.
fn probe(
    cluster: &Cluster,
    ask: &Ask,
    best: &Prospect,
    limit: &Limit,
) -> Result<(Round, Vec<WhatIf>), String> {
    let changes = limit::changes(cluster, &best.round, limit);
    let jobs: Vec<Option<_>> = [None].into_iter().chain(changes.into_iter().map(Some)).collect();
    let run = |job: Option<limit::Change>| match job {
        None => measure(&cluster.exact(&best.setting, 2), ask.seed, 1).map(|round| (None, round)),
        Some(change) => {
            let other = change.apply(cluster);
            steps::simulate(&other, ask.seed, &best.setting).map(|round| (Some(change), round))
        }
    };
    let mut done = parallel::map(ask.jobs, jobs, run).into_iter();
    let check = done.next().expect("the first is the check")?.1;
    let mut what_ifs = Vec::new();
    for done in done {
        let (change, round) = done?;
        what_ifs.extend(change.map(|change| WhatIf::new(cluster, change, &best.round, &round)));
    }
    Ok((check, what_ifs))
}
