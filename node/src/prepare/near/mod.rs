//! Documents that are the same, or nearly: MinHash over runs of words (Broder 1997), found by banded locality-sensitive hashing
//! (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4), on disk.

mod bands;
mod marks;
mod minhash;
mod twins;

pub use bands::Bands;
pub use marks::{MARK_BYTES, Mark, Marks};
pub use minhash::{HASHES, Signature, minhash};
pub use twins::{Search, Twins, Verdict};

#[cfg(test)]
mod tests;
