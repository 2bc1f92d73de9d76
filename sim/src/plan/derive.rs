//! The scenario that a prediction runs: the hosts that a seed draws, each on its own, calm, under one setting.

use super::{Ask, Pace, Setting};
use crate::cluster;
use crate::learn::settings::Entry;
use crate::scenario::{Draw, Group, Scenario, parse_params};
use serde::Serialize;
use shoal_protocol::math::Codec;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::CHUNKS_MAX;
use toml::Spanned;

/// Elements of the largest chunk that a frame holds in f32.
const CHUNK_ELEMS_MAX: u64 = 1 << 20;
/// Parameters that the most and largest chunks hold.
const CHUNKED_MAX: u64 = CHUNK_ELEMS_MAX * CHUNKS_MAX as u64;
/// Chunks in a prediction, and the least of them for each host. Guess: with 512 the narrowest of 16 uplinks still owns some tens, and
/// for 1 B parameters the exchange takes 0.3 % longer than with four times as many.
const CHUNKS: u64 = 512;
const CHUNKS_A_HOST: u64 = 8;
/// Seconds between two beacons in a prediction at least: nobody comes or goes in it.
const BEACON_EVERY_S: f64 = 20.0;
/// Virtual hours in which a prediction's rounds must end.
const HOURS: f64 = 1000.0;
/// How far the simulator's model may be from the size that is asked for.
const SIZE_ERROR_MAX: f64 = 0.25;

/// One host of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Host {
    /// Group and number.
    pub name: String,
    /// Training speed for the model of the plan.
    pub tokens_per_s: f64,
    /// Uplink.
    pub up_bytes_per_s: f64,
    /// Downlink.
    pub down_bytes_per_s: f64,
    /// Whether others can reach it, so that it can own a part of the model.
    pub owns: bool,
}

/// The cluster that is planned for.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// One group a host.
    scenario: Scenario,
    /// By the same numbers.
    pub hosts: Vec<Host>,
    /// What the peers agree on, pace and codecs aside.
    pub spec: RunSpec,
    /// The scenario's speeds times this are those of the plan's model.
    pub speed_factor: f64,
    /// What of the scenario is left out of a plan, in words.
    pub left_out: Vec<String>,
}

impl Cluster {
    /// Draws the hosts of the scenario's first run.
    ///
    /// # Errors
    /// Which flag or key cannot be planned with, why, and what would be right.
    pub fn new(scenario: &Scenario, ask: &Ask) -> Result<Cluster, String> {
        let mut calm = scenario.clone();
        let before = match &scenario.run.params {
            Some(params) => size(params.get_ref())?,
            None => scenario.spec(0).map_err(|(_, why)| why)?.elems(),
        };
        let params = ask.params.unwrap_or(before);
        let speed_factor = before as f64 / params as f64;
        let (mut hosts, mut groups) = freeze(scenario, ask.seed, speed_factor);
        let (n, most) = (hosts.len(), scenario.run.members_max.max(1) as usize);
        if n > most {
            hosts = sample(hosts, most);
            groups = sample(groups, most);
        }
        check_chunks(params)?;
        calm.run.params.get_or_insert_with(|| spanned(before.to_string()));
        if ask.params.is_some() {
            calm.run.params = Some(spanned(params.to_string()));
            calm.run.chunk_elems =
                (params > CHUNKED_MAX / 4).then(|| spanned(CHUNK_ELEMS_MAX as u32));
        }
        if let Some(batch) = ask.batch {
            calm.run.batch = spanned(batch);
        }
        (calm.group, calm.runs, calm.liars) = (groups, 1, 0);
        (calm.learner, calm.lesson, calm.target_loss) = (spanned(Entry::phantom()), None, None);
        (calm.fault, calm.chaos, calm.together) = (Vec::new(), None, false);
        calm.hours = HOURS;
        let spec = calm.spec(0).map_err(|(_, why)| format!("{} parameters: {why}", params))?;
        check_size(params, spec.elems())?;
        let mut left_out = left_out(scenario);
        if n > most {
            left_out.push(format!(
                "{} of {n} hosts, since a round has {most} members at the most",
                n - most
            ));
        }
        Ok(Cluster { scenario: calm, hosts, spec, speed_factor, left_out })
    }

    /// The same cluster without one host.
    pub fn without(&self, host: usize) -> Cluster {
        let mut fewer = self.clone();
        fewer.scenario.group.remove(host);
        fewer.hosts.remove(host);
        fewer
    }

    /// The same cluster with other uplinks: of one host, or of all.
    pub fn with_uplink(&self, host: Option<usize>, factor: f64) -> Cluster {
        let mut wider = self.clone();
        let which = |i: usize| host.is_none_or(|host| host == i);
        for i in (0..self.hosts.len()).filter(|i| which(*i)) {
            wider.hosts[i].up_bytes_per_s *= factor;
            wider.scenario.group[i].up_mbit = mbit(wider.hosts[i].up_bytes_per_s);
        }
        wider
    }

    /// A scenario of so many rounds, in large chunks and with few beacons.
    pub fn coarse(&self, setting: &Setting, rounds: u64) -> Scenario {
        let mut scenario = self.exact(setting, rounds);
        scenario.run.chunk_elems = Some(spanned(self.coarse_chunk()));
        scenario.beacon_every_s = scenario.beacon_every_s.max(BEACON_EVERY_S);
        scenario
    }

    /// A scenario of so many rounds, in the chunks that the run would have.
    pub fn exact(&self, setting: &Setting, rounds: u64) -> Scenario {
        let mut scenario = self.scenario.clone();
        (scenario.run.up, scenario.run.down) = (Some(setting.codec.up), Some(setting.codec.down));
        match setting.pace {
            Pace::Steps => {
                scenario.run.steps = spanned(setting.amount as u32);
                scenario.run.round_s = 0.0;
            }
            // Half a millisecond more, since the spec cuts fractions of one off.
            Pace::Time => scenario.run.round_s = (setting.amount as f64 + 0.5) / 1e3,
        }
        scenario.rounds = rounds;
        scenario
    }

    /// Elements of a chunk in a prediction: the run's own, or larger ones if there would be very many and they cost the same bytes.
    pub fn coarse_chunk(&self) -> u32 {
        let exchange = &self.spec.exchange;
        if [exchange.up, exchange.down].contains(&Codec::Powersgd) {
            return exchange.chunk_elems;
        }
        let wanted = self.spec.elems() / CHUNKS.max(CHUNKS_A_HOST * self.hosts.len() as u64);
        let coarse = (wanted.max(1).next_power_of_two() / 2).clamp(512, CHUNK_ELEMS_MAX);
        self.spec.exchange.chunk_elems.max(coarse as u32)
    }

    /// Tokens in a local step.
    pub fn step_tokens(&self) -> f64 {
        f64::from(self.spec.inner.batch) * f64::from(self.spec.model.context)
    }
}

/// How many parameters or tokens a text means.
///
/// # Errors
/// What is right.
pub fn size(text: &str) -> Result<u64, String> {
    let number = parse_params(text).filter(|number| *number > 0);
    number.ok_or_else(|| {
        "must be a number above 0 with K, M or B, such as 350M, 1B or 1.5B".to_owned()
    })
}

/// So many of them, evenly chosen.
fn sample<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let n = all.len();
    let is_chosen = |i: usize| (i + 1) * most / n > i * most / n;
    all.into_iter().enumerate().filter(|(i, _)| is_chosen(*i)).map(|(_, one)| one).collect()
}

fn check_chunks(params: u64) -> Result<(), String> {
    if params > CHUNKED_MAX {
        return Err(format!(
            "{params} parameters: {CHUNKS_MAX} chunks of {CHUNK_ELEMS_MAX} numbers, the most that an exchange has, hold {CHUNKED_MAX}: \
             take a smaller model"
        ));
    }
    Ok(())
}

fn check_size(asked: u64, got: u64) -> Result<(), String> {
    if (got as f64 / asked as f64 - 1.0).abs() > SIZE_ERROR_MAX {
        return Err(format!(
            "{asked} parameters: the nearest model that the simulator has is of {got}: ask for that many"
        ));
    }
    Ok(())
}

fn left_out(scenario: &Scenario) -> Vec<String> {
    let comes_and_goes =
        scenario.group.iter().any(|group| group.stays_h.is_some() || group.churn.is_some());
    let starts_late = scenario.group.iter().any(|group| group.starts_s != Draw::Number(0.0));
    let all = [
        (comes_and_goes, "hosts that leave"),
        (starts_late, "hosts that start late"),
        (!scenario.fault.is_empty() || scenario.chaos.is_some(), "faults"),
        (scenario.liars > 0, "liars"),
        (scenario.runs > 1, "the other runs"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect()
}

/// Hosts of the first run, and for each a group of its own that draws nothing.
fn freeze(scenario: &Scenario, seed: u64, speed_factor: f64) -> (Vec<Host>, Vec<Group>) {
    let (drawn, names) = cluster::hosts(scenario, seed);
    let first = drawn.iter().zip(names).filter(|(drawn, _)| drawn.host.run == 0);
    let one = |(drawn, name): (&cluster::Drawn, String)| {
        let group = &scenario.group[drawn.group];
        let host = Host {
            name: name.clone(),
            tokens_per_s: drawn.tokens_per_s as f64 * speed_factor,
            up_bytes_per_s: drawn.host.up_bytes_per_s as f64,
            down_bytes_per_s: drawn.host.down_bytes_per_s as f64,
            owns: !group.nat,
        };
        let frozen = Group {
            name,
            count: spanned(1),
            tokens_per_s: number(host.tokens_per_s),
            up_mbit: mbit(host.up_bytes_per_s),
            down_mbit: mbit(host.down_bytes_per_s),
            latency_ms: number(drawn.host.latency.as_secs_f64() * 1e3),
            cores: drawn.cores.map(number),
            starts_s: Draw::Number(0.0),
            stays_h: None,
            away_h: Draw::Number(0.0),
            stays: None,
            churn: None,
            ..group.clone()
        };
        (host, frozen)
    };
    first.map(one).unzip()
}

fn mbit(bytes_per_s: f64) -> Spanned<Draw> {
    number(bytes_per_s / 125_000.0)
}

fn number(value: f64) -> Spanned<Draw> {
    spanned(Draw::Number(value))
}

/// A value that stands in no file.
fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
