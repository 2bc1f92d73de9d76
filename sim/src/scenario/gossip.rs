//! The key `gossip`: a strategy by its name and the grid.

use serde::{Deserialize, Deserializer};
use shoal_protocol::run::GossipSpec;

/// Which of the two, and how large the grid is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    #[serde(default = "one")]
    axes: u32,
    #[serde(default = "eight")]
    places: u32,
    alpha: Option<f32>,
    beta: Option<f32>,
    gamma: Option<f32>,
    /// Whether peers claim their places, as nodes do that all know each other; else places are drawn.
    #[serde(default)]
    claimed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Noloco,
    Moshpit,
}

fn one() -> u32 {
    1
}

fn eight() -> u32 {
    8
}

pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<GossipSpec>, D::Error> {
    let written = Written::deserialize(from)?;
    let usual = match written.kind {
        Kind::Noloco => GossipSpec::noloco(written.axes, written.places),
        Kind::Moshpit => GossipSpec::moshpit(written.axes, written.places),
    };
    Ok(Some(GossipSpec {
        alpha: written.alpha.unwrap_or(usual.alpha),
        beta: written.beta.unwrap_or(usual.beta),
        gamma: written.gamma.unwrap_or(usual.gamma),
        claimed: written.claimed,
        ..usual
    }))
}
