//! The file of a session's life. A thread of its own writes it, so that the session does not wait for the disk.

use anyhow::Context;
use shoal_protocol::id::Keyring;
use shoal_protocol::recording::{Opening, Scribe};
use shoal_protocol::session::Session;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Frames on their way to the file, a few hundred bytes each. A session waits only for a disk that is so far behind. Guess.
const QUEUED_MAX: usize = 4096;

/// A session that begins so, and who records it if a file is named.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn begin(
    opening: &Opening,
    keyring: Box<dyn Keyring>,
    file: Option<&Path>,
) -> anyhow::Result<(Session, Option<Scribe>)> {
    let Some(path) = file else { return Ok((opening.session(keyring), None)) };
    let mut writer = Writer::create(path)?;
    let write = Box::new(move |frame| writer.put(frame));
    let (session, scribe) = Scribe::begin(opening, keyring, write);
    tracing::info!(file = %path.display(), "recording");
    Ok((session, Some(scribe)))
}

/// Where frames go. What was put is in the file once this is dropped.
struct Writer {
    frames: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn create(path: &Path) -> anyhow::Result<Writer> {
        let file = File::create_new(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow::anyhow!(
                "{} is there already, and a recording is never written over: name another file",
                path.display()
            ),
            _ => anyhow::anyhow!("{}: {error}: name a file that can be written", path.display()),
        })?;
        let (frames, queue) = sync_channel(QUEUED_MAX);
        let path = PathBuf::from(path);
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || write_all(&path, file, &queue))
            .context("starting the thread that records")?;
        Ok(Writer { frames: Some(frames), thread: Some(thread) })
    }

    fn put(&mut self, frame: Vec<u8>) {
        // The thread has ended only after an error, which it has told.
        self.frames.as_ref().map(|frames| frames.send(frame));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.frames.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// Writes until nobody puts anything any more. An error ends the recording and not the node.
fn write_all(path: &Path, file: File, queue: &Receiver<Vec<u8>>) {
    if let Err(error) = write(file, queue) {
        tracing::error!(file = %path.display(), %error, "the recording ends here; the node goes on");
    }
}

/// Nothing is held back while nothing more comes: a process that is killed has lost moments.
fn write(file: File, queue: &Receiver<Vec<u8>>) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Ok(first) = queue.recv() {
        file.write_all(&first)?;
        queue.try_iter().try_for_each(|frame| file.write_all(&frame))?;
        file.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_put_is_in_the_file_and_no_file_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("life.rec");
        let mut writer = Writer::create(&path).unwrap();
        (0..10_000u32).for_each(|n| writer.put(n.to_le_bytes().to_vec()));
        drop(writer);
        let expected: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        let refused = Writer::create(&path).err().unwrap().to_string();
        assert!(refused.contains("name another file"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        let refused = Writer::create(&dir.path().join("none/x")).err().unwrap().to_string();
        assert!(refused.contains("none/x"), "{refused}");
    }

    #[test]
    fn a_frame_is_in_the_file_while_the_recording_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("life.rec");
        let mut writer = Writer::create(&path).unwrap();
        writer.put(b"first".to_vec());
        while std::fs::read(&path).unwrap() != b"first" {
            std::thread::yield_now();
        }
        writer.put(b"second".to_vec());
        drop(writer);
        assert_eq!(std::fs::read(&path).unwrap(), b"firstsecond");
    }
}
