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
pub mod sample;
pub mod trainer;

pub use bench::{BenchTrain, bench_train};
pub use device::{Answer, DeviceThread, Done, Job, Refused};
pub use error::TrainError;
pub use inner::StateError;
pub use merge::{Merges, merge_by_tokens};
pub use sample::{SampleSpec, sample};
pub use trainer::{Trainer, Work, WorkDone};

/// Sets the threads that libtorch computes with in this process; call it before the first tensor.
///
/// Several nodes on one machine should share its cores: threads that wait for one another in turn cost more than they bring.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.clamp(1, 1024) as i32);
}
