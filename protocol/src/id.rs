//! Names of things: peers, runs, rounds, fragments and digests.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A 32-byte name that prints as hex.
macro_rules! name32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "bytes32")] pub [u8; 32]);

        impl $name {
            /// The first eight hex digits: enough for a log line.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }

            /// Reads 64 hex digits; `None` for anything else.
            pub fn from_hex(text: &str) -> Option<Self> {
                unhex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
    };
}

name32! {
    /// A peer: its ed25519 public key.
    PeerId
}
name32! {
    /// A run: the BLAKE3 of its spec's canonical CBOR.
    RunId
}
name32! {
    /// A BLAKE3 digest.
    Digest
}

impl Digest {
    /// The BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

/// An ed25519 signature (64 bytes), or what a simulator's keyring puts in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// One outer step of a run. Round 0 is the initial state, before any exchange.
pub type Round = u64;

/// A fixed part of the parameters that is exchanged as one.
pub type FragmentId = u16;

/// Who signs and checks signatures for a session: the node's keys, or a simulator's stand-in.
pub trait Keyring: Send {
    /// The peer whose secret this keyring holds.
    fn id(&self) -> PeerId;
    /// Signs `message` as [`Keyring::id`].
    fn sign(&self, message: &[u8]) -> Signature;
    /// Whether `signature` is `peer`'s over `message`. Never panics, whatever the bytes.
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[pair.len() - 1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// A 32-byte array as one CBOR byte string (serde would write an array of 32 numbers).
mod bytes32 {
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let bytes: serde_bytes::ByteBuf = serde::Deserialize::deserialize(d)?;
        bytes.as_ref().try_into().map_err(|_| D::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}
