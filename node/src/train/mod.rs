//! Local training, with plain threads: no actor, no network.
//!
//! [`Trainer`] owns a device, a model and the inner optimiser; [`DeviceThread`] owns a trainer, takes one [`Job`] at a time
//! and answers through a callback.

pub mod bench;
pub mod device;
pub mod distill;
pub mod error;
pub mod inner;
pub mod merge;
pub mod peak;
pub mod sample;
pub mod trainer;

pub use bench::{BenchTrain, bench_train};
pub use device::{Answer, DeviceThread, Done, Job, Refused};
pub use error::TrainError;
pub use inner::StateError;
pub use merge::{Merges, merge_by_tokens};
pub use sample::{SampleSpec, sample};
pub use trainer::{Trainer, Work, WorkDone};

/// Bytes from which on memory goes back to the system when it is let go of: see [`return_memory`].
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED: i32 = 1 << 20;

/// Has tensors' memory returned to the system as soon as it is let go of, in this process. By default glibc keeps what has up to 32 MB
/// for later, in pieces that seldom fit: a third to a half more than the tensors take, measured on small models. It costs a
/// quarter more processor time on those, and less the larger tensors are, so it is done only where memory is asked to be spared.
pub fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number of the allocator, which takes a lock of its own.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED);
    }
}

/// Sets the threads that libtorch computes with in this process; call it before the first tensor.
///
/// Several nodes on one machine should share its cores: threads that wait for one another in turn cost more than they bring.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.clamp(1, 1024) as i32);
}
