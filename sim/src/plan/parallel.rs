//! Work on several threads, its results in the order of the work.

use std::sync::Mutex;

/// Does `work` on all items, on so many threads.
pub fn map<T: Send, R: Send>(jobs: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let worker = || {
        while let Some((n, item)) = { queue.lock().expect("no thread dies with it").next() } {
            let result = work(item);
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
    #[test]
    fn results_keep_the_order_of_the_work() {
        assert_eq!(super::map(3, (0..20).collect(), |n| n * n)[..5], [0, 1, 4, 9, 16]);
        assert_eq!(super::map(0, vec![7], |n| n + 1), [8]);
    }
}
