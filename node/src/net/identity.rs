//! Who this node is: its ed25519 key on disk, the protocol's [`Keyring`] over it, and the two ways to write a peer's name.

use libp2p::identity::{self, Keypair};
use shoal_protocol::id::{Keyring, PeerId, Signature};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands before an ed25519 key in libp2p's protobuf form: key type 1, then 32 bytes.
const ED25519_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// Why a node's key cannot be used, and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others on this machine can read the key.
    #[error("{} has mode {mode:03o}: others could read this node's key; run `chmod 600 {}`", path.display(), path.display())]
    TooOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error("{} is not a node key (64 hex digits): restore it, or delete it to get a new identity", .0.display())]
    Malformed(PathBuf),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the key at `path`, or makes one there with mode 0600. Two nodes that start at once agree on one key.
///
/// # Errors
/// Wider permissions, a malformed file, or what the system says; each with its mend.
pub fn load_or_create(path: &Path) -> Result<Keypair, KeyError> {
    match load(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(|source| KeyError::Io { path: path.into(), source })?;
            load(path)
        }
        outcome => outcome,
    }
}

fn load(path: &Path) -> Result<Keypair, KeyError> {
    let failed = |source| KeyError::Io { path: path.into(), source };
    let mode = fs::metadata(path).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.into(), mode });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let secret = PeerId::from_hex(text.trim()).ok_or(KeyError::Malformed(path.into()))?;
    Keypair::ed25519_from_bytes(secret.0).map_err(|_| KeyError::Malformed(path.into()))
}

/// Writes a fresh key beside `path`, then links it into place: a reader sees a whole key or none.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let secret = identity::ed25519::Keypair::generate().secret();
    let digits: String = secret.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(format!("{digits}\n").as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::rename(&draft, path),
        Ok(()) => Ok(()),
    });
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => linked.and(Err(error)),
        _ => linked,
    }
}

/// The node's key, as the protocol signs and verifies with it.
#[derive(Clone)]
pub struct NodeKeyring {
    keypair: Keypair,
    id: PeerId,
}

impl NodeKeyring {
    /// A keyring over an ed25519 key; `None` for a key of another kind.
    pub fn new(keypair: Keypair) -> Option<Self> {
        let id = from_libp2p(&keypair.public().to_peer_id())?;
        Some(NodeKeyring { keypair, id })
    }
}

impl Keyring for NodeKeyring {
    fn id(&self) -> PeerId {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Signature {
        // Signing fails for RSA keys alone; an empty signature would verify nowhere.
        Signature(self.keypair.sign(message).unwrap_or_default())
    }

    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool {
        public_key(peer).is_some_and(|key| key.verify(message, &signature.0))
    }
}

/// libp2p's name of a peer; `None` if the 32 bytes are no public key.
pub fn to_libp2p(peer: &PeerId) -> Option<libp2p::PeerId> {
    public_key(peer).map(|key| key.to_peer_id())
}

/// The protocol's name of a peer; `None` if its key is not ed25519.
pub fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    let hash = peer.as_ref();
    let key = hash.digest().strip_prefix(&ED25519_PREFIX)?;
    if hash.code() == 0 { key.try_into().ok().map(PeerId) } else { None }
}

/// The first digits of a peer's name, for log lines.
pub(super) fn short(peer: &libp2p::PeerId) -> String {
    from_libp2p(peer).map_or_else(|| peer.to_string(), |peer| peer.short())
}

/// The key that a peer's name is; `None` if it is none.
pub(super) fn public_key(peer: &PeerId) -> Option<identity::PublicKey> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&peer.0).ok()?;
    Some(identity::PublicKey::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/node.key");
        let first = load_or_create(&path).unwrap();
        let again = load_or_create(&path).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn an_open_or_torn_key_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_create(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc").unwrap();
        assert!(load_or_create(&path).unwrap_err().to_string().contains("64 hex digits"));
    }

    #[test]
    fn names_go_both_ways_and_signatures_hold() {
        let ring = NodeKeyring::new(Keypair::generate_ed25519()).unwrap();
        let other = NodeKeyring::new(Keypair::generate_ed25519()).unwrap();
        let peer = to_libp2p(&ring.id()).unwrap();
        assert_eq!(from_libp2p(&peer), Some(ring.id()));
        let signature = ring.sign(b"round 3");
        assert!(other.verify(&ring.id(), b"round 3", &signature));
        assert!(!other.verify(&ring.id(), b"round 4", &signature));
        assert!(!other.verify(&other.id(), b"round 3", &signature));
        assert!(!other.verify(&PeerId([0xff; 32]), b"round 3", &Signature(vec![])));
    }
}
