//! Files as they are or compressed, with the bytes counted that come from the disk.

use crate::prepare::error::PrepareError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Read ahead of the disk.
const BUFFER: usize = 1 << 18;

/// Counts what is read through it.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, count: Arc<AtomicU64>) -> Counted<R> {
        Counted { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Opens a file; `.gz` and `.zst` are unpacked on the way, several members one after another included.
pub(super) fn open(path: &Path, count: &Arc<AtomicU64>) -> Result<Box<dyn BufRead>, PrepareError> {
    let file = File::open(path).map_err(PrepareError::io("opening", path))?;
    let file = BufReader::with_capacity(BUFFER, Counted::new(file, count.clone()));
    Ok(match extension(path) {
        Some("gz") => buffered(flate2::bufread::MultiGzDecoder::new(file)),
        Some("zst") => {
            let unpacked = zstd::stream::read::Decoder::with_buffer(file);
            buffered(unpacked.map_err(PrepareError::io("unpacking", path))?)
        }
        _ => Box::new(file),
    })
}

fn buffered(reader: impl Read + 'static) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(BUFFER, reader))
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}
