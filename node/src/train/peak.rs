//! The most memory that this process has had resident at once.

/// Peak resident memory in bytes, since the start or since [`forget`]; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Begins anew with what is resident now. Where the system cannot, the peak stays that since the start.
pub fn forget() {
    // Linux: 5 sets the high-water mark back (proc(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[test]
#[cfg(target_os = "linux")]
fn the_peak_is_at_least_what_was_touched_and_is_forgotten() {
    let touched = vec![1u8; 64 << 20];
    assert!(touched.iter().step_by(4096).map(|x| u64::from(*x)).sum::<u64>() > 0);
    let peak = peak_bytes().unwrap();
    assert!(peak > 64 << 20);
    drop(touched);
    forget();
    assert!(peak_bytes().unwrap() <= peak);
}
