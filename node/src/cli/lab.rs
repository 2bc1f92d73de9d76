//! `shoal lab`: methods compared on the real model, in virtual time.

use super::device::{self, DeviceName};
use super::{flags, place, say, show};
use clap::Args;
use shoal_node::lab::file::LabFile;
use shoal_node::lab::grid::Grid;
use shoal_node::lab::report::Report;
use shoal_node::lab::text::Text;
use shoal_node::train::set_threads;
use std::path::PathBuf;

/// Compares methods of training together: same tokens, same seeds, the real model, codecs and protocol, in virtual time
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Lab {
    /// A lab file: shared settings, and what each method does differently
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The text to learn from, in place of the file's: a file, or a folder of text files
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Another text to measure on, in place of the file's
    #[arg(long, value_name = "PATH")]
    heldout: Option<PathBuf>,
    /// Folder for report.md, runs.csv, curves.csv, gap.svg, time.svg and finished runs, which are not run again [default: lab-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads to compute with; another number gives other last digits [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where to compute: cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal lab examples/lab/small.toml --out small      a table; small/report.md and two pictures
  shoal lab examples/lab/small.toml --data novels/ --heldout other.txt --out novels
A second start goes on where the first was stopped.";

impl Lab {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let file = LabFile::read(&self.file)?;
        let threads = self.threads.map_or_else(flags::cores, usize::from);
        let device = device::first(Some(self.device))?;
        set_threads(threads);
        let out = self.out.unwrap_or_else(|| format!("lab-{}", file.name).into());
        let cache = place::default_home().join("cache");
        let text = Text::open(&file, self.data.as_deref(), self.heldout.as_deref(), &cache)?;
        let mut grid = Grid::new(&file, &text, &out, (device, threads));
        let cells = grid.run(&|line| eprintln!("{line}"))?;
        let report = Report::new(&file, &cells)?;
        report.write(&out)?;
        let mut lines = show::table(&report.tuning());
        lines.extend((!lines.is_empty()).then(String::new));
        lines.extend(show::table(&report.table()));
        lines.push(String::new());
        lines.extend(report.remarks());
        lines.push(format!("Report and pictures: {}", out.display()));
        say(&(lines.join("\n") + "\n"));
        Ok(())
    }
}
