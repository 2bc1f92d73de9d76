//! `shoal data inspect`: samples and statistics of a prepared folder.

use clap::Args;
use shoal_node::chart::Histogram;
use shoal_node::prepare::inspect::Inspection;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Shows samples, statistics and the lengths of documents of a prepared folder.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Inspect {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Samples to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: u64,
    /// Other seeds show other samples
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to write the picture of lengths, lengths.svg and lengths.png [default: no picture]
    #[arg(long, value_name = "DIR")]
    picture: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal data inspect ready --samples 5 --picture .";

/// Characters of a sample.
const SAMPLE_CHARS: usize = 400;
/// Characters of the longest bar.
const BAR: u64 = 40;

impl Inspect {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let inspection = Inspection::open(&self.folder)?;
        let mut out = inspection.text();
        bars(&inspection.lengths(), &mut out);
        for sample in inspection.samples(self.samples, SAMPLE_CHARS, self.seed)? {
            let _ = writeln!(out, "\n--- sample\n{sample}");
        }
        if let Some(folder) = &self.picture {
            for path in picture(&inspection, folder)? {
                let _ = writeln!(out, "\npicture     {}", path.display());
            }
        }
        crate::cli::say(&out);
        Ok(())
    }
}

fn bars(lengths: &[(String, u64)], out: &mut String) {
    let most = lengths.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    if !lengths.is_empty() {
        out.push_str("documents by length, from so many tokens:\n");
    }
    for (name, count) in lengths {
        let bar = "▇".repeat((count * BAR).div_ceil(most) as usize);
        let _ = writeln!(out, "{name:>10}  {bar} {count}");
    }
}

fn picture(inspection: &Inspection, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let manifest = &inspection.manifest;
    let picture = Histogram {
        title: "Lengths of documents".into(),
        subtitle: format!(
            "{} documents, {} tokens; {}",
            manifest.documents,
            manifest.tokens,
            manifest.digest().short()
        ),
        x_name: "from so many tokens, up to twice as many".into(),
        y_name: "documents".into(),
        bars: inspection.lengths(),
    };
    std::fs::create_dir_all(folder)?;
    picture.write(folder, "lengths")
}
