//! Ctrl-C and a polite request to end: a flag that long work looks at.

use anyhow::bail;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM only raise the flag.
pub fn listen() {
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal's context.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether somebody asked for the end.
pub fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Whether to go on.
///
/// # Errors
/// Somebody asked for the end.
pub fn check() -> anyhow::Result<()> {
    if was_asked() {
        bail!("interrupted");
    }
    Ok(())
}
