//! Documents between the passes: their texts one after another in one file, their marks in another. Both only grow, so that
//! going on after an interruption is cutting them off where the last saved state says.

use super::clean::Kept;
use super::error::PrepareError;
use super::near::{MARK_BYTES, Marks};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const TEXTS: &str = "texts";
const MARKS: &str = "marks";
const BUFFER: usize = 1 << 18;

/// The files being written.
pub struct Spool {
    texts: Growing,
    marks: Growing,
}

/// A file that is written at its end.
pub(super) struct Growing {
    path: PathBuf,
    out: BufWriter<File>,
    /// Its length.
    pub(super) len: u64,
}

impl Growing {
    /// Opens a file, or makes it, and cuts it off at `len`.
    pub(super) fn open(path: PathBuf, len: u64) -> Result<Growing, PrepareError> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).open(&path);
        let mut file = opened.map_err(PrepareError::io("opening", &path))?;
        let there = file.metadata().map_err(PrepareError::io("reading", &path))?.len();
        if there < len {
            let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
            let reason = format!("it has {there} bytes, {len} were written");
            return Err(PrepareError::Torn { path, reason, folder });
        }
        file.set_len(len).map_err(PrepareError::io("cutting", &path))?;
        file.seek(SeekFrom::End(0)).map_err(PrepareError::io("opening", &path))?;
        Ok(Growing { path, out: BufWriter::with_capacity(BUFFER, file), len })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PrepareError> {
        self.out.write_all(bytes).map_err(PrepareError::io("writing", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), PrepareError> {
        self.out.flush().map_err(PrepareError::io("writing", &self.path))?;
        self.out.get_ref().sync_data().map_err(PrepareError::io("flushing", &self.path))
    }
}

impl Spool {
    /// Opens the files of a work folder, with so many documents and bytes of text in them.
    ///
    /// # Errors
    /// The disk's, or a file is shorter than that.
    pub fn open(folder: &Path, documents: u64, text_bytes: u64) -> Result<Spool, PrepareError> {
        let texts = Growing::open(folder.join(TEXTS), text_bytes)?;
        let marks = Growing::open(folder.join(MARKS), documents * MARK_BYTES as u64)?;
        Ok(Spool { texts, marks })
    }

    /// One more document.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, kept: &mut Kept) -> Result<(), PrepareError> {
        kept.mark.at = self.texts.len;
        self.marks.write(&kept.mark.to_bytes())?;
        // A record is bounded far below 4 GiB.
        self.texts.write(&(kept.text.len() as u32).to_le_bytes())?;
        self.texts.write(kept.text.as_bytes())
    }

    /// Brings everything to the disk; returns the bytes of text.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&mut self) -> Result<u64, PrepareError> {
        self.texts.flush()?;
        self.marks.flush()?;
        Ok(self.texts.len)
    }
}

/// The marks of a work folder, and where they lie.
///
/// # Errors
/// The disk's.
pub fn marks(folder: &Path) -> Result<(Marks, PathBuf), PrepareError> {
    let path = folder.join(MARKS);
    let file = File::open(&path).map_err(PrepareError::io("opening", &path))?;
    Ok((Marks::new(file), path))
}

/// Texts at any place.
pub struct Texts {
    file: File,
    path: PathBuf,
}

impl Texts {
    /// Opens those of a work folder.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: &Path) -> Result<Texts, PrepareError> {
        let path = folder.join(TEXTS);
        let file = File::open(&path).map_err(PrepareError::io("opening", &path))?;
        Ok(Texts { file, path })
    }

    /// Length and beginning, at most 1024 bytes, of the text at a place.
    ///
    /// # Errors
    /// The disk's.
    pub fn beginning(&self, at: u64) -> Result<(u64, String), PrepareError> {
        let (mut len, read) = ([0; 4], PrepareError::io("reading", &self.path));
        let text = self.file.read_exact_at(&mut len, at).and_then(|()| {
            let mut text = vec![0; u32::from_le_bytes(len).min(1024) as usize];
            self.file.read_exact_at(&mut text, at + 4).map(|()| text)
        });
        let text = text.map_err(read)?;
        Ok((u64::from(u32::from_le_bytes(len)), String::from_utf8_lossy(&text).into_owned()))
    }

    /// All texts from a place on, in order, each with the place after it.
    ///
    /// # Errors
    /// The disk's.
    pub fn from(self, at: u64) -> Result<InOrder, PrepareError> {
        let Texts { mut file, path } = self;
        file.seek(SeekFrom::Start(at)).map_err(PrepareError::io("reading", &path))?;
        Ok(InOrder { reader: BufReader::with_capacity(BUFFER, file), path, at })
    }
}

/// Texts one after another.
pub struct InOrder {
    reader: BufReader<File>,
    path: PathBuf,
    /// Where the next begins.
    pub at: u64,
}

impl InOrder {
    /// The next text.
    ///
    /// # Errors
    /// The disk's, or there is none.
    pub fn next_text(&mut self) -> Result<String, PrepareError> {
        let mut len = [0; 4];
        let read = self.reader.read_exact(&mut len).and_then(|()| {
            let mut text = vec![0; u32::from_le_bytes(len) as usize];
            self.reader.read_exact(&mut text).map(|()| text)
        });
        let text = read.map_err(PrepareError::io("reading", &self.path))?;
        self.at += 4 + text.len() as u64;
        String::from_utf8(text).map_err(|error| PrepareError::Torn {
            path: self.path.clone(),
            reason: error.to_string(),
            folder: self.path.parent().unwrap_or(Path::new(".")).to_owned(),
        })
    }
}
