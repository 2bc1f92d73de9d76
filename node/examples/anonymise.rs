//! What would be taken out of texts, and how fast: `cargo run --release --example anonymise -- FILE... [--rules RULES] [--show]`.

use anyhow::{Context, bail};
use shoal_node::anonymise::{Anonymiser, Counts, Rules};
use std::path::Path;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let mut files = Vec::new();
    let (mut rules, mut show) = (Rules::default(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--show" => show = true,
            "--rules" => {
                rules = read(&args.next().context("--rules needs the path of a rules file")?)?
            }
            file => files.push(file.to_owned()),
        }
    }
    if files.is_empty() {
        bail!("name the files to read");
    }
    let anonymiser = Anonymiser::new(&rules, None)?;
    anonymiser.clean("Lists and expressions are made ready at their first use: 1.2.3.4, 12 High Street, a@b.org.");
    let (mut counts, mut bytes, mut seconds) = (Counts::default(), 0, 0.0);
    for file in &files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {file} failed"))?;
        let begun = Instant::now();
        let cleaned = anonymiser.clean(&text);
        seconds += begun.elapsed().as_secs_f64();
        bytes += text.len();
        counts.merge(&cleaned.counts);
        for one in cleaned.findings.iter().filter(|_| show) {
            println!(
                "{:12} {:?} {:?}",
                anonymiser.name(one.kind),
                one.span,
                &text[one.span.clone()]
            );
        }
    }
    for (kind, count) in counts.iter() {
        println!("{:12} {count:8}", anonymiser.name(kind));
    }
    println!("{bytes} bytes, {:.1} MB/s", bytes as f64 / 1e6 / seconds);
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Rules> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {path} failed"))?;
    Ok(Rules::parse(&text, Path::new(path))?)
}
