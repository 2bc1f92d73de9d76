//! Keeps what leaves within the rate that the node's owner gives, an equal share for each peer that is sent to.
//!
//! Flows that push as hard as they can fill the queues before the narrowest link, and congestion control then shares it unevenly
//! for seconds: a round waits for the slowest flow while the others have nothing left to send. Below the link's rate they do not meet.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How far behind its pace a flow may be and still catch up.
const BURST: Duration = Duration::from_millis(20);
/// The grain of timers: shorter waits are not worth a sleep.
const GRAIN: Duration = Duration::from_millis(1);

/// Mbit/s that a node can be bound to: with less, a piece for each of many peers would look like a stall.
const MBIT_MIN: f64 = 0.1;
/// More is no bound on any link that there is.
const MBIT_MAX: f64 = 1e6;

/// The pace of one node's bulk.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes per second that may leave; as many as can if absent.
    rate: Option<u64>,
    /// Flows with a transfer under way.
    active: AtomicUsize,
}

/// What leaves for one peer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// When its next piece may leave.
    next: Option<Instant>,
}

/// A transfer under way, until it is dropped.
pub(super) struct Sending<'a> {
    pace: &'a Pace,
    flow: &'a mut Flow,
}

/// Mbit/s as a flag says them, in bytes per second.
///
/// # Errors
/// What is wrong with it.
pub fn up_mbit(text: &str) -> Result<u64, String> {
    let mbit: Option<f64> = text.parse().ok().filter(|mbit| (MBIT_MIN..=MBIT_MAX).contains(mbit));
    let mbit =
        mbit.ok_or_else(|| format!("take a number of Mbit/s from {MBIT_MIN} to {MBIT_MAX}"))?;
    Ok((mbit * 125_000.0) as u64)
}

impl Pace {
    /// At most so many bytes per second.
    pub(super) fn new(rate: Option<u64>) -> Pace {
        Pace { rate, active: AtomicUsize::new(0) }
    }

    /// A transfer begins.
    pub(super) fn begin<'a>(&'a self, flow: &'a mut Flow) -> Sending<'a> {
        self.active.fetch_add(1, Relaxed);
        Sending { pace: self, flow }
    }

    /// How long so many bytes take at a flow's share; nothing is held back if absent.
    fn takes(&self, bytes: usize) -> Option<Duration> {
        let share = self.rate? as f64 / self.active.load(Relaxed).max(1) as f64;
        Some(Duration::from_secs_f64(bytes as f64 / share))
    }
}

impl Sending<'_> {
    /// Waits until a piece of so many bytes may leave.
    pub(super) async fn turn(&mut self, bytes: usize) {
        let Some(takes) = self.pace.takes(bytes) else { return };
        let now = Instant::now();
        let turn = self.flow.turn(takes, now);
        if turn > now + GRAIN {
            tokio::time::sleep_until(turn.into()).await;
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.pace.active.fetch_sub(1, Relaxed);
    }
}

impl Flow {
    /// When a piece may leave that takes so long at the flow's share.
    fn turn(&mut self, takes: Duration, now: Instant) -> Instant {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = self.next.map_or(earliest, |next| next.max(earliest));
        self.next = Some(turn + takes);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_distance_and_little_is_made_up_for() {
        let start = Instant::now() + BURST;
        let at = |ms| start + Duration::from_millis(ms);
        let takes = Duration::from_millis(30);
        let mut flow = Flow::default();
        assert_eq!(flow.turn(takes, at(0)), at(0) - BURST);
        assert_eq!(flow.turn(takes, at(0)), at(10));
        assert_eq!(flow.turn(takes, at(10)), at(40));
        // Long idle: no more than a burst is owed to it.
        assert_eq!(flow.turn(takes, at(500)), at(480));
        assert_eq!(flow.turn(takes, at(500)), at(510));
    }

    #[test]
    fn what_a_flag_says() {
        assert_eq!(up_mbit("90"), Ok(11_250_000));
        assert_eq!(up_mbit("0.1"), Ok(12_500));
        for wrong in ["0", "-1", "NaN", "inf", "ninety", ""] {
            assert!(up_mbit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn transfers_under_way_share_the_rate() {
        let pace = Pace::new(Some(1000));
        let (mut a, mut b) = (Flow::default(), Flow::default());
        let first = pace.begin(&mut a);
        assert_eq!(pace.takes(500), Some(Duration::from_millis(500)));
        let second = pace.begin(&mut b);
        assert_eq!(pace.takes(500), Some(Duration::from_secs(1)));
        drop(first);
        assert_eq!(pace.takes(500), Some(Duration::from_millis(500)));
        drop(second);
        assert_eq!(Pace::new(None).takes(500), None);
    }
}
