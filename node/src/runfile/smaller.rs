//! The tables `[prune]` and `[distill]`: what makes models smaller.

use super::document::Section;
use super::{Lesson, RunFileError};
use shoal_protocol::id::Digest;
use shoal_protocol::run::{Direction, DistillSpec, PruneKind, PruneMethod, PruneSpec};
use std::path::Path;

pub(super) fn read_prune(
    mut table: Section,
    rounds: u64,
) -> Result<Option<PruneSpec>, RunFileError> {
    let sparsity = table.number("sparsity", 0.0)?;
    let pattern = table.parsed("pattern", pattern, "N:M in quotation marks, like \"2:4\"")?;
    let from = table.whole("from", 1..=1_000_000_000, rounds.div_ceil(2))?;
    let until = table.whole("until", 1..=1_000_000_000, from)?;
    let right = "\"magnitude\" or \"wanda\"";
    let method = table.parsed("method", method, right)?.unwrap_or_default();
    let kind = match pattern {
        Some(_) if table.has("sparsity") => {
            return Err(table.fault("sparsity", "does not go with `pattern`: keep one of the two"));
        }
        Some((keep, of)) => Some(PruneKind::Pattern { keep, of }),
        None => table.has("sparsity").then_some(PruneKind::Share { sparsity }),
    };
    let idle = ["from", "until", "method"].into_iter().find(|key| kind.is_none() && table.has(key));
    if let Some(key) = idle {
        return Err(table.fault(key, "needs `sparsity` or `pattern`: what shall become zero?"));
    }
    table.finish()?;
    Ok(kind.map(|kind| PruneSpec { kind, from, until, method }))
}

fn method(name: &str) -> Option<PruneMethod> {
    match name {
        "magnitude" => Some(PruneMethod::Magnitude),
        "wanda" => Some(PruneMethod::Wanda),
        _ => None,
    }
}

fn pattern(text: &str) -> Option<(u8, u8)> {
    let (keep, of) = text.split_once(':')?;
    Some((keep.parse().ok()?, of.parse().ok()?))
}

pub(super) fn read_distill(
    mut table: Section,
    folder: &Path,
) -> Result<Option<Lesson>, RunFileError> {
    let teacher = table.text("teacher")?.map(|path| folder.join(path));
    let direction = |name: &str| match name {
        "forward" => Some(Direction::Forward),
        "reverse" => Some(Direction::Reverse),
        _ => None,
    };
    let right = "\"forward\" or \"reverse\"";
    let spec = DistillSpec {
        teacher: Digest::default(),
        pieces: None,
        temperature: table.number("temperature", 1.0)?,
        weight: table.number("weight", 0.5)?,
        direction: table.parsed("direction", direction, right)?.unwrap_or_default(),
        hidden: table.number("hidden", 0.0)?,
        top: Some(table.whole("top", 0..=1 << 20, 0)? as u32).filter(|top| *top > 0),
    };
    let keys = ["temperature", "weight", "direction", "hidden", "top"];
    let idle = keys.into_iter().find(|key| teacher.is_none() && table.has(key));
    if let Some(key) = idle {
        return Err(table.fault(key, "needs `teacher`: whom shall the model learn from?"));
    }
    table.finish()?;
    Ok(teacher.map(|teacher| Lesson { teacher, spec }))
}
