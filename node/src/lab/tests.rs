//! A lab of two methods on a model of a few thousand parameters, run for real.

use super::file::LabFile;
use super::grid::{Cell, Grid};
use super::text::Text;
use std::path::Path;

const FILE: &str = r#"
name = "tiny"
tokens = 4_096
workers = [2]
seeds = [1]
baseline = "sync"
evaluations = 2

[model]
dim = 16
layers = 1
heads = 2
hidden = 32
context = 16
tied = true

[data]
stories_bytes = 60_000
heldout_permille = 50

[heldout]
sequences = 8

[inner]
batch = 4
lr = 0.01

[network]
up_mbit = 20
down_mbit = 100
latency_ms = 15
tokens_per_s = 20_000

[[method]]
name = "sync"
kind = "sync"

[[method]]
name = "diloco"
inner.steps = 8
exchange = { up = "topk-tight", down = "topk", chunk_elems = 4096 }

[[method]]
name = "sync by the protocol"
strategy.name = "sync"

[[method]]
name = "demo"
strategy.name = "demo"
exchange.chunk_elems = 4096

[[method]]
name = "streaming"
strategy = { name = "streaming", fragments = 2 }
inner.steps = 4
exchange.chunk_elems = 4096

[[method]]
name = "eager"
strategy.name = "eager"
inner.steps = 8

[[method]]
name = "noloco"
strategy.name = "noloco"
inner.steps = 8
"#;

fn run(out: &Path) -> Vec<Cell> {
    let path = out.join("tiny.toml");
    std::fs::write(&path, FILE).expect("the folder can be written");
    let file = LabFile::read(&path).expect("it is a lab file");
    let text = Text::open(&file, None, None, &out.join("cache")).expect("stories are made");
    let mut grid = Grid::new(&file, &text, out, (tch::Device::Cpu, 1));
    grid.run(&|_| ()).expect("it runs")
}

/// What a run learned and sent, without what it cost.
fn told(cells: &[Cell]) -> Vec<String> {
    let points = cells.iter().flat_map(|cell| &cell.runs).map(|run| &run.point);
    points
        .map(|p| format!("{:?} {:?} {:?} {} {}", p.failed, p.curve, p.bytes, p.tokens, p.trace))
        .collect()
}

#[test]
fn the_same_lab_gives_the_same_bits_and_finished_runs_are_not_run_again() {
    tch::set_num_threads(1);
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder can be made"));
    let [first, second] = [0, 1].map(|n: usize| run(folders[n].path()));
    assert_eq!(told(&first), told(&second));
    for cell in &first {
        let point = &cell.runs[0].point;
        let (start, end) = (point.curve[0].loss, point.curve[point.curve.len() - 1].loss);
        assert_eq!((&point.failed, point.tokens), (&None, 4_096));
        assert!(end < start, "{start} {end}");
    }
    let (direct, exchanged) = (&first[0].runs[0].point, &first[2].runs[0].point);
    for (direct, exchanged) in direct.curve.iter().zip(&exchanged.curve) {
        let off = (direct.loss - exchanged.loss).abs();
        assert!(off < 1e-4, "data parallel training: {} {}", direct.loss, exchanged.loss);
    }
    let pair = &first[6].runs[0];
    // Four rounds, in which each sends half of its numbers and the mean of the other half, in two bytes a number.
    let each = 4 * 2 * pair.setting.spec.elems();
    assert_eq!(pair.point.bytes, [(each, each); 2]);
    let cost =
        |cells: &[Cell]| cells.iter().map(|cell| cell.runs[0].point.seconds).collect::<Vec<_>>();
    assert_eq!(cost(&run(folders[0].path())), cost(&first), "read from its file");
}
