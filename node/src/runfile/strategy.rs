//! The `[strategy]` table: a name, which sets what is absent in this table and in others, and the pieces by themselves.

use super::RunFileError;
use super::document::Section;
use super::read::U32_MAX;
use shoal_protocol::math::Codec;
use shoal_protocol::run::gossip::{AXES_MAX, PLACES_MAX};
use shoal_protocol::run::strategy::Usual;
use shoal_protocol::run::{GossipSpec, LocalWork, Overlap, Strategy, StrategySpec};

/// What local parameters keep of themselves, if nothing is said: half and half.
const KEEP: f32 = 0.5;

/// The names of the strategies without one state for all.
pub(super) const GOSSIP: [&str; 2] = ["noloco", "moshpit"];

/// What the table says: the pieces of a round, or how peers average in small groups; and what the strategy's name sets elsewhere.
pub(super) struct Told {
    pub(super) pieces: StrategySpec,
    pub(super) gossip: Option<GossipSpec>,
    pub(super) usual: Usual,
}

/// Reads it.
pub(super) fn read_strategy(mut table: Section) -> Result<Told, RunFileError> {
    let all = Strategy::ALL.map(Strategy::name);
    let all: Vec<&str> = all.into_iter().chain(GOSSIP).collect();
    let names: Vec<String> = all.iter().map(|name| format!("{name:?}")).collect();
    let known = |name: &str| all.iter().find(|known| **known == name).copied();
    let named = table.parsed("name", known, &format!("one of {}", names.join(", ")))?;
    if let Some(pairs) = named.and_then(|name| GOSSIP.iter().position(|known| *known == name)) {
        return read_gossip(table, pairs == 0);
    }
    let named = named.and_then(|name| name.parse::<Strategy>().ok());
    let usual: Usual = named.unwrap_or_default().usual();
    let work = |name: &str| match name {
        "steps" => Some(LocalWork::Steps),
        "gradient" => Some(LocalWork::Gradient),
        _ => None,
    };
    let pieces = StrategySpec {
        work: table.parsed("work", work, "\"steps\" or \"gradient\"")?.unwrap_or(usual.pieces.work),
        fragments: table.whole("fragments", 1..=U32_MAX, usual.pieces.fragments)?,
        overlap: read_overlap(&mut table, usual.pieces.overlap)?,
    };
    table.finish()?;
    Ok(Told { pieces, gossip: None, usual })
}

fn read_gossip(mut table: Section, pairs: bool) -> Result<Told, RunFileError> {
    // Parameters travel, which want more bits than their differences. The outer step is the strategy's own.
    let usual = Usual { codec: Codec::Bf16, ..Strategy::LocalSgd.usual() };
    let own = if pairs { GossipSpec::noloco(1, 8) } else { GossipSpec::moshpit(2, 4) };
    let kinds = |name: &str| match name {
        "claimed" => Some(true),
        "drawn" => Some(false),
        _ => None,
    };
    let gossip = GossipSpec {
        pairs,
        axes: table.whole("axes", 1..=u64::from(AXES_MAX), own.axes)?,
        places: table.whole("places", 1..=u64::from(PLACES_MAX), own.places)?,
        claimed: table.parsed("seats", kinds, "\"claimed\" or \"drawn\"")?.unwrap_or(true),
        alpha: table.number("alpha", own.alpha)?,
        beta: table.number("beta", own.beta)?,
        gamma: table.number("gamma", own.gamma)?,
    };
    table.finish()?;
    Ok(Told { pieces: StrategySpec::default(), gossip: Some(gossip), usual })
}

fn read_overlap(table: &mut Section, usual: Overlap) -> Result<Overlap, RunFileError> {
    let kinds = |name: &str| match name {
        "none" => Some(Overlap::None),
        "delayed" => Some(Overlap::Delayed { keep: KEEP }),
        "eager" => Some(Overlap::Eager),
        _ => None,
    };
    let right = "\"none\", \"delayed\" or \"eager\"";
    let overlap = table.parsed("overlap", kinds, right)?.unwrap_or(usual);
    match overlap {
        Overlap::Delayed { keep } => Ok(Overlap::Delayed { keep: table.number("keep", keep)? }),
        _ if table.has("keep") => {
            Err(table.fault("keep", "goes with overlap = \"delayed\" alone: drop it"))
        }
        _ => Ok(overlap),
    }
}
