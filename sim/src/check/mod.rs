//! The promises, one a file. A check that fails panics with the promise's name; the world then prints what led there.

pub mod l1_together;
#[cfg(test)]
pub mod l2_survivors;
#[cfg(test)]
pub mod l3_progress;
pub mod l4_nothing_lost;
pub mod s1_counted_once;
pub mod s2_same_bits;
pub mod s2_same_end;
pub mod s3_one_result;
pub mod s4_nothing_dropped;
pub mod s5_conservation;
pub mod s6_leases;
pub mod s7_bounds;
pub mod s8_verified;

/// Panics with the promise's name unless the verdict is that it holds.
#[track_caller]
pub fn hold(promise: &str, who: &str, verdict: Result<(), String>) {
    if let Err(broken) = verdict {
        panic!("{promise} is broken ({who}): {broken}");
    }
}
