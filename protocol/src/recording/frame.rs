//! Frames of a recording: a length, checks, a body. Each check covers all that came before, so that nothing can be changed,
//! swapped or left out unseen.
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of the body, little-endian |
//! | 4 | check of the length: a flipped length is damage, and not mistaken for a file that ends early |
//! | 8 | check of the body |
//! | length | the body, CBOR |

use crate::id::Digest;

/// Bytes before a frame's body.
pub const HEAD_BYTES: usize = 16;
/// Most bytes of one body. See [`super::OUTPUTS_BYTES_MAX`] for what is in it.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The digest of all frames so far, which the checks of the next one begin from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Digest);

impl Chain {
    /// Before the first frame, after these bytes.
    pub fn after(magic: &[u8]) -> Chain {
        Chain(Digest::of(magic))
    }

    /// Head and body of the next frame.
    ///
    /// # Panics
    /// On a body of 4 GiB or more: the recording keeps far below [`BODY_BYTES_MAX`].
    pub fn seal(&mut self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("a body is far below 4 GiB").to_le_bytes();
        let (of_length, next) = (self.mix(&length, &[]), self.mix(&length, body));
        self.0 = next;
        [&length, &of_length.0[..4], &next.0[..8], body].concat()
    }

    /// The length of the body that this head announces; `None` for a head that is damaged.
    pub fn length(&self, head: &[u8; HEAD_BYTES]) -> Option<usize> {
        let length = [head[0], head[1], head[2], head[3]];
        let holds = self.mix(&length, &[]).0[..4] == head[4..8];
        holds.then_some(u32::from_le_bytes(length) as usize)
    }

    /// Whether head and body are what was sealed; goes on to the next frame if they are.
    pub fn admits(&mut self, head: &[u8; HEAD_BYTES], body: &[u8]) -> bool {
        let next = self.mix(&head[..4], body);
        let holds = next.0[..8] == head[8..];
        if holds {
            self.0 = next;
        }
        holds
    }

    fn mix(&self, length: &[u8], body: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.0).update(length).update(body);
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bodies of frames that lie one after the other, up to the first that is damaged.
    fn read(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut chain, mut bodies) = (Chain::after(b"x"), Vec::new());
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
            let Some(length) = chain.length(head).filter(|length| *length <= rest.len()) else {
                break;
            };
            let (body, rest) = rest.split_at(length);
            if !chain.admits(head, body) {
                break;
            }
            bodies.push(body.to_vec());
            bytes = rest;
        }
        bodies
    }

    #[test]
    fn no_byte_can_be_flipped_and_no_frame_swapped() {
        let mut chain = Chain::after(b"x");
        let frames = [b"one".as_slice(), b"two", b"three"].map(|body| chain.seal(body));
        let whole = frames.concat();
        assert_eq!(read(&whole), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            let ends = [frames[0].len(), frames[0].len() + frames[1].len(), whole.len()];
            let intact = ends.iter().filter(|end| **end <= place).count();
            assert_eq!(read(&bytes).len(), intact, "byte {place}");
        }
        assert_eq!(read(&[&frames[1][..], &frames[0], &frames[2]].concat()).len(), 0);
        assert_eq!(read(&[&frames[0][..], &frames[2]].concat()).len(), 1);
    }
}
