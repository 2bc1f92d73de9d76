//! `shoal-sim`: virtual clusters from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoal_sim::cli::main(std::env::args_os())
}
