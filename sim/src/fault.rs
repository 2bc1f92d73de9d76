//! What goes wrong in a run: the faults of the scenario's file and those that the seed draws, laid out in time. Any of them
//! can be left out, which changes nothing about the others.

use crate::net::Weather;
use crate::rng::Rng;
use crate::scenario::{Chaos, Draw, FaultEntry, FaultKind, Scenario};
use crate::world::{Chance, World};
use shoal_protocol::time::{Span, Time};

/// A peer that has been refused stays so for this long: all that spoil their bytes are forgiven by then.
const FORGIVEN_AFTER: Span = Span::from_secs(65);

/// One thing that goes wrong: what, when, for how long, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    kind: FaultKind,
    at: Time,
    /// For ever if absent.
    lasts: Option<Span>,
    whom: Vec<usize>,
    /// How much slower a slow host is, the share of frames that are spoilt or lost, or the seconds a clock is wrong by.
    factor: f64,
}

/// The faults of the file, then those that the seed draws. `groups` is each host's group.
pub fn all(scenario: &Scenario, groups: &[usize], rng: &mut Rng) -> Vec<Fault> {
    let listed = scenario.fault.iter().map(|entry| listed(scenario, entry, groups));
    let mut all: Vec<Fault> = listed.collect();
    if let Some(chaos) = &scenario.chaos {
        all.extend(drawn(chaos, groups.len(), rng));
    }
    all
}

fn listed(scenario: &Scenario, entry: &FaultEntry, groups: &[usize]) -> Fault {
    let named = entry.group.as_ref().map(|name| name.get_ref().as_str());
    let fits = |group: usize| named.is_none_or(|name| scenario.group[group].name == name);
    let whom = (0..groups.len()).filter(|p| fits(groups[*p]));
    Fault {
        kind: entry.kind,
        at: Time::ZERO + seconds(entry.at_s),
        lasts: entry.for_s.map(seconds),
        whom: whom.take(entry.count.unwrap_or(usize::MAX)).collect(),
        factor: entry.factor.unwrap_or_else(|| entry.kind.usual_factor()),
    }
}

/// So many faults, one after the other; each of some hosts and for some time.
fn drawn(chaos: &Chaos, hosts: usize, rng: &mut Rng) -> Vec<Fault> {
    let mut at = Time::ZERO;
    let mut fault = |_| {
        at = at + seconds(chaos.every_s.draw(rng));
        let kind = rng.pick(chaos.kinds.get_ref());
        let share = if rng.chance(0.2) { 1.0 } else { 1.0 / hosts as f64 };
        let mut whom: Vec<usize> = (0..hosts).filter(|_| rng.chance(share)).collect();
        if whom.is_empty() {
            whom.push(rng.index(hosts));
        }
        let factor = Draw::Uniform { uniform: kind.factors() }.draw(rng);
        Fault { kind, at, lasts: Some(seconds(chaos.lasts_s.draw(rng))), whom, factor }
    };
    (0..chaos.faults).map(&mut fault).collect()
}

/// Seconds as a span.
pub fn seconds(s: f64) -> Span {
    Span((s.max(0.0) * 1e6) as u64)
}

impl FaultKind {
    /// What [`Fault`]'s factor is where nobody says it.
    fn usual_factor(self) -> f64 {
        match self {
            FaultKind::Slow => 5.0,
            FaultKind::Corrupt => 0.1,
            FaultKind::Loss => 0.02,
            FaultKind::Skew => 30.0,
            FaultKind::Crash | FaultKind::Stall | FaultKind::Partition => 0.0,
        }
    }

    /// Between what it is drawn.
    fn factors(self) -> [f64; 2] {
        match self {
            FaultKind::Slow => [2.0, 10.0],
            FaultKind::Corrupt => [0.02, 0.3],
            FaultKind::Loss => [0.005, 0.05],
            FaultKind::Skew => [-100.0, 100.0],
            FaultKind::Crash | FaultKind::Stall | FaultKind::Partition => [0.0, 0.0],
        }
    }
}

impl Fault {
    /// What.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// When.
    pub fn at(&self) -> Time {
        self.at
    }

    /// For how long; for ever if absent.
    pub fn lasts(&self) -> Option<Span> {
        self.lasts
    }

    /// Whom.
    pub fn whom(&self) -> &[usize] {
        &self.whom
    }

    /// When nothing of it is left to see.
    pub fn ends(&self) -> Time {
        let over = self.at + self.lasts.unwrap_or(Span::ZERO);
        if self.kind == FaultKind::Corrupt { over + FORGIVEN_AFTER } else { over }
    }

    /// Whether it can cost a peer what it has trained: its memory goes, or what it sends is not what it made.
    pub fn costs_work(&self) -> bool {
        !matches!(self.kind, FaultKind::Slow | FaultKind::Partition)
    }

    /// Schedules how it begins and how it ends.
    pub fn lay_out(&self, world: &mut World) {
        let begin = self.begin(world.hosts());
        begin.into_iter().for_each(|chance| world.happens(self.at, chance));
        if let Some(lasts) = self.lasts {
            let end = self.end(world.hosts());
            end.into_iter().for_each(|chance| world.happens(self.at + lasts, chance));
        }
    }

    fn each(&self, chance: impl Fn(usize) -> Chance) -> Vec<Chance> {
        self.whom.iter().map(|p| chance(*p)).collect()
    }

    fn begin(&self, hosts: usize) -> Vec<Chance> {
        let x = self.factor;
        match self.kind {
            FaultKind::Crash => self.each(Chance::Kill),
            FaultKind::Stall => {
                let lasts = self.lasts.unwrap_or(Span::from_secs(60));
                self.each(|p| Chance::Stall(p, lasts))
            }
            FaultKind::Slow => self.each(|p| Chance::Speed(p, 1.0 / x)),
            FaultKind::Partition => {
                vec![Chance::Cut((0..hosts).map(|p| u8::from(self.whom.contains(&p))).collect())]
            }
            FaultKind::Corrupt => self.each(|p| Chance::Corrupt(p, x)),
            FaultKind::Skew => self.each(|p| Chance::Skew(p, (x * 1e6) as i64)),
            FaultKind::Loss => {
                let share = Weather { control_loss: x, bulk_loss: x, ..Weather::calm() };
                vec![Chance::Weather(Weather { duplicate: x, ..share })]
            }
        }
    }

    fn end(&self, hosts: usize) -> Vec<Chance> {
        match self.kind {
            FaultKind::Crash => self.each(Chance::Start),
            FaultKind::Slow => self.each(|p| Chance::Speed(p, self.factor)),
            FaultKind::Partition => vec![Chance::Cut(vec![0; hosts])],
            FaultKind::Corrupt => self.each(|p| Chance::Corrupt(p, 0.0)),
            FaultKind::Loss => vec![Chance::Weather(Weather::calm())],
            FaultKind::Stall | FaultKind::Skew => Vec::new(),
        }
    }

    /// In one line, with the hosts' names.
    pub fn describe(&self, names: &[String]) -> String {
        let whom: Vec<&str> = self.whom.iter().map(|p| names[*p].as_str()).collect();
        let lasts =
            self.lasts.map_or("for ever".into(), |s| format!("for {:.3} s", s.as_secs_f64()));
        let (at, kind, whom) =
            (self.at.since(Time::ZERO).as_secs_f64(), self.kind, whom.join(", "));
        format!("at {at:.3} s {lasts}: {kind:?} ({:.3}) {whom}", self.factor)
    }
}
