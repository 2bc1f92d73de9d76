//! Files that a node needs before it begins: the parameters of the run's first state, and its teacher, if it has these. They lie in
//! folders of pieces, which peers give each other.

use super::PieceStore;
use crate::data::DataError;
use bytes::Bytes;
use shoal_protocol::id::Digest;
use shoal_protocol::run::Blob;
use shoal_protocol::wire::PIECE_BYTES;
use std::path::Path;

/// What a file of these bytes is known by among peers; `None` if there are too many of them.
pub fn blob(bytes: &[u8]) -> Option<Blob> {
    Blob::of(&digests(bytes), bytes.len() as u64)
}

/// Keeps a file where [`read`] finds it. `fetched` is the folder of all files that come in pieces.
///
/// # Errors
/// The disk's.
pub fn keep(fetched: &Path, blob: Blob, bytes: &[u8]) -> Result<(), DataError> {
    let store = PieceStore::below(fetched, blob)?;
    if store.verified() == [(0, blob.pieces())] {
        return Ok(());
    }
    store.keep_list(digests(bytes))?;
    for (index, piece) in (0..).zip(bytes.chunks(PIECE_BYTES)) {
        store.keep(index, Bytes::copy_from_slice(piece));
        store.write(index)?;
    }
    Ok(())
}

/// Reads the file into as many bytes as it has.
///
/// # Errors
/// A piece is not here, or damaged.
pub fn read(fetched: &Path, blob: Blob, into: &mut [u8]) -> Result<(), DataError> {
    let store = PieceStore::below(fetched, blob)?;
    for (index, into) in (0..).zip(into.chunks_mut(PIECE_BYTES)) {
        into.copy_from_slice(&store.piece(index)?);
    }
    Ok(())
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(PIECE_BYTES).map(Digest::of).collect()
}

#[test]
fn what_is_kept_is_read_again_and_damage_is_seen() {
    let bytes: Vec<u8> = (0..PIECE_BYTES + 9).map(|n| (n % 251) as u8).collect();
    let (dir, blob) = (tempfile::tempdir().unwrap(), blob(&bytes).unwrap());
    let again = || {
        let mut into = vec![0; bytes.len()];
        read(dir.path(), blob, &mut into).map(|()| into)
    };
    assert!(again().is_err());
    (0..2).for_each(|_| keep(dir.path(), blob, &bytes).unwrap());
    assert!(again().unwrap() == bytes);
    let piece = dir.path().join(blob.root.to_string()).join("00000001.piece");
    std::fs::write(&piece, [0; 9]).unwrap();
    assert!(again().is_err());
    keep(dir.path(), blob, &bytes).unwrap();
    assert!(again().unwrap() == bytes);
}
