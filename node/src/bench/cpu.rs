//! Where a process's processor time goes: by thread from the system, by kind of work from a thread's own clock.

use crate::processor::thread_s;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Processor seconds of the whole process, network threads and the rest apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    /// The network's threads: sockets, encryption, framing.
    pub net_s: f64,
    /// All others: arithmetic, digests, the exchange machine.
    pub rest_s: f64,
}

impl Cpu {
    /// Until now.
    pub(super) fn now() -> Cpu {
        let threads = thread_ticks();
        let per_tick = 1.0 / ticks_per_s();
        let sum = |net: bool| {
            let ours = threads.iter().filter(|(name, _)| name.starts_with("shoal-net") == net);
            ours.map(|(_, ticks)| *ticks as f64).sum::<f64>() * per_tick
        };
        Cpu { net_s: sum(true), rest_s: sum(false) }
    }

    pub(super) fn since(self, earlier: Cpu) -> Cpu {
        Cpu { net_s: self.net_s - earlier.net_s, rest_s: self.rest_s - earlier.rest_s }
    }
}

/// Each thread's name and clock ticks (proc_pid_stat(5): fields 2, 14, 15); none where there is no /proc.
fn thread_ticks() -> Vec<(String, u64)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).ok();
    tasks.flatten().filter_map(stat).filter_map(|stat| parse(&stat)).collect()
}

fn parse(stat: &str) -> Option<(String, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((name, fields.next()?? + fields.next()??))
}

fn ticks_per_s() -> f64 {
    // SAFETY: asks for a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Adds up this thread's processor time by kind of work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger(pub BTreeMap<String, f64>);

impl Ledger {
    /// Does `work` and books its time.
    pub(super) fn book<T>(&mut self, kind: &str, work: impl FnOnce() -> T) -> T {
        let before = thread_s();
        let out = work();
        *self.0.entry(kind.to_owned()).or_default() += thread_s() - before;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_proc() {
        let line = "12 (shoal-net (io)) S 1 1 1 0 -1 4194560 10 0 0 0 250 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(parse(line), Some(("shoal-net (io)".into(), 300)));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn work_is_booked_by_kind() {
        let mut ledger = Ledger::default();
        let sum = ledger.book("sum", || (0..2_000_000_u64).map(std::hint::black_box).sum::<u64>());
        ledger.book("sum", || ());
        assert_eq!((sum, ledger.0.len()), (1_999_999_000_000, 1));
        assert!(ledger.0["sum"] > 0.0);
    }
}
