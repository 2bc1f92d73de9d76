//! Which seeds a test runs: all of a fixed number, more on request, or the one that failed.

/// Runs `scenario` for `count` seeds, or as `SHOAL_SEED` and `SHOAL_SEEDS` say.
pub fn for_seeds(count: u64, scenario: impl Fn(u64)) {
    match number("SHOAL_SEED") {
        Some(seed) => scenario(seed),
        None => (0..number("SHOAL_SEEDS").unwrap_or(count)).for_each(scenario),
    }
}

#[expect(clippy::disallowed_methods, reason = "chooses among tests; no session sees it")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
