//! What is kept of a run: who did what when, and every committed round.

use crate::losses::Losses;
use crate::net::Net;
use crate::report::{Spread, Summary};
use crate::world::World;
use shoal_protocol::event::{Note, Output};
use shoal_protocol::id::{Digest, Round};
use shoal_protocol::ledger::Record;
use shoal_protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Spans kept for each host: a longer run is drawn from what was kept of its beginning.
pub const SPANS_MAX: usize = 4096;
/// Events kept.
const EVENTS_MAX: usize = 200_000;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Dead,
    Training,
    Waiting,
    Sending,
    CatchingUp,
}

/// A committed round of one run.
#[derive(Clone, Debug)]
pub struct RoundRow {
    pub run: usize,
    pub round: Round,
    pub at: Time,
    pub members: usize,
    pub tokens: u64,
    /// From plan to the last result, as the first to commit measured it; microseconds.
    pub exchange_us: u64,
    /// Bytes that a host of the run has sent since its round before, in the mean over all of its hosts.
    pub sent_by_host: u64,
    pub digest: String,
    /// Held-out loss, if what is learned is real.
    pub loss: Option<f64>,
}

/// Something worth a line.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub at: Time,
    pub host: usize,
    pub kind: &'static str,
    pub detail: String,
}

/// Which plans were carried through, and which were given up.
#[derive(Default)]
struct Plans {
    /// By run: that of the newest round.
    newest: BTreeMap<usize, Digest>,
    carried: BTreeSet<Digest>,
    /// By some peer, and carried through by none.
    lost: BTreeSet<Digest>,
}

impl Plans {
    fn committed(&mut self, run: usize, plan: Digest) {
        if self.newest.get(&run) != Some(&plan) {
            self.newest.insert(run, plan);
            self.carried.insert(plan);
            self.lost.remove(&plan);
        }
    }

    fn given_up(&mut self, plan: Digest) {
        if !self.carried.contains(&plan) {
            self.lost.insert(plan);
        }
    }
}

/// Recorded while a run goes on.
pub struct Recorder {
    pub names: Vec<String>,
    pub spans: Vec<Vec<(Time, Activity)>>,
    pub rounds: Vec<RoundRow>,
    pub events: Vec<EventRow>,
    /// By run: the newest round of any peer, and what a host had sent by then in the mean.
    newest: Vec<Round>,
    sent: Vec<u64>,
    /// The round that every run is to reach, and how many have not.
    goal: Round,
    behind: usize,
    exchange_us: BTreeMap<usize, u64>,
    /// By host: microseconds in training, exchanges meanwhile or not; microseconds alive; since when alive, since when training.
    training_us: Vec<u64>,
    alive_us: Vec<u64>,
    alive_since: Vec<Option<Time>>,
    training_since: Vec<Option<Time>>,
    /// What is kept of losses, if there are any.
    pub losses: Option<Losses>,
    plans: Plans,
    abandoned: u64,
    joins: u64,
    deaths: u64,
}

impl Recorder {
    /// For hosts of these names, in so many runs, each of which is to reach a round.
    pub fn new(names: Vec<String>, runs: usize, goal: Round) -> Recorder {
        let n = names.len();
        Recorder {
            names,
            spans: vec![Vec::new(); n],
            rounds: Vec::new(),
            events: Vec::new(),
            newest: vec![0; runs],
            sent: vec![0; runs],
            goal,
            behind: runs,
            exchange_us: BTreeMap::new(),
            training_us: vec![0; n],
            alive_us: vec![0; n],
            alive_since: vec![None; n],
            training_since: vec![None; n],
            losses: None,
            plans: Plans::default(),
            abandoned: 0,
            joins: 0,
            deaths: 0,
        }
    }

    /// Whether every run has reached its goal.
    pub fn is_done(&self) -> bool {
        self.behind == 0
    }

    /// Everything in order of time: runs that share the world come about by turns.
    pub fn put_in_order(&mut self) {
        self.rounds.sort_by_key(|row| row.at);
        self.events.sort_by_key(|row| row.at);
    }

    fn event(&mut self, at: Time, host: usize, kind: &'static str, detail: String) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(EventRow { at, host, kind, detail });
        }
    }

    fn activity(&mut self, now: Time, p: usize, activity: Activity) {
        if self.spans[p].last().is_none_or(|(_, last)| *last != activity)
            && self.spans[p].len() < SPANS_MAX
        {
            self.spans[p].push((now, activity));
        }
    }

    fn stops_training(&mut self, now: Time, p: usize) {
        let since = self.training_since[p].take();
        self.training_us[p] += since.map_or(0, |since| now.since(since).0);
    }

    /// A host has started.
    pub fn started(&mut self, now: Time, p: usize) {
        self.joins += 1;
        self.alive_since[p] = Some(now);
        self.event(now, p, "starts", String::new());
        self.activity(now, p, Activity::Waiting);
    }

    /// A host is dead.
    pub fn died(&mut self, now: Time, p: usize) {
        self.deaths += 1;
        self.alive_us[p] += self.alive_since[p].take().map_or(0, |since| now.since(since).0);
        self.stops_training(now, p);
        self.event(now, p, "dies", String::new());
        self.activity(now, p, Activity::Dead);
    }

    /// Its training is done.
    pub fn trained(&mut self, now: Time, p: usize) {
        self.stops_training(now, p);
        self.activity(now, p, Activity::Waiting);
    }

    /// A session has asked for something.
    pub fn asked(&mut self, now: Time, p: usize, net: &Net, output: &Output) {
        let run = net.run_of(p);
        match output {
            Output::Train { .. } => {
                self.training_since[p] = Some(now);
                self.activity(now, p, Activity::Training);
            }
            Output::Contribute { .. } => self.activity(now, p, Activity::Sending),
            Output::Commit { record, .. } => {
                let trains = self.training_since[p].is_some();
                self.activity(now, p, if trains { Activity::Training } else { Activity::Waiting });
                self.plans.committed(run, record.plan);
                if record.round > self.newest[run] {
                    self.behind -=
                        usize::from(self.newest[run] < self.goal && record.round >= self.goal);
                    self.newest[run] = record.round;
                    let tokens = record.contributions.iter().map(|c| c.tokens).sum();
                    let sent = net.sent_by_host(run);
                    let row = RoundRow {
                        run,
                        round: record.round,
                        at: now,
                        members: record.contributions.len(),
                        tokens,
                        exchange_us: self.exchange_us.remove(&p).unwrap_or(0),
                        sent_by_host: sent - std::mem::replace(&mut self.sent[run], sent),
                        digest: record.digest().short(),
                        loss: None,
                    };
                    self.rounds.push(row);
                }
            }
            Output::Abandon { plan } => self.plans.given_up(*plan),
            Output::Note(note) => self.note(now, p, note),
            Output::Refuse { reason, .. } => self.event(now, p, "refuses", reason.clone()),
            _ => {}
        }
    }

    /// A host's local work has led nowhere.
    pub fn diverged(&mut self, now: Time, p: usize) {
        self.event(now, p, "diverges", "its local work is left out".into());
    }

    /// The held-out loss of what a host has committed: of whoever came first to a round, it is the round's.
    pub fn evaluated(&mut self, now: Time, p: usize, run: usize, record: &Record, loss: f64) {
        let mut rows = self.rounds.iter_mut().rev();
        let row = rows.find(|row| (row.run, row.round) == (run, record.round));
        let Some(row) = row.filter(|row| row.loss.is_none()) else { return };
        row.loss = Some(loss);
        if self.losses.as_mut().is_some_and(|losses| losses.reaches(run, now, loss)) {
            self.event(now, p, "reaches target", format!("loss {loss:.4}"));
        }
    }

    fn note(&mut self, now: Time, p: usize, note: &Note) {
        match note {
            Note::Exchanged { micros, .. } => {
                self.exchange_us.insert(p, *micros);
            }
            Note::Repaired { chunks, .. } => {
                self.event(now, p, "repairs", format!("{chunks} chunks"))
            }
            Note::Straggler { chunks, .. } => {
                self.event(now, p, "drops straggler", format!("{chunks} chunks"));
            }
            Note::Abandoned { reason, .. } => {
                self.abandoned += 1;
                self.event(now, p, "abandons", reason.clone());
            }
            Note::CatchingUp { from, to } => {
                self.activity(now, p, Activity::CatchingUp);
                self.event(now, p, "catches up", format!("from round {from} to {to}"));
            }
            Note::Fetched { pieces, .. } => {
                self.event(now, p, "has its data", format!("{pieces} pieces"));
            }
            Note::Finished { round } => self.event(now, p, "finishes", format!("round {round}")),
            Note::Planned { .. } | Note::Strike { .. } => {}
        }
    }

    /// What it all comes to.
    pub fn summary(&self, scenario: &str, world: &World) -> Summary {
        let now = world.now;
        let of = |past: &[u64], since: &[Option<Time>]| -> u64 {
            let open: u64 = since.iter().flatten().map(|since| now.since(*since).0).sum();
            past.iter().sum::<u64>() + open
        };
        let training = of(&self.training_us, &self.training_since);
        let alive = of(&self.alive_us, &self.alive_since);
        let tokens: u64 = self.rounds.iter().map(|row| row.tokens).sum();
        let traffic = &world.net.traffic;
        Summary {
            scenario: scenario.to_owned(),
            seed: world.seed,
            hosts: self.names.len(),
            virtual_s: now.since(Time::ZERO).as_secs_f64(),
            rounds: self.rounds.len() as u64,
            tokens,
            tokens_per_s: tokens as f64 / now.since(Time::ZERO).as_secs_f64().max(1e-9),
            utilisation: training as f64 / alive.max(1) as f64,
            sent: Spread::of(traffic.iter().map(|t| t.sent)),
            received: Spread::of(traffic.iter().map(|t| t.received)),
            rounds_lost: self.plans.lost.len() as u64,
            loss: self.losses.as_ref().map(|losses| losses.come_to(&self.rounds)),
            abandoned: self.abandoned,
            joins: self.joins,
            deaths: self.deaths,
            inputs: world.inputs,
            trace: world.trace_digest().short(),
        }
    }
}

#[test]
fn a_round_is_lost_when_nobody_carries_its_plan_through() {
    let name = |n: u8| Digest([n; 32]);
    let mut plans = Plans::default();
    plans.given_up(name(1));
    plans.given_up(name(1));
    plans.given_up(name(2));
    plans.committed(0, name(2));
    plans.committed(0, name(3));
    plans.given_up(name(3));
    plans.committed(1, name(4));
    plans.given_up(name(2));
    assert_eq!(plans.lost, BTreeSet::from([name(1)]));
}
