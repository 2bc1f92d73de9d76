//! What limits a round, whose it is, and what the round would be without it.

use super::bound::{self, Narrow, Volume};
use super::derive::Cluster;
use super::measure::Round;
use serde::Serialize;

/// Waiting below this share of a round is nobody's fault: the protocol's own control frames take as much.
const WAITING_MIN: f64 = 0.02;
/// A change of the tokens a second that is worth to act for.
pub const WORTH: f64 = 0.02;

/// An exchange that takes so many times as long as the links' rates allow is not limited by them. Guess.
const LATENCY: f64 = 2.0;

/// What limits a round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// Which links an exchange takes its time from.
    pub exchange: Link,
    /// The host of that link, if it is one; else the one whose wider uplink helps most, if any does.
    pub host: Option<usize>,
    /// Least seconds of an exchange without that host.
    pub without_bound_s: Option<f64>,
    /// The host that the others wait for, if they wait long.
    pub straggler: Option<usize>,
}

/// Which links an exchange takes its time from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// There is no exchange.
    Nothing,
    /// No link's rate: the ways there and back.
    Latency,
    /// The uplink of one host alone.
    OneUplink,
    /// The downlink of one host alone.
    OneDownlink,
    /// All uplinks together.
    AllUplinks,
    /// All downlinks together.
    AllDownlinks,
}

/// Another cluster to try.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Without this host.
    Without(usize),
    /// With twice the uplink for this host.
    WiderUplink(usize),
    /// With twice the uplink for all.
    WiderUplinks,
}

/// What another cluster would come to, with the same setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    /// What is other.
    pub change: Change,
    /// In words.
    pub what: String,
    /// Round time over what it is now, less 1.
    pub round: f64,
    /// Tokens a second over what they are now, less 1.
    pub tokens: f64,
    /// Utilisation.
    pub utilisation: f64,
}

/// Finds it.
pub fn limit(cluster: &Cluster, round: &Round, volume: &Volume) -> Limit {
    let hosts = &cluster.hosts;
    let idle = round.exchange_s > LATENCY * bound::exchange_s(hosts, volume);
    let (exchange, host) = match bound::narrow(hosts, volume) {
        Narrow::Uplink(_) | Narrow::Downlink(_) | Narrow::Uplinks | Narrow::Downlinks if idle => {
            (Link::Latency, None)
        }
        Narrow::Nothing => (Link::Nothing, None),
        Narrow::Uplink(i) => (Link::OneUplink, Some(i)),
        Narrow::Downlink(i) => (Link::OneDownlink, Some(i)),
        Narrow::Uplinks => (Link::AllUplinks, bound::narrowest(hosts, volume)),
        Narrow::Downlinks => (Link::AllDownlinks, None),
    };
    let straggler = (round.waiting() >= WAITING_MIN).then(|| round.last_ready());
    let without = |i: usize| bound::exchange_s(&cluster.without(i).hosts, volume);
    Limit { exchange, host, without_bound_s: host.map(without), straggler }
}

/// What is worth trying.
pub fn changes(cluster: &Cluster, round: &Round, limit: &Limit) -> Vec<Change> {
    let mut changes = Vec::new();
    if cluster.hosts.len() > 2 {
        let slowest = limit.straggler.unwrap_or_else(|| slowest(cluster));
        changes.push(Change::Without(slowest));
        let other = limit.host.filter(|host| *host != slowest);
        changes.extend(other.map(Change::Without));
    }
    if round.exchanging() >= WAITING_MIN {
        let uplink = limit.host.filter(|_| limit.exchange != Link::OneDownlink);
        changes.extend(uplink.map(Change::WiderUplink));
        changes.extend((limit.exchange != Link::Latency).then_some(Change::WiderUplinks));
    }
    changes
}

fn slowest(cluster: &Cluster) -> usize {
    let speed = |i: &usize| cluster.hosts[*i].tokens_per_s;
    let order = |a: &usize, b: &usize| speed(a).total_cmp(&speed(b));
    (0..cluster.hosts.len()).min_by(order).unwrap_or(0)
}

impl Change {
    /// The other cluster.
    pub fn apply(&self, cluster: &Cluster) -> Cluster {
        match self {
            Change::Without(host) => cluster.without(*host),
            Change::WiderUplink(host) => cluster.with_uplink(Some(*host), 2.0),
            Change::WiderUplinks => cluster.with_uplink(None, 2.0),
        }
    }

    fn words(&self, cluster: &Cluster) -> String {
        let mbit = |host: usize| cluster.hosts[host].up_bytes_per_s / 125_000.0;
        match self {
            Change::Without(host) => format!("without {}", cluster.hosts[*host].name),
            Change::WiderUplink(host) => format!(
                "{} with {:.0} instead of {:.0} Mbit/s up",
                cluster.hosts[*host].name,
                2.0 * mbit(*host),
                mbit(*host)
            ),
            Change::WiderUplinks => "every uplink twice as wide".to_owned(),
        }
    }
}

impl WhatIf {
    /// One round against another.
    pub fn new(cluster: &Cluster, change: Change, now: &Round, then: &Round) -> WhatIf {
        WhatIf {
            change,
            what: change.words(cluster),
            round: then.round_s / now.round_s - 1.0,
            tokens: then.tokens_per_s / now.tokens_per_s - 1.0,
            utilisation: then.utilisation,
        }
    }

    /// What to do about it.
    pub fn verdict(&self) -> &'static str {
        match (&self.change, self.tokens) {
            (Change::Without(_), tokens) if tokens >= 0.0 => "leave it out",
            (Change::Without(_), tokens) if tokens >= -WORTH => "hardly missed",
            (Change::Without(_), _) => "keep it",
            (_, tokens) if tokens >= WORTH => "worth it",
            _ => "not worth it",
        }
    }
}
