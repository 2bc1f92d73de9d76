//! Local training, with plain threads: no actor, no network.
//!
//! [`Trainer`] owns a device, a model and the inner optimiser; [`DeviceThread`] owns a trainer, takes one [`Job`] at a time
//! and answers through a callback.

pub mod adamw;
pub mod bench;
pub mod device;
pub mod error;
pub mod merge;
pub mod sample;
pub mod schedule;
pub mod trainer;

pub use bench::{BenchTrain, bench_train};
pub use device::{Answer, DeviceThread, Done, Job, Refused};
pub use error::TrainError;
pub use merge::merge_by_tokens;
pub use sample::{SampleSpec, sample};
pub use trainer::{Trainer, Work, WorkDone};

/// Sets the threads that libtorch computes with in this process; call it before the first tensor.
///
/// Several nodes on one machine should share its cores: threads that wait for one another in turn cost more than they bring.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.clamp(1, 1024) as i32);
}

/// Lets the allocator keep what it has freed, so that a step's tensors do not cost page faults again and again; call it once
/// at the start of a process. Does nothing where the allocator is not glibc's.
///
/// Measured on the 10 M preset: 3 to 7 % less CPU time a step.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TOP_PAD, 16 << 20);
    }
}
