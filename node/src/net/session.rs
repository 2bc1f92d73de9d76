//! One task a peer: both sides greet, streams carry frames and chunks, and the session ends when any of them breaks.
//!
//! A session is what the node sees as "connected": both control streams stand and nothing on them was lost. If one breaks,
//! the session ends and a new one begins from a new connection, rather than going on with a gap that nobody knows of.

use super::frame::{self, Fault, GREETING};
use super::link::{Core, Queues};
use super::{NetEvent, bulk};
use libp2p::Stream;
use libp2p_stream::{Control, OpenStreamError};
use shoal_protocol::id::PeerId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Bulk streams that one peer may have open towards us; an honest one has one, or two while it changes connection.
const BULK_STREAMS_MAX: usize = 2;
/// Attempts at opening the control stream: one may meet a connection that is about to close.
const OPEN_ATTEMPTS: u32 = 4;

/// What a stream that a peer opened is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Bulk,
}

/// A stream that a peer opened.
pub(super) struct Inbound {
    pub(super) kind: Kind,
    pub(super) stream: Stream,
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// We asked for it, or the connections closed.
    Ended,
    /// A stream broke.
    Lost(String),
    /// Another run or version; they or we said so.
    Refused(String),
    /// The peer did what no honest peer does.
    Misconduct(String),
}

impl Verdict {
    fn reason(&self) -> &str {
        match self {
            Verdict::Ended => "the connection was closed",
            Verdict::Lost(reason) | Verdict::Refused(reason) | Verdict::Misconduct(reason) => {
                reason
            }
        }
    }
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => Verdict::Refused(reason),
            fault if fault.is_misconduct() => Verdict::Misconduct(fault.to_string()),
            fault => Verdict::Lost(fault.to_string()),
        }
    }
}

/// A session before it begins.
pub(super) struct Session {
    pub(super) core: Arc<Core>,
    pub(super) peer: PeerId,
    pub(super) remote: libp2p::PeerId,
    pub(super) control: Control,
    pub(super) inbound: mpsc::Receiver<Inbound>,
    pub(super) stop: oneshot::Receiver<()>,
}

/// How one of a session's tasks ended.
enum Ending {
    /// The peer closed a bulk stream in good order.
    BulkClosed,
    Broke(Fault),
}

impl Session {
    /// Greets, carries, ends; tells the node of it in this order.
    pub(super) async fn run(mut self) -> Verdict {
        let mut early = Vec::new();
        let greeted = tokio::select! {
            greeted = both_greet(&self.core, self.remote, self.control.clone(), &mut self.inbound, &mut early) => greeted,
            _ = &mut self.stop => return Verdict::Ended,
        };
        let (ours, theirs) = match greeted {
            Ok(streams) => streams,
            Err(fault) => return fault.into(),
        };
        let queues = self.core.link(self.peer);
        tracing::info!(peer = %self.peer.short(), "peer connected");
        let verdict = match self.core.events.send(NetEvent::Connected(self.peer)).await {
            Ok(()) => self.carry(ours, theirs, queues, early).await,
            Err(_) => Verdict::Ended,
        };
        self.core.unlink(&self.peer);
        tracing::info!(peer = %self.peer.short(), reason = verdict.reason(), "peer disconnected");
        let _ = self.core.events.send(NetEvent::Disconnected(self.peer)).await;
        verdict
    }

    async fn carry(
        &mut self,
        ours: Stream,
        theirs: Stream,
        queues: Queues,
        early: Vec<Stream>,
    ) -> Verdict {
        let (core, peer, remote) = (self.core.clone(), self.peer, self.remote);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { Ending::Broke(frame::send(ours, queues.frames).await) });
        tasks.spawn(broke(frame::receive(core.clone(), peer, theirs)));
        tasks.spawn(broke(bulk::send(core, peer, remote, self.control.clone(), queues.bulk)));
        let own = tasks.len();
        for stream in early {
            self.accept_bulk(&mut tasks, own, stream);
        }
        let verdict = loop {
            tokio::select! {
                _ = &mut self.stop => break Verdict::Ended,
                Some(inbound) = self.inbound.recv() => match inbound.kind {
                    Kind::Bulk => self.accept_bulk(&mut tasks, own, inbound.stream),
                    Kind::Control => tracing::debug!(peer = %peer.short(), "a second control stream was dropped"),
                },
                Some(ended) = tasks.join_next() => match ended {
                    Ok(Ending::BulkClosed) => {}
                    Ok(Ending::Broke(fault)) => break fault.into(),
                    Err(error) => break Verdict::Lost(error.to_string()),
                },
            }
        };
        tasks.shutdown().await;
        verdict
    }

    fn accept_bulk(&self, tasks: &mut JoinSet<Ending>, own: usize, stream: Stream) {
        if tasks.len() >= own + BULK_STREAMS_MAX {
            tracing::debug!(peer = %self.peer.short(), "a bulk stream too many was dropped");
            return;
        }
        let received = bulk::receive(self.core.clone(), self.peer, stream);
        tasks.spawn(async { received.await.map_or(Ending::BulkClosed, Ending::Broke) });
    }
}

async fn broke(task: impl Future<Output = Fault>) -> Ending {
    Ending::Broke(task.await)
}

/// Opens our control stream and answers on theirs.
async fn both_greet(
    core: &Core,
    remote: libp2p::PeerId,
    control: Control,
    inbound: &mut mpsc::Receiver<Inbound>,
    early: &mut Vec<Stream>,
) -> Result<(Stream, Stream), Fault> {
    let ours = open(core, remote, control);
    let theirs = accept(core, inbound, early);
    tokio::try_join!(ours, theirs)
}

async fn open(core: &Core, remote: libp2p::PeerId, mut control: Control) -> Result<Stream, Fault> {
    let mut attempt = 1;
    loop {
        let opened = frame::in_time(GREETING, async {
            let mut stream =
                control.open_stream(remote, frame::protocol()).await.map_err(unopened)?;
            frame::greet(&mut stream, core.run).await?;
            Ok(stream)
        });
        match opened.await {
            Err(Fault::Gone(_)) if attempt < OPEN_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(150) * attempt).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn unopened(error: OpenStreamError) -> Fault {
    match error {
        OpenStreamError::UnsupportedProtocol(name) => {
            Fault::Refused(format!("does not speak {name}"))
        }
        error => Fault::Gone(io::Error::other(error)),
    }
}

async fn accept(
    core: &Core,
    inbound: &mut mpsc::Receiver<Inbound>,
    early: &mut Vec<Stream>,
) -> Result<Stream, Fault> {
    let gone = || Fault::Gone(io::ErrorKind::NotConnected.into());
    loop {
        let next = frame::in_time(GREETING * 2, async { inbound.recv().await.ok_or_else(gone) });
        let Inbound { kind, mut stream } = next.await?;
        match kind {
            Kind::Bulk if early.len() < BULK_STREAMS_MAX => early.push(stream),
            Kind::Bulk => {}
            Kind::Control => match frame::answer(&mut stream, core.run).await {
                // The opener will try again; the session's end would cut it short.
                Err(Fault::Gone(_) | Fault::Stalled) => {}
                outcome => return outcome.map(|()| stream),
            },
        }
    }
}
