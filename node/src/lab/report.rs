//! What a lab found, as tables: for people, as markdown, and all runs as CSV.

use super::direct::{F32_BYTES, ring_bytes};
use super::file::{Kind, LabFile};
use super::fit::{self, Fit};
use super::grid::{Cell, Run};
use super::network::{Pace, SPEEDS_MBIT, pace, reaches};
use super::picture;
use super::statistics::Interval;
use anyhow::Context;
use std::fmt::Write;
use std::path::Path;

/// Bytes of an element of a gradient in bf16.
const BF16_BYTES: f64 = 2.0;

/// A method with a number of workers, over all seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Workers that share the tokens.
    pub workers: usize,
    /// The method.
    pub method: String,
    /// Mean of the final losses, and half of its interval.
    pub loss: Option<Interval>,
    /// Final losses less the baseline's of the same seed and number of workers; none for the baseline.
    pub gap: Option<Interval>,
    /// Bytes that a worker sent in the whole run, on average.
    pub sent: f64,
    /// And received.
    pub received: f64,
    /// Bytes that a worker sent for each token that it trained on.
    pub sent_per_token: f64,
    /// Bytes of a ring all-reduce of f32 gradients after each step, over those that were sent.
    pub less_than_f32: Option<f64>,
    /// The same for bf16.
    pub less_than_bf16: Option<f64>,
    /// Seconds to the target loss at each of [`SPEEDS_MBIT`], on average; none if a seed never gets there.
    pub to_target_s: [Option<f64>; 3],
}

/// All that is told.
pub struct Report<'a> {
    file: &'a LabFile,
    cells: &'a [Cell],
    /// The loss to which time is taken.
    pub target: Option<f64>,
    /// By cell.
    pub rows: Vec<Row>,
    /// By cell, if training sequences were measured.
    pub fits: Vec<Fit>,
}

impl<'a> Report<'a> {
    /// Sums up the cells of a file.
    ///
    /// # Errors
    /// A run cannot be timed on another network.
    pub fn new(file: &'a LabFile, cells: &'a [Cell]) -> anyhow::Result<Report<'a>> {
        let target = file.target_loss.or_else(|| common_target(cells));
        let rows =
            cells.iter().map(|cell| row(file, cells, cell, target)).collect::<Result<_, _>>();
        let (rows, fits) = (rows.map_err(anyhow::Error::msg)?, fit::fits(file, cells));
        Ok(Report { file, cells, target, rows, fits })
    }

    /// Cells of the main table, the heading first.
    pub fn table(&self) -> Vec<Vec<String>> {
        let speeds = SPEEDS_MBIT.map(|mbit| format!("s at {mbit:.0}"));
        let heading = [
            "workers",
            "method",
            "loss",
            "gap to baseline",
            "sent MB",
            "received MB",
            "B/token",
            "f32 ring",
            "bf16 ring",
        ];
        let mut rows = vec![heading.iter().map(|cell| (*cell).to_owned()).chain(speeds).collect()];
        rows.extend(self.rows.iter().map(Row::cells));
        rows
    }

    /// What has to be known to read the table.
    pub fn remarks(&self) -> Vec<String> {
        let file = self.file;
        let mut remarks = vec![
            format!(
                "{} tokens in each run, {} seeds; loss in nats a token on {} held-out sequences; intervals are 95 % (Student's t, \
                 paired by seed with {:?}).",
                file.tokens, file.seeds.len(), file.heldout_sequences, file.methods[file.baseline].name
            ),
            "Bytes are one worker's: payloads, headers and control frames. \"f32 ring\" is how many times as much a ring all-reduce \
             of f32 gradients after each step would send, \"bf16 ring\" the same for bf16."
                .into(),
        ];
        remarks.extend(self.target.map(|target| {
            format!("\"s at N\": virtual seconds to a loss of {target:.4} with N Mbit/s up and down, {} ms to the core, {} tokens/s.",
                file.network.latency_ms, file.network.tokens_per_s)
        }));
        if file.methods.iter().any(|method| method.kind == Kind::Sync) {
            remarks.push("Methods of kind \"sync\" are direct computations: one model on all workers' batches; bytes and times are the \
                          ring's by formula.".into());
        }
        if self.runs().any(|(_, run)| run.setting.spec.gossip.is_some()) {
            remarks.push("Methods by gossip are direct computations too, in which nobody is late: losses are those of the first worker's \
                          own parameters, bytes are payloads alone, times follow by formula.".into());
        }
        let short: u64 = self.runs().map(|(_, run)| run.point.short_rounds).sum();
        if short > 0 {
            remarks.push(format!("In {short} rounds not all workers had a part."));
        }
        let spent: f64 = self.runs().map(|(_, run)| run.point.seconds).sum();
        let arithmetic: f64 = self.runs().map(|(_, run)| run.point.arithmetic_s).sum();
        remarks.push(format!(
            "Runs cost {spent:.0} s, {:.1} % of it outside of training and measuring.",
            100.0 * (1.0 - arithmetic / spent.max(1e-9))
        ));
        remarks
    }

    /// Candidates and what they came to, the heading first; none if nothing was tuned.
    pub fn tuning(&self) -> Vec<Vec<String>> {
        let tuned = self.cells.iter().filter(|cell| !cell.tried.is_empty());
        let rows: Vec<Vec<String>> = tuned.flat_map(|cell| self.tuning_of(cell)).collect();
        if rows.is_empty() {
            return rows;
        }
        let heading = ["workers", "method", "candidate", "loss", ""].map(str::to_owned).to_vec();
        std::iter::once(heading).chain(rows).collect()
    }

    fn tuning_of(&self, cell: &Cell) -> Vec<Vec<String>> {
        let method = &self.file.methods[cell.method];
        let tried = cell.tried.iter().enumerate().map(|(n, loss)| {
            let loss = loss.map_or("diverged".into(), |loss| format!("{loss:.4}"));
            let label = method.candidates[n].label.clone();
            let chosen = if n == cell.best { "chosen" } else { "" };
            vec![cell.workers.to_string(), method.name.clone(), label, loss, chosen.into()]
        });
        tried.collect()
    }

    fn runs(&self) -> impl Iterator<Item = (&Cell, &Run)> {
        self.cells.iter().flat_map(|cell| cell.runs.iter().map(move |run| (cell, run)))
    }

    /// The whole report as markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}", self.file.name, markdown(&self.table()));
        self.remarks().iter().for_each(|remark| out += &format!("\n{remark}\n"));
        let fits = fit::table(&self.fits);
        if !fits.is_empty() {
            out += &format!("\n## Fit, means over seeds\n\n{}", markdown(&fits));
        }
        let tuning = self.tuning();
        if !tuning.is_empty() {
            let seed = self.file.tuning_seed;
            out += &format!("\n## Tuning, on seed {seed}\n\n{}", markdown(&tuning));
        }
        out
    }

    /// Every run in a line, and every measurement of it in another file's lines.
    pub fn csv(&self) -> (String, String) {
        let name = |cell: &Cell| quoted(&self.file.methods[cell.method].name);
        let mut runs = "workers,method,candidate,seed,loss,sent_bytes,received_bytes,tokens,virtual_s,seconds,arithmetic_s,trace\n".to_owned();
        let mut curves = "workers,method,seed,tokens,round,virtual_s,loss,training\n".to_owned();
        for (cell, run) in self.runs() {
            let (point, seed) = (&run.point, run.setting.spec.seed);
            let candidate = &self.file.methods[cell.method].candidates[cell.best].label;
            let (sent, received) = mean_bytes(run);
            let loss = point.final_loss().map_or(String::new(), |loss| loss.to_string());
            let _ = writeln!(
                runs,
                "{},{},{},{seed},{loss},{sent:.0},{received:.0},{},{:.3},{:.3},{:.3},{}",
                cell.workers,
                name(cell),
                quoted(candidate),
                point.tokens,
                point.virtual_s,
                point.seconds,
                point.arithmetic_s,
                point.trace
            );
            for at in &point.curve {
                let (tokens, round, at_s, loss) = (at.tokens, at.round, at.at_s, at.loss);
                let training = at.training.map_or(String::new(), |loss| loss.to_string());
                let _ = writeln!(
                    curves,
                    "{},{},{seed},{tokens},{round},{at_s:.3},{loss},{training}",
                    cell.workers,
                    name(cell)
                );
            }
        }
        (runs, curves)
    }

    /// Writes report.md, runs.csv, curves.csv, gap.svg and time.svg, and fit.svg if training sequences were measured.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let (runs, curves) = self.csv();
        let fit = (!self.fits.is_empty()).then(|| ("fit.svg", picture::fit(&self.fits)));
        let files = [
            ("report.md", self.markdown()),
            ("runs.csv", runs),
            ("curves.csv", curves),
            ("gap.svg", picture::gap(&self.rows)),
            ("time.svg", picture::time(&self.rows, self.target)),
        ];
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, text) in files.into_iter().chain(fit) {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// The worst of the mean final losses, so that every method gets there.
fn common_target(cells: &[Cell]) -> Option<f64> {
    let means = cells.iter().filter_map(|cell| Some(Interval::of(&finals(cell))?.mean));
    means.max_by(f64::total_cmp).map(|worst| (worst * 1e3).ceil() / 1e3)
}

fn finals(cell: &Cell) -> Vec<f64> {
    cell.runs.iter().filter_map(|run| run.point.final_loss()).collect()
}

fn mean_bytes(run: &Run) -> (f64, f64) {
    let (all, n) = (&run.point.bytes, run.point.bytes.len().max(1) as f64);
    let sum = |of: fn(&(u64, u64)) -> u64| all.iter().map(of).sum::<u64>() as f64 / n;
    (sum(|bytes| bytes.0), sum(|bytes| bytes.1))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    sum / f64::from(n.max(1))
}

fn row(file: &LabFile, cells: &[Cell], cell: &Cell, target: Option<f64>) -> Result<Row, String> {
    let of = |cell: &Cell| cell.runs.iter().map(|run| run.point.final_loss()).collect::<Vec<_>>();
    let mut others = cells.iter().filter(|other| other.workers == cell.workers);
    let baseline =
        others.find(|other| other.method == file.baseline).filter(|_| cell.method != file.baseline);
    let sent = mean(cell.runs.iter().map(|run| mean_bytes(run).0));
    let setting = &cell.runs[0].setting;
    let tokens = file.tokens as f64 / setting.workers as f64;
    let step = f64::from(setting.spec.inner.batch) * f64::from(setting.spec.model.context);
    let ring = |bytes| ring_bytes(setting.workers, setting.spec.elems(), bytes) * tokens / step;
    let less = |bytes| (sent > 0.0 && setting.workers > 1).then(|| ring(bytes) / sent);
    Ok(Row {
        workers: cell.workers,
        method: file.methods[cell.method].name.clone(),
        loss: Interval::of(&finals(cell)),
        gap: baseline.and_then(|baseline| Interval::of_pairs(&of(cell), &of(baseline))),
        sent,
        received: mean(cell.runs.iter().map(|run| mean_bytes(run).1)),
        sent_per_token: sent / tokens,
        less_than_f32: less(F32_BYTES),
        less_than_bf16: less(BF16_BYTES),
        to_target_s: times(cell, target)?,
    })
}

fn times(cell: &Cell, target: Option<f64>) -> Result<[Option<f64>; 3], String> {
    let Some(target) = target else { return Ok([None; 3]) };
    let rounds: Option<Vec<f64>> = cell.runs.iter().map(|run| reaches(run, target)).collect();
    let Some(rounds) = rounds else { return Ok([None; 3]) };
    let mut times = [None; 3];
    for (time, mbit) in times.iter_mut().zip(SPEEDS_MBIT) {
        let pace: Pace = pace(&cell.runs[0], mbit)?;
        *time = Some(mean(rounds.iter().map(|round| pace.at(*round))));
    }
    Ok(times)
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let loss = self.loss.map_or("diverged".into(), |loss| format!("{:.4}", loss.mean));
        let gap = self.gap.map_or("-".into(), |gap| gap.to_string());
        let times = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.0}"));
        let ratio = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.1}x"));
        let mut cells = vec![
            self.workers.to_string(),
            self.method.clone(),
            loss,
            gap,
            format!("{:.2}", self.sent / 1e6),
            format!("{:.2}", self.received / 1e6),
            format!("{:.1}", self.sent_per_token),
            ratio(self.less_than_f32),
            ratio(self.less_than_bf16),
        ];
        cells.extend(self.to_target_s.map(times));
        cells
    }
}

fn markdown(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let Some((heading, rest)) = rows.split_first() else { return String::new() };
    let rule = format!("|{}\n", "---|".repeat(heading.len()));
    rest.iter().fold(line(heading) + &rule, |out, row| out + &line(row))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
