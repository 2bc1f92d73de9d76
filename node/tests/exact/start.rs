//! A run that begins with a model that there is already, and learns from a teacher: who has the ticket alone fetches both from peers.

use crate::nodes::Nodes;
use shoal_node::blob::first;
use shoal_node::model::{initial_params, preset};
use shoal_node::status::NodeStatus;
use shoal_node::store::teacher::Teacher;
use shoal_node::store::{floats::bytes_of, hf};
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;
use tempfile::TempDir;

const DISTILL: &str = "[distill]\nteacher = \"teacher\"\n";

fn model(dim: u32) -> ModelSpec {
    let usual = preset("1m").unwrap();
    let usual = ModelSpec { context: 16, init_std: None, ..usual };
    ModelSpec { dim, layers: 1, heads: 2, kv_heads: 2, hidden: 24, ..usual }
}

fn export(model: &ModelSpec, params: &[f32], folder: &Path) {
    hf::export(model, params, &TokenizerSpec::Bytes, None, folder).unwrap();
}

/// A folder with a model to begin with, and a teacher for it.
fn folder() -> (TempDir, Vec<f32>, Teacher) {
    let (small, large) = (model(16), model(32));
    let params = initial_params(&small, 9);
    let teacher = Teacher { params: initial_params(&large, 1), model: large };
    let folder = tempfile::tempdir().unwrap();
    export(&small, &params, &folder.path().join("begin"));
    export(&teacher.model, &teacher.params, &folder.path().join("teacher"));
    (folder, params, teacher)
}

/// Waits for rounds in step that count the work of two.
fn until_both_count(nodes: &mut Nodes) -> Vec<NodeStatus> {
    nodes.until("rounds in step", |nodes| {
        let statuses = crate::in_step(nodes, 1)?;
        let both = statuses.iter().all(|s| s.rounds.back().is_some_and(|r| r.members == 2));
        both.then_some(statuses)
    })
}

#[test]
fn whoever_joins_fetches_what_the_run_begins_with() {
    let (folder, params, teacher) = folder();
    let given = ["begin", "teacher"].map(|name| folder.path().join(name));
    let mut nodes = Nodes::beginning_with(folder, DISTILL);
    nodes.until("the first node's rounds", |nodes| {
        let statuses = nodes.statuses()?;
        (!statuses[0].rounds.is_empty()).then_some(())
    });
    given.iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
    nodes.join(&["b"]);
    until_both_count(&mut nodes);
    let files = nodes.spec.first_blobs();
    let contents = [bytes_of(&params).to_vec(), teacher.bytes()];
    for (file, content) in files.iter().zip(&contents) {
        for name in ["a", "b"] {
            let mut bytes = vec![0; content.len()];
            first::read(&nodes.home(name).join("data"), *file, &mut bytes).unwrap();
            assert!(bytes == *content, "{name}");
        }
    }
    assert_eq!(files.len(), 2);
}

#[test]
fn whoever_does_not_hold_the_teacher_is_told_what_it_says() {
    let (folder, _, _) = folder();
    let mut nodes = Nodes::beginning_with(folder, &format!("{DISTILL}top = 8\n"));
    nodes.join_with(&["b"], "--without-teacher");
    let taught = nodes.until("work of both", |nodes| {
        let statuses = nodes.statuses()?;
        let [a, b] = statuses.as_slice() else { return None };
        let both = b.rounds.back().is_some_and(|round| round.members == 2);
        (both && b.tokens > 0).then_some((a.lessons_given, b.lessons_taken, b.tokens))
    });
    // Each answer is about the four sequences of a batch.
    let (given, taken, tokens) = taught;
    assert!(given > 0 && taken * 4 * 16 >= tokens, "{taught:?}");
    until_both_count(&mut nodes);
    let teacher = nodes.spec.distill.as_ref().unwrap().pieces.unwrap();
    let mut bytes = vec![0; teacher.bytes as usize];
    assert!(first::read(&nodes.home("b").join("data"), teacher, &mut bytes).is_err());
    first::read(&nodes.home("a").join("data"), teacher, &mut bytes).unwrap();
    assert!(nodes.log_lines("b").iter().all(|line| !line.contains("refused")));
}
