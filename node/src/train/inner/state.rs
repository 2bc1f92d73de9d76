//! The optimiser's state as bytes that outlast the process: how many steps, then every vector, little-endian f32.

use super::{Inner, Part};
use crate::store::floats::{bytes_of, bytes_of_mut};
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// What the bytes begin with; changes when older programs would misread them.
const MAGIC: &[u8; 8] = b"inner-1\n";
/// The magic and the number of steps.
const HEAD: usize = 16;

/// Why a state cannot be taken over; the optimiser is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Bytes of something else.
    #[error("{got} bytes are no state of this optimiser, which has {expected}")]
    Other {
        /// Bytes given.
        got: usize,
        /// Bytes of this optimiser's state.
        expected: usize,
    },
    /// libtorch failed.
    #[error("libtorch failed: {0}")]
    Torch(#[from] TchError),
}

impl Inner {
    /// The state, to be handed to [`Inner::restore`] of an optimiser of the same spec and layout, on any device.
    ///
    /// # Errors
    /// The device failed.
    pub fn save(&self) -> Result<Vec<u8>, TchError> {
        let mut bytes = Vec::with_capacity(self.saved_bytes());
        bytes.extend(MAGIC);
        bytes.extend(self.steps.to_le_bytes());
        for vector in self.parts.iter().flat_map(|part| &part.state) {
            let here = vector.f_to(Device::Cpu)?;
            // SAFETY: nothing writes the vector during this function.
            bytes.extend_from_slice(bytes_of(unsafe { super::floats(&here) }));
        }
        Ok(bytes)
    }

    /// Goes on from a state that [`Inner::save`] made.
    ///
    /// # Errors
    /// Bytes of another optimiser, model or version, or the device failed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let other = || StateError::Other { got: bytes.len(), expected: self.saved_bytes() };
        let rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() == self.saved_bytes());
        let (steps, mut rest) = rest.and_then(|rest| rest.split_first_chunk()).ok_or_else(other)?;
        let mut vectors = Vec::new();
        for vector in self.parts.iter().flat_map(|part| &part.state) {
            let (mine, others) = rest.split_at(4 * vector.numel());
            vectors.push(tensor(mine, vector.device())?);
            rest = others;
        }
        let mut vectors = vectors.into_iter();
        let state = self.parts.iter_mut().flat_map(|part: &mut Part| &mut part.state);
        state.zip(&mut vectors).for_each(|(into, from)| *into = from);
        self.steps = u64::from_le_bytes(*steps);
        Ok(())
    }

    fn saved_bytes(&self) -> usize {
        let vectors = self.parts.iter().map(|part| part.range.len() * part.state.len());
        HEAD + 4 * vectors.sum::<usize>()
    }
}

/// Bytes as an f32 vector on a device.
fn tensor(bytes: &[u8], device: Device) -> Result<Tensor, TchError> {
    let mut values = Tensor::f_zeros([bytes.len() as i64 / 4], (Kind::Float, Device::Cpu))?;
    // SAFETY: the tensor is new, so nothing else uses it.
    bytes_of_mut(unsafe { super::floats_mut(&mut values) }).copy_from_slice(bytes);
    no_grad(|| values.f_to(device))
}
