//! How far a preparation is: a bar on a terminal, else a line every few seconds.

use indicatif::{ProgressBar, ProgressStyle};
use shoal_node::interrupt;
use shoal_node::prepare::read::Amount;
use shoal_node::prepare::report::size;
use shoal_node::prepare::{Unit, Watch};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on stderr and listens for Ctrl-C.
pub struct Progress {
    bar: Option<ProgressBar>,
    pass: &'static str,
    unit: Unit,
    begun: Instant,
    last_line: Instant,
}

impl Progress {
    /// From now on Ctrl-C is heard.
    pub fn start() -> Progress {
        interrupt::listen();
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(0));
        let now = Instant::now();
        Progress { bar, pass: "", unit: Unit::Bytes, begun: now, last_line: now }
    }

    fn line(&self, amount: Amount, documents: u64) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        let rate = amount.done as f64 / seconds;
        let percent = 100.0 * amount.done as f64 / amount.all.max(1) as f64;
        let left = amount.all.saturating_sub(amount.done) as f64 / rate.max(1e-9);
        let rate = match self.unit {
            Unit::Bytes => format!("{}/s, {documents} documents", size(rate as u64)),
            Unit::Documents => format!("{rate:.0} documents/s"),
        };
        format!("{}: {percent:.0} %, {rate}, {left:.0} s left", self.pass)
    }
}

impl Watch for Progress {
    fn begin(&mut self, pass: &'static str, unit: Unit) {
        (self.pass, self.unit, self.begun) = (pass, unit, Instant::now());
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_style(
                ProgressStyle::with_template("{wide_bar} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_message(pass);
        }
    }

    fn at(&mut self, amount: Amount, documents: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(amount.all);
                bar.set_position(amount.done);
                bar.set_message(self.line(amount, documents));
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                eprintln!("{}", self.line(amount, documents));
                self.last_line = Instant::now();
            }
            None => {}
        }
    }

    fn stop(&self) -> bool {
        interrupt::was_asked()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
