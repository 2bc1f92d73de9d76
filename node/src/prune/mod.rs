//! Making a checkpoint's model smaller: weights that become zero, or whole heads, channels and layers that go.

pub mod calibrate;
pub mod structured;
pub mod unstructured;

pub use calibrate::Calibration;
pub use shoal_protocol::math::prune::Which;
pub use structured::{Cut, cut};
pub use unstructured::{Method, prune};
