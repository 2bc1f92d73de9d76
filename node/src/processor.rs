//! Processor time: what was computed, whatever else the machine did meanwhile.

/// Processor seconds of the calling thread so far.
pub(crate) fn thread_s() -> f64 {
    seconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor seconds of this process so far, of all its threads.
pub(crate) fn process_s() -> f64 {
    seconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn seconds(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the struct that it is given.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
