//! What a run of the simulator says about its rounds.

use crate::cluster;
use crate::keys;
use crate::record::{Activity, Recorder, RoundRow};
use crate::scenario::Scenario;
use crate::world::World;
use serde::Serialize;
use shoal_protocol::time::Time;

/// A round, the mean of those that were looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// From commit to commit.
    pub round_s: f64,
    /// From the plan to the last result.
    pub exchange_s: f64,
    /// Tokens that were counted, a second.
    pub tokens_per_s: f64,
    /// Time in training over all time, all hosts.
    pub utilisation: f64,
    /// Fewest members.
    pub members: usize,
    /// By host.
    pub hosts: Vec<HostRound>,
}

/// What one host does in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HostRound {
    /// Seconds in training.
    pub trains_s: f64,
    /// Bytes sent.
    pub sent: f64,
    /// Bytes received.
    pub received: f64,
    /// Share of the model that it adds up for all.
    pub owned: f64,
}

impl Round {
    /// The host that trains longest, and is the last to be ready.
    pub fn last_ready(&self) -> usize {
        let order = |a: &usize, b: &usize| {
            self.hosts[*a].trains_s.total_cmp(&self.hosts[*b].trains_s).then(b.cmp(a))
        };
        (0..self.hosts.len()).max_by(order).unwrap_or(0)
    }

    /// Share of the round in which results are on their way.
    pub fn exchanging(&self) -> f64 {
        self.exchange_s / self.round_s
    }

    /// Share of the round in which hosts, on average, neither train nor exchange: they wait for the last to be ready.
    pub fn waiting(&self) -> f64 {
        (1.0 - self.utilisation - self.exchanging()).max(0.0)
    }
}

/// Runs a scenario and looks at all its rounds but the first `skip`.
///
/// # Errors
/// If the scenario's hours end before its rounds do.
pub fn measure(scenario: &Scenario, seed: u64, skip: usize) -> Result<Round, String> {
    let again = format!("shoal-sim plan, scenario {}, seed {seed}", scenario.name);
    let world = cluster::run(scenario, seed, &again, |_| true);
    let recorder = world.recorder.as_ref().expect("it was made with one");
    let rows = &recorder.rounds;
    if (rows.len() as u64) < scenario.rounds {
        let (hours, done) = (scenario.hours, rows.len());
        return Err(format!(
            "{done} rounds are done after {hours} simulated hours, and {} are wanted: give the hosts faster links, or `hours` more",
            scenario.rounds
        ));
    }
    Ok(round(&world, recorder, &rows[skip - 1..]))
}

/// The mean round after the first of these.
fn round(world: &World, recorder: &Recorder, rows: &[RoundRow]) -> Round {
    let (from, to) = (rows[0].at, rows[rows.len() - 1].at);
    let (n, span) = ((rows.len() - 1) as f64, to.since(from).as_secs_f64());
    let counted = &rows[1..];
    let per_round = |total: f64| total / n;
    let all_rounds = recorder.rounds.iter().filter(|row| row.tokens > 0).count().max(1) as f64;
    let owned = owned(world);
    let host = |p: usize| HostRound {
        trains_s: per_round(training_s(&recorder.spans[p], from, to)),
        sent: world.net.traffic[p].sent as f64 / all_rounds,
        received: world.net.traffic[p].received as f64 / all_rounds,
        owned: owned[p],
    };
    let hosts: Vec<HostRound> = (0..world.peers.len()).map(host).collect();
    let trained: f64 = hosts.iter().map(|host| host.trains_s).sum();
    Round {
        round_s: per_round(span),
        exchange_s: per_round(counted.iter().map(|row| row.exchange_us as f64 / 1e6).sum()),
        tokens_per_s: counted.iter().map(|row| row.tokens as f64).sum::<f64>() / span,
        utilisation: trained / (hosts.len() as f64 * per_round(span)),
        members: counted.iter().map(|row| row.members).min().unwrap_or(0),
        hosts,
    }
}

/// By host: the share of the chunks that it owns in the newest plan.
fn owned(world: &World) -> Vec<f64> {
    let mut owned = vec![0.0; world.peers.len()];
    let chunks = f64::from(world.spec.chunks());
    if let Some(plan) = world.book.plans.values().max_by_key(|plan| plan.round) {
        let known = plan.members.iter().filter_map(|m| Some((keys::number(&m.peer)?, m.chunks)));
        known.for_each(|(p, held)| owned[p] = f64::from(held) / chunks);
    }
    owned
}

fn training_s(spans: &[(Time, Activity)], from: Time, to: Time) -> f64 {
    let ends = spans.iter().skip(1).map(|(at, _)| *at).chain([to]);
    let training = spans.iter().zip(ends).filter(|((_, what), _)| *what == Activity::Training);
    training.map(|((since, _), end)| end.min(to).since((*since).max(from)).as_secs_f64()).sum()
}
