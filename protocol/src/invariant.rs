//! What must hold at every instant, as predicates over records, plans and numbers. The simulator and the tests check them
//! after every event, a node in debug builds. An `Err` says what is broken, in words.

use crate::event::Part;
use crate::id::PeerId;
use crate::ledger::{Cursor, Lease, Record};
use crate::plateau::Loss;
use crate::run::RunSpec;
use crate::wire::{MEMBERS_MAX, Plan};
use std::collections::BTreeSet;
use std::ops::Range;

/// Holds, or what is wrong.
pub type Verdict = Result<(), String>;

/// S1: no member is among the parts of one sum twice, and they stand in member order.
pub fn counted_once(parts: &[Part]) -> Verdict {
    let ascending = parts.windows(2).all(|pair| pair[0].member < pair[1].member);
    let peers: BTreeSet<PeerId> = parts.iter().map(|part| part.peer).collect();
    check(ascending && peers.len() == parts.len(), || {
        format!("parts are not each a member of its own, in order: {parts:?}")
    })
}

/// S1: the members that a result claims to include are the parts that were added.
pub fn mask_is_parts(included: u64, parts: &[Part]) -> Verdict {
    let mask = parts.iter().fold(0, |mask, part| mask | bit(part.member));
    check(included == mask, || format!("mask {included:b} is not that of the parts, {mask:b}"))
}

/// S3: whether `confirmed` (a bit for each member) holds more than half of the plan's weight; of its heads if it has none.
pub fn is_majority(plan: &Plan, confirmed: u64) -> bool {
    let weightless = plan.members.iter().all(|member| member.tokens == 0);
    let weight = |tokens: u64| if weightless { 1 } else { u128::from(tokens) };
    let (mut all, mut held) = (0, 0);
    for (i, member) in plan.members.iter().enumerate() {
        all += weight(member.tokens);
        held += if confirmed & bit(i as u8) != 0 { weight(member.tokens) } else { 0 };
    }
    2 * held > all
}

/// A plan names each member once, gives out every chunk once, and loses nobody who takes part.
pub fn plan_is_sound(plan: &Plan, chunks: u32) -> Verdict {
    let peers: BTreeSet<PeerId> = plan.members.iter().map(|member| member.peer).collect();
    check(!peers.is_empty() && peers.len() <= MEMBERS_MAX, || format!("{} members", peers.len()))?;
    check(peers.len() == plan.members.len(), || "a member is named twice".into())?;
    check(peers.contains(&plan.convener), || "the convener is no member".into())?;
    let owned: u64 = plan.members.iter().map(|member| u64::from(member.chunks)).sum();
    let works = plan.members.iter().any(|member| member.tokens > 0);
    check(owned == u64::from(chunks) || owned == 0 && !works, || {
        format!("{owned} of {chunks} chunks have an owner")
    })?;
    check(plan.lost.is_sorted(), || "the lost are not in order".into())?;
    check(plan.lost.iter().all(|peer| !peers.contains(peer)), || "a member is lost".into())
}

/// S2, S4: a record continues its parent: next round, every contributor once, tokens added up, cursor carried on.
pub fn record_follows(parent: &Record, child: &Record) -> Verdict {
    check(child.run == parent.run, || "another run".into())?;
    check(child.round == parent.round + 1, || {
        format!("round {} follows round {}", child.round, parent.round)
    })?;
    check(child.parent == parent.digest(), || "another parent".into())?;
    let peers: BTreeSet<PeerId> = child.contributions.iter().map(|given| given.peer).collect();
    check(peers.len() == child.contributions.len(), || "a contributor is named twice".into())?;
    let tokens: u64 = child.contributions.iter().map(|given| given.tokens).sum();
    check(child.tokens == parent.tokens + tokens, || {
        format!("{} + {tokens} tokens are not {}", parent.tokens, child.tokens)
    })?;
    cursor_follows(&parent.cursor, &child.cursor)?;
    let finished = open_below(&parent.cursor, child.cursor.next)
        .checked_sub(open_below(&child.cursor, child.cursor.next));
    let length = |ranges: &[Range<u64>]| ranges.iter().map(|r| r.end - r.start).sum::<u64>();
    let held = || peers.iter().filter_map(|peer| parent.cursor.lease(peer));
    let given: u64 = held().map(|lease| length(&lease.ranges)).sum();
    // A contribution may have caught up with the lease that follows.
    let most: u64 = given + held().map(|lease| length(&lease.then)).sum::<u64>();
    check(finished.is_some_and(|finished| (given..=most).contains(&finished)), || {
        format!("contributors held {given} to {most} positions, finished are {finished:?}")
    })
}

/// S2: two peers never disagree about where a run ends: nothing follows from a record with which it is over.
pub fn goes_on(spec: &RunSpec, parent: &Record) -> Verdict {
    check(!spec.is_over(parent), || {
        format!("the run was over in round {}, and goes on: {:?}", parent.round, parent.plateau)
    })
}

/// S2: what a record says of held-out losses follows from its parent's and from what the members of its plan say: the loss is of a
/// state that two thirds of the weight have measured, and half of those measured no less, half no more.
pub fn plateau_follows(parent: &Record, plan: &Plan, child: &Record) -> Verdict {
    let (before, after) = (parent.plateau, child.plateau);
    let Some(after) = after else {
        return check(before.is_none(), || "what was known of losses is gone".into());
    };
    if before == Some(after) {
        return Ok(());
    }
    let (last, weightless) = (after.last, plan.members.iter().all(|member| member.tokens == 0));
    let weigh = |says: &dyn Fn(Option<Loss>) -> bool| {
        let of_it = |member: &crate::wire::Member| {
            member.heldout.filter(|h| (h.round, h.of) == (last.round, last.of)).map(|h| h.loss)
        };
        let those = plan.members.iter().filter(|member| says(of_it(member)));
        those.map(|m| if weightless { 1 } else { u128::from(m.tokens) }).sum::<u128>()
    };
    let (all, told) = (weigh(&|_| true), weigh(&|loss| loss.is_some()));
    let (below, above) = (
        weigh(&|loss| loss.is_some_and(|loss| loss <= last.loss)),
        weigh(&|loss| loss.is_some_and(|loss| loss >= last.loss)),
    );
    check(3 * told >= 2 * all && told > 0, || format!("{told} of {all} have measured {last:?}"))?;
    check(2 * below >= told && 2 * above >= told, || format!("{last:?} is not in the middle"))?;
    let known = before.map_or(0, |before| before.last.round);
    check(known < last.round && last.round < child.round && after.decided == child.round, || {
        format!("{after:?} in round {} after round {known} was decided", child.round)
    })?;
    let lowest = before.map_or(last.loss, |before| before.best.loss.min(last.loss));
    check(after.best.loss == lowest, || format!("{:?} is not the lowest", after.best))
}

/// Positions below `end` that are leased, free or new.
fn open_below(cursor: &Cursor, end: u64) -> u64 {
    let leased = cursor.leases.iter().flat_map(Lease::positions);
    let held: u64 = leased.chain(&cursor.pool).map(|range| range.end - range.start).sum();
    held + end.saturating_sub(cursor.next)
}

/// S6: no position is leased twice or both leased and free, and none lies beyond `next`.
pub fn cursor_is_sound(cursor: &Cursor) -> Verdict {
    let leased = cursor.leases.iter().flat_map(Lease::positions);
    let mut all: Vec<&Range<u64>> = leased.chain(&cursor.pool).collect();
    all.sort_by_key(|range| range.start);
    check(all.iter().all(|range| range.start < range.end), || "an empty range".into())?;
    check(all.windows(2).all(|pair| pair[0].end <= pair[1].start), || {
        format!("positions with two holders: {cursor:?}")
    })?;
    check(all.last().is_none_or(|range| range.end <= cursor.next), || {
        format!("positions beyond next: {cursor:?}")
    })?;
    let peers = cursor.leases.windows(2).all(|pair| pair[0].peer < pair[1].peer);
    check(peers, || "leases are not one a peer, in order".into())
}

/// S6: what is leased or free after a round was so before it, or is new: nothing that was finished comes back.
pub fn cursor_follows(before: &Cursor, after: &Cursor) -> Verdict {
    cursor_is_sound(after)?;
    check(before.next <= after.next, || "next moved back".into())?;
    let open = |cursor: &Cursor| {
        let leased = cursor.leases.iter().flat_map(|lease| lease.positions().cloned());
        let mut all: Vec<Range<u64>> = leased.chain(cursor.pool.iter().cloned()).collect();
        all.push(cursor.next..u64::MAX);
        merged(all)
    };
    let (was, is) = (open(before), open(after));
    check(
        is.iter().all(|range| was.iter().any(|w| w.start <= range.start && range.end <= w.end)),
        || format!("finished positions came back: {before:?} then {after:?}"),
    )
}

/// S5: `given = taken + kept`, element by element, up to `tolerance` (absolute) for the rounding of the sums.
pub fn conserved(given: &[f64], taken: &[f64], kept: &[f64], tolerance: f64) -> Verdict {
    let off = |i: usize| (given[i] - taken[i] - kept[i]).abs();
    let worst = (0..given.len()).max_by(|&i, &j| off(i).total_cmp(&off(j)));
    match worst {
        Some(i) if off(i).is_nan() || off(i) > tolerance => Err(format!(
            "element {i}: {} was given, {} is counted and {} is kept",
            given[i], taken[i], kept[i]
        )),
        _ => Ok(()),
    }
}

/// Sorted ranges with the touching ones joined.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

fn bit(member: u8) -> u64 {
    1u64.checked_shl(u32::from(member)).unwrap_or(0)
}

fn check(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a pool of one range is meant")]
mod tests {
    use super::*;
    use crate::ledger::Lease;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn cursor(next: u64, pool: &[Range<u64>], leases: &[(u8, Range<u64>)]) -> Cursor {
        let lease = |(n, range): &(u8, Range<u64>)| Lease {
            peer: peer(*n),
            ranges: vec![range.clone()],
            then: vec![],
        };
        Cursor { next, pool: pool.to_vec(), leases: leases.iter().map(lease).collect() }
    }

    #[test]
    fn cursors() {
        let sound = [cursor(0, &[], &[]), cursor(9, &[2..4], &[(1, 0..2), (2, 4..9)])];
        let broken = [
            cursor(9, &[2..4], &[(1, 0..3)]),
            cursor(9, &[], &[(1, 0..3), (2, 2..4)]),
            cursor(3, &[], &[(1, 0..4)]),
            cursor(9, &[], &[(2, 0..3), (1, 4..5)]),
        ];
        assert!(sound.iter().all(|c| cursor_is_sound(c).is_ok()));
        assert!(broken.iter().all(|c| cursor_is_sound(c).is_err()));
    }

    #[test]
    fn finished_positions_stay_finished() {
        let before = cursor(8, &[], &[(1, 0..4), (2, 4..8)]);
        let rows = [
            (cursor(12, &[], &[(1, 8..12), (2, 4..8)]), true),
            (cursor(8, &[0..4], &[(2, 4..8)]), true),
            (cursor(10, &[], &[(1, 2..4), (2, 6..10)]), true),
            (cursor(7, &[], &[]), false),
        ];
        for (after, holds) in rows {
            assert_eq!(cursor_follows(&before, &after).is_ok(), holds, "{after:?}");
        }
        let done = cursor(8, &[], &[(2, 4..8)]);
        assert!(cursor_follows(&done, &before).is_err());
    }

    #[test]
    fn parts_are_counted_once() {
        let part = |member, n| Part { member, peer: peer(n), weight: 1 };
        assert!(counted_once(&[part(0, 1), part(2, 2)]).is_ok());
        assert!(counted_once(&[part(0, 1), part(0, 1)]).is_err());
        assert!(counted_once(&[part(0, 1), part(1, 1)]).is_err());
        assert!(mask_is_parts(0b101, &[part(0, 1), part(2, 2)]).is_ok());
        assert!(mask_is_parts(0b111, &[part(0, 1), part(2, 2)]).is_err());
    }

    #[test]
    fn sums_are_conserved_up_to_rounding() {
        assert!(conserved(&[1.0, 2.0], &[0.5, 2.0], &[0.5, 1e-7], 1e-6).is_ok());
        assert!(conserved(&[1.0], &[0.5], &[0.4], 1e-6).is_err());
        assert!(conserved(&[1.0], &[f64::NAN], &[0.4], 1e-6).is_err());
    }
}
