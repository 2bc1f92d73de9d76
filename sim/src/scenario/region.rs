//! Parts of the world, and how far they are from each other.

use serde::Deserialize;
use shoal_protocol::time::Span;

/// Where hosts are. A run's hosts that name none are in one place with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    Europe,
    UsEast,
    UsWest,
    SouthAmerica,
    SouthAsia,
    EastAsia,
    Oceania,
    Africa,
}

/// Round trips between regions, ms, in the order of [`Region`]: typical ones between large data centres (Ireland or Frankfurt, Virginia,
/// Oregon, São Paulo, Mumbai, Tokyo, Sydney, Cape Town), rounded to fives. Known from tables that clouds publish; for plans, not for measurements.
const ROUND_TRIPS_MS: [[u64; 8]; 8] = [
    [0, 80, 135, 190, 120, 220, 260, 155],
    [80, 0, 65, 115, 190, 150, 200, 225],
    [135, 65, 0, 175, 220, 95, 140, 275],
    [190, 115, 175, 0, 300, 260, 310, 340],
    [120, 190, 220, 300, 0, 125, 150, 265],
    [220, 150, 95, 260, 125, 0, 105, 345],
    [260, 200, 140, 310, 150, 105, 0, 400],
    [155, 225, 275, 340, 265, 345, 400, 0],
];

impl Region {
    /// One way from this region to another.
    pub fn to(self, other: Region) -> Span {
        Span(ROUND_TRIPS_MS[self as usize][other as usize] * 1000 / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_far_there_as_back() {
        for (a, row) in ROUND_TRIPS_MS.iter().enumerate() {
            assert_eq!(row[a], 0);
            (0..row.len()).for_each(|b| assert_eq!(row[b], ROUND_TRIPS_MS[b][a], "{a} {b}"));
        }
        assert_eq!(Region::Europe.to(Region::UsEast), Span::from_millis(40));
    }
}
