//! Keys for tests: a keyed hash in the place of a signature. Everybody can compute everybody's, and honest peers do not.

use crate::rng::mix;
use shoal_protocol::id::{Keyring, PeerId, Signature};

/// Signs as one peer, verifies for all.
#[derive(Clone, Debug)]
pub struct Keys(pub PeerId);

impl Keyring for Keys {
    fn id(&self) -> PeerId {
        self.0
    }

    fn sign(&self, message: &[u8]) -> Signature {
        sign(&self.0, message)
    }

    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool {
        sign(peer, message) == *signature
    }
}

/// What `peer` would sign.
pub fn sign(peer: &PeerId, message: &[u8]) -> Signature {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let key = peer.0.chunks(8).map(word).fold(message.len() as u64, |key, next| mix(key ^ next));
    let hash = message.chunks(8).map(word).fold(key, stir);
    Signature((0..4).flat_map(|lane: u64| mix(hash.wrapping_add(lane)).to_le_bytes()).collect())
}

/// The step of a multiplicative hash (Knuth, TAOCP 3, section 6.4): for each word a bijection of the hash, and for each hash one
/// of the word, so that whatever differs from what was signed in one place cannot pass, and what differs in several will not.
fn stir(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The name of peer number `n`: its first four bytes are the number, so that logs show it.
pub fn peer_id(n: usize) -> PeerId {
    let mut id = *blake3::hash(&n.to_le_bytes()).as_bytes();
    id[..4].copy_from_slice(&(n as u32).to_be_bytes());
    PeerId(id)
}

/// The number that a name tells, be it anybody's or not.
pub fn told(peer: &PeerId) -> usize {
    u32::from_be_bytes([peer.0[0], peer.0[1], peer.0[2], peer.0[3]]) as usize
}

/// The number of a peer, if it has one.
pub fn number(peer: &PeerId) -> Option<usize> {
    let n = told(peer);
    (n < 1 << 16 && peer_id(n) == *peer).then_some(n)
}

#[test]
fn a_signature_is_one_peers_over_one_message() {
    let (keys, other) = (Keys(peer_id(1)), peer_id(2));
    let signature = keys.sign(b"so");
    assert!(keys.verify(&peer_id(1), b"so", &signature));
    assert!(!keys.verify(&other, b"so", &signature));
    assert!(!keys.verify(&peer_id(1), b"not", &signature));
    assert!(!keys.verify(&peer_id(1), b"so\0", &signature));
    assert_eq!(number(&other), Some(2));
}

#[test]
fn no_flipped_bit_passes() {
    let (keys, message) = (Keys(peer_id(3)), *b"twenty bytes of text");
    let signature = keys.sign(&message);
    assert_eq!(signature.0.len(), 32);
    for bit in 0..8 * message.len() {
        let mut flipped = message;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!keys.verify(&keys.0, &flipped, &signature), "bit {bit}");
        flipped[(bit / 8 + 9) % message.len()] ^= 1 << (bit % 8);
        assert!(!keys.verify(&keys.0, &flipped, &signature), "bit {bit} and another");
    }
}
