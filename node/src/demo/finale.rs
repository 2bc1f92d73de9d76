//! What is told when all have finished: a sample of the model's text, the loss curve, the checkpoint, and what it all came to.

use super::Plan;
use super::cast::{Credit, Fate};
use super::folder::Folder;
use super::history::Row;
use super::recipe::Recipe;
use super::report::{NodeReport, Report};
use super::stage::Played;
use super::table::{bytes, grouped, short};
use crate::chart::{LossChart, Mark};
use crate::data::Tokenizer;
use crate::model::Llama;
use crate::store::{self, Checkpoint};
use crate::train::{SampleSpec, sample, set_threads};
use anyhow::{Context, Result};
use std::path::Path;
use tch::Device;

/// Tokens of the sample.
const SAMPLE_TOKENS: usize = 400;

/// Writes the pictures and the report, and tells the rest.
pub(super) fn tell(plan: &Plan, recipe: &Recipe, folder: &Folder, played: &Played) -> Result<()> {
    let rows: Vec<Row> = played.history.rows().collect();
    let checkpoint = folder.keep_checkpoint(last_checkpoint(&played.nodes)?)?;
    let text = sample_text(plan, recipe, &store::load(&checkpoint)?)?;
    let pictures = chart(plan, recipe, played, &rows).write(folder.pictures())?;
    println!("\nThe model goes on from {:?}:\n", recipe.prompt.trim_end());
    println!("    {}\n", format!("{}{text}", recipe.prompt).replace('\n', "\n    "));
    summary(plan, played, &rows).iter().for_each(|line| println!("{line}"));
    println!("\nloss curve   {}\n             {}", pictures[0].display(), pictures[1].display());
    if plan.report.is_some() {
        println!("report       {}", write_report(recipe, folder, played, rows)?);
    }
    println!("checkpoint   {}", checkpoint.display());
    folder.tidy();
    Ok(())
}

fn last_checkpoint(nodes: &[Credit]) -> Result<&Path> {
    let mut live = nodes.iter().filter(|node| node.fate != Fate::Killed);
    let found = live.find_map(|node| node.status.checkpoint.as_deref());
    found.context("no node has told of a checkpoint")
}

fn sample_text(plan: &Plan, recipe: &Recipe, checkpoint: &Checkpoint) -> Result<String> {
    set_threads(plan.threads);
    let mut model = Llama::new(&checkpoint.spec.model, Device::Cpu)?;
    model.load_flat(&checkpoint.params)?;
    let (prompt, seed) = (recipe.prompt.clone(), plan.seed);
    let spec = SampleSpec { prompt, seed, tokens: SAMPLE_TOKENS, ..SampleSpec::default() };
    Ok(sample(&model, &Tokenizer::Bytes, &spec)?)
}

fn chart(plan: &Plan, recipe: &Recipe, played: &Played, rows: &[Row]) -> LossChart {
    let points = |loss: fn(&Row) -> Option<f64>| {
        rows.iter().filter_map(|row| loss(row).map(|loss| (row.round, loss))).collect()
    };
    let marks = played.history.events.iter().map(|event| {
        let what = if event.killed { "killed" } else { "joins" };
        Mark { round: event.round, label: format!("{} {what}", event.node), loss: event.killed }
    });
    LossChart {
        title: "Loss by round".into(),
        subtitle: recipe.headline(plan.nodes),
        train: points(|row| row.train_loss),
        val: points(|row| row.val_loss),
        marks: marks.collect(),
    }
}

fn write_report(
    recipe: &Recipe,
    folder: &Folder,
    played: &Played,
    rows: Vec<Row>,
) -> Result<String> {
    let report = Report {
        run_id: recipe.spec.id().to_string(),
        seconds: played.seconds,
        nodes: played.nodes.iter().map(NodeReport::from).collect(),
        rounds: rows.into_iter().map(Into::into).collect(),
    };
    let path = folder.pictures().join("report.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}

/// What it came to, line by line.
fn summary(plan: &Plan, played: &Played, rows: &[Row]) -> Vec<String> {
    let live: Vec<&Credit> = played.nodes.iter().filter(|node| node.fate != Fate::Killed).collect();
    let digest = live.first().map_or("", |node| short(&node.status.digest));
    let mut lines = vec![format!(
        "{} nodes stand at round {} with the digest {digest}, after {:.0} s.",
        live.len(),
        plan.rounds,
        played.seconds
    )];
    lines.extend(losses(rows));
    lines.extend(played.history.events.iter().map(|event| format!("{}.", event.line)));
    lines.push(lost_rounds(rows));
    lines.push(effort(&played.nodes, rows, played.seconds));
    lines
}

fn losses(rows: &[Row]) -> Option<String> {
    let known = || rows.iter().filter_map(|row| row.val_loss.map(|loss| (row.round, loss)));
    let ((first, before), (last, after)) = (known().next()?, known().next_back()?);
    let trained = rows.iter().rev().find_map(|row| row.train_loss);
    let trained = trained.map_or(String::new(), |loss| format!("; {loss:.3} in the last training"));
    Some(format!(
        "Held-out loss: {before:.3} after round {first}, {after:.3} after round {last}{trained} (nats per token)."
    ))
}

fn lost_rounds(rows: &[Row]) -> String {
    let again: Vec<String> =
        rows.iter().filter(|row| row.attempt > 0).map(|row| row.round.to_string()).collect();
    match again.is_empty() {
        true => "No round was lost or begun again.".into(),
        false => format!("Rounds that needed a second convener: {}.", again.join(", ")),
    }
}

fn effort(nodes: &[Credit], rows: &[Row], seconds: f64) -> String {
    let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
    let memory = nodes.iter().map(|node| node.status.peak_memory_bytes).max().unwrap_or(0);
    let sent: u64 = rows.iter().map(|row| row.bytes_sent_per_peer).sum();
    format!(
        "{} tokens in committed rounds ({} a second over all), {} sent by each node a round, at most {} of memory in a node.",
        grouped(tokens),
        grouped((tokens as f64 / seconds.max(1e-3)) as u64),
        bytes(sent / (rows.len() as u64).max(1)),
        bytes(memory),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u64, attempt: u32, val_loss: Option<f64>) -> Row {
        Row { round, attempt, val_loss, tokens: 1_000, ..Row::default() }
    }

    #[test]
    fn tells_what_was_lost_and_won() {
        let rows = [row(1, 0, Some(3.5)), row(2, 0, None), row(3, 0, Some(2.25))];
        let line = losses(&rows).unwrap();
        assert!(line.contains("3.500 after round 1, 2.250 after round 3"), "{line}");
        let trained = [rows[0].clone(), Row { train_loss: Some(2.0), ..rows[2].clone() }];
        assert!(losses(&trained).unwrap().contains("round 3; 2.000 in the last training (nats"));
        assert_eq!(losses(&rows[1..2]), None);
        assert_eq!(lost_rounds(&rows), "No round was lost or begun again.");
        assert!(lost_rounds(&[row(1, 0, None), row(2, 1, None)]).ends_with(": 2."));
        assert!(
            effort(&[], &rows, 2.0).starts_with("3,000 tokens in committed rounds (1,500 a second")
        );
    }
}
