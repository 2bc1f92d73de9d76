//! `shoal plan`: how much memory a run takes, and how to train it with less.

use super::show;
use anyhow::{Context, ensure};
use clap::Args;
use shoal_node::model::preset::{PRESETS, preset};
use shoal_node::plan::{self, Device, Way};
use shoal_node::runfile::RunFile;
use shoal_protocol::id::Digest;
use shoal_protocol::run::{DataSpec, RunSpec, TokenizerSpec};
use std::path::Path;

/// Tells how much memory training a model takes, of what it consists, and which settings fit a machine.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Plan {
    /// A size by its name (1m to 1b), or a run file
    #[arg(value_name = "MODEL")]
    model: String,
    /// What trains: cpu or cuda
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    device: Device,
    /// The memory that it has, like 8GB or 512MB: then the quickest way that fits is told
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Sequences in a step [default: the run file's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    batch: Option<u32>,
    /// Tokens in a sequence [default: the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    context: Option<u32>,
    /// Tokens in the vocabulary [default: the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    vocab: Option<u32>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal plan 125m
  shoal plan run.toml --memory 8GB
  shoal plan 350m --device cuda --memory 24GB --batch 32

Of a cluster of computers (time, bytes, links): shoal sim plan.";

impl Plan {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let spec = self.spec()?;
        super::say(&text(&spec, self.device, self.memory));
        Ok(())
    }

    fn spec(&self) -> anyhow::Result<RunSpec> {
        let mut spec = read(&self.model)?;
        spec.inner.batch = self.batch.unwrap_or(spec.inner.batch);
        spec.model.context = self.context.unwrap_or(spec.model.context);
        spec.model.vocab = self.vocab.unwrap_or(spec.model.vocab);
        Ok(spec)
    }
}

/// What a preset or a run file says, without its text and tokenizer.
fn read(model: &str) -> anyhow::Result<RunSpec> {
    let path = Path::new(model);
    let file = match preset(model) {
        Some(_) => {
            let text = format!(
                "name = \"plan\"\n[model]\npreset = \"{model}\"\n[data]\nstories_bytes = 1\n"
            );
            RunFile::parse(&text, path)?
        }
        None => {
            let known = PRESETS.join(", ");
            ensure!(path.exists(), "{model} is neither a run file nor one of {known}");
            RunFile::read(path).with_context(|| format!("{model} is planned for"))?
        }
    };
    let data = DataSpec::Stories { seed: 0, bytes: 1, samples: 1, heldout_permille: 0 };
    let tokenizer = match file.tokenizer {
        Some(_) => TokenizerSpec::File { digest: Digest::default(), pieces: None },
        None => TokenizerSpec::Bytes,
    };
    Ok(file.spec(file.vocab.unwrap_or(file.model.vocab), tokenizer, data))
}

fn text(spec: &RunSpec, on: Device, memory: Option<u64>) -> String {
    let ways = plan::ways(spec, on);
    let mut text = heading(spec, on) + &parts(spec, &ways[0]);
    let mut rows = vec![
        ["MICRO-BATCH", "RECOMPUTE", "ACTIVATIONS", "TRAINING ALONE", "PEAK", ""]
            .map(str::to_owned),
    ];
    rows.extend(ways.iter().map(|way| row(spec, way, on, memory)));
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    text += "\n";
    text.extend(show::table(&rows).into_iter().map(|line| line + "\n"));
    text + &memory.map_or(String::new(), |memory| advice(spec, on, memory))
}

fn heading(spec: &RunSpec, on: Device) -> String {
    let (model, inner) = (&spec.model, &spec.inner);
    let what = match on {
        Device::Cpu => "on a processor, f32",
        Device::Cuda => "on a CUDA device, matrices in bf16",
    };
    format!(
        "{} parameters, {} sequences of {} tokens in a step, {}, {what}\n\n",
        show::count(model.params() as f64),
        inner.batch,
        model.context,
        inner.optimizer.name()
    )
}

fn parts(spec: &RunSpec, first: &Way) -> String {
    let (load, host) = (first.device, plan::host(spec));
    let rows = [
        ("weights", load.weights),
        ("inner optimiser", load.optimiser),
        ("gradients", load.gradients),
        ("program and libraries", load.program),
        ("exchange, in the host's memory, while it trains", host.resting),
        ("  and when a round is committed", host.most),
    ];
    let rows = rows.map(|(what, bytes)| vec![what.to_owned(), show::bytes(bytes)]);
    show::table(&rows).into_iter().map(|line| line + "\n").collect()
}

fn row(spec: &RunSpec, way: &Way, on: Device, memory: Option<u64>) -> [String; 6] {
    let total = plan::total(spec, &way.device, on);
    let fits = match memory {
        Some(memory) if total <= memory => "fits",
        Some(_) => "does not fit",
        None => "",
    };
    [
        way.thrift.micro_batch.unwrap_or(spec.inner.batch).to_string(),
        if way.thrift.recompute { "yes" } else { "no" }.to_owned(),
        show::bytes(way.device.activations),
        show::bytes(way.device.peak),
        show::bytes(total),
        fits.to_owned(),
    ]
}

/// What to start a node with, or what is too large.
fn advice(spec: &RunSpec, on: Device, memory: u64) -> String {
    let Some(way) = plan::fitting(spec, on, memory) else {
        let least = plan::ways(spec, on).iter().map(|way| plan::total(spec, &way.device, on)).min();
        return format!(
            "\nNothing fits {}: the least is {}. Take a smaller model, a shorter context, or an optimiser with fewer vectors.\n",
            show::bytes(memory),
            show::bytes(least.unwrap_or(0))
        );
    };
    let micro = way.thrift.micro_batch.filter(|size| *size < spec.inner.batch);
    let micro = micro.map_or(String::new(), |size| format!(" --micro-batch {size}"));
    let recompute = if way.thrift.recompute { " --recompute" } else { "" };
    format!(
        "\nThe quickest that fits {}: shoal up RUN_FILE{micro}{recompute}\n",
        show::bytes(memory)
    )
}

fn device(name: &str) -> Result<Device, String> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda),
        _ => Err(format!("`{name}` is no kind of device: take cpu or cuda")),
    }
}

/// Bytes, as people write them.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("MIB", 1_048_576.0)];
    let units = units.into_iter().chain([("GIB", 1_073_741_824.0), ("B", 1.0)]);
    let upper = text.trim().to_uppercase();
    let read = |(unit, factor): (&str, f64)| {
        let number: f64 = upper.strip_suffix(unit)?.trim().parse().ok()?;
        (number > 0.0 && number.is_finite()).then_some((number * factor) as u64)
    };
    let wrong = || format!("`{text}` is no size: write it like 8GB, 512MB or 1.5GiB");
    units.into_iter().find_map(read).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let rows = [("8GB", 8_000_000_000), ("1.5 gib", 1_610_612_736), ("512MB", 512_000_000)];
        for (text, expected) in rows {
            assert_eq!(size(text), Ok(expected));
        }
        for text in ["8", "GB", "-1GB", "manyGB", ""] {
            assert!(size(text).unwrap_err().contains("like 8GB"), "{text}");
        }
    }

    #[test]
    fn what_fits_is_told_with_its_flags_and_what_does_not_with_the_least() {
        let spec = read("25m").unwrap();
        let whole = text(&spec, Device::Cpu, Some(100_000_000_000));
        assert!(whole.contains("25") && whole.contains("shoal up RUN_FILE\n"), "{whole}");
        let least = plan::ways(&spec, Device::Cpu)
            .iter()
            .map(|way| plan::total(&spec, &way.device, Device::Cpu))
            .min()
            .unwrap();
        let tight = text(&spec, Device::Cpu, Some(least));
        assert!(tight.contains("shoal up RUN_FILE --micro-batch 1\n"), "{tight}");
        assert!(tight.contains("does not fit"));
        let none = text(&spec, Device::Cpu, Some(least - 1));
        assert!(none.contains("Nothing fits") && none.contains("smaller model"), "{none}");
        assert!(read("2m").unwrap_err().to_string().contains("1m, 5m"));
    }
}
