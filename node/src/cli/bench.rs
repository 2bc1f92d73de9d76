//! `shoal bench`: figures as JSON lines, each with the machine's limit measured in the same run.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_node::bench::allreduce::BenchAllreduce;
use shoal_node::bench::codec::BenchCodec;
use shoal_node::model::Thrift;
use shoal_node::model::preset::{PRESETS, preset, with_vocab};
use shoal_node::train::{BenchTrain, bench_train};
use shoal_protocol::run::{DropoutSpec, ModelSpec, RegularisationSpec};
use tch::Device;

/// Measure this machine: training, codecs, the exchange. Prints JSON lines.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "EXAMPLE\n  shoal bench codec --mib 64")]
pub struct Bench {
    /// What to measure.
    #[command(subcommand)]
    pub what: What,
}

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Training: tokens per second beside the machine's matrix products.
    Train(Train),
    /// Codecs: gigabytes of f32 per second and core, beside memcpy.
    Codec(BenchCodec),
    /// The exchange: seconds to average a vector among several processes, and where the processor time goes.
    Allreduce(BenchAllreduce),
}

/// How training is measured.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "EXAMPLE\n  shoal bench train --preset 10m --vocab 65 --threads 2")]
pub struct Train {
    /// The model's shape, by name.
    #[arg(long, default_value = "10m")]
    pub preset: String,
    /// Tokens in the vocabulary.
    #[arg(long, default_value_t = 65)]
    pub vocab: u32,
    /// Sequences in a step.
    #[arg(long, default_value_t = 12)]
    pub batch: u32,
    /// Tokens in a sequence.
    #[arg(long, default_value_t = 256)]
    pub context: u32,
    /// Steps that count.
    #[arg(long, default_value_t = 12)]
    pub steps: u32,
    /// Threads for libtorch.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// cpu, or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub device: Device,
    /// Sequences that go through the model at once [default: all of a step]
    #[arg(long)]
    pub micro_batch: Option<u32>,
    /// Compute what is inside a layer again in the backward pass.
    #[arg(long)]
    pub recompute: bool,
    /// Share of numbers to drop, everywhere.
    #[arg(long, default_value_t = 0.0)]
    pub dropout: f32,
}

/// A device by name.
fn device(name: &str) -> Result<Device, String> {
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::Cpu),
        None if name == "cuda" => Ok(Device::Cuda(0)),
        Some(("cuda", index)) => {
            index.parse().map(Device::Cuda).map_err(|_| format!("`{index}` is no device number"))
        }
        _ => Err(format!("`{name}` is no device: take cpu or cuda:N")),
    }
}

impl Train {
    fn model(&self) -> Result<ModelSpec> {
        let known =
            || format!("`{}` is no preset: take one of {}", self.preset, PRESETS.join(", "));
        let model = with_vocab(preset(&self.preset).with_context(known)?, self.vocab);
        ensure!(
            self.context > 0 && self.vocab > 1 && self.batch > 0 && self.steps > 0,
            "nothing to measure"
        );
        Ok(ModelSpec { context: self.context, ..model })
    }

    fn measure(self) -> Result<Value> {
        let share = self.dropout;
        ensure!((0.0..1.0).contains(&share), "--dropout {share}: give at least 0 and below 1");
        let dropout = DropoutSpec { embedding: share, attention: share, residual: share };
        Ok(bench_train(&BenchTrain {
            model: self.model()?,
            batch: self.batch,
            steps: self.steps,
            threads: self.threads,
            device: self.device,
            thrift: Thrift { micro_batch: self.micro_batch, recompute: self.recompute },
            regularisation: RegularisationSpec { dropout, label_smoothing: 0.0 },
        })?)
    }
}

/// Measures and prints.
///
/// # Errors
/// Flags that do not go together, or a machine that fails.
pub fn run(args: Bench) -> Result<()> {
    match args.what {
        What::Train(train) => println!("{}", train.measure()?),
        What::Codec(codec) => codec.measure()?.iter().for_each(|line| println!("{line}")),
        What::Allreduce(exchange) => exchange.measure()?.iter().for_each(|line| println!("{line}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: Bench,
    }

    fn parse(flags: &str) -> Result<What> {
        let args = std::iter::once("bench").chain(flags.split_whitespace());
        Ok(Cli::try_parse_from(args)?.bench.what)
    }

    #[test]
    fn the_usual_training_is_the_compared_one() {
        let What::Train(train) = parse("train").unwrap() else { panic!("another bench") };
        let model = train.model().unwrap();
        assert_eq!((model.vocab, model.context, model.params()), (65, 256, 10_671_744));
        assert_eq!((train.batch, train.threads, train.device), (12, 2, Device::Cpu));
    }

    #[test]
    fn flags_are_checked() {
        for flags in ["train --device gpu", "train --device cuda:x", "codec --mib many", "fly"] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        let What::Train(train) = parse("train --preset 2m").unwrap() else {
            panic!("another bench")
        };
        assert!(train.model().unwrap_err().to_string().contains("1m, 5m, 10m"));
    }
}
