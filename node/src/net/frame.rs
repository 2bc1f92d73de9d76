//! What is on a control stream: a greeting, then frames with their length before them. And what can be wrong with a stream.

use super::link::{Core, Credit, Queued};
use super::{NetEvent, behaviour};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Deserialize, Serialize};
use shoal_protocol::id::{PeerId, RunId};
use shoal_protocol::run::PROTOCOL_VERSION;
use shoal_protocol::wire::{self, FRAME_BYTES_MAX};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A greeting or an acknowledgement that takes longer will not come (guess).
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// A frame or chunk that does not move for this long is given up, and its peer with it (guess).
pub(super) const STALL: Duration = Duration::from_secs(60);
/// Most bytes of a greeting.
const GREETING_BYTES_MAX: usize = 512;
/// Most characters of a refusal's reason that we repeat.
const REASON_CHARS_MAX: usize = 160;
/// Frames that wait are written together up to about this size.
const BATCH_BYTES: usize = 64 << 10;

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The connection ended.
    #[error("the connection ended ({0})")]
    Gone(#[from] io::Error),
    /// The stream does not move.
    #[error("no progress for {} s", STALL.as_secs())]
    Stalled,
    /// A length beyond its bound.
    #[error("announced {bytes} bytes of {what}, the most is {max}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// As announced.
        bytes: usize,
        /// Allowed.
        max: usize,
    },
    /// Bytes that are not what they must be.
    #[error("sent a malformed {0}")]
    Malformed(&'static str),
    /// Another run or version, in either side's words.
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    /// Whether no honest peer would cause it.
    pub(super) fn is_misconduct(&self) -> bool {
        matches!(self, Fault::TooLong { .. } | Fault::Malformed(_))
    }
}

/// The first frame of a control stream: what its opener takes part in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    protocol: u16,
    run: RunId,
}

/// The answer to a [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Answer {
    Welcome,
    Refused(String),
}

/// Greets on a stream that we opened.
///
/// # Errors
/// A refusal in the peer's words, or a stream that breaks.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    run: RunId,
) -> Result<(), Fault> {
    let hello = Hello { protocol: PROTOCOL_VERSION, run };
    in_time(GREETING, write(stream, &wire::to_cbor(&hello))).await?;
    let answer = in_time(GREETING, read(stream, GREETING_BYTES_MAX)).await?;
    match wire::from_cbor(&answer).map_err(|_| Fault::Malformed("answer to the greeting"))? {
        Answer::Welcome => Ok(()),
        Answer::Refused(reason) => Err(Fault::Refused(printable(&reason))),
    }
}

/// Answers the greeting on a stream that the peer opened.
///
/// # Errors
/// A [`Fault::Refused`] if it is another run's (the peer has been told why), or a stream that breaks.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    run: RunId,
) -> Result<(), Fault> {
    let hello = in_time(GREETING, read(stream, GREETING_BYTES_MAX)).await?;
    let hello: Hello = wire::from_cbor(&hello).map_err(|_| Fault::Malformed("greeting"))?;
    let Some(reason) = objection(&hello, run) else {
        return in_time(GREETING, write(stream, &wire::to_cbor(&Answer::Welcome))).await;
    };
    let refusal = wire::to_cbor(&Answer::Refused(reason.clone()));
    in_time(GREETING, write(stream, &refusal)).await?;
    linger(stream).await;
    Err(Fault::Refused(reason))
}

fn objection(hello: &Hello, run: RunId) -> Option<String> {
    if hello.protocol != PROTOCOL_VERSION {
        return Some(format!("speaks protocol {}, not {PROTOCOL_VERSION}", hello.protocol));
    }
    (hello.run != run)
        .then(|| format!("takes part in run {}, not {}", hello.run.short(), run.short()))
}

/// Gives the peer a moment to read our last words before the connection goes.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let farewell = async {
        stream.close().await?;
        stream.read(&mut [0]).await
    };
    let _ = timeout(Duration::from_secs(1), farewell).await;
}

/// Text from a peer, fit for our log.
fn printable(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).filter(|c| !c.is_control()).collect()
}

/// Reads frames and hands them to the node until the stream ends.
pub(super) async fn receive<S: AsyncRead + Unpin>(
    core: Arc<Core>,
    from: PeerId,
    mut stream: S,
) -> Fault {
    loop {
        let frame = async {
            let len = read_len(&mut stream, FRAME_BYTES_MAX).await?;
            let credit = Credit::take(&core.frames_in, len).await;
            Ok((in_time(STALL, read_body(&mut stream, len)).await?, credit))
        };
        let event = match frame.await {
            Ok((bytes, credit)) => NetEvent::Frame { from, bytes, credit },
            Err(fault) => return fault,
        };
        if core.events.send(event).await.is_err() {
            return Fault::Gone(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// Writes queued frames, several at once where several wait, until the stream breaks.
pub(super) async fn send<S: AsyncWrite + Unpin>(
    mut stream: S,
    mut queue: mpsc::Receiver<Queued<Vec<u8>>>,
) -> Fault {
    let mut batch = Vec::new();
    while let Some(frame) = queue.recv().await {
        batch.clear();
        append(&mut batch, &frame.content);
        while batch.len() < BATCH_BYTES
            && let Ok(frame) = queue.try_recv()
        {
            append(&mut batch, &frame.content);
        }
        let written = async {
            stream.write_all(&batch).await?;
            Ok(stream.flush().await?)
        };
        if let Err(fault) = in_time(STALL, written).await {
            return fault;
        }
        batch.shrink_to(BATCH_BYTES);
    }
    Fault::Gone(io::ErrorKind::BrokenPipe.into())
}

fn append(batch: &mut Vec<u8>, frame: &[u8]) {
    // No frame above FRAME_BYTES_MAX is ever queued.
    batch.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    batch.extend_from_slice(frame);
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> Result<(), Fault> {
    let mut bytes = Vec::with_capacity(4 + frame.len());
    append(&mut bytes, frame);
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, max: usize) -> Result<Vec<u8>, Fault> {
    let len = read_len(stream, max).await?;
    read_body(stream, len).await
}

async fn read_len<S: AsyncRead + Unpin>(stream: &mut S, max: usize) -> Result<usize, Fault> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let bytes = u32::from_le_bytes(len) as usize;
    if bytes > max { Err(Fault::TooLong { what: "frame", bytes, max }) } else { Ok(bytes) }
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, len: usize) -> Result<Vec<u8>, Fault> {
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Runs a step of a stream, which must not take longer than `limit`.
pub(super) async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, step).await.unwrap_or(Err(Fault::Stalled))
}

/// The name of control streams.
pub(super) fn protocol() -> libp2p::StreamProtocol {
    behaviour::protocol("control")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    #[tokio::test]
    async fn a_giant_length_is_refused_before_anything_is_allocated() {
        let mut stream = Cursor::new(u32::MAX.to_le_bytes().to_vec());
        let fault = read(&mut stream, FRAME_BYTES_MAX).await.unwrap_err();
        assert!(fault.is_misconduct(), "{fault}");
    }

    #[tokio::test]
    async fn a_torn_frame_is_the_connection_s_fault() {
        let mut bytes = Vec::new();
        append(&mut bytes, &[7; 100]);
        bytes.truncate(50);
        let fault = read(&mut Cursor::new(bytes), FRAME_BYTES_MAX).await.unwrap_err();
        assert!(!fault.is_misconduct(), "{fault}");
    }

    #[test]
    fn other_runs_and_versions_are_told_apart() {
        let run = RunId([1; 32]);
        let hello = |protocol, run| Hello { protocol, run };
        assert_eq!(objection(&hello(PROTOCOL_VERSION, run), run), None);
        assert!(objection(&hello(99, run), run).unwrap().contains("protocol 99"));
        assert!(
            objection(&hello(PROTOCOL_VERSION, RunId([2; 32])), run)
                .unwrap()
                .contains("run 02020202")
        );
    }

    #[test]
    fn a_reason_cannot_garble_the_log() {
        assert_eq!(printable("a\n\u{1b}[31mb"), "a[31mb");
        assert_eq!(printable(&"x".repeat(1000)).len(), REASON_CHARS_MAX);
    }
}
