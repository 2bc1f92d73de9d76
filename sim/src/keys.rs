//! Keys for tests: a keyed BLAKE3 in the place of a signature. Everybody can compute everybody's, and honest peers do not.

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
    Signature(blake3::keyed_hash(&peer.0, message).as_bytes().to_vec())
}

/// The name of peer number `n`: its first four bytes are the number, so that logs show it.
pub fn peer_id(n: usize) -> PeerId {
    let mut id = *blake3::hash(&n.to_le_bytes()).as_bytes();
    id[..4].copy_from_slice(&(n as u32).to_be_bytes());
    PeerId(id)
}

/// The number of a peer, if it has one.
pub fn number(peer: &PeerId) -> Option<usize> {
    let n = u32::from_be_bytes([peer.0[0], peer.0[1], peer.0[2], peer.0[3]]) as usize;
    (n < 1 << 16 && peer_id(n) == *peer).then_some(n)
}

#[test]
fn a_signature_is_one_peers_over_one_message() {
    let (keys, other) = (Keys(peer_id(1)), peer_id(2));
    let signature = keys.sign(b"so");
    assert!(keys.verify(&peer_id(1), b"so", &signature));
    assert!(!keys.verify(&other, b"so", &signature));
    assert!(!keys.verify(&peer_id(1), b"not", &signature));
    assert_eq!(number(&other), Some(2));
}
