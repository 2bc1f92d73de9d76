//! A run that begins with a model that there is already, and learns from a teacher: who has the ticket alone fetches both from peers.

use crate::nodes::Nodes;
use shoal_node::blob::first;
use shoal_node::model::{initial_params, preset};
use shoal_node::store::teacher::Teacher;
use shoal_node::store::{floats::bytes_of, hf};
use shoal_protocol::run::{ModelSpec, TokenizerSpec};
use std::path::Path;

const DISTILL: &str = "[distill]\nteacher = \"teacher\"\n";

fn model(dim: u32) -> ModelSpec {
    let usual = preset("1m").unwrap();
    ModelSpec { dim, layers: 1, heads: 2, kv_heads: 2, hidden: 24, context: 16, ..usual }
}

fn export(model: &ModelSpec, params: &[f32], folder: &Path) {
    hf::export(model, params, &TokenizerSpec::Bytes, None, folder).unwrap();
}

#[test]
fn whoever_joins_fetches_what_the_run_begins_with() {
    let (small, large) = (model(16), model(32));
    let params = initial_params(&small, 9);
    let teacher = Teacher { params: initial_params(&large, 1), model: large };
    let folder = tempfile::tempdir().unwrap();
    let [begin, teaches] = ["begin", "teacher"].map(|name| folder.path().join(name));
    export(&small, &params, &begin);
    export(&teacher.model, &teacher.params, &teaches);

    let mut nodes = Nodes::beginning_with(folder, DISTILL);
    nodes.until("the first node's rounds", |nodes| {
        let statuses = nodes.statuses()?;
        (!statuses[0].rounds.is_empty()).then_some(())
    });
    [begin, teaches].iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
    nodes.join(&["b"]);
    nodes.until("rounds in step", |nodes| {
        let statuses = crate::in_step(nodes, 1)?;
        let both = statuses.iter().all(|s| s.rounds.back().is_some_and(|r| r.members == 2));
        both.then_some(())
    });
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
