//! All files of a run that peers fetch from each other.

use super::store::PieceStore;
use crate::data::{Corpus, DataError};
use bytes::Bytes;
use shoal_protocol::event::Input;
use shoal_protocol::id::Digest;
use shoal_protocol::run::{Blob, RunSpec};
use shoal_protocol::wire::ChunkId;
use std::path::Path;
use std::sync::Arc;

/// All files of a run.
#[derive(Default)]
pub struct Library {
    stores: Vec<Arc<PieceStore>>,
    /// Those that were needed before the node began: they are always in folders of pieces, and only given on.
    first: Vec<Blob>,
}

impl Library {
    /// The files that a run's spec names. `text` and `tokenizer` are where the person keeps them, if anywhere; what is not brought
    /// lies below `folder`, as far as it is here.
    ///
    /// # Errors
    /// What the person brought is not the run's, or the folder cannot be made.
    pub fn open(
        spec: &RunSpec,
        text: Option<&Path>,
        tokenizer: Option<&Path>,
        folder: &Path,
    ) -> Result<Library, DataError> {
        let first = spec.first_blobs();
        let open = |blob: Blob| {
            let (own, what) = match blob {
                _ if first.contains(&blob) => (None, "what the run begins with"),
                _ if spec.text() == Some(blob) => (text, "the text"),
                _ => (tokenizer, "the tokenizer file"),
            };
            let store = match own {
                Some(path) => own_store(blob, path, what)?,
                None => PieceStore::below(folder, blob)?,
            };
            Ok(Arc::new(store))
        };
        let stores = spec.blobs().into_iter().map(open).collect::<Result<_, DataError>>()?;
        Ok(Library { stores, first })
    }

    /// The pieces of a file.
    pub fn store(&self, blob: &Digest) -> Option<&Arc<PieceStore>> {
        self.stores.iter().find(|store| store.blob().root == *blob)
    }

    /// Whether the person brought all that is learned from.
    pub fn is_own(&self) -> bool {
        let mut learned = self.stores.iter().filter(|store| !self.first.contains(&store.blob()));
        learned.all(|store| store.is_own())
    }

    /// What the protocol's machine has to be told of each at the start. Reads everything that is here.
    pub fn holdings(&self) -> Vec<Input> {
        self.stores.iter().map(|store| holding(store)).collect()
    }

    /// A verified piece has come.
    pub fn keep(&self, chunk: &ChunkId, bytes: Bytes) {
        if let Some(store) = self.store(&chunk.of) {
            store.keep(chunk.index, bytes);
        }
    }
}

/// What is held of a file.
pub(super) fn holding(store: &PieceStore) -> Input {
    Input::Holds { blob: store.blob().root, pieces: store.verified(), list: store.list() }
}

fn own_store(blob: Blob, path: &Path, what: &'static str) -> Result<PieceStore, DataError> {
    let corpus = Arc::new(Corpus::open(path)?);
    let got = corpus.digest().to_string();
    PieceStore::own(blob, corpus).ok_or(DataError::Other {
        what,
        got,
        expected: format!("another, of {} bytes", blob.bytes),
    })
}
