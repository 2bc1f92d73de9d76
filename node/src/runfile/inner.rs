//! The table `[inner]`: an optimiser and a schedule by name, each with the keys that it has.

use super::RunFileError;
use super::document::Section;
use super::read::{U32_MAX, WHOLE_MAX};
use shoal_protocol::run::{DecaySpec, InnerOptimizer, InnerSchedule, InnerSpec};

pub(super) const OPTIMIZERS: [&str; 5] = ["adamw", "adam", "sgd", "rmsprop", "muon"];
pub(super) const SCHEDULES: [&str; 4] = ["cosine", "linear", "wsd", "constant"];

/// A key that not every optimiser has, and those that have it.
type Owned = (&'static str, &'static [&'static str]);

const OF_OPTIMIZERS: [Owned; 8] = [
    ("beta1", &["adamw", "adam", "muon"]),
    ("beta2", &["adamw", "adam", "muon"]),
    ("eps", &["adamw", "adam", "rmsprop", "muon"]),
    ("momentum", &["sgd", "rmsprop", "muon"]),
    ("nesterov", &["sgd", "muon"]),
    ("rms_alpha", &["rmsprop"]),
    ("muon_lr", &["muon"]),
    ("l2", &["adamw", "muon"]),
];

const OF_SCHEDULES: [Owned; 2] =
    [("lr_floor", &["cosine", "linear", "wsd"]), ("decay_share", &["wsd"])];

pub(super) fn read_inner(
    mut inner: Section,
    usual_steps: Option<u32>,
) -> Result<InnerSpec, RunFileError> {
    let optimizer = name_of(&mut inner, "optimizer", &OPTIMIZERS)?;
    let schedule = name_of(&mut inner, "schedule", &SCHEDULES)?;
    refuse_foreign(&inner, optimizer, &OF_OPTIMIZERS)?;
    refuse_foreign(&inner, schedule, &OF_SCHEDULES)?;
    let optimizer = read_optimizer(&mut inner, optimizer)?;
    let spec = InnerSpec {
        steps: inner.whole("steps", 1..=U32_MAX, usual_steps.unwrap_or(50))?,
        batch: inner.whole("batch", 1..=U32_MAX, 16)?,
        round_ms: inner.whole("round_ms", 0..=WHOLE_MAX, 0)?,
        lr: inner.number("lr", 1e-3)?,
        lr_floor: inner.number("lr_floor", 0.1)?,
        warmup_rounds: inner.whole("warmup_rounds", 0..=WHOLE_MAX, 4)?,
        schedule: read_schedule(&mut inner, schedule)?,
        optimizer,
        beta1: inner.number("beta1", 0.9)?,
        beta2: inner.number("beta2", 0.95)?,
        eps: inner.number("eps", 1e-8)?,
        // 0.1 is what language models decay by beside the step; as L2 it would be far too much.
        weight_decay: inner
            .number("weight_decay", if optimizer.decouples() { 0.1 } else { 0.0 })?,
        l2: inner.number("l2", 0.0)?,
        decays: read_decays(&mut inner)?,
        clip: inner.number("clip", 1.0)?,
    };
    inner.finish()?;
    Ok(spec)
}

fn read_decays(inner: &mut Section) -> Result<DecaySpec, RunFileError> {
    let usual = DecaySpec::default();
    Ok(DecaySpec {
        embeddings: inner.switch("decay_embeddings", usual.embeddings)?,
        norms: inner.switch("decay_norms", usual.norms)?,
    })
}

/// One of the names, or the first if the key is absent.
fn name_of(
    inner: &mut Section,
    key: &'static str,
    names: &[&'static str],
) -> Result<&'static str, RunFileError> {
    let known = |name: &str| names.iter().copied().find(|known| *known == name);
    let right = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    Ok(inner.parsed(key, known, &format!("one of {right}"))?.unwrap_or(names[0]))
}

/// Refuses keys that others have and `chosen` has not: a setting without effect would only look like one.
fn refuse_foreign(inner: &Section, chosen: &str, keys: &[Owned]) -> Result<(), RunFileError> {
    let foreign: Vec<&Owned> =
        keys.iter().filter(|(key, owners)| inner.has(key) && !owners.contains(&chosen)).collect();
    let Some((first, owners)) = foreign.first() else { return Ok(()) };
    let drop: Vec<String> = foreign.iter().map(|(key, _)| format!("`{key}`")).collect();
    let owners: Vec<String> = owners.iter().map(|owner| format!("\"{owner}\"")).collect();
    let (drop, owners) = (drop.join(", "), owners.join(", "));
    Err(inner.fault(
        first,
        format!("\"{chosen}\" has no such setting: drop {drop} (`{first}` goes with {owners})"),
    ))
}

/// PyTorch's values for what is absent; Muon's learning rate is that of its first release.
fn read_optimizer(inner: &mut Section, name: &str) -> Result<InnerOptimizer, RunFileError> {
    inner.know(&OF_OPTIMIZERS.map(|(key, _)| key));
    Ok(match name {
        "adam" => InnerOptimizer::Adam,
        "sgd" => InnerOptimizer::Sgd {
            momentum: inner.number("momentum", 0.0)?,
            nesterov: inner.switch("nesterov", false)?,
        },
        "rmsprop" => InnerOptimizer::RmsProp {
            alpha: inner.number("rms_alpha", 0.99)?,
            momentum: inner.number("momentum", 0.0)?,
        },
        "muon" => InnerOptimizer::Muon {
            lr: inner.number("muon_lr", 0.02)?,
            momentum: inner.number("momentum", 0.95)?,
            nesterov: inner.switch("nesterov", true)?,
        },
        _ => InnerOptimizer::AdamW,
    })
}

fn read_schedule(inner: &mut Section, name: &str) -> Result<InnerSchedule, RunFileError> {
    inner.know(&OF_SCHEDULES.map(|(key, _)| key));
    Ok(match name {
        "linear" => InnerSchedule::Linear,
        "wsd" => InnerSchedule::Wsd { decay: inner.number("decay_share", 0.2)? },
        "constant" => InnerSchedule::Constant,
        _ => InnerSchedule::Cosine,
    })
}
