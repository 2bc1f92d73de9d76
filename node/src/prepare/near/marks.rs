//! What is kept of each document to tell it from others: its BLAKE3 and its signature; and where its text lies.

use super::minhash::{HASHES, Signature};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a mark on disk.
pub const MARK_BYTES: usize = 40 + 2 * HASHES;

/// A document's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// BLAKE3 of the text.
    pub digest: [u8; 32],
    /// Where its text begins.
    pub at: u64,
    /// Its signature.
    pub signature: Signature,
}

impl Mark {
    /// As it lies on disk.
    pub fn to_bytes(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..32].copy_from_slice(&self.digest);
        bytes[32..40].copy_from_slice(&self.at.to_le_bytes());
        let values = self.signature.0.iter().flat_map(|value| value.to_le_bytes());
        bytes[40..].iter_mut().zip(values).for_each(|(to, from)| *to = from);
        bytes
    }

    fn from_bytes(bytes: &[u8; MARK_BYTES]) -> Mark {
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[..32]);
        let mut at = [0; 8];
        at.copy_from_slice(&bytes[32..40]);
        let mut values = [0; HASHES];
        for (value, two) in values.iter_mut().zip(bytes[40..].as_chunks::<2>().0) {
            *value = u16::from_le_bytes(*two);
        }
        Mark { digest, at: u64::from_le_bytes(at), signature: Signature(values) }
    }

    /// The share of values that agree: an estimate of the Jaccard similarity of the shingles.
    pub fn similarity(&self, other: &Mark) -> f64 {
        let pairs = self.signature.0.iter().zip(other.signature.0.iter());
        pairs.filter(|(a, b)| a == b).count() as f64 / HASHES as f64
    }
}

/// The marks of all documents, on disk.
pub struct Marks(File);

impl Marks {
    /// Reads from a file of marks.
    pub fn new(file: File) -> Marks {
        Marks(file)
    }

    /// The mark of a document.
    ///
    /// # Errors
    /// The system's.
    pub fn get(&self, document: u64) -> io::Result<Mark> {
        let mut bytes = [0; MARK_BYTES];
        self.0.read_exact_at(&mut bytes, document * MARK_BYTES as u64)?;
        Ok(Mark::from_bytes(&bytes))
    }
}
