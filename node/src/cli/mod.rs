//! Stand-in: flags of the commands.

pub mod bench;
pub mod demo;

use clap::{Parser, Subcommand};

/// Shoal.
#[derive(Parser)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Demo.
    Demo(demo::Demo),
    /// A node of the demo.
    Node(demo::DemoNode),
    /// Bench.
    Bench(bench::Bench),
}
