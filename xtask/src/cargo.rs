//! Runs cargo from within a cargo run, as if it had been started from the shell.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

use crate::fault::Fault;
use crate::libtorch;

/// Prefixes of the variables that `cargo run` sets for the program it runs.
const SET_BY_CARGO: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// Tells the user what happens next.
pub fn announce(what: &str) {
    eprintln!("xtask: {what}");
}

/// A cargo command without the variables that the outer cargo set. Some build scripts ask to be run again when
/// those change, so `cargo xtask test` and a plain `cargo test` would rebuild each other's work.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, value) in env::vars_os() {
        if is_from_outer_cargo(&name, &value) {
            command.env_remove(name);
        }
    }
    command
}

/// Hands over to the command for good: its exit code is ours, and so is every signal.
#[cfg(unix)]
pub fn finish_with(command: &mut Command) -> Result<ExitCode, Fault> {
    use std::os::unix::process::CommandExt;
    Err(not_started(command.exec()))
}

/// Runs the command to its end and passes its exit code on.
#[cfg(not(unix))]
pub fn finish_with(command: &mut Command) -> Result<ExitCode, Fault> {
    let status = command.status().map_err(not_started)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn not_started(error: std::io::Error) -> Fault {
    Fault::new(
        format!("cargo could not be started ({error})"),
        "check that `cargo --version` works",
    )
}

fn is_from_outer_cargo(name: &OsStr, value: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let is_our_link = text == "LIBTORCH" && value == libtorch::link_path().as_os_str();
    is_our_link || text == "CARGO" || SET_BY_CARGO.iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_exported_stays() {
        let from_outer =
            |name: &str, value: &str| is_from_outer_cargo(OsStr::new(name), OsStr::new(value));
        assert!(from_outer("CARGO_PKG_NAME", "xtask"));
        assert!(from_outer("CARGO_MANIFEST_DIR", "/x"));
        assert!(!from_outer("CARGO_TARGET_DIR", "/x"));
        assert!(!from_outer("LIBTORCH", "/opt/libtorch"));
        assert!(is_from_outer_cargo(OsStr::new("LIBTORCH"), libtorch::link_path().as_os_str()));
    }
}
