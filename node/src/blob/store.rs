//! One file's pieces on disk: the person's own file, read in place, or a folder with the list of digests and a file for each piece.

use crate::data::{Corpus, DataError};
use crate::store::disk::write_atomic;
use bytes::Bytes;
use shoal_protocol::exchange::ranges;
use shoal_protocol::id::Digest;
use shoal_protocol::run::Blob;
use shoal_protocol::wire::PIECE_BYTES;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file of the pieces' digests, 32 bytes each.
const LIST: &str = "list";

/// One file's pieces.
pub struct PieceStore {
    blob: Blob,
    place: Place,
}

enum Place {
    /// The person's own; nothing is written to it.
    Own(Arc<Corpus>, Vec<Digest>),
    /// What peers have given.
    Folder(PathBuf, Mutex<Fetched>),
}

/// What is known beside the files.
struct Fetched {
    list: Vec<Digest>,
    /// Verified, and on their way to the disk.
    pending: BTreeMap<u32, Bytes>,
}

impl PieceStore {
    /// A file that the person brought; `None` if it is not the one of this name.
    pub fn own(blob: Blob, corpus: Arc<Corpus>) -> Option<PieceStore> {
        let list = corpus.piece_digests();
        let place = Place::Own(corpus, list);
        let store = PieceStore { blob, place };
        store.blob.check(&store.list()).is_ok().then_some(store)
    }

    /// What lies in a folder, or will.
    ///
    /// # Errors
    /// The folder cannot be made, or its list not be read.
    pub fn open(blob: Blob, folder: PathBuf) -> Result<PieceStore, DataError> {
        std::fs::create_dir_all(&folder).map_err(DataError::io("making", &folder))?;
        let path = folder.join(LIST);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(DataError::io("reading", &path))?,
        };
        let digest = |bytes: &[u8]| Some(Digest(bytes.try_into().ok()?));
        let list: Vec<Digest> = bytes.chunks(32).filter_map(digest).collect();
        // A list that is not the file's is fetched anew.
        let list = if blob.check(&list).is_ok() { list } else { Vec::new() };
        let fetched = Fetched { list, pending: BTreeMap::new() };
        Ok(PieceStore { blob, place: Place::Folder(folder, Mutex::new(fetched)) })
    }

    /// What lies, or will, below the folder of all files that come in pieces.
    ///
    /// # Errors
    /// As [`PieceStore::open`].
    pub fn below(fetched: &Path, blob: Blob) -> Result<PieceStore, DataError> {
        PieceStore::open(blob, fetched.join(blob.root.to_string()))
    }

    /// Which file.
    pub fn blob(&self) -> Blob {
        self.blob
    }

    /// Whether the person brought it.
    pub fn is_own(&self) -> bool {
        matches!(self.place, Place::Own(..))
    }

    /// The digests of its pieces; none if they are not known.
    pub fn list(&self) -> Vec<Digest> {
        match &self.place {
            Place::Own(_, list) => list.clone(),
            Place::Folder(_, fetched) => lock(fetched).list.clone(),
        }
    }

    /// Ranges of the pieces that are here and what they should be: every one is read. Damaged ones are removed.
    pub fn verified(&self) -> Vec<(u32, u32)> {
        match &self.place {
            Place::Own(..) => vec![(0, self.blob.pieces())],
            Place::Folder(..) => {
                ranges((0..self.blob.pieces()).filter(|index| self.is_sound(*index)))
            }
        }
    }

    fn is_sound(&self, index: u32) -> bool {
        let sound = self.piece(index).is_ok();
        if !sound {
            self.remove(index);
        }
        sound
    }

    /// The bytes of a piece, verified.
    ///
    /// # Errors
    /// It is not here, cannot be read, or is damaged.
    pub fn piece(&self, index: u32) -> Result<Bytes, DataError> {
        let mut bytes = vec![0; self.blob.piece_bytes(index)];
        let start = u64::from(index) * PIECE_BYTES as u64;
        self.read(start, &mut bytes)?;
        let expected = match &self.place {
            Place::Own(_, list) => list.get(index as usize).copied(),
            Place::Folder(_, fetched) => lock(fetched).list.get(index as usize).copied(),
        };
        match expected {
            Some(expected) if expected == Digest::of(&bytes) => Ok(bytes.into()),
            _ => Err(DataError::Absent { piece: index }),
        }
    }

    /// Copies the bytes from `start` on into `into`, as many as there are, and returns how many.
    ///
    /// # Errors
    /// A piece of it is not here, or cannot be read.
    pub fn read(&self, start: u64, into: &mut [u8]) -> Result<usize, DataError> {
        let Place::Folder(folder, fetched) = &self.place else {
            return Ok(self.own_bytes(start, into));
        };
        let count = (self.blob.bytes.saturating_sub(start)).min(into.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = start + done as u64;
            let (index, within) = ((at / PIECE_BYTES as u64) as u32, at % PIECE_BYTES as u64);
            let until = (done + PIECE_BYTES - within as usize).min(count);
            let part = &mut into[done..until];
            let pending = lock(fetched).pending.get(&index).cloned();
            match pending {
                Some(bytes) => part.copy_from_slice(&bytes[within as usize..][..part.len()]),
                None => read_at(&file(folder, index), index, within, part)?,
            }
            done = until;
        }
        Ok(done)
    }

    fn own_bytes(&self, start: u64, into: &mut [u8]) -> usize {
        match &self.place {
            Place::Own(corpus, _) => corpus.read(start, into),
            Place::Folder(..) => 0,
        }
    }

    /// A verified piece has come: it can be read from now on. [`PieceStore::write`] brings it to the disk.
    pub fn keep(&self, index: u32, bytes: Bytes) {
        if let Place::Folder(_, fetched) = &self.place {
            lock(fetched).pending.insert(index, bytes);
        }
    }

    /// Writes a piece that was kept.
    ///
    /// # Errors
    /// The disk's; the piece is let go then.
    pub fn write(&self, index: u32) -> Result<(), DataError> {
        let Place::Folder(folder, fetched) = &self.place else { return Ok(()) };
        let Some(bytes) = lock(fetched).pending.get(&index).cloned() else { return Ok(()) };
        let path = file(folder, index);
        let written = write(&path, &bytes);
        lock(fetched).pending.remove(&index);
        written.map_err(DataError::io("writing", &path))
    }

    /// Keeps the verified digests of the pieces.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_list(&self, list: Vec<Digest>) -> Result<(), DataError> {
        let Place::Folder(folder, fetched) = &self.place else { return Ok(()) };
        let bytes: Vec<u8> = list.iter().flat_map(|digest| digest.0).collect();
        lock(fetched).list = list;
        let path = folder.join(LIST);
        write_atomic(&path, &bytes).map_err(|error| DataError::Io {
            action: "writing",
            path,
            source: std::io::Error::other(error),
        })
    }

    /// Lets a piece go.
    pub fn remove(&self, index: u32) {
        if let Place::Folder(folder, fetched) = &self.place {
            lock(fetched).pending.remove(&index);
            // Mostly it is not there.
            let _ = std::fs::remove_file(file(folder, index));
        }
    }

    /// Writes the whole file to `path`, if it is not there already.
    ///
    /// # Errors
    /// A piece is not here, or the disk's.
    pub fn assemble(&self, path: &Path) -> Result<(), DataError> {
        if path.exists() {
            return Ok(());
        }
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        let mut out = File::create(&partial).map_err(DataError::io("writing", &partial))?;
        for index in 0..self.blob.pieces() {
            let bytes = self.piece(index)?;
            out.write_all(&bytes).map_err(DataError::io("writing", &partial))?;
        }
        std::fs::rename(&partial, path).map_err(DataError::io("renaming", &partial))
    }
}

fn lock(fetched: &Mutex<Fetched>) -> MutexGuard<'_, Fetched> {
    fetched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file(folder: &Path, index: u32) -> PathBuf {
    folder.join(format!("{index:08}.piece"))
}

fn read_at(path: &Path, index: u32, within: u64, into: &mut [u8]) -> Result<(), DataError> {
    let file = File::open(path).map_err(|_| DataError::Absent { piece: index })?;
    file.read_exact_at(into, within).map_err(DataError::io("reading", path))
}

/// Into place whole. Not flushed: what a power cut spoils is found by its digest, and fetched again.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..PIECE_BYTES * 2 + 777).map(|at| (at / 3 % 251) as u8).collect()
    }

    fn read(store: &PieceStore, start: u64, count: usize) -> Result<Vec<u8>, DataError> {
        let mut into = vec![0; count];
        let got = store.read(start, &mut into)?;
        into.truncate(got);
        Ok(into)
    }

    #[test]
    fn pieces_are_kept_read_across_dropped_and_verified_again() {
        let (dir, text) = (tempfile::tempdir().unwrap(), text());
        let corpus = Arc::new(Corpus::from_bytes(text.clone()));
        let list = corpus.piece_digests();
        let blob = Blob::of(&list, text.len() as u64).unwrap();
        let own = PieceStore::own(blob, corpus).unwrap();
        assert_eq!(own.verified(), [(0, 3)]);
        assert!(PieceStore::own(blob, Arc::new(Corpus::from_bytes(vec![1; 9]))).is_none());

        let store = PieceStore::open(blob, dir.path().join("text")).unwrap();
        assert_eq!((store.list(), store.verified()), (vec![], vec![]));
        store.keep_list(list.clone()).unwrap();
        for index in [1, 2] {
            store.keep(index, own.piece(index).unwrap());
        }
        let across = 2 * PIECE_BYTES as u64 - 5;
        let expected = &text[across as usize..][..10];
        assert_eq!(read(&store, across, 10).unwrap(), expected, "before they are written");
        [1, 2].into_iter().for_each(|index| store.write(index).unwrap());
        assert_eq!(read(&store, across, 10).unwrap(), expected);
        assert_eq!(read(&store, text.len() as u64 - 3, 10).unwrap(), text[text.len() - 3..]);
        assert!(matches!(read(&store, 0, 10), Err(DataError::Absent { piece: 0 })));

        let again = PieceStore::open(blob, dir.path().join("text")).unwrap();
        assert_eq!((again.list(), again.verified()), (list, vec![(1, 3)]));
        std::fs::write(dir.path().join("text/00000001.piece"), vec![0; PIECE_BYTES]).unwrap();
        assert!(again.piece(1).is_err());
        assert_eq!(again.verified(), [(2, 3)]);
        again.remove(2);
        assert_eq!(again.verified(), []);
    }

    #[test]
    fn a_whole_file_is_assembled() {
        let (dir, text) = (tempfile::tempdir().unwrap(), text());
        let corpus = Arc::new(Corpus::from_bytes(text.clone()));
        let list = corpus.piece_digests();
        let store = PieceStore::own(Blob::of(&list, text.len() as u64).unwrap(), corpus).unwrap();
        let path = dir.path().join("whole");
        (0..2).for_each(|_| store.assemble(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
}
