//! What is seen of a run by gossip: its losses, and how far its peers are apart.

use super::world::World;
use crate::report::Spread;
use shoal_protocol::id::Round;
use std::fmt::Write;

/// Peers whose own loss is taken; of more, evenly chosen ones.
const SAMPLED: usize = 16;

/// One round, when half of the peers had taken its step.
#[derive(Clone, Debug)]
pub struct RoundSeen {
    pub round: Round,
    pub at_s: f64,
    /// Root of the mean squared distance of the peers' parameters from their mean, over the mean's norm: the consensus distance.
    pub distance: Option<f64>,
    /// Held-out loss of the peers' mean.
    pub loss_of_mean: Option<f64>,
    /// Mean of the held-out losses of some peers.
    pub loss: Option<f64>,
}

/// What is counted on the way.
#[derive(Debug, Default)]
pub struct Seen {
    pub rounds: Vec<RoundSeen>,
    /// By round, how many have taken its step.
    stepped: Vec<usize>,
    pub steps: u64,
    /// Steps without a group.
    pub alone: u64,
}

impl Seen {
    /// Whether half of the peers have committed a round.
    pub fn is_past(&self, round: Round) -> bool {
        self.rounds.last().is_some_and(|seen| seen.round >= round)
    }
}

/// A run in some numbers.
#[derive(Clone, Debug)]
pub struct Summary {
    pub scenario: String,
    pub seed: u64,
    pub hosts: usize,
    pub virtual_s: f64,
    pub rounds: Round,
    pub tokens_per_s: f64,
    /// Time in training over all time.
    pub utilisation: f64,
    /// Share of steps that were taken without a group.
    pub alone: f64,
    /// Bytes by host.
    pub sent: Spread,
    /// The loss of exact averaging over all peers.
    pub exact: Option<f64>,
    /// How it stood at the end.
    pub last: RoundSeen,
    pub inputs: u64,
    pub trace: String,
}

impl Summary {
    /// One line for each number.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for (name, value) in self.rows() {
            let _ = writeln!(out, "{name:<20}{value}");
        }
        out
    }

    /// Names and values.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let last = &self.last;
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.6}"));
        vec![
            ("scenario", format!("{}, seed {}", self.scenario, self.seed)),
            ("hosts", self.hosts.to_string()),
            ("time", format!("{:.1} s", self.virtual_s)),
            ("rounds", format!("{}, of which {:.1} % alone", self.rounds, 100.0 * self.alone)),
            ("tokens a second", format!("{:.0}", self.tokens_per_s)),
            ("utilisation", format!("{:.1} % of time in training", 100.0 * self.utilisation)),
            ("sent by a host", self.sent.to_string()),
            ("loss", format!("{} (mean of some peers)", number(last.loss))),
            ("loss of the mean", number(last.loss_of_mean)),
            ("exact averaging", number(self.exact)),
            ("consensus distance", number(last.distance)),
            ("inputs", self.inputs.to_string()),
            ("trace", self.trace.clone()),
        ]
    }
}

/// All rounds as CSV.
pub fn csv(rounds: &[RoundSeen]) -> String {
    let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
    let mut out = "round,seconds,consensus_distance,loss_of_mean,loss\n".to_owned();
    for seen in rounds {
        let _ = writeln!(
            out,
            "{},{},{},{},{}",
            seen.round,
            seen.at_s,
            number(seen.distance),
            number(seen.loss_of_mean),
            number(seen.loss)
        );
    }
    out
}

impl World {
    /// A peer has taken a round's step, in a group of so many or alone.
    pub fn stepped(&mut self, round: Round, slices: u64) {
        self.seen.steps += 1;
        self.seen.alone += u64::from(slices == 0);
        let place = round as usize;
        if self.seen.stepped.len() <= place {
            self.seen.stepped.resize(place + 1, 0);
        }
        self.seen.stepped[place] += 1;
        if !self.seen.is_past(round) && 2 * self.seen.stepped[place] >= self.alive {
            let seen = self.look_at(round);
            self.seen.rounds.push(seen);
        }
    }

    /// How it stands now, with all that live.
    pub fn look_at(&self, round: Round) -> RoundSeen {
        let at_s = self.now.0 as f64 / 1e6;
        let alive = self.peers.iter().filter(|peer| peer.session.is_some());
        let all: Vec<&[f32]> =
            alive.filter_map(|peer| Some(peer.numbers.as_ref()?.outer())).collect();
        let none = RoundSeen { round, at_s, distance: None, loss_of_mean: None, loss: None };
        let (Some(first), Some(lesson)) = (all.first(), &self.lesson) else { return none };
        let mean = mean(&all, first.len());
        let step = all.len().div_ceil(SAMPLED);
        let some: Option<Vec<f64>> =
            all.iter().step_by(step).map(|params| lesson.loss(round, params)).collect();
        let some = some.map(|losses| losses.iter().sum::<f64>() / losses.len() as f64);
        RoundSeen {
            distance: Some(distance(&all, &mean)),
            loss_of_mean: lesson.loss(round, &mean),
            loss: some,
            ..none
        }
    }
}

fn mean(all: &[&[f32]], len: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; len];
    for params in all {
        sum.iter_mut().zip(*params).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sum.into_iter().map(|x| (x / all.len() as f64) as f32).collect()
}

fn distance(all: &[&[f32]], mean: &[f32]) -> f64 {
    let apart = |params: &&[f32]| {
        params.iter().zip(mean).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let apart = all.iter().map(apart).sum::<f64>() / all.len() as f64;
    let norm = mean.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    (apart / norm.max(f64::MIN_POSITIVE)).sqrt()
}
