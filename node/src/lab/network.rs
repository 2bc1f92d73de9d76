//! How long a run takes on another network than the one it was run on. Losses do not depend on the network while everybody takes
//! part in every round, so that times are found with sizes alone, and only for a few rounds: all are alike.

use super::file::Network;
use super::grid::Run;
use shoal_protocol::run::RunSpec;
use shoal_sim::cohort;

/// Links that times are told for, in Mbit/s both ways.
pub const SPEEDS_MBIT: [f64; 3] = [50.0, 200.0, 1000.0];
/// Rounds that are timed.
const ROUNDS: u64 = 6;

/// When rounds end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The first that counts work.
    pub first_s: f64,
    /// Each after it.
    pub round_s: f64,
}

impl Pace {
    /// The end of a round, or of the share of one.
    pub fn at(&self, round: f64) -> f64 {
        if round <= 1.0 {
            round * self.first_s
        } else {
            self.first_s + (round - 1.0) * self.round_s
        }
    }
}

/// The pace of a run on links of so many Mbit/s.
///
/// # Errors
/// The cluster came to no end.
pub fn pace(run: &Run, mbit: f64) -> Result<Pace, String> {
    let setting = &run.setting;
    let network = Network { up_mbit: mbit, down_mbit: mbit, ..setting.network };
    if let Some(each_s) = setting.direct_s(&network) {
        return Ok(Pace { first_s: each_s, round_s: each_s });
    }
    let rounds = setting.length.rounds.min(ROUNDS);
    let spec = RunSpec { rounds: rounds + 1, ..setting.spec.clone() };
    let hosts = network.hosts(setting.workers);
    let carried = cohort::carry(spec, &hosts, setting.spec.seed, rounds, None)?;
    let ends: Vec<f64> = carried.rounds.iter().map(|round| round.at_s).collect();
    let (first_s, last_s) = (ends[0], ends[ends.len() - 1]);
    let round_s = if rounds > 1 { (last_s - first_s) / (rounds - 1) as f64 } else { first_s };
    Ok(Pace { first_s, round_s })
}

/// The round, or the share of one, in which the loss falls to the target, by straight lines between measurements. None if it
/// never does.
pub fn reaches(run: &Run, target: f64) -> Option<f64> {
    let curve = &run.point.curve;
    if curve.first()?.loss <= target {
        return Some(0.0);
    }
    let pair = curve.windows(2).find(|pair| pair[1].loss <= target)?;
    let share = (pair[0].loss - target) / (pair[0].loss - pair[1].loss);
    let (from, to) = (pair[0].round as f64, pair[1].round as f64);
    Some(from + share * (to - from))
}

#[test]
fn a_pace_goes_through_its_first_round() {
    let pace = Pace { first_s: 10.0, round_s: 4.0 };
    let ends: Vec<f64> = [0.0, 0.5, 1.0, 3.0].map(|round| pace.at(round)).to_vec();
    assert_eq!(ends, [0.0, 5.0, 10.0, 18.0]);
}
