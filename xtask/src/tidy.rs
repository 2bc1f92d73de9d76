//! What no compiler checks: file length, names, the walls between crates, promises left open.

mod functions;
mod mask;
mod rules;
mod source;

use std::path::Path;
use std::process::ExitCode;

use crate::fault::Fault;
use source::Source;

/// The crates that the rules hold for.
const CRATES: [&str; 5] = ["protocol", "node", "sim", "examples", "xtask"];

/// What was found in the whole repository.
struct Findings {
    /// Each as `file:line: rule`.
    breaches: Vec<String>,
    /// Lengths of the functions outside of tests, sorted, crate by crate.
    lengths: Vec<(&'static str, Vec<usize>)>,
}

/// Prints breaches and the length of functions; the exit code tells whether all is tidy.
pub fn report(root: &Path) -> Result<ExitCode, Fault> {
    let findings = inspect(root)?;
    for (name, lengths) in &findings.lengths {
        println!("{}", summary(name, lengths));
    }
    for breach in &findings.breaches {
        eprintln!("{breach}");
    }
    Ok(if findings.breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inspect(root: &Path) -> Result<Findings, Fault> {
    let mut findings = Findings { breaches: Vec::new(), lengths: Vec::new() };
    let mut everywhere = Vec::new();
    for name in CRATES {
        let sources = source::sources_of(root, name)?;
        findings.breaches.extend(sources.iter().flat_map(rules::breaches));
        let lengths = lengths_of(&sources);
        everywhere.extend_from_slice(&lengths);
        findings.lengths.push((name, lengths));
    }
    everywhere.sort_unstable();
    findings.breaches.extend(rules::median_breach(&everywhere));
    findings.lengths.push(("all crates", everywhere));
    Ok(findings)
}

fn lengths_of(sources: &[Source]) -> Vec<usize> {
    let outside_tests = sources.iter().filter(|source| !source.is_test());
    let mut lengths: Vec<usize> =
        outside_tests.flat_map(|source| functions::lengths(source.code_without_tests())).collect();
    lengths.sort_unstable();
    lengths
}

fn summary(name: &str, sorted: &[usize]) -> String {
    let [median, ninetieth] = [50, 90].map(|percent| functions::percentile(sorted, percent));
    let count = sorted.len();
    format!("{name}: {count} functions, median {median} lines, 90th percentile {ninetieth}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings = inspect(&crate::repository::root()).unwrap();
        for (name, lengths) in &findings.lengths {
            println!("{}", summary(name, lengths));
        }
        assert!(findings.breaches.is_empty(), "\n{}", findings.breaches.join("\n"));
    }
}
