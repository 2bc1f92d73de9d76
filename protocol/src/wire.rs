//! Bytes in and out. The only file that names serde_cbor, and the one table of every bound on what a peer may send (S7).

use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of one control frame.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one bulk chunk's payload.
pub const BULK_BYTES_MAX: usize = 4 << 20;
/// Most chunks of one fragment.
pub const CHUNKS_MAX: u32 = 1 << 16;

/// The canonical CBOR of a value of our own: struct fields in declared order, smallest integers.
pub fn to_cbor<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("our own types hold nothing that CBOR cannot say")
}

/// Reads a value, refusing trailing bytes. The caller has bounded `bytes` already.
///
/// # Errors
/// What is wrong, in the decoder's words.
pub fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_cbor::from_slice(bytes).map_err(|error| error.to_string())
}
