//! `shoal demo`: node processes on this machine train one model together, one is killed in mid-exchange, one comes late.
//!
//! The demo only watches: it starts processes, reads the status that each node serves, and ends one at its cue. Nothing that a
//! round is made of passes through it.
//!
//! | file | holds |
//! |---|---|
//! | `recipe` | the run: model, text, optimisers |
//! | `folder` | where everything lies, and what stays |
//! | `process` | a node's process: start, first line, end |
//! | `poll` | reading `/api/status` |
//! | `cast` | the nodes and what became of them |
//! | `cue` | who is killed and who joins, and when |
//! | `history` | what was seen: rounds, losses |
//! | `stage` | the loop that ties these together |
//! | `table` | what is on the screen |
//! | `report` | `report.json` |
//! | `finale` | sample, picture, summary |

mod cast;
mod cue;
mod finale;
mod folder;
mod history;
mod poll;
mod process;
pub mod recipe;
pub mod report;
mod stage;
mod table;

pub use process::{Hello, end_with_stdin};

use crate::interrupt;
use anyhow::Context;
use folder::Folder;
use stage::Stage;
use std::path::PathBuf;

/// What is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Nodes that begin.
    pub nodes: usize,
    /// Rounds of the run.
    pub rounds: u64,
    /// The text to learn from; stories if there is none.
    pub data: Option<PathBuf>,
    /// The run and the choice of who is killed follow from it.
    pub seed: u64,
    /// Rounds in whose exchange a node is killed.
    pub kills: Vec<u64>,
    /// Rounds after which a node joins.
    pub joins: Vec<u64>,
    /// Where report and pictures go.
    pub report: Option<PathBuf>,
    /// Where the nodes' files and logs go; a temporary folder otherwise.
    pub home: Option<PathBuf>,
    /// Threads that each node computes with.
    pub threads: usize,
}

/// Plays it to the end.
///
/// # Errors
/// A node that ends by itself, a run that stands still, Ctrl-C, or files that cannot be written.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    interrupt::listen();
    let folder = Folder::prepare(plan)?;
    let outcome = perform(plan, &folder);
    if interrupt::was_asked() && plan.home.is_none() {
        folder.remove();
    }
    outcome.with_context(|| folder.epitaph())
}

fn perform(plan: &Plan, folder: &Folder) -> anyhow::Result<()> {
    let recipe = recipe::Recipe::new(plan, folder)?;
    folder.write_spec(&recipe.spec)?;
    let mut stage = Stage::open(plan, &recipe, folder)?;
    stage.play()?;
    let result = stage.close();
    finale::tell(plan, &recipe, folder, &result)
}
