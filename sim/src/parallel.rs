//! Work on several threads, its results in the order of the work. Each item is a world of its own, so that threads change nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does `work` on all items, on so many threads.
pub fn map<T: Send, R: Send>(jobs: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    map_until(jobs, items.into_iter(), work, |_| false)
}

/// As [`map`], but after the first result that `ends` it no new item begins; those under way are finished, and are among the
/// results.
pub fn map_until<T, R: Send>(
    jobs: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> R + Sync,
    ends: impl Fn(&R) -> bool + Sync,
) -> Vec<R> {
    let (queue, over) = (Mutex::new(items.enumerate()), AtomicBool::new(false));
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no thread dies with it").next();
    let worker = || {
        while !over.load(Ordering::SeqCst) {
            let Some((n, item)) = next() else { break };
            let result = work(item);
            over.fetch_or(ends(&result), Ordering::SeqCst);
            done.lock().expect("no thread dies with it").push((n, result));
        }
    };
    std::thread::scope(|scope| {
        (0..jobs.max(1)).for_each(|_| drop(scope.spawn(worker)));
    });
    let mut done = done.into_inner().expect("no thread died with it");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_work() {
        assert_eq!(map(3, (0..20).collect(), |n| n * n)[..5], [0, 1, 4, 9, 16]);
        assert_eq!(map(0, vec![7], |n| n + 1), [8]);
    }

    #[test]
    fn nothing_begins_after_the_end() {
        assert_eq!(map_until(1, 0.., |n| n, |n| *n == 3), [0, 1, 2, 3]);
        // Each of the other threads may have one more under way.
        let done = map_until(3, 0.., |n| n, |n| *n >= 3);
        assert!(
            (4..=6).contains(&done.len()) && done.iter().copied().eq(0..done.len()),
            "{done:?}"
        );
    }
}
