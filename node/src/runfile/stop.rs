//! The table `[stop]`.

use super::RunFileError;
use super::document::Section;
use super::read::U32_MAX;
use shoal_protocol::run::StopSpec;

/// Reads it; without the table a run ends with its last round.
pub(super) fn read_stop(mut table: Section) -> Result<Option<StopSpec>, RunFileError> {
    let there = table.is_there();
    let spec = StopSpec {
        every: table.whole("every", 1..=1_000_000, 1)?,
        patience: table.whole("patience", 0..=U32_MAX, 5)?,
        min_gain: table.number("min_gain", 0.001)?,
        sequences: table.whole("sequences", 1..=1 << 20, 64)?,
        ema: table.number("ema", 0.0)?,
    };
    table.finish()?;
    Ok(there.then_some(spec))
}
