//! The project's own tasks: `cargo xtask <task>`. No dependency, so that it builds in seconds.

mod cargo;
mod fault;
mod libtorch;
mod repository;
mod tidy;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use fault::Fault;

const USAGE: &str = "\
usage: cargo xtask <task>

  demo [args…]   find or fetch libtorch, build, train with a few nodes (`demo --help` lists the args)
  test [args…]   find or fetch libtorch, run the whole test suite (args go to `cargo test`)
  libtorch       look for libtorch anew, fetch it if there is none, and link it as .libtorch
  tidy           check what no compiler checks: file length, names, walls between crates
";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let task = args.next().unwrap_or_default();
    perform(&task.to_string_lossy(), args.collect()).unwrap_or_else(|fault| {
        eprintln!("xtask: {fault}");
        ExitCode::FAILURE
    })
}

fn perform(task: &str, args: Vec<OsString>) -> Result<ExitCode, Fault> {
    match task {
        "demo" => demo(args),
        "test" => test(args),
        "libtorch" => libtorch::provision(libtorch::Search::Anew).map(|()| ExitCode::SUCCESS),
        "tidy" => tidy::report(&repository::root()),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        "" => {
            eprint!("{USAGE}");
            Ok(ExitCode::FAILURE)
        }
        _ => Err(Fault::new(format!("there is no task `{task}`"), "`cargo xtask help` lists them")),
    }
}

fn demo(args: Vec<OsString>) -> Result<ExitCode, Fault> {
    libtorch::provision(libtorch::Search::KeepLink)?;
    cargo::announce("building shoal (minutes the first time, seconds afterwards)");
    cargo::finish_with(
        cargo::command()
            .args(["run", "--package", "shoal-node", "--bin", "shoal", "--", "demo"])
            .args(args),
    )
}

fn test(args: Vec<OsString>) -> Result<ExitCode, Fault> {
    libtorch::provision(libtorch::Search::KeepLink)?;
    cargo::announce("building and running every crate's tests (minutes the first time)");
    cargo::finish_with(cargo::command().args(["test", "--workspace"]).args(args))
}
