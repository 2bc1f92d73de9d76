//! One run of the grid: its settings, what names them, how it is done, and the file that keeps what came of it.

use super::course::{Length, TorchCourse};
use super::direct;
use super::file::{Kind, Network};
use super::gossip::{self, Gossiped};
use super::text::Text;
use crate::model::initial_params;
use crate::train::TrainError;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use shoal_protocol::id::Digest;
use shoal_protocol::run::RunSpec;
use shoal_protocol::run::gossip::GossipSpec;
use shoal_sim::cohort::{self, Carried, Hosts};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Device;

/// Changes whenever the same settings would give another result than before.
const VERSION: u32 = 2;

/// Settings of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// How it trains.
    pub kind: Kind,
    /// Workers; 1 for a worker that is alone.
    pub workers: usize,
    /// With seed and rounds.
    pub spec: RunSpec,
    /// Steps, rounds, measurements.
    pub length: Length,
    /// What virtual time follows from.
    pub network: Network,
}

/// The held-out loss at some time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Tokens of all workers so far.
    pub tokens: u64,
    /// Rounds that counted work so far; steps if there are no rounds.
    pub round: u64,
    /// Virtual time.
    pub at_s: f64,
    /// In nats per token.
    pub loss: f64,
    /// That of training sequences, nothing dropped, if they are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<f64>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Why it came to nothing, if it did: then there are no losses after that.
    pub failed: Option<String>,
    /// Losses, the first before any training.
    pub curve: Vec<Measured>,
    /// By worker: bytes sent and received.
    pub bytes: Vec<(u64, u64)>,
    /// Tokens of all workers that were counted.
    pub tokens: u64,
    /// Rounds in which not all workers had a part.
    pub short_rounds: u64,
    /// From the start to the last commit, in virtual time.
    pub virtual_s: f64,
    /// Names all events of the world, losses included; empty for a direct computation.
    pub trace: String,
    /// Wall-clock time that the run cost.
    pub seconds: f64,
    /// How much of it went into training and measuring.
    pub arithmetic_s: f64,
}

impl Point {
    /// Of a direct computation, in which nobody is late: at its end so many tokens are counted, after so many virtual seconds.
    fn direct(
        failed: Option<String>,
        curve: Vec<Measured>,
        bytes: Vec<(u64, u64)>,
        (tokens, virtual_s): (u64, f64),
    ) -> Point {
        let (short_rounds, trace, seconds, arithmetic_s) = (0, String::new(), 0.0, 0.0);
        Point {
            failed,
            curve,
            bytes,
            tokens,
            short_rounds,
            virtual_s,
            trace,
            seconds,
            arithmetic_s,
        }
    }

    /// The loss of the last parameters; none if the run came to nothing.
    pub fn final_loss(&self) -> Option<f64> {
        if self.failed.is_some() { None } else { self.curve.last().map(|last| last.loss) }
    }
}

impl Setting {
    /// Names the run: all that its losses, bytes and virtual times follow from.
    pub fn key(&self, text: &Text, threads: usize) -> Digest {
        let spec = self.spec.id();
        let what = format!(
            "{VERSION} {:?} {} {spec} {:?} {:?} {} {threads}",
            self.kind,
            self.workers,
            self.length,
            self.network,
            text.measured_digest()
        );
        Digest::of(what.as_bytes())
    }

    /// Runs it. Threads of libtorch have been set already.
    ///
    /// # Errors
    /// The device failed, or the cluster did not come to its end. A loss that is no number is no error: the point tells it.
    pub fn run(&self, text: &Text, device: Device) -> anyhow::Result<Point> {
        let start = Instant::now();
        let dataset = text.dataset(&self.spec)?;
        let measured = (text.heldout.clone(), text.training.clone());
        let course = TorchCourse::new(&self.spec, dataset, measured, self.length, device)?;
        let params = initial_params(&self.spec.model, self.spec.seed);
        let mut point = match (self.kind, &self.spec.gossip) {
            (Kind::Shoal, None) => self.carry(&course, params)?,
            (Kind::Shoal, Some(spec)) => self.meet(spec, &course, &params)?,
            (Kind::Sync | Kind::Alone, _) => self.compute(&course, &params)?,
        };
        point.seconds = start.elapsed().as_secs_f64();
        point.arithmetic_s = course.spent_s();
        Ok(point)
    }

    fn carry(&self, course: &TorchCourse, params: Vec<f32>) -> anyhow::Result<Point> {
        let hosts = self.network.hosts(self.workers);
        let learner = Some((Box::new(course.clone()) as _, params));
        let rounds = self.length.rounds;
        let carried = cohort::carry(self.spec.clone(), &hosts, self.spec.seed, rounds, learner);
        let carried = carried.map_err(anyhow::Error::msg)?;
        let mut point = self.of_carried(&carried);
        point.curve.iter_mut().for_each(|at| at.training = course.training_loss(at.round));
        point.failed = diverged(course.failure())?;
        let last = point.curve.last().map(|last| last.round);
        anyhow::ensure!(
            point.failed.is_some() || last == Some(rounds),
            "the loss of round {rounds} was never taken: another round than the first counted no work"
        );
        Ok(point)
    }

    /// By gossip, computed directly.
    fn meet(
        &self,
        spec: &GossipSpec,
        course: &TorchCourse,
        params: &[f32],
    ) -> anyhow::Result<Point> {
        let Gossiped { curve, bytes } = gossip::carry(self, spec, course, params);
        let last = curve.last().map_or((0, 0.0), |last| (last.tokens, last.at_s));
        Ok(Point::direct(diverged(course.failure())?, curve, bytes, last))
    }

    fn of_carried(&self, carried: &Carried) -> Point {
        let mut tokens = 0;
        let begin = carried.begins.map(|loss| Measured {
            tokens: 0,
            round: 0,
            at_s: 0.0,
            loss,
            training: None,
        });
        let mut curve: Vec<Measured> = begin.into_iter().collect();
        for (round, row) in (1..).zip(&carried.rounds) {
            tokens += row.tokens;
            let at_s = row.at_s;
            curve.extend(row.loss.map(|loss| Measured {
                tokens,
                round,
                at_s,
                loss,
                training: None,
            }));
        }
        let short = carried.rounds.iter().filter(|row| row.members < self.workers).count();
        Point {
            failed: None,
            curve,
            bytes: carried.bytes.clone(),
            tokens,
            short_rounds: short as u64,
            virtual_s: carried.rounds.last().map_or(0.0, |last| last.at_s),
            trace: carried.trace.short(),
            seconds: 0.0,
            arithmetic_s: 0.0,
        }
    }

    fn compute(&self, course: &TorchCourse, params: &[f32]) -> anyhow::Result<Point> {
        let (batch, context) =
            (u64::from(self.spec.inner.batch), u64::from(self.spec.model.context));
        let together = self.workers as u64;
        let step_s = self.step_s(&self.network);
        let trained =
            direct::train(course, params, self.length, (batch, together), step_s, context);
        let (curve, failed) = match trained {
            Ok(curve) => (curve, None),
            Err(why) => (Vec::new(), diverged(Some(why))?),
        };
        let step = direct::ring_bytes(self.workers, self.spec.elems(), direct::F32_BYTES);
        let each = (step * self.length.steps as f64).round() as u64;
        let tokens = self.length.steps * batch * context * together;
        let end = (tokens, self.length.steps as f64 * step_s);
        Ok(Point::direct(failed, curve, vec![(each, each); self.workers], end))
    }

    /// How long a step of a direct computation takes on a network, or a round of one by gossip; `None` if the simulator has to tell.
    pub fn direct_s(&self, network: &Network) -> Option<f64> {
        match (self.kind, &self.spec.gossip) {
            (Kind::Shoal, None) => None,
            (Kind::Shoal, Some(spec)) => Some(gossip::round_s(self, spec, network)),
            (Kind::Sync | Kind::Alone, _) => Some(self.step_s(network)),
        }
    }

    fn step_s(&self, network: &Network) -> f64 {
        let tokens = u64::from(self.spec.inner.batch) * u64::from(self.spec.model.context);
        direct::step_s(self.workers, self.spec.elems(), tokens, network)
    }
}

/// Why training came to nothing, if its loss was no number.
fn diverged(failure: Option<TrainError>) -> anyhow::Result<Option<String>> {
    match failure {
        Some(why @ TrainError::Diverged { .. }) => Ok(Some(why.to_string())),
        Some(why) => Err(why.into()),
        None => Ok(None),
    }
}

impl Network {
    /// So many workers of this kind.
    pub fn hosts(&self, count: usize) -> Hosts {
        let Network { up_mbit, down_mbit, latency_ms, tokens_per_s } = *self;
        Hosts { count, tokens_per_s, up_mbit, down_mbit, latency_ms }
    }
}

/// Where the point of this name lies.
fn path(folder: &Path, key: &Digest) -> PathBuf {
    folder.join("points").join(format!("{}.json", &key.to_string()[..32]))
}

/// A point that was finished before; none if there is none that can be read.
pub fn load(folder: &Path, key: &Digest) -> Option<Point> {
    serde_json::from_slice(&std::fs::read(path(folder, key)).ok()?).ok()
}

/// Keeps a finished point: the file is there whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn save(folder: &Path, key: &Digest, point: &Point) -> anyhow::Result<()> {
    let path = path(folder, key);
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let write = || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&partial, serde_json::to_vec_pretty(point)?)?;
        std::fs::rename(&partial, &path)
    };
    write().with_context(|| format!("{}: choose another --out", path.display()))
}
