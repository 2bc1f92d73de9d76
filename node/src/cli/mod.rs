//! The command line: raw flags come in here and leave as validated settings.

mod bench;
mod checkpoint;
mod data;
mod demo;
mod device;
mod eval;
mod export;
mod flags;
mod generate;
mod import;
mod inspect;
mod join;
mod lab;
mod new;
mod place;
mod plan;
mod prune;
mod show;
mod status;
mod up;

use clap::{Parser, Subcommand};
use shoal_sim::cli::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Trains large models on computers that nobody coordinates: a mesh of peers without a leader.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal new -o run.toml            write a run file
  shoal up run.toml                train; prints a ticket
  shoal join TICKET                on another computer: train along
  shoal status                     what this machine's nodes do
  shoal generate ~/.local/share/shoal --prompt 'Once upon a time'";

const SIM_EXAMPLE: &str = "\
EXAMPLE
  shoal sim run examples/clusters/cloud-spot.toml --out spot
  shoal sim replay life.rec        what `shoal up --record life.rec` has recorded";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    #[command(hide = true)]
    Node(demo::DemoNode),
    New(new::New),
    Up(up::Up),
    Join(join::Join),
    Status(status::Status),
    Generate(generate::Generate),
    Eval(eval::Eval),
    Inspect(inspect::Inspect),
    Export(export::Export),
    Import(import::Import),
    Prune(prune::Prune),
    Bench(bench::Bench),
    Plan(plan::Plan),
    Lab(lab::Lab),
    /// Makes text ready for training, looks into it, verifies it, makes new text
    #[command(subcommand, after_help = data::EXAMPLE)]
    Data(data::Data),
    /// Drives the same protocol over virtual hosts, links and faults, as shoal-sim does
    #[command(subcommand, after_help = SIM_EXAMPLE)]
    Sim(shoal_sim::cli::Command),
}

/// Reads the command line and does what it says: 0 if that went well, 1 with a sentence on stderr if not, 2 for wrong usage.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal: {}", sentence(&error));
            ExitCode::from(error.downcast_ref::<Failure>().map_or(1, |failure| failure.code))
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Node(args) => demo::run_node(args),
        Command::New(new) => new.run(),
        Command::Up(up) => up.run(),
        Command::Join(join) => join.run(),
        Command::Status(status) => status.run(),
        Command::Generate(generate) => generate.run(),
        Command::Eval(eval) => eval.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Prune(prune) => prune.run(),
        Command::Bench(args) => bench::run(args),
        Command::Plan(plan) => plan.run(),
        Command::Lab(lab) => lab.run(),
        Command::Data(data) => data.run(),
        Command::Sim(command) => {
            command.run().map(|text| say(&(text + "\n"))).map_err(anyhow::Error::new)
        }
    }
}

/// An error and its causes in one line; a cause that the line tells already is not told again.
fn sentence(error: &anyhow::Error) -> String {
    let add = |line: String, cause: String| match line.contains(&cause) {
        true => line,
        false if line.is_empty() => cause,
        false => format!("{line}: {cause}"),
    };
    error.chain().map(ToString::to_string).fold(String::new(), add)
}

/// Writes to stdout. A reader that has gone away (`| head`) has had enough: that is no error.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn an_error_tells_each_cause_once() {
        let cause = || std::io::Error::other("no room");
        let told = |result: anyhow::Result<()>| sentence(&result.unwrap_err());
        assert_eq!(told(Err(cause()).context("writing x failed")), "writing x failed: no room");
        assert_eq!(
            told(Err(cause()).context("writing x failed (no room)")),
            "writing x failed (no room)"
        );
    }

    #[test]
    fn the_definition_is_sound_and_every_command_has_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("EXAMPLE"), "{}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
