//! The thread between pieces and the disk: it writes what came, and reads, verifies and sends what others ask for.

use super::library::{Library, holding};
use crate::net::{Credit, NetHandle, Priority};
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::wire::{ChunkId, to_cbor};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Something to do with pieces; each is an [`shoal_protocol::event::Output`].
#[derive(Debug)]
pub enum Job {
    /// Write a piece that the library keeps; its room in the network's memory is free again then.
    Write(ChunkId, Credit),
    /// Keep the digests of a file's pieces.
    KeepList(Digest, Vec<Digest>),
    /// Send a piece.
    Send(PeerId, ChunkId),
    /// Let pieces go.
    Drop(Digest, Vec<(u32, u32)>),
    /// End.
    Stop,
}

/// The thread and the way to it.
pub struct PieceThread {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl PieceThread {
    /// Starts it. Jobs are bounded by what the machine has under way; `tell` brings the machine what it must know.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        library: Arc<Library>,
        net: NetHandle,
        tell: Box<dyn Fn(Input) + Send>,
    ) -> std::io::Result<PieceThread> {
        let (jobs, inbox) = channel();
        let worker = Worker { library, net, tell };
        let thread =
            std::thread::Builder::new().name("pieces".into()).spawn(move || worker.run(&inbox))?;
        Ok(PieceThread { jobs, thread })
    }

    /// A way to hand over jobs.
    pub fn jobs(&self) -> Sender<Job> {
        self.jobs.clone()
    }

    /// Ends the thread after the jobs that it has.
    pub fn join(self) {
        // An error means that the thread has ended already.
        let _ = self.jobs.send(Job::Stop);
        let _ = self.thread.join();
    }
}

struct Worker {
    library: Arc<Library>,
    net: NetHandle,
    tell: Box<dyn Fn(Input) + Send>,
}

impl Worker {
    fn run(self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Write(chunk, credit) => self.write(chunk, credit),
                Job::KeepList(blob, list) => self.keep_list(&blob, list),
                Job::Send(to, chunk) => self.send(to, chunk),
                Job::Drop(blob, pieces) => self.remove(&blob, &pieces),
                Job::Stop => return,
            }
        }
    }

    fn write(&self, chunk: ChunkId, credit: Credit) {
        let Some(store) = self.library.store(&chunk.of) else { return };
        if let Err(error) = store.write(chunk.index) {
            tracing::error!(%error, piece = chunk.index, "a piece of the run's data cannot be kept");
            (self.tell)(holding(store));
        }
        drop(credit);
    }

    fn keep_list(&self, blob: &Digest, list: Vec<Digest>) {
        let Some(store) = self.library.store(blob) else { return };
        if let Err(error) = store.keep_list(list) {
            tracing::warn!(%error, "the list of the run's data is asked for again after a restart");
        }
    }

    fn remove(&self, blob: &Digest, pieces: &[(u32, u32)]) {
        let Some(store) = self.library.store(blob) else { return };
        let indices = pieces.iter().flat_map(|(start, end)| *start..*end);
        indices.for_each(|index| store.remove(index));
    }

    /// Behind what a round waits for. What turns out to be damaged is not sent, and fetched again.
    fn send(&self, to: PeerId, chunk: ChunkId) {
        let Some(store) = self.library.store(&chunk.of) else { return };
        let sent = match store.piece(chunk.index) {
            Ok(bytes) => {
                self.net.send_bulk(to, to_cbor(&chunk), bytes, Priority::Background).is_ok()
            }
            Err(error) => {
                tracing::warn!(%error, piece = chunk.index, "a piece of the run's data is damaged here");
                (self.tell)(holding(store));
                false
            }
        };
        if !sent {
            (self.tell)(Input::PieceSent { to });
        }
    }
}
