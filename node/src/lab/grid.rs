//! Which runs a lab makes: each method's candidates on the tuning seed, then the best of each on all seeds.

use super::course::Length;
use super::file::{Kind, LabFile};
use super::point::{self, Point, Setting};
use super::text::Text;
use std::path::Path;
use std::time::{Duration, Instant};
use tch::Device;

/// A number of workers and a method: what was tried and what it came to.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Workers.
    pub workers: usize,
    /// The method's number in the file.
    pub method: usize,
    /// Final losses of the candidates on the tuning seed; empty if there was nothing to choose.
    pub tried: Vec<Option<f64>>,
    /// The candidate that was chosen.
    pub best: usize,
    /// By seed, in the file's order.
    pub runs: Vec<Run>,
}

/// A run of the grid and what it came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was run.
    pub setting: Setting,
    /// What came of it.
    pub point: Point,
}

/// Runs what is not finished yet, and keeps count.
pub struct Grid<'a> {
    /// What is compared.
    pub file: &'a LabFile,
    /// What is learned.
    pub text: &'a Text,
    /// Where points are kept.
    pub folder: &'a Path,
    /// Where to compute.
    pub device: Device,
    /// Threads of libtorch.
    pub threads: usize,
    progress: Progress,
}

/// What has been done, for a guess at the rest.
struct Progress {
    began: Instant,
    all: usize,
    done: usize,
    /// Tokens trained on in this process, and those left.
    spent: u64,
    seconds: f64,
    left: u64,
}

impl<'a> Grid<'a> {
    /// A grid of which nothing has been run.
    pub fn new(
        file: &'a LabFile,
        text: &'a Text,
        folder: &'a Path,
        (device, threads): (Device, usize),
    ) -> Grid<'a> {
        let trials = file.methods[0].candidates.len();
        let tuned = if trials > 1 { trials } else { 0 };
        let all = file.workers.len() * file.methods.len() * (tuned + file.seeds.len());
        let left = all as u64 * file.tokens;
        let (began, done, spent, seconds) = (Instant::now(), 0, 0, 0.0);
        let progress = Progress { began, all, done, spent, seconds, left };
        Grid { file, text, folder, device, threads, progress }
    }

    /// Runs all. `say` gets a line for each run.
    ///
    /// # Errors
    /// A run failed, or its file cannot be written.
    pub fn run(&mut self, say: &dyn Fn(&str)) -> anyhow::Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for workers in &self.file.workers {
            for method in 0..self.file.methods.len() {
                cells.push(self.cell(*workers, method, say)?);
            }
        }
        Ok(cells)
    }

    fn cell(&mut self, workers: usize, method: usize, say: &dyn Fn(&str)) -> anyhow::Result<Cell> {
        let candidates = self.file.methods[method].candidates.len();
        let mut tried = Vec::new();
        if candidates > 1 {
            for candidate in 0..candidates {
                let setting = self.setting(workers, method, candidate, self.file.tuning_seed);
                let label = &self.file.methods[method].candidates[candidate].label;
                tried.push(self.point(&setting, method, label, say)?.final_loss());
            }
        }
        let best = best(&tried);
        let mut runs = Vec::new();
        for seed in &self.file.seeds {
            let setting = self.setting(workers, method, best, *seed);
            let point = self.point(&setting, method, &format!("seed {seed}"), say)?;
            runs.push(Run { setting, point });
        }
        Ok(Cell { workers, method, tried, best, runs })
    }

    /// The settings of a run.
    pub fn setting(&self, workers: usize, method: usize, candidate: usize, seed: u64) -> Setting {
        let method = &self.file.methods[method];
        let candidate = &method.candidates[candidate];
        let length = self.file.length(method, candidate, workers);
        let mut spec = self.text.spec(candidate);
        (spec.name, spec.seed) = ("lab".into(), seed);
        // One more: the first deals out leases.
        spec.rounds = length.rounds + 1;
        // For outer steps that follow the schedule; local ones have it by steps.
        spec.inner.warmup_rounds = (self.file.warmup * length.rounds as f64).round() as u64;
        if !candidate.chunks_given {
            spec.exchange.chunk_elems = spec.chunk_from(chunk_elems(spec.elems()));
        }
        // Who is there takes part in every round.
        spec.group.quorum_percent = 100;
        let (warmup, evaluations) = (self.file.warmup, self.file.evaluations);
        let length = Length { steps: length.steps, rounds: length.rounds, evaluations, warmup };
        let workers = if method.kind == Kind::Alone { 1 } else { workers };
        Setting { kind: method.kind, workers, spec, length, network: self.file.network }
    }

    /// A run, or what came of it when it was made before.
    fn point(
        &mut self,
        setting: &Setting,
        method: usize,
        what: &str,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Point> {
        let key = setting.key(self.text, self.threads);
        let kept = point::load(self.folder, &key);
        let (point, again) = match kept {
            Some(point) => (point, true),
            None => {
                setting.spec.validate()?;
                let point = setting.run(self.text, self.device)?;
                point::save(self.folder, &key, &point)?;
                (point, false)
            }
        };
        let name = &self.file.methods[method].name;
        let told = point.final_loss().map_or("diverged".into(), |loss| format!("loss {loss:.4}"));
        let workers = setting.workers;
        let progress = self.progress.count(self.file.tokens, (!again).then_some(point.seconds));
        say(&format!("{progress}  {name}, {workers} workers, {what}: {told}"));
        Ok(point)
    }
}

impl Progress {
    /// One more run is done; how far that is, and how long the rest will take.
    fn count(&mut self, tokens: u64, seconds: Option<f64>) -> String {
        self.done += 1;
        self.left = self.left.saturating_sub(tokens);
        let how = match seconds {
            Some(seconds) => {
                self.spent += tokens;
                self.seconds += seconds;
                format!("{seconds:.1} s")
            }
            None => "kept".into(),
        };
        let rest = self.seconds / self.spent.max(1) as f64 * self.left as f64;
        let rest = if self.spent == 0 { "?".into() } else { clock(rest) };
        let (done, all, elapsed) = (self.done, self.all, clock(self.began.elapsed().as_secs_f64()));
        format!("[{done}/{all}, {elapsed} gone, {rest} to go] {how:>7}")
    }
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The lowest loss; the first if there is none.
fn best(tried: &[Option<f64>]) -> usize {
    let losses = tried.iter().enumerate().filter_map(|(n, loss)| Some((n, (*loss)?)));
    losses.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(n, _)| n)
}

/// About a hundred chunks, whole blocks of every codec, none so small that headers matter.
fn chunk_elems(elems: u64) -> u32 {
    (elems.div_ceil(128).next_multiple_of(4096)).clamp(16_384, 131_072) as u32
}

#[test]
fn the_best_is_the_lowest_that_has_come_to_an_end() {
    assert_eq!(best(&[]), 0);
    assert_eq!(best(&[None, None]), 0);
    assert_eq!(best(&[Some(2.0), None, Some(1.5), Some(1.5)]), 2);
}
