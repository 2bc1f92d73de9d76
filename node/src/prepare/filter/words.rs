//! A document's words: what stands between white space.

/// Words by hash and length, in order.
pub struct Words<'a> {
    /// The words themselves.
    pub text: Vec<&'a str>,
    /// A hash of each.
    pub hashes: Vec<u64>,
    /// Characters of each.
    pub chars: Vec<u32>,
}

impl<'a> Words<'a> {
    /// The words of a text.
    pub fn of(text: &'a str) -> Words<'a> {
        let text: Vec<&str> = text.split_whitespace().collect();
        let hashes = text.iter().map(|word| hash(word.as_bytes())).collect();
        let chars = text.iter().map(|word| word.chars().count() as u32).collect();
        Words { text, hashes, chars }
    }

    /// A word's hash.
    pub fn hash(word: &str) -> u64 {
        hash(word.as_bytes())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Characters of all words.
    pub fn chars(&self) -> u64 {
        self.chars.iter().map(|chars| u64::from(*chars)).sum()
    }
}

/// FNV-1a (Fowler, Noll and Vo), mixed so that every bit counts.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    crate::data::rng::finalise(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}
