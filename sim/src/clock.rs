//! What a peer takes for the time: its own clock, which may be wrong and tick too fast or too slowly.

use shoal_protocol::time::{Span, Time};

/// A right clock's reading at the beginning of the world, so that a wrong one can be behind.
const BEGIN: Span = Span::from_secs(100_000);

/// A clock that is off by a constant and by a rate, both of which stay while the peer lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds; less than 100,000 s behind.
    ahead: i64,
    /// Microseconds in a second.
    ppm: i64,
}

impl Clock {
    /// Off by so many microseconds, and by so many more in each second.
    pub fn wrong_by(ahead: i64, ppm: i64) -> Clock {
        Clock { ahead, ppm }
    }

    /// What it shows when the world's time is `now`.
    pub fn reads(&self, now: Time) -> Time {
        if self.ppm == 0 {
            return Time((BEGIN.0 + now.0).saturating_add_signed(self.ahead));
        }
        let now = i128::from(now.0);
        let reads = i128::from(BEGIN.0) + now + now * i128::from(self.ppm) / 1_000_000;
        Time((reads + i128::from(self.ahead)).max(0) as u64)
    }

    /// The first instant of the world at which it shows `reading` or more.
    pub fn world_time(&self, reading: Time) -> Time {
        if self.ppm == 0 {
            let at = reading.0 as i64 - BEGIN.0 as i64 - self.ahead;
            return Time(at.max(0) as u64);
        }
        let passed = i128::from(reading.0) - i128::from(BEGIN.0) - i128::from(self.ahead);
        let guess = (passed * 1_000_000 / (1_000_000 + i128::from(self.ppm))).max(0) as u64;
        let mut at = Time(guess.saturating_sub(2));
        while self.reads(at) < reading {
            at = at + Span(1);
        }
        at
    }
}

#[test]
fn the_first_instant_of_a_reading_is_found_on_every_clock() {
    for clock in [Clock::default(), Clock::wrong_by(-90_000_000, 300), Clock::wrong_by(7, -500)] {
        for now in [0, 1, 999_999, 1_000_000, 123_456_789_012] {
            let reading = clock.reads(Time(now));
            let at = clock.world_time(reading);
            assert!(at <= Time(now) && clock.reads(at) >= reading, "{clock:?} at {now}: {at:?}");
            assert!(at.0 == 0 || clock.reads(at - Span(1)) < reading, "{clock:?} at {now}: {at:?}");
        }
    }
}
