//! Scenario files: groups of hosts, churn, faults and the run's spec, in TOML. The same seed draws the same cluster.

mod churn;
mod draw;
mod gossip;
mod region;
mod shape;
mod strategy;

pub use churn::Churn;
pub use draw::Draw;
pub use region::Region;
use shape::{chunk_elems, model};

use crate::learn::settings::{Entry, Setup};
use crate::shelf;
use serde::Deserialize;
use shoal_protocol::math::Codec;
use shoal_protocol::run::{
    DataSpec, GossipSpec, GroupSpec, InnerOptimizer, InnerSchedule, InnerSpec, ModelSpec,
    OuterKind, Overlap, PROTOCOL_VERSION, RunSpec, StopSpec, Strategy, TokenizerSpec,
};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// A whole scenario, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name.
    pub name: String,
    /// Training runs that share the network; hosts are dealt to them in turn.
    #[serde(default = "one")]
    pub runs: usize,
    /// Peers of the first run that say what no honest peer says; they have the first group's links.
    #[serde(default)]
    pub liars: usize,
    /// Whether models have numbers, or only sizes: a name, or a table of `kind` and options.
    pub learner: Spanned<Entry>,
    /// What that learner learns, if anything real.
    #[serde(skip)]
    pub lesson: Option<Setup>,
    /// The held-out loss to which time is taken.
    pub target_loss: Option<Spanned<f64>>,
    /// Seconds between two beacons of a peer.
    #[serde(default = "beacon_every_s")]
    pub beacon_every_s: f64,
    /// Ends when every run has committed so many rounds.
    pub rounds: u64,
    /// Ends at the latest after so many virtual hours.
    #[serde(default = "hours")]
    pub hours: f64,
    /// Whether all peers must stand on one digest within three rounds after the last fault, and stay together then.
    #[serde(default)]
    pub together: bool,
    /// How long they may take for that, in virtual seconds.
    #[serde(default = "patience_s")]
    pub patience_s: f64,
    /// What the peers agree on.
    pub run: Run,
    /// Groups of hosts that are alike.
    pub group: Vec<Group>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub fault: Vec<FaultEntry>,
    /// Faults that the seed draws, after those.
    pub chaos: Option<Chaos>,
}

/// What peers train on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learner {
    /// Sizes and speeds only.
    Phantom,
    /// Pseudo-gradients that are a pure function of the samples: every promise about numbers is checked.
    Noise,
    /// A regression with a known optimum.
    Convex,
    /// A small language model on the bytes of a text.
    Text,
}

/// The run's spec, by what matters to time and bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// About how many parameters: a number, with K, M or B. Those that learn have a size of their own.
    pub params: Option<Spanned<String>>,
    /// Tokens in a sequence.
    #[serde(default = "context")]
    pub context: u32,
    /// Megabytes of text that is learned from, where hosts fetch it from each other (see a group's `data_from`).
    pub data_mb: Option<Spanned<f64>>,
    /// Local steps in a round.
    pub steps: Spanned<u32>,
    /// Sequences in a step.
    pub batch: Spanned<u32>,
    /// If not 0, a peer asks for as many steps as it expects to finish in so many seconds.
    #[serde(default)]
    pub round_s: f64,
    /// What sets the keys below where they are absent.
    #[serde(default)]
    pub strategy: Strategy,
    /// Codec from member to owner.
    pub up: Option<Codec>,
    /// Codec from owner to member.
    pub down: Option<Codec>,
    /// What is done with the mean of a round's pseudo-gradients.
    pub outer: Option<OuterKind>,
    /// Its learning rate.
    pub outer_lr: Option<Spanned<f32>>,
    /// Its momentum.
    pub outer_momentum: Option<Spanned<f32>>,
    /// Fragments of the model, one of which is exchanged in a round.
    pub fragments: Option<Spanned<u32>>,
    /// What the trainer does while an exchange is under way.
    pub overlap: Option<Spanned<Overlap>>,
    /// Elements in a chunk.
    pub chunk_elems: Option<Spanned<u32>>,
    /// What residuals keep of themselves from one exchange to the next.
    pub residual_decay: Option<Spanned<f32>>,
    /// Whether contributions are clipped to their median norm.
    pub clip_to_median: Option<bool>,
    /// What of its residual a peer's local work takes for granted.
    pub ahead: Option<Spanned<f32>>,
    /// Codec of the last round.
    pub last: Option<Codec>,
    /// Whether a chunk keeps its owner from round to round.
    pub owners_stay: Option<bool>,
    /// Of so many elements `mask` sends one.
    pub mask_one_of: Option<Spanned<u32>>,
    /// Pairs of factors that `powersgd` sends for a chunk.
    pub rank: Option<Spanned<u32>>,
    /// Elements in a row of the matrix that `powersgd` takes a chunk for.
    pub columns: Option<Spanned<u32>>,
    /// Without one state for all: how peers average in small groups.
    #[serde(default, deserialize_with = "gossip::read")]
    pub gossip: Option<GossipSpec>,
    /// When it is over before its last round.
    pub stop: Option<Spanned<StopSpec>>,
    /// Most members of a round.
    #[serde(default = "members_max")]
    pub members_max: u32,
    /// Share of the live members that must be ready before grace begins.
    #[serde(default = "quorum_percent")]
    pub quorum_percent: u32,
    /// Longest wait for the others after that, in hundredths of the round's training time.
    #[serde(default = "grace_percent")]
    pub grace_percent: u32,
}

/// Hosts that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Faults name it.
    pub name: String,
    /// Hosts in it.
    pub count: Spanned<usize>,
    /// Training speed.
    pub tokens_per_s: Spanned<Draw>,
    /// Uplink.
    pub up_mbit: Spanned<Draw>,
    /// Downlink.
    pub down_mbit: Spanned<Draw>,
    /// One way to the core of the network; within the region, if there is one.
    pub latency_ms: Spanned<Draw>,
    /// Where in the world it is: between two regions a link is longer.
    pub region: Option<Region>,
    /// Cores that encode, encrypt, add up and hash, or a part of one where hosts share a machine; if absent that takes no time.
    pub cores: Option<Spanned<Draw>>,
    /// Up to so much more for each frame.
    #[serde(default)]
    pub jitter_ms: f64,
    /// Share of frames that are lost and sent again.
    #[serde(default)]
    pub loss_percent: f64,
    /// Frames in a burst of losses, on average.
    #[serde(default = "burst")]
    pub loss_burst: f64,
    /// Behind a NAT: it owns no range, since nobody can dial it.
    #[serde(default)]
    pub nat: bool,
    /// Where its hosts have the text from: they hold it from the start, or have nothing of it and fetch it from peers.
    #[serde(default)]
    pub data_from: DataFrom,
    /// The most of it that each holds, in megabytes; all if absent.
    pub data_cap_mb: Option<f64>,
    /// When its hosts start.
    #[serde(default)]
    pub starts_s: Draw,
    /// How long a host stays, in hours; for ever if absent.
    pub stays_h: Option<Draw>,
    /// How long it is away then, in hours.
    #[serde(default)]
    pub away_h: Draw,
    /// When its hosts are there, instead of the three before: a file of stays, seen from this one's folder.
    pub stays: Option<Spanned<PathBuf>>,
    /// What that file says.
    #[serde(skip)]
    pub churn: Option<Churn>,
}

/// Where a host has the text from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFrom {
    /// Its own disk.
    #[default]
    Disk,
    /// Its peers.
    Peers,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultEntry {
    /// What.
    pub kind: FaultKind,
    /// When.
    pub at_s: f64,
    /// For how long; a crashed host starts again after that, or never.
    pub for_s: Option<f64>,
    /// Whose hosts; all if absent.
    pub group: Option<Spanned<String>>,
    /// How many of them, from the first; all if absent.
    pub count: Option<usize>,
    /// How much slower, for `slow`; the share of frames, for `corrupt` and `loss`; seconds, for `skew`.
    pub factor: Option<f64>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The process ends at once.
    Crash,
    /// Nothing happens on the host for a while.
    Stall,
    /// It trains slower for a while.
    Slow,
    /// It can reach only the others that the fault names.
    Partition,
    /// Some of the bulk frames that it sends have a bit flipped, or end too early.
    Corrupt,
    /// Its process starts anew with a clock that is wrong and ticks wrongly.
    Skew,
    /// Some frames of all hosts are lost for good, others come twice.
    Loss,
}

/// Small clusters in which anything may happen: the seed draws how many hosts there are, what they agree on, and the faults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// Of the groups' hosts, in order, at least and at most so many take part.
    pub hosts: Spanned<[usize; 2]>,
    /// Faults.
    pub faults: usize,
    /// Seconds from one to the next.
    pub every_s: Draw,
    /// Seconds until a fault is over.
    pub lasts_s: Draw,
    /// Which.
    pub kinds: Spanned<Vec<FaultKind>>,
    /// Codecs to draw from, each way.
    #[serde(default = "nearly_exact")]
    pub codecs: Spanned<Vec<Codec>>,
}

/// A scenario that cannot be read or makes no sense: where, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(pub String);

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

fn one() -> usize {
    1
}

fn beacon_every_s() -> f64 {
    2.0
}

fn hours() -> f64 {
    1000.0
}

fn context() -> u32 {
    1024
}

fn members_max() -> u32 {
    64
}

fn quorum_percent() -> u32 {
    60
}

fn grace_percent() -> u32 {
    50
}

fn burst() -> f64 {
    1.0
}

fn nearly_exact() -> Spanned<Vec<Codec>> {
    Spanned::new(0..0, Codec::NEARLY_EXACT.to_vec())
}

/// A day.
fn patience_s() -> f64 {
    86_400.0
}

impl Chaos {
    fn check(&self, all: usize) -> Result<(), (Range<usize>, String)> {
        let [least, most] = *self.hosts.get_ref();
        if least == 0 || least > most || most > all {
            let what = format!("`hosts` must be [least, most] with 1 <= least <= most <= {all}");
            return Err((self.hosts.span(), what));
        }
        if self.kinds.get_ref().is_empty() {
            return Err((self.kinds.span(), "`kinds` must name at least one kind".into()));
        }
        if self.codecs.get_ref().is_empty() {
            return Err((self.codecs.span(), "`codecs` must name at least one codec".into()));
        }
        Ok(())
    }
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// The file, the line, the key, and what would be right.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        Scenario::parse(&Scenario::text(path)?, &path.display().to_string())
    }

    /// The text of a file.
    ///
    /// # Errors
    /// The file, and why it cannot be read.
    pub fn text(path: &Path) -> Result<String, ScenarioError> {
        std::fs::read_to_string(path).map_err(|why| {
            ScenarioError(format!("{}: {why}: give the path of a scenario file", path.display()))
        })
    }

    /// Reads a text; `file` is its name in errors.
    ///
    /// # Errors
    /// The file, the line, the key, and what would be right.
    pub fn parse(text: &str, file: &str) -> Result<Scenario, ScenarioError> {
        let at = |span: Range<usize>, what: String| {
            let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
            ScenarioError(format!("{file}:{line}: {what}"))
        };
        let mut scenario: Scenario = toml::from_str(text)
            .map_err(|why| at(why.span().unwrap_or(0..0), why.message().to_owned()))?;
        scenario.set_up().map_err(|(span, what)| at(span, what))?;
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        scenario.read_stays(folder).map_err(|(span, what)| at(span, what))?;
        scenario.check().map_err(|(span, what)| at(span, what))?;
        scenario.spec(0).map_err(|(span, what)| at(span, what))?;
        Ok(scenario)
    }

    /// Makes what is to be learned.
    fn set_up(&mut self) -> Result<(), (Range<usize>, String)> {
        let here = self.learner.span();
        self.lesson =
            self.learner.get_ref().set_up(self.run.context as usize).map_err(|(span, what)| {
                if span.is_empty() { (here, what) } else { (span, what) }
            })?;
        match (&self.target_loss, &self.run.params, &self.lesson) {
            (Some(target), _, None) => {
                let what = "`target_loss` needs a learner that has a loss: convex or text";
                Err((target.span(), what.into()))
            }
            (_, Some(params), Some(_)) => {
                let what = "`params` follows from the learner's own sizes: leave it out";
                Err((params.span(), what.into()))
            }
            _ => Ok(()),
        }
    }

    fn read_stays(&mut self, folder: &Path) -> Result<(), (Range<usize>, String)> {
        for group in &mut self.group {
            let Some(stays) = &group.stays else { continue };
            if group.stays_h.is_some() || group.starts_s != Draw::default() {
                let what =
                    "`stays` says when hosts come and go: leave out `starts_s` and `stays_h`";
                return Err((stays.span(), what.into()));
            }
            let churn = Churn::read(&folder.join(stays.get_ref()), *group.count.get_ref());
            group.churn = Some(churn.map_err(|what| (stays.span(), format!("`stays`: {what}")))?);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), (Range<usize>, String)> {
        for group in &self.group {
            let positive = [
                ("tokens_per_s", &group.tokens_per_s),
                ("up_mbit", &group.up_mbit),
                ("down_mbit", &group.down_mbit),
            ];
            for (key, draw) in positive {
                if draw.get_ref().least() <= 0.0 {
                    return Err((draw.span(), format!("`{key}` must be above 0")));
                }
            }
            if let Some(cores) = group.cores.as_ref().filter(|c| c.get_ref().least() <= 0.0) {
                return Err((cores.span(), "`cores` must be above 0: 0.5 is half of one".into()));
            }
            if group.latency_ms.get_ref().least() < 0.0 {
                return Err((group.latency_ms.span(), "`latency_ms` must not be negative".into()));
            }
            if *group.count.get_ref() == 0 {
                return Err((group.count.span(), "`count` must be at least 1".into()));
            }
        }
        if let Some(chaos) = &self.chaos {
            chaos.check(self.group.iter().map(|group| *group.count.get_ref()).sum())?;
        }
        let names: Vec<&str> = self.group.iter().map(|group| group.name.as_str()).collect();
        for name in self.fault.iter().filter_map(|fault| fault.group.as_ref()) {
            if !names.contains(&name.get_ref().as_str()) {
                let known = names.join(", ");
                let what = format!("`group` {:?} is none of the groups: {known}", name.get_ref());
                return Err((name.span(), what));
            }
        }
        Ok(())
    }

    /// The spec of one of the runs.
    pub(crate) fn spec(&self, run: usize) -> Result<RunSpec, (Range<usize>, String)> {
        let r = &self.run;
        let mut spec = RunSpec {
            protocol: PROTOCOL_VERSION,
            name: format!("{}-{run}", self.name),
            creator: crate::keys::peer_id(0),
            seed: run as u64 + 1,
            rounds: 1_000_000,
            model: r.model(self.lesson.is_some())?,
            start: None,
            tokenizer: TokenizerSpec::Bytes,
            data: DataSpec::Stories {
                seed: 1,
                bytes: 1 << 40,
                samples: 1 << 30,
                heldout_permille: 1,
            },
            inner: inner(*r.steps.get_ref(), *r.batch.get_ref(), (r.round_s * 1e3) as u64),
            outer: r.outer(),
            exchange: r.exchange(),
            group: GroupSpec {
                members_max: r.members_max,
                quorum_percent: r.quorum_percent,
                grace_percent: r.grace_percent,
            },
            strategy: r.pieces(),
            gossip: r.gossip,
            stop: r.stop.as_ref().map(|stop| *stop.get_ref()),
            regularisation: Default::default(),
            prune: None,
            distill: None,
        };
        self.lesson.iter().for_each(|lesson| lesson.describe(&mut spec));
        if let Some(mb) = &r.data_mb {
            let bytes = (mb.get_ref() * 1e6) as u64;
            if self.lesson.is_some() {
                let what = "`data_mb` goes with the learners phantom and noise: others have a text of their own";
                return Err((mb.span(), what.into()));
            }
            spec.data = shelf::text(bytes, r.context);
        }
        let chunk = r.chunk_elems.as_ref().map(|chunk| *chunk.get_ref());
        spec.exchange.chunk_elems =
            chunk.unwrap_or_else(|| spec.chunk_from(chunk_elems(spec.elems())));
        spec.validate().map_err(|why| (self.span(why.key), why.to_string()))?;
        Ok(spec)
    }

    /// Where a key of the spec comes from.
    fn span(&self, key: &str) -> Range<usize> {
        let r = &self.run;
        let given = match key {
            "inner.steps" => Some(r.steps.span()),
            "inner.batch" => Some(r.batch.span()),
            "exchange.chunk_elems" => r.chunk_elems.as_ref().map(Spanned::span),
            "data.samples" | "data.text" => r.data_mb.as_ref().map(Spanned::span),
            "exchange.residual_decay" => r.residual_decay.as_ref().map(Spanned::span),
            "exchange.ahead" => r.ahead.as_ref().map(Spanned::span),
            "exchange.mask_one_of" => r.mask_one_of.as_ref().map(Spanned::span),
            "exchange.rank" => r.rank.as_ref().map(Spanned::span),
            "exchange.columns" => r.columns.as_ref().map(Spanned::span),
            "outer.lr" => r.outer_lr.as_ref().map(Spanned::span),
            "outer.momentum" => r.outer_momentum.as_ref().map(Spanned::span),
            "stop" | "stop.every" | "stop.patience" | "stop.min_gain" | "stop.ema" => {
                r.stop.as_ref().map(Spanned::span)
            }
            "strategy.fragments" => r.fragments.as_ref().map(Spanned::span),
            "strategy.keep" | "strategy.work" => r.overlap.as_ref().map(Spanned::span),
            _ => self.learner.get_ref().span(key),
        };
        let size = || r.params.as_ref().map_or(r.steps.span(), Spanned::span);
        given.unwrap_or_else(size)
    }
}

impl Run {
    /// The decoder of the size that is asked for; for a learner with a size of its own (`sized`) any.
    fn model(&self, sized: bool) -> Result<ModelSpec, (Range<usize>, String)> {
        if sized {
            return Ok(model(1, self.context));
        }
        let what = "`params` must be a number with K, M or B, such as \"25M\"";
        let Some(params) = &self.params else {
            return Err((self.steps.span(), format!("`params` is missing in [run]; {what}")));
        };
        let parsed = parse_params(params.get_ref()).ok_or((params.span(), what.to_owned()))?;
        Ok(model(parsed, self.context))
    }
}

/// A node's constants, for so many steps.
pub(crate) fn inner(steps: u32, batch: u32, round_ms: u64) -> InnerSpec {
    InnerSpec {
        steps,
        batch,
        round_ms,
        lr: 1e-3,
        lr_floor: 0.1,
        warmup_rounds: 0,
        schedule: InnerSchedule::Cosine,
        optimizer: InnerOptimizer::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        l2: 0.0,
        decays: Default::default(),
        clip: 1.0,
    }
}

/// A number, with K, M or B.
pub fn parse_params(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let factor = match unit {
        'K' => 1e3,
        'M' => 1e6,
        'B' => 1e9,
        _ => return text.parse().ok(),
    };
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    (number > 0.0 && number < 1e6).then_some((number * factor) as u64)
}

#[cfg(test)]
mod tests;
