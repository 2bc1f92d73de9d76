//! Shards on their way to disk: documents are appended while they fit, then the shard is named by its digest.

use super::error::PrepareError;
use super::manifest::Shard;
use super::spool::Growing;
use shoal_protocol::id::Digest;
use std::path::{Path, PathBuf};

/// Shards of at most so many bytes each; a document that is longer by itself has a longer one.
pub struct Shards {
    output: PathBuf,
    partial: PathBuf,
    bytes_max: u64,
    width: u32,
    /// Finished ones.
    pub finished: Vec<Shard>,
    open: Option<Open>,
}

struct Open {
    file: Growing,
    hasher: blake3::Hasher,
    documents: u64,
}

impl Shards {
    /// Goes on after those that are finished. The one being written lies in `work`.
    pub fn new(
        output: &Path,
        work: &Path,
        bytes_max: u64,
        width: u32,
        finished: Vec<Shard>,
    ) -> Shards {
        let partial = work.join("shard.partial");
        Shards { output: output.to_owned(), partial, bytes_max, width, finished, open: None }
    }

    /// Whether a document of so many bytes needs the open shard finished first.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.file.len + bytes as u64 > self.bytes_max)
    }

    /// Appends a document.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, document: &[u8]) -> Result<(), PrepareError> {
        let open = match &mut self.open {
            Some(open) => open,
            empty => {
                let file = Growing::open(self.partial.clone(), 0)?;
                empty.insert(Open { file, hasher: blake3::Hasher::new(), documents: 0 })
            }
        };
        open.file.write(document)?;
        open.hasher.update(document);
        open.documents += 1;
        Ok(())
    }

    /// Ends the open shard, if there is one.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&mut self) -> Result<(), PrepareError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        open.file.flush()?;
        let file = format!("shard-{:06}.{}", self.finished.len(), self.extension());
        let path = self.output.join(&file);
        std::fs::rename(&self.partial, &path)
            .map_err(PrepareError::io("renaming", &self.partial))?;
        let (bytes, tokens) = (open.file.len, open.file.len / u64::from(self.width));
        let blake3 = Digest(*open.hasher.finalize().as_bytes()).to_string();
        self.finished.push(Shard { file, bytes, tokens, documents: open.documents, blake3 });
        Ok(())
    }

    /// Byte tokens are text.
    fn extension(&self) -> &'static str {
        match self.width {
            1 => "txt",
            2 => "u16",
            _ => "u32",
        }
    }
}
