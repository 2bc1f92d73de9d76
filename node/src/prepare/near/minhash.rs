//! MinHash signatures over word 5-grams.

use crate::data::rng::{Rng, mix};
use crate::prepare::filter::Words;

/// Values of a signature. The estimate's standard deviation is at most 1 / (2 sqrt 128) = 0.044.
pub const HASHES: usize = 128;
/// Words of a shingle, as in Gopher's and FineWeb's deduplication.
const SHINGLE: usize = 5;

/// For each of [`HASHES`] functions the lower 16 bits of its least value over a document's shingles: two that differ look the same
/// once in 65,536 times (b-bit minwise hashing, Li and König 2010).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub [u16; HASHES]);

/// The signature of a text. Words are runs of letters and digits in lower case, so that punctuation, case and line ends make no
/// difference; a text of fewer than 5 words is one shingle.
pub fn minhash(text: &str) -> Signature {
    let lower = text.to_lowercase();
    let words: Vec<u64> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(Words::hash)
        .collect();
    let functions = functions();
    let mut least = [u32::MAX; HASHES];
    for shingle in words.windows(SHINGLE.min(words.len()).max(1)) {
        let key = shingle.iter().fold(0u64, |key, word| mix(key ^ word));
        lower_all(&mut least, &functions, key);
    }
    Signature(least.map(|value| value as u16))
}

/// Multiply-shift (Dietzfelbinger et al. 1997): the upper half of a x + b modulo 2^64.
fn lower_all(least: &mut [u32; HASHES], functions: &[(u64, u64); HASHES], key: u64) {
    for (least, (a, b)) in least.iter_mut().zip(functions) {
        let value = (a.wrapping_mul(key).wrapping_add(*b) >> 32) as u32;
        *least = (*least).min(value);
    }
}

/// The same functions on every machine.
fn functions() -> [(u64, u64); HASHES] {
    let mut rng = Rng::new(0x6d69_6e68_6173_6821);
    std::array::from_fn(|_| (rng.next() | 1, rng.next()))
}

impl Signature {
    /// In place of a signature that nobody will look at.
    pub fn none() -> Signature {
        Signature([0; HASHES])
    }
}
