//! What happens next. A world is made of islands, between which nothing passes: the runs that share it. Events of one island
//! happen in order of time, and of being scheduled where the time is the same.
//!
//! An island goes on by itself for a while before the next has its turn, so that what its peers hold stays in the processor's
//! cache: in a world of thousands of runs each event would otherwise find its peer's memory anew. What concerns all islands
//! happens when all have come so far.

use shoal_protocol::time::{Span, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How far an island goes on by itself. Guess: two rounds of `ten-thousand`, some hundred events for each load of its peers.
const TURN: Span = Span::from_secs(60);

/// Events of several islands.
pub struct Queue<E> {
    islands: Vec<BinaryHeap<Reverse<Due>>>,
    /// What concerns all of them.
    all: BinaryHeap<Reverse<Due>>,
    /// The events themselves: heaps move what they hold, and events are large. Those that have happened leave their place to others.
    events: Vec<Option<E>>,
    free: Vec<u32>,
    /// Whose turn it is, and the first instant after it; beyond the last island all have had their turn.
    turn: usize,
    ends: Time,
    latest: Time,
    sequence: u64,
}

/// When an event is due, the how-manieth it is, and its place among the events; in this order.
type Due = (Time, u64, u32);

impl<E> Queue<E> {
    /// Without events, for so many islands.
    pub fn new(islands: usize) -> Queue<E> {
        Queue {
            islands: (0..islands).map(|_| BinaryHeap::new()).collect(),
            all: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            turn: islands,
            ends: Time::ZERO,
            latest: Time::ZERO,
            sequence: 0,
        }
    }

    /// Schedules an event of one island, or (`None`) of all. The latter cannot reach into a turn that some have had.
    pub fn push(&mut self, at: Time, island: Option<usize>, event: E) {
        self.sequence += 1;
        let entry = Reverse((at, self.sequence, self.keep(event)));
        match island {
            Some(island) => self.islands[island].push(entry),
            None if self.islands.len() == 1 => self.islands[0].push(entry),
            None => {
                self.ends = self.ends.min(at);
                self.all.push(entry);
            }
        }
    }

    /// The next event, if it is due by `until`.
    pub fn pop(&mut self, until: Time) -> Option<(Time, E)> {
        let Reverse((at, _, place)) = self.next(until)?;
        self.latest = self.latest.max(at);
        self.free.push(place);
        Some((at, self.events[place as usize].take()?))
    }

    fn keep(&mut self, event: E) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            (self.events.len() - 1) as u32
        });
        self.events[place as usize] = Some(event);
        place
    }

    fn next(&mut self, until: Time) -> Option<Reverse<Due>> {
        loop {
            while let Some(island) = self.islands.get_mut(self.turn) {
                if island.peek().is_some_and(|next| next.0.0 < self.ends && next.0.0 <= until) {
                    return island.pop();
                }
                self.turn += 1;
            }
            let first = self.islands.iter().filter_map(|island| Some(island.peek()?.0.0)).min();
            let of_all = self.all.peek().map(|next| next.0.0);
            let next = [first, of_all].into_iter().flatten().min().filter(|at| *at <= until)?;
            if of_all == Some(next) {
                return self.all.pop();
            }
            let turn = if self.islands.len() == 1 { until + Span(1) } else { next + TURN };
            (self.turn, self.ends) = (0, of_all.map_or(turn, |at| at.min(turn)));
        }
    }

    /// Whether all islands have come equally far.
    pub fn is_even(&self) -> bool {
        let due = |island: &BinaryHeap<Reverse<Due>>| {
            island.peek().is_some_and(|next| next.0.0 < self.ends)
        };
        self.islands.len() == 1 || !self.islands[self.turn..].iter().any(due)
    }

    /// The latest instant at which anything has happened.
    pub fn latest(&self) -> Time {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(queue: &mut Queue<char>, until: Time) -> String {
        std::iter::from_fn(|| queue.pop(until)).map(|(_, event)| event).collect()
    }

    #[test]
    fn equal_times_keep_their_order() {
        let mut queue = Queue::new(1);
        for (at, event) in [(2, 'c'), (1, 'a'), (1, 'b'), (9, 'd')] {
            queue.push(Time(at), Some(0), event);
        }
        queue.push(Time(1), None, '!');
        assert_eq!(popped(&mut queue, Time(5)), "ab!c");
        assert_eq!((queue.latest(), popped(&mut queue, Time(9)).as_str()), (Time(2), "d"));
    }

    /// Two islands with an event every 25 s, and one of both in the midst of their second turn.
    #[test]
    fn islands_take_turns_and_meet_at_what_concerns_all() {
        let mut queue = Queue::new(2);
        for n in 0..6 {
            let at = Time::ZERO + Span::from_secs(25 * n);
            queue.push(at, Some(1), (b'u' + n as u8) as char);
            queue.push(at, Some(0), (b'a' + n as u8) as char);
        }
        queue.push(Time::ZERO + Span::from_secs(80), None, '!');
        let until = Time::ZERO + Span::from_secs(59);
        let even = std::iter::from_fn(|| {
            let (_, event) = queue.pop(until)?;
            Some((event, queue.is_even()))
        });
        let (events, even): (String, Vec<bool>) = even.unzip();
        assert_eq!(events, "abcuvw");
        assert_eq!(even, [false, false, false, false, false, true]);
        assert_eq!(popped(&mut queue, Time::ZERO + Span::from_secs(500)), "dx!efyz");
    }
}
