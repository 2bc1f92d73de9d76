//! How many local steps: the fewest with which hosts train for the wanted share of the time.
//!
//! A round takes `idle + trains * amount` seconds, where `amount` is steps or milliseconds of training. Two or three simulated rounds
//! find `idle`, which depends little on the amount; what is told of a setting is always simulated at that setting.

use super::derive::{Cluster, Host};
use super::measure::{Round, measure};
use super::{Ask, Codecs, Pace, Setting, bound};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Amounts that are simulated for one strategy and codec at the most.
const TRIES: usize = 8;
/// The fewest steps are known when no more than one in so many could be saved.
const NEAR: u64 = 10;
/// Rounds of a simulation in which somebody is left out of a round: its work is counted in the next.
const UNEVEN_ROUNDS: u64 = 5;

/// One strategy with one codec.
#[derive(Clone, Debug, Serialize)]
pub struct Prospect {
    /// With as few steps as reach the wanted utilisation, or as many as are allowed.
    pub setting: Setting,
    /// Local steps of a host: fewest, median, most.
    pub steps: [u64; 3],
    /// Simulated.
    pub round: Round,
    /// No exchange over these links is shorter, in seconds.
    pub exchange_bound_s: f64,
    /// Whether the wanted utilisation is reached.
    pub reaches: bool,
    /// Most local steps of a host with which it would be reached; none if it never is.
    pub steps_wanted: Option<u64>,
    /// Utilisation that more steps come near to and never pass: hosts of unequal speed wait for each other.
    pub utilisation_most: f64,
    /// What was simulated: most local steps of a host, and the utilisation.
    pub simulated: Vec<(u64, f64)>,
    /// How a round's time follows from the amount.
    pub line: Line,
}

/// Seconds of a round by its amount.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Seconds in which nobody trains.
    pub idle_s: f64,
    /// Seconds that the slowest trains, for each unit.
    pub slowest_s: f64,
    /// Seconds that a host trains on average, for each unit.
    pub mean_s: f64,
    /// Most local steps of a host, for each unit.
    pub steps: f64,
}

impl Line {
    /// Utilisation with an amount.
    pub fn utilisation(&self, amount: f64) -> f64 {
        self.mean_s * amount / (self.idle_s + self.slowest_s * amount)
    }

    /// The amount with a utilisation; none if it is never reached.
    fn amount(&self, utilisation: f64) -> Option<f64> {
        let left = self.mean_s - utilisation * self.slowest_s;
        (left > 1e-9 * self.mean_s).then(|| utilisation * self.idle_s / left)
    }
}

impl Prospect {
    /// Bytes that a host sends in a round: least, median, most.
    pub fn sent(&self) -> [f64; 3] {
        let mut sent: Vec<f64> = self.round.hosts.iter().map(|host| host.sent).collect();
        sent.sort_unstable_by(f64::total_cmp);
        [sent[0], sent[sent.len() / 2], sent[sent.len() - 1]]
    }
}

/// Which of two to recommend: one that reaches the utilisation, with fewer steps; else the one that trains on more tokens.
/// Differences below a hundredth count for nothing: then the order in which the protocol lists them does.
pub fn better_first(a: &Prospect, b: &Prospect) -> Ordering {
    let hundredths = |x: f64| (x.ln() * 100.0).round() as i64;
    let tokens = |p: &Prospect| hundredths(p.round.tokens_per_s);
    let steps = |p: &Prospect| if p.reaches { p.steps[1] } else { 0 };
    let by_reach = b.reaches.cmp(&a.reaches);
    by_reach.then(steps(a).cmp(&steps(b))).then(tokens(b).cmp(&tokens(a)))
}

/// The fewest local steps with which one strategy and codec reach what is asked for, or the most that are allowed.
///
/// # Errors
/// If a simulated round does not end.
pub fn search(cluster: &Cluster, ask: &Ask, pace: Pace, codec: Codecs) -> Result<Prospect, String> {
    let most = amount_most(cluster, pace, ask.steps_max);
    let mut seen: BTreeMap<u64, Round> = BTreeMap::new();
    let mut next = Some(guess(&first_line(cluster, pace, &codec), ask.utilisation, most));
    while let Some(amount) = next.filter(|_| seen.len() < TRIES) {
        let round = simulate(cluster, ask.seed, &Setting { pace, codec, amount })?;
        seen.insert(amount, round);
        let reaches = |round: &Round| round.utilisation >= ask.utilisation;
        let reached = seen.iter().find(|(_, round)| reaches(round)).map(|(amount, _)| *amount);
        let from = reached.unwrap_or(amount);
        let guess = guess(&line_of(cluster, pace, from, &seen[&from]), ask.utilisation, most);
        let tried: Vec<(u64, bool)> = seen.iter().map(|(a, round)| (*a, reaches(round))).collect();
        next = next_amount(&tried, guess, most);
    }
    Ok(prospect(cluster, ask, pace, codec, &seen))
}

/// The amount that a line leads to.
fn guess(line: &Line, utilisation: f64, most: u64) -> u64 {
    line.amount(utilisation).map_or(most, round_up).clamp(1, most)
}

/// What to simulate after these amounts, each with whether it reaches what is wanted, ascending; none once the least that does is
/// known. The guess is from the least that does, if one does, and holds unless it lies where it was tried already: whole steps make utilisation jump where they are few.
fn next_amount(seen: &[(u64, bool)], guess: u64, most: u64) -> Option<u64> {
    let reached = seen.iter().find(|(_, reaches)| *reaches).map(|(amount, _)| *amount);
    let below = seen.iter().map(|(amount, _)| *amount).filter(|a| reached.is_none_or(|r| *a < r));
    let low = below.max().unwrap_or(0);
    let Some(high) = reached else {
        return (low < most).then(|| if guess > low { guess } else { (2 * low).min(most) });
    };
    if guess == high || high <= low + (low / NEAR).max(1) {
        None
    } else if guess > low && guess < high {
        Some(guess)
    } else {
        let middle = (low.max(1) as f64 * high as f64).sqrt() as u64;
        (middle > low && middle < high).then_some(middle)
    }
}

fn prospect(
    cluster: &Cluster,
    ask: &Ask,
    pace: Pace,
    codec: Codecs,
    seen: &BTreeMap<u64, Round>,
) -> Prospect {
    let reached = seen.iter().find(|(_, round)| round.utilisation >= ask.utilisation);
    let (amount, round) = reached.or(seen.last_key_value()).expect("at least one was simulated");
    let setting = Setting { pace, codec, amount: *amount };
    let line = line_of(cluster, pace, *amount, round);
    let most_steps = |amount: u64| spread(cluster, &Setting { pace, codec, amount })[2];
    Prospect {
        setting,
        steps: spread(cluster, &setting),
        round: round.clone(),
        exchange_bound_s: bound::exchange_s(&cluster.hosts, &codec.volume(&cluster.spec)),
        reaches: reached.is_some(),
        steps_wanted: line.amount(ask.utilisation).map(|amount| most_steps(round_up(amount))),
        utilisation_most: (line.mean_s / line.slowest_s).min(1.0),
        simulated: seen.iter().map(|(a, round)| (most_steps(*a), round.utilisation)).collect(),
        line,
    }
}

/// Simulates one setting: one exchange, or more if somebody is left out of it.
///
/// # Errors
/// If a simulated round does not end.
pub fn simulate(cluster: &Cluster, seed: u64, setting: &Setting) -> Result<Round, String> {
    let round = measure(&cluster.coarse(setting, 2), seed, 1)?;
    let all = cluster.hosts.len().min(cluster.spec.group.members_max as usize);
    if round.members >= all {
        return Ok(round);
    }
    measure(&cluster.coarse(setting, UNEVEN_ROUNDS), seed, 1)
}

/// Local steps of a host.
pub fn steps_of(cluster: &Cluster, setting: &Setting, host: &Host) -> u64 {
    match setting.pace {
        Pace::Steps => setting.amount,
        Pace::Time => {
            let tokens = host.tokens_per_s * setting.amount as f64 / 1e3;
            ((tokens / cluster.step_tokens()) as u64).max(1)
        }
    }
}

fn spread(cluster: &Cluster, setting: &Setting) -> [u64; 3] {
    let mut steps: Vec<u64> =
        cluster.hosts.iter().map(|host| steps_of(cluster, setting, host)).collect();
    steps.sort_unstable();
    [steps[0], steps[steps.len() / 2], steps[steps.len() - 1]]
}

/// The amount with which no host takes more steps than are allowed.
fn amount_most(cluster: &Cluster, pace: Pace, steps_max: u32) -> u64 {
    match pace {
        Pace::Steps => u64::from(steps_max),
        Pace::Time => {
            let fastest = cluster.hosts.iter().map(|host| host.tokens_per_s).fold(0.0, f64::max);
            (f64::from(steps_max) * cluster.step_tokens() / fastest * 1e3).ceil().max(1.0) as u64
        }
    }
}

/// From the closed form, to begin with.
fn first_line(cluster: &Cluster, pace: Pace, codec: &Codecs) -> Line {
    let step = |host: &Host| cluster.step_tokens() / host.tokens_per_s;
    let n = cluster.hosts.len() as f64;
    let idle_s = bound::exchange_s(&cluster.hosts, &codec.volume(&cluster.spec));
    let (slowest_s, mean_s) = match pace {
        Pace::Steps => (
            cluster.hosts.iter().map(step).fold(0.0, f64::max),
            cluster.hosts.iter().map(step).sum::<f64>() / n,
        ),
        Pace::Time => (1e-3, 1e-3),
    };
    Line { idle_s, slowest_s, mean_s, steps: 1.0 }
}

/// Through what was simulated.
fn line_of(cluster: &Cluster, pace: Pace, amount: u64, round: &Round) -> Line {
    // Who is left out of rounds trains on while others exchange: then all that is no exchange grows with the amount.
    let idle_s = match round.members < round.hosts.len() {
        true => round.exchange_s,
        false => round.round_s - round.hosts[round.last_ready()].trains_s,
    };
    let fastest = cluster.hosts.iter().map(|host| host.tokens_per_s).fold(0.0, f64::max);
    Line {
        idle_s,
        slowest_s: (round.round_s - idle_s) / amount as f64,
        mean_s: round.utilisation * round.round_s / amount as f64,
        steps: if pace == Pace::Steps { 1.0 } else { fastest / cluster.step_tokens() / 1e3 },
    }
}

/// The next number of two significant digits.
fn round_up(amount: f64) -> u64 {
    let mut unit = 1.0;
    while amount / unit > 99.0 {
        unit *= 10.0;
    }
    ((amount / unit - 1e-9).ceil() * unit).max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_digits() {
        let cases = [(0.2, 1), (7.0, 7), (7.1, 8), (99.0, 99), (99.5, 100), (123.0, 130)];
        for (amount, rounded) in cases.into_iter().chain([(2601.0, 2700), (2700.0, 2700)]) {
            assert_eq!(round_up(amount), rounded, "{amount}");
        }
    }

    #[test]
    fn guesses_are_followed_and_else_the_middle_is_tried() {
        let next = |seen: &[(u64, bool)], guess| next_amount(seen, guess, 1000);
        assert_eq!(next(&[(50, false)], 60), Some(60));
        assert_eq!(
            next(&[(50, false)], 40),
            Some(100),
            "it was not enough, whatever the guess says"
        );
        assert_eq!(next(&[(1000, false)], 1000), None, "more are not allowed");
        assert_eq!(next(&[(50, false), (60, true)], 60), None);
        assert_eq!(next(&[(60, true)], 50), Some(50));
        assert_eq!(next(&[(4, false), (900, true)], 2), Some(60));
        assert_eq!(next(&[(95, false), (100, true)], 2), None);
    }

    /// 10 s of exchange, 2 s a step for the slowest of two and 1 s for the other.
    #[test]
    fn a_line_tells_what_is_reached_and_what_never_is() {
        let line = Line { idle_s: 10.0, slowest_s: 2.0, mean_s: 1.5, steps: 1.0 };
        assert!((line.utilisation(5.0) - 7.5 / 20.0).abs() < 1e-9);
        assert_eq!(line.amount(0.5), Some(10.0));
        assert_eq!(line.amount(0.75), None);
    }
}
