//! Gossip: runs without one state for all. Peers average in small groups, which change from round to round.

use super::{SpecError, check};
use serde::{Deserialize, Serialize};

/// How peers find their groups, and what they do with what comes of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipSpec {
    /// Axes of the grid that peers have their places in; in a round groups form along one of them.
    pub axes: u32,
    /// Places along an axis. With `places^axes` about the number of peers, about so many meet in a cell; with one axis all do.
    pub places: u32,
    /// Whether those who meet go on in pairs (NoLoCo), or all together (Moshpit).
    pub pairs: bool,
    /// What the outer step keeps of the one before.
    pub alpha: f32,
    /// What it takes of the group's mean progress.
    pub beta: f32,
    /// What it takes of the way to the group's mean parameters.
    pub gamma: f32,
    /// Whether peers claim their places, which wants all of them to know each other; else a place follows from its peer's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
}

/// Most axes. Guess: 64 places on eight axes are more peers than there are computers.
pub const AXES_MAX: u32 = 8;
/// Most places along one.
pub const PLACES_MAX: u32 = 64;

impl GossipSpec {
    /// Pairs, with NoLoCo's momentum (arXiv 2506.10911, section 3). `gamma` is ours: the consensus distance is least near 1.
    pub fn noloco(axes: u32, places: u32) -> GossipSpec {
        GossipSpec { axes, places, pairs: true, alpha: 0.5, beta: 0.7, gamma: 0.9, claimed: false }
    }

    /// Groups that take the plain mean of their parameters (Moshpit SGD, arXiv 2103.03239, algorithm 1).
    pub fn moshpit(axes: u32, places: u32) -> GossipSpec {
        GossipSpec { axes, places, pairs: false, alpha: 0.0, beta: 1.0, gamma: 1.0, claimed: false }
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        let share = |x: f32| (0.0..2.0).contains(&x);
        check((1..=AXES_MAX).contains(&self.axes), "gossip.axes", || {
            format!("must be 1 to {AXES_MAX}")
        })?;
        check((1..=PLACES_MAX).contains(&self.places), "gossip.places", || {
            format!("must be 1 to {PLACES_MAX}")
        })?;
        check((0.0..1.0).contains(&self.alpha), "gossip.alpha", || {
            "must be at least 0 and below 1".into()
        })?;
        check(share(self.beta), "gossip.beta", || "must be at least 0 and below 2".into())?;
        check(share(self.gamma), "gossip.gamma", || "must be at least 0 and below 2".into())
    }
}
