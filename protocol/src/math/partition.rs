//! Who adds up which chunks: sizes that minimise the slowest member's transfer time.
//!
//! In a butterfly all-reduce of `C` chunks among `n` members, of which `p` contribute, a member that owns `k` chunks
//!
//! - receives `k` chunks from each other contributor and the results of the `C - k` it does not own;
//! - sends its `k` results to `n - 1` members and, if it contributes, its part of the `C - k` others,
//!
//! which for equal links both ways is the load `V (1 + (n - 2) w) / b` of hivemind's `load_balance_peers` (see also
//! DeDLOC, arXiv 2106.10207); there it is a linear program, here a bisection on integers, so that every machine finds
//! the same ranges. A member that cannot own bears a fixed load and does not count. Where owning a chunk costs a link
//! nothing (two contributors) it is counted as an eighth, which keeps the split near the bandwidths instead of giving
//! all to one.

use std::cmp::Ordering;
use std::ops::Range;

/// What one member can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Measured uplink; 0 if not known.
    pub up_bytes_per_s: u64,
    /// Measured downlink; 0 if not known.
    pub down_bytes_per_s: u64,
    /// Whether others can reach it, so that it can own chunks.
    pub owns: bool,
    /// Whether it brings a contribution of its own.
    pub contributes: bool,
}

/// Loads are counted in eighths of a chunk, so that the price of a free chunk can be a whole number.
const CHUNK: u64 = 8;
/// What owning a chunk counts where it costs a link nothing: an eighth (guess).
const FREE_CHUNK: u64 = 1;
/// Rates above this (bytes/s, about 1 TB/s) count as this; with [`FRACTION`] it keeps products within 128 bits.
const RATE_MAX: u64 = 1 << 40;
/// Times are counted in 2^-40 of (an eighth of a chunk) / (byte/s).
const FRACTION: u32 = 40;

/// Contiguous ranges of chunks in member order that cover `0..chunks` exactly once; empty for members that do not own.
///
/// A bandwidth that is not known counts as the median of the known ones. Equal members get ranges that differ by at
/// most one chunk. If nobody can own, the member with the largest uplink owns all. No members, no ranges.
pub fn partition(chunks: u32, members: &[Capacity]) -> Vec<Range<u32>> {
    ranges(&best(chunks, &loads(chunks, members)))
}

/// The ranges of an earlier exchange among these members, who owned `before` chunks each, or better ones if by what is known today
/// the slowest member takes more than a quarter (guess) longer than it need. Bandwidths that are measured are never the same twice,
/// and what an owner keeps of its sums is worth most where it is.
pub fn partition_again(chunks: u32, members: &[Capacity], before: &[u32]) -> Vec<Range<u32>> {
    let loads = loads(chunks, members);
    let best = best(chunks, &loads);
    let before: Vec<u64> = before.iter().map(|held| u64::from(*held)).collect();
    let whole = before.len() == members.len() && before.iter().sum::<u64>() == u64::from(chunks);
    let bearable = whole && is_bearable(&loads, &before, &best);
    ranges(if bearable { &before } else { &best })
}

/// How many chunks each member owns so that the slowest is done soonest.
fn best(chunks: u32, loads: &[Load]) -> Vec<u64> {
    let mut held = fill(u64::from(chunks), loads);
    deal_rest(u64::from(chunks), loads, &mut held);
    held
}

/// Whether the slowest member takes at most 5/4 of the time with `held` that it takes with `best`.
fn is_bearable(loads: &[Load], held: &[u64], best: &[u64]) -> bool {
    let owned = loads.iter().zip(held).all(|(load, held)| load.is_some() || *held == 0);
    let times = slowest(loads, held).zip(slowest(loads, best));
    // load / rate against load / rate.
    owned
        && times.is_none_or(|((now, k), (least, l))| {
            4 * now.load(k) * u128::from(least.rate) <= 5 * least.load(l) * u128::from(now.rate)
        })
}

/// The link that takes longest, and the chunks of its owner; `None` if nobody owns.
fn slowest<'a>(loads: &'a [Load], held: &[u64]) -> Option<(&'a Link, u64)> {
    let owners = loads.iter().zip(held).filter_map(|(load, k)| Some((load.as_ref()?, *k)));
    owners.map(|(load, k)| (slower(load, k), k)).max_by(|a, b| Link::compare(*a, *b))
}

/// Contiguous ranges of these lengths.
fn ranges(held: &[u64]) -> Vec<Range<u32>> {
    let mut start = 0;
    let ranges = held.iter().map(|k| {
        let end = start + *k as u32; // together at most `chunks`, a u32
        std::mem::replace(&mut start, end)..end
    });
    ranges.collect()
}

/// One direction of a member's link: owning `k` chunks takes `(base + slope * k) / rate`.
#[derive(Clone, Copy, Debug)]
struct Link {
    base: u64,
    slope: u64,
    rate: u64,
}

/// Both directions, or `None` for a member that does not own.
type Load = Option<[Link; 2]>;

impl Link {
    fn load(&self, k: u64) -> u128 {
        u128::from(self.base) + u128::from(self.slope) * u128::from(k)
    }

    /// The most chunks that take at most `time`.
    fn most_within(&self, time: u128) -> u64 {
        let load = (time * u128::from(self.rate)) >> FRACTION;
        let k = load.saturating_sub(u128::from(self.base)) / u128::from(self.slope);
        k.min(u128::from(u32::MAX)) as u64
    }

    /// Which of two loads takes longer.
    fn compare(a: (&Link, u64), b: (&Link, u64)) -> Ordering {
        let (left, right) = (a.0.load(a.1), b.0.load(b.1));
        (left * u128::from(b.0.rate)).cmp(&(right * u128::from(a.0.rate)))
    }
}

fn loads(chunks: u32, members: &[Capacity]) -> Vec<Load> {
    let contributors = members.iter().filter(|m| m.contributes).count() as u64;
    let up = known_rates(members.iter().map(|m| m.up_bytes_per_s));
    let down = known_rates(members.iter().map(|m| m.down_bytes_per_s));
    let sole_owner = sole_owner(members);
    let all = u64::from(chunks) * CHUNK;
    let load = |(i, m): (usize, &Capacity)| {
        let own = u64::from(m.contributes);
        let receive = link(all, contributors - own, 1, down[i]);
        let send = link(all * own, members.len() as u64 - 1, own, up[i]);
        (m.owns || sole_owner == Some(i)).then_some([receive, send])
    };
    members.iter().enumerate().map(load).collect()
}

/// A link that carries `gained` chunks for each one that is owned, and `saved` fewer of the others.
fn link(base: u64, gained: u64, saved: u64, rate: u64) -> Link {
    let slope = (gained.saturating_sub(saved) * CHUNK).max(FREE_CHUNK);
    Link { base, slope, rate }
}

/// The member that owns all where nobody can own: the first of those with the largest uplink.
fn sole_owner(members: &[Capacity]) -> Option<usize> {
    if members.iter().any(|m| m.owns) {
        return None;
    }
    (0..members.len()).rev().max_by_key(|&i| members[i].up_bytes_per_s)
}

/// Rates with the median of the known ones (the lower of two) in the place of each 0; all equal if none is known.
fn known_rates(rates: impl Iterator<Item = u64> + Clone) -> Vec<u64> {
    let mut known: Vec<u64> = rates.clone().filter(|rate| *rate > 0).collect();
    known.sort_unstable();
    let median = known.get(known.len().saturating_sub(1) / 2).copied().unwrap_or(RATE_MAX);
    rates.map(|rate| if rate == 0 { median } else { rate }.min(RATE_MAX)).collect()
}

/// The most that every owner can carry within one time for all, the largest time that does not exceed `chunks` in sum.
fn fill(chunks: u64, loads: &[Load]) -> Vec<u64> {
    let within = |time: u128| -> Vec<u64> {
        let most = |link: &Link| link.most_within(time).min(chunks);
        let held = |load: &Load| load.map_or(0, |[a, b]| most(&a).min(most(&b)));
        loads.iter().map(held).collect()
    };
    let longest = |link: &Link| (link.load(chunks) << FRACTION) / u128::from(link.rate);
    let mut high = loads.iter().flatten().flatten().map(longest).max().unwrap_or(0) + 1;
    let mut low = 0;
    while high - low > 1 {
        let time = low + (high - low) / 2;
        if within(time).iter().sum::<u64>() <= chunks { low = time } else { high = time }
    }
    within(low)
}

/// Deals the chunks that are left, one by one, each to the owner that is soonest done with it; ties go to the one that
/// holds fewer, then to the first in member order. No more are left than there are owners: one step of time brings each
/// at most one chunk.
fn deal_rest(chunks: u64, loads: &[Load], held: &mut [u64]) {
    for _ in held.iter().sum()..chunks {
        let owners = loads.iter().enumerate().filter_map(|(i, load)| Some((i, load.as_ref()?)));
        let soonest = owners.min_by(|a, b| {
            let (k, l) = (held[a.0] + 1, held[b.0] + 1);
            Link::compare((slower(a.1, k), k), (slower(b.1, l), l)).then(k.cmp(&l))
        });
        match soonest {
            Some((i, _)) => held[i] += 1,
            None => return,
        }
    }
}

/// The direction that takes longer for `k` chunks.
fn slower(links: &[Link; 2], k: u64) -> &Link {
    let [a, b] = links;
    if Link::compare((a, k), (b, k)) == Ordering::Less { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Capacity =
        Capacity { up_bytes_per_s: 1000, down_bytes_per_s: 1000, owns: true, contributes: true };
    const CLIENT: Capacity = Capacity { owns: false, ..OWNER };
    const UNKNOWN: Capacity = Capacity { up_bytes_per_s: 0, down_bytes_per_s: 0, ..OWNER };

    fn rate(factor: u64) -> Capacity {
        Capacity { up_bytes_per_s: factor * 1000, down_bytes_per_s: factor * 1000, ..OWNER }
    }

    /// Compares the sizes of the ranges; that they are contiguous is checked for every case.
    fn check(chunks: u32, members: &[Capacity], want: &[u32]) {
        let ranges = partition(chunks, members);
        let sizes: Vec<u32> = ranges.iter().map(|r| r.end - r.start).collect();
        assert_eq!(sizes, want, "{chunks} {members:?}");
        let ends = std::iter::once(0).chain(ranges.iter().map(|r| r.end));
        assert!(ranges.iter().map(|r| r.start).eq(ends.take(ranges.len())));
    }

    #[test]
    fn equal_members_share_equally() {
        check(8, &[OWNER; 4], &[2, 2, 2, 2]);
        check(10, &[OWNER; 4], &[3, 3, 2, 2]);
        check(3, &[OWNER; 4], &[1, 1, 1, 0]);
        check(5, &[OWNER; 2], &[3, 2]);
        check(7, &[OWNER], &[7]);
        check(0, &[OWNER; 2], &[0, 0]);
        check(u32::MAX, &[OWNER; 3], &[u32::MAX / 3; 3]);
        check(4, &[], &[]);
    }

    #[test]
    fn a_faster_link_owns_more() {
        // (1 + 2 * 0.7) / 2 = 1 + 2 * 0.1
        check(30, &[rate(2), OWNER, OWNER, OWNER], &[21, 3, 3, 3]);
        // Two members: any split costs the same, so it leans to the faster and leaves the slower some.
        let sizes = partition(100, &[rate(101), rate(100)]);
        assert_eq!(sizes, [0..54, 54..100]);
        // A link too slow for its own traffic owns nothing.
        check(30, &[rate(100), rate(100), OWNER, rate(100)], &[10, 10, 0, 10]);
    }

    #[test]
    fn ranges_stay_as_long_as_that_is_bearable() {
        let again = |members: &[Capacity], before: &[u32]| {
            let ranges = partition_again(30, members, before);
            ranges.iter().map(|range| range.end - range.start).collect::<Vec<u32>>()
        };
        let slow = |percent: u64| {
            let rate = 10 * percent;
            [Capacity { up_bytes_per_s: rate, ..OWNER }, OWNER, OWNER, OWNER]
        };
        let before = [8, 8, 7, 7];
        assert_eq!(again(&slow(90), &before), before);
        check(30, &slow(90), &[6, 8, 8, 8]);
        check(30, &slow(50), &[0, 10, 10, 10]);
        assert_eq!(again(&slow(50), &before), [0, 10, 10, 10]);
        // Of others, of another model, or of one that cannot be reached any more.
        assert_eq!(again(&[OWNER; 4], &[10, 10, 10]), [8, 8, 7, 7]);
        assert_eq!(again(&[OWNER; 4], &[8, 8, 8, 7]), [8, 8, 7, 7]);
        assert_eq!(again(&[CLIENT, OWNER, OWNER, OWNER], &before), [0, 10, 10, 10]);
    }

    #[test]
    fn who_cannot_be_reached_owns_nothing() {
        check(8, &[CLIENT, OWNER, OWNER], &[0, 4, 4]);
        check(
            8,
            &[CLIENT, rate(2), rate(3), rate(3)].map(|c| Capacity { owns: false, ..c }),
            &[0, 0, 8, 0],
        );
        check(8, &[Capacity { up_bytes_per_s: 1, ..CLIENT }, OWNER, OWNER], &[0, 4, 4]);
    }

    #[test]
    fn an_owner_without_a_contribution_has_room_for_more() {
        let reducer = Capacity { contributes: false, down_bytes_per_s: 2000, ..OWNER };
        // Its uplink bears 3 * 13 = 39, a contributor's 30 + 2 * 6 = 42.
        check(30, &[OWNER, OWNER, OWNER, reducer], &[6, 6, 5, 13]);
    }

    #[test]
    fn unknown_is_the_median_of_the_known() {
        check(9, &[UNKNOWN; 3], &[3, 3, 3]);
        check(9, &[UNKNOWN, OWNER, OWNER], &[3, 3, 3]);
        check(30, &[rate(2), UNKNOWN, OWNER, OWNER], &[21, 3, 3, 3]);
    }

    #[test]
    fn extreme_rates() {
        let huge = Capacity { up_bytes_per_s: u64::MAX, down_bytes_per_s: u64::MAX, ..OWNER };
        let tiny = Capacity { up_bytes_per_s: 1, down_bytes_per_s: 1, ..OWNER };
        check(u32::MAX, &[huge, tiny, tiny], &[u32::MAX, 0, 0]);
        check(6, &[huge, huge, tiny], &[3, 3, 0]);
    }
}
