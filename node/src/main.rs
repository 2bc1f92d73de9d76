//! Stand-in.

use clap::Parser;
use shoal_node::cli::{Cli, Command, bench, demo};

fn main() -> anyhow::Result<()> {
    shoal_node::net::tune_allocator();
    match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Node(args) => demo::run_node(args),
        Command::Bench(args) => bench::run(args),
    }
}
