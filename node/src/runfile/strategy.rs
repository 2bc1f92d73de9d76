//! The `[strategy]` table: a name, which sets what is absent in this table and in others, and the pieces by themselves.

use super::RunFileError;
use super::document::Section;
use super::read::U32_MAX;
use shoal_protocol::run::strategy::Usual;
use shoal_protocol::run::{LocalWork, Overlap, Strategy, StrategySpec};

/// What local parameters keep of themselves, if nothing is said: half and half.
const KEEP: f32 = 0.5;

/// The pieces, and what the strategy's name sets elsewhere.
pub(super) fn read_strategy(mut table: Section) -> Result<(StrategySpec, Usual), RunFileError> {
    let names = Strategy::ALL.map(|strategy| format!("{:?}", strategy.name())).join(", ");
    let named = table.parsed("name", |name| name.parse().ok(), &format!("one of {names}"))?;
    let usual: Usual = named.unwrap_or(Strategy::default()).usual();
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
    Ok((pieces, usual))
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
