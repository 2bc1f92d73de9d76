//! How well methods fit what they were trained on beside what was held out: what overfits, and when it began to.

use super::file::LabFile;
use super::grid::Cell;
use super::point::Measured;

/// The losses of a cell, means over its seeds; runs that came to nothing are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Method and workers.
    pub name: String,
    /// From the beginning to the end.
    pub curve: Vec<Measured>,
}

/// Of all cells whose training sequences were measured.
pub fn fits(file: &LabFile, cells: &[Cell]) -> Vec<Fit> {
    let fit = |cell: &Cell| {
        let name = format!("{}, {} workers", file.methods[cell.method].name, cell.workers);
        Fit { name, curve: mean_curve(cell) }
    };
    let measured = |fit: &Fit| fit.curve.iter().any(|at| at.training.is_some());
    cells.iter().map(fit).filter(measured).collect()
}

/// The heading, and a row for each: final losses, the gap between them, and the least held-out loss with its tokens.
pub fn table(fits: &[Fit]) -> Vec<Vec<String>> {
    let heading = ["method", "training", "held out", "gap", "least held out", "at tokens"];
    let rows = fits.iter().filter_map(|fit| {
        let last = fit.curve.last()?;
        let least = fit.curve.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
        let training = last.training?;
        Some(vec![
            fit.name.clone(),
            format!("{training:.4}"),
            format!("{:.4}", last.loss),
            format!("{:.4}", last.loss - training),
            format!("{:.4}", least.loss),
            least.tokens.to_string(),
        ])
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect()
}

fn mean_curve(cell: &Cell) -> Vec<Measured> {
    let whole = cell.runs.iter().map(|run| &run.point).filter(|point| point.failed.is_none());
    let curves: Vec<&[Measured]> = whole.map(|point| point.curve.as_slice()).collect();
    let places = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let mean = |place: usize| {
        let of = |value: fn(&Measured) -> Option<f64>| {
            let all: Option<Vec<f64>> = curves.iter().map(|curve| value(&curve[place])).collect();
            all.map(|all| all.iter().sum::<f64>() / all.len() as f64)
        };
        let loss = of(|at| Some(at.loss)).unwrap_or(f64::NAN);
        Measured { loss, training: of(|at| at.training), ..curves[0][place] }
    };
    (0..places).map(mean).collect()
}

#[test]
fn the_least_loss_is_where_overfitting_begins() {
    let at = |tokens, loss, training| {
        let training = Some(training);
        Measured { tokens, round: tokens, at_s: 0.0, loss, training }
    };
    let curve = vec![at(0, 5.5, 5.5), at(100, 2.0, 1.5), at(200, 2.5, 0.5)];
    let rows = table(&[Fit { name: "a".into(), curve }]);
    assert_eq!(rows[1], ["a", "0.5000", "2.5000", "2.0000", "2.0000", "100"]);
    assert!(table(&[]).is_empty());
}
