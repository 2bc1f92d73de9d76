//! What happens next: events in order of time, and of being scheduled where the time is the same.

use shoal_protocol::time::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Events by (time, sequence).
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
}

struct Entry<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> Queue<E> {
    pub fn new() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), sequence: 0 }
    }

    pub fn push(&mut self, at: Time, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, event }));
    }

    /// The next event, if it is due by `until`.
    pub fn pop(&mut self, until: Time) -> Option<(Time, E)> {
        if self.heap.peek()?.0.at > until {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[test]
fn equal_times_keep_their_order() {
    let mut queue = Queue::new();
    for (at, event) in [(2, 'c'), (1, 'a'), (1, 'b'), (9, 'd')] {
        queue.push(Time(at), event);
    }
    let popped: Vec<(Time, char)> = std::iter::from_fn(|| queue.pop(Time(5))).collect();
    assert_eq!(popped, [(Time(1), 'a'), (Time(1), 'b'), (Time(2), 'c')]);
}
