//! A recording's file, read entry by entry. A file can make this allocate no more than one frame, and no more than it holds.

use shoal_protocol::recording::frame::{BODY_BYTES_MAX, Chain, HEAD_BYTES};
use shoal_protocol::recording::{Entry, MAGIC, Opening, VERSION_BYTE, magic};
use std::fmt;
use std::io::Read;

/// Why a file cannot be read on, and from which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    pub at: u64,
    pub why: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.why)
    }
}

/// What comes next in a file.
#[derive(Debug, PartialEq)]
pub enum Next<T> {
    /// A frame that is whole.
    Whole(T),
    /// The file ends where a frame ends.
    End,
    /// The file ends within the frame that begins at this byte: who wrote it was killed.
    Torn(u64),
}

/// The entries of a recording.
pub struct Entries<R> {
    from: R,
    chain: Chain,
    at: u64,
}

impl<R: Read> Entries<R> {
    /// Reads the opening.
    ///
    /// # Errors
    /// It is no recording, one of another version, or one that ends before anything has happened.
    pub fn open(from: R) -> Result<(Opening, Entries<R>), Bad> {
        let start = magic();
        let mut entries = Entries { from, chain: Chain::after(&start), at: 0 };
        let begins = entries.take(start.len())?;
        check_magic(&begins).map_err(|why| Bad { at: 0, why })?;
        entries.at = start.len() as u64;
        let at = entries.at;
        let opening = match entries.frame()? {
            Next::Whole(body) => Opening::read(&body),
            Next::End | Next::Torn(_) => {
                Err("the file ends before its opening does: nothing was recorded".into())
            }
        };
        Ok((opening.map_err(|why| Bad { at, why })?, entries))
    }

    /// The byte that the next entry begins at.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next entry.
    ///
    /// # Errors
    /// The file is damaged, or holds what no recording does.
    pub fn next(&mut self) -> Result<Next<Entry>, Bad> {
        let at = self.at;
        Ok(match self.frame()? {
            Next::Whole(body) => {
                Next::Whole(Entry::read(&body).map_err(|why| Bad { at, why: no_entry(&why) })?)
            }
            Next::End => Next::End,
            Next::Torn(at) => Next::Torn(at),
        })
    }

    fn frame(&mut self) -> Result<Next<Vec<u8>>, Bad> {
        let (at, begins) = (self.at, self.take(HEAD_BYTES)?);
        let Ok(head) = <[u8; HEAD_BYTES]>::try_from(begins.as_slice()) else {
            return Ok(if begins.is_empty() { Next::End } else { Next::Torn(at) });
        };
        let bad = |why| Err(Bad { at, why });
        let length = match self.chain.length(&head) {
            Some(length) if length <= BODY_BYTES_MAX => length,
            Some(length) => {
                return bad(format!("a frame of {length} bytes exceeds {BODY_BYTES_MAX}"));
            }
            None => return bad(damaged(HEAD_BYTES)),
        };
        let body = self.take(length)?;
        if body.len() < length {
            return Ok(Next::Torn(at));
        }
        if !self.chain.admits(&head, &body) {
            return bad(damaged(HEAD_BYTES + length));
        }
        self.at += (HEAD_BYTES + length) as u64;
        Ok(Next::Whole(body))
    }

    /// So many bytes, or all that are left. Memory grows with what is read, not with what was announced.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, Bad> {
        let (mut taken, at) = (Vec::new(), self.at);
        let read = self.from.by_ref().take(bytes as u64).read_to_end(&mut taken);
        read.map(|_| taken).map_err(|error| Bad { at, why: error.to_string() })
    }
}

fn check_magic(begins: &[u8]) -> Result<(), String> {
    match begins.strip_prefix(&MAGIC) {
        Some([version]) if *version == VERSION_BYTE => Ok(()),
        Some([version]) => Err(format!(
            "a recording of format {version}; this build reads {VERSION_BYTE}: take the build that recorded it"
        )),
        _ => Err("no recording: name a file that `shoal up --record FILE` has written".into()),
    }
}

fn damaged(bytes: usize) -> String {
    format!("damaged: these {bytes} bytes are not what was recorded (their checksum does not hold)")
}

pub fn no_entry(why: &str) -> String {
    format!("nothing that this build's protocol knows: {why}; take the build that recorded it")
}
