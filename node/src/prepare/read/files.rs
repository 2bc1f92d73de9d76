//! The files to read: those named, and those in folders, in name order.

use super::{Amount, Record, Records, Source, compressed, json, parquet, text};
use crate::prepare::error::PrepareError;
use shoal_protocol::id::Digest;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct How {
    /// The field of JSON Lines, or the column of Parquet, that holds the text.
    pub field: String,
    /// A plain text is cut at the first empty line after so many bytes.
    pub document_bytes: usize,
}

/// Files as a source of documents.
pub struct Files {
    files: Vec<File>,
    how: How,
    read: Arc<AtomicU64>,
    /// Files in folders that are of no kind that is read.
    pub passed_over: u64,
}

struct File {
    path: PathBuf,
    kind: Kind,
    bytes: u64,
    modified_ns: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    JsonLines,
    Parquet,
}

impl Files {
    /// Looks at the named files and folders. A file that is named is read as plain text if its kind is not known, one in a folder
    /// is passed over and counted.
    ///
    /// # Errors
    /// Something is not there, or there is no file to read.
    pub fn find(inputs: &[PathBuf], how: How) -> Result<Files, PrepareError> {
        let read = Arc::new(AtomicU64::new(0));
        let mut files = Files { files: Vec::new(), how, read, passed_over: 0 };
        for input in inputs {
            let before = files.files.len();
            match metadata(input)?.is_dir() {
                true => files.push_folder(input)?,
                false => files.push(input, kind(input).unwrap_or(Kind::Text))?,
            }
            if files.files.len() == before {
                return Err(PrepareError::NoInput(input.clone()));
            }
        }
        Ok(files)
    }

    fn push_folder(&mut self, folder: &Path) -> Result<(), PrepareError> {
        let listing = folder.read_dir().map_err(PrepareError::io("listing", folder))?;
        let mut entries = listing
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(PrepareError::io("listing", folder))?;
        entries.retain(|entry| !is_hidden(entry));
        entries.sort();
        for entry in entries {
            match (metadata(&entry)?.is_dir(), kind(&entry)) {
                (true, _) => self.push_folder(&entry)?,
                (false, Some(kind)) => self.push(&entry, kind)?,
                (false, None) => self.passed_over += 1,
            }
        }
        Ok(())
    }

    fn push(&mut self, path: &Path, kind: Kind) -> Result<(), PrepareError> {
        let metadata = metadata(path)?;
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |since| since.as_nanos());
        self.files.push(File { path: path.to_owned(), kind, bytes: metadata.len(), modified_ns });
        Ok(())
    }
}

impl Source for Files {
    fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            let File { path, bytes, modified_ns, .. } = file;
            hasher.update(format!("{path:?} {bytes} {modified_ns}\n").as_bytes());
        }
        let digest = Digest(*hasher.finalize().as_bytes());
        let How { field, document_bytes } = &self.how;
        format!(
            "files whose names, sizes and times have the BLAKE3 {digest}; field {field:?}, plain text cut after {document_bytes} bytes"
        )
    }

    fn units(&self) -> usize {
        self.files.len()
    }

    fn name(&self, unit: usize) -> String {
        self.files[unit].path.display().to_string()
    }

    fn open(&self, unit: usize, start: u64) -> Result<Records<'_>, PrepareError> {
        let (file, name) = (&self.files[unit], self.name(unit));
        let records: Records = match file.kind {
            Kind::Parquet => parquet::records(&file.path, name, &self.how.field, &self.read),
            kind => match (compressed::open(&file.path, &self.read), kind) {
                (Ok(reader), Kind::JsonLines) => {
                    json::records(reader, name, self.how.field.clone())
                }
                (Ok(reader), _) => text::records(reader, name, self.how.document_bytes),
                (Err(error), _) => {
                    Box::new(std::iter::once(Record::bad("file unreadable", &name, error)))
                }
            },
        };
        Ok(Box::new(records.skip(start as usize)))
    }

    fn progress(&self) -> Amount {
        let all = self.files.iter().map(|file| file.bytes).sum();
        Amount { done: self.read.load(Ordering::Relaxed), all }
    }
}

fn metadata(path: &Path) -> Result<std::fs::Metadata, PrepareError> {
    path.metadata().map_err(PrepareError::io("opening", path))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// By the name's end, `.gz` and `.zst` aside.
fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    if name.ends_with(".parquet") {
        return Some(Kind::Parquet);
    }
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "jsonl" | "ndjson" | "json" => Some(Kind::JsonLines),
        "txt" | "text" | "md" => Some(Kind::Text),
        _ => None,
    }
}
