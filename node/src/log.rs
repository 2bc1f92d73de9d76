//! What is logged: to stderr, one line an event, `RUST_LOG` honoured.

use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Without `RUST_LOG`: what the node itself says, and of the libraries below it only what a person can mend.
pub const FILTER: &str = "error,shoal=info,shoal_node=info,shoal_protocol=info,libp2p_mdns=off";

/// Starts logging. Once is enough: later calls change nothing.
pub fn start() {
    // A filter that cannot be read is as good as none; who set it sees the usual lines.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_timer(ClockTime)
        .with_target(false)
        .finish();
    // An error means that somebody has started it already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Hours, minutes, seconds and milliseconds of the day, UTC: nodes far apart show the same time.
struct ClockTime;

impl FormatTime for ClockTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        w.write_str(&clock(since))
    }
}

fn clock(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs() % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", since_epoch.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_anew_every_day() {
        let rows =
            [(0, "00:00:00.007Z"), (86_399, "23:59:59.007Z"), (86_400 + 3661, "01:01:01.007Z")];
        for (seconds, expected) in rows {
            assert_eq!(clock(Duration::new(seconds, 7_000_000)), expected);
        }
    }

    #[test]
    fn the_usual_filter_is_one() {
        assert!(EnvFilter::try_new(FILTER).is_ok());
    }
}
