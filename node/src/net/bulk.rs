//! What is on a bulk stream: chunks, each a header and a payload, read straight into the memory that the node gets.
//!
//! `u16` length of the header, `u32` length of the payload (both little-endian), the header, the payload.

use super::frame::{Fault, GREETING, STALL, in_time};
use super::link::{BulkQueue, Chunk, Core, Credit};
use super::pace::{Flow, Sending};
use super::traffic::Way;
use super::{BULK_HEADER_BYTES_MAX, NetEvent, behaviour};
use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::Stream;
use libp2p_stream::Control;
use shoal_protocol::id::PeerId;
use shoal_protocol::wire::BULK_BYTES_MAX;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What the accepting side writes first, so that the opener knows that the stream was not dropped on the way.
const ACCEPTED: u8 = 1;
/// Payload is read and written in pieces of this size, each of which must move within [`STALL`].
const PIECE_BYTES: usize = 64 << 10;
/// Attempts at opening a stream.
const OPEN_ATTEMPTS: u32 = 4;

/// The name of bulk streams.
pub(super) fn protocol() -> libp2p::StreamProtocol {
    behaviour::protocol("bulk")
}

/// Sends chunks to a peer, over one stream that is opened with the first, until the stream breaks.
pub(super) async fn send(
    core: Arc<Core>,
    peer: PeerId,
    remote: libp2p::PeerId,
    control: Control,
    mut queue: BulkQueue,
) -> Fault {
    let (mut stream, mut flow) = (None, Flow::default());
    while let Some(chunk) = queue.next().await {
        let sent = async {
            if stream.is_none() {
                stream = Some(open(control.clone(), remote).await?);
            }
            match &mut stream {
                Some(stream) => send_one(&core, &peer, &mut flow, stream, &chunk.content).await,
                None => Ok(()),
            }
        };
        if let Err(fault) = sent.await {
            return fault;
        }
        let (bytes, header) = (chunk.content.payload.len(), chunk.content.header.clone());
        drop(chunk);
        if core.events.send(NetEvent::BulkSent { peer, bytes, header }).await.is_err() {
            break;
        }
    }
    Fault::Gone(io::ErrorKind::BrokenPipe.into())
}

async fn open(mut control: Control, remote: libp2p::PeerId) -> Result<Stream, Fault> {
    for attempt in 1.. {
        let opened = in_time(GREETING, async {
            let stream = control.open_stream(remote, protocol()).await;
            let mut stream = stream.map_err(|error| Fault::Gone(io::Error::other(error)))?;
            let mut accepted = [0];
            stream.read_exact(&mut accepted).await?;
            Ok(stream)
        });
        match opened.await {
            Err(_) if attempt < OPEN_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100) * attempt).await;
            }
            outcome => return outcome,
        }
    }
    Err(Fault::Stalled)
}

async fn send_one<S: AsyncWrite + Unpin>(
    core: &Core,
    peer: &PeerId,
    flow: &mut Flow,
    stream: &mut S,
    chunk: &Chunk,
) -> Result<(), Fault> {
    // Both lengths were bounded when the chunk was queued.
    let mut head = Vec::with_capacity(6 + chunk.header.len());
    head.extend_from_slice(&(chunk.header.len() as u16).to_le_bytes());
    head.extend_from_slice(&(chunk.payload.len() as u32).to_le_bytes());
    head.extend_from_slice(&chunk.header);
    core.traffic.begin(peer, Way::Up);
    let outcome = write_pieces(core.pace.begin(flow), stream, &head, &chunk.payload).await;
    let bytes = if outcome.is_ok() { chunk.payload.len() } else { 0 };
    core.traffic.end(peer, Way::Up, bytes);
    outcome
}

async fn write_pieces<S: AsyncWrite + Unpin>(
    mut sending: Sending<'_>,
    stream: &mut S,
    head: &[u8],
    payload: &[u8],
) -> Result<(), Fault> {
    for piece in std::iter::once(head).chain(payload.chunks(PIECE_BYTES)) {
        sending.turn(piece.len()).await;
        in_time(STALL, async { Ok(stream.write_all(piece).await?) }).await?;
    }
    in_time(STALL, async { Ok(stream.flush().await?) }).await
}

/// Accepts a stream and hands its chunks to the node until it ends; `None` if the peer closed it in good order.
pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    core: Arc<Core>,
    from: PeerId,
    mut stream: S,
) -> Option<Fault> {
    let accepted = async {
        stream.write_all(&[ACCEPTED]).await?;
        Ok(stream.flush().await?)
    };
    if let Err(fault) = in_time(GREETING, accepted).await {
        return Some(fault);
    }
    loop {
        let event = match receive_one(&core, from, &mut stream).await {
            Ok(Some(event)) => event,
            Ok(None) => return None,
            Err(fault) => return Some(fault),
        };
        core.events.send(event).await.ok()?;
    }
}

/// The next chunk; `None` at the stream's end.
async fn receive_one<S: AsyncRead + Unpin>(
    core: &Core,
    from: PeerId,
    stream: &mut S,
) -> Result<Option<NetEvent>, Fault> {
    let mut lengths = [0; 6];
    if stream.read(&mut lengths[..1]).await? == 0 {
        return Ok(None);
    }
    in_time(STALL, async { Ok(stream.read_exact(&mut lengths[1..]).await?) }).await?;
    let (header, payload) = bounded(lengths)?;
    let header = in_time(STALL, read_vec(stream, header)).await?;
    let credit = Credit::take(&core.bulk_in, payload).await;
    core.traffic.begin(&from, Way::Down);
    let outcome = read_pieces(stream, payload).await;
    core.traffic.end(&from, Way::Down, outcome.as_ref().map_or(0, Vec::len));
    let payload = Bytes::from(outcome?);
    Ok(Some(NetEvent::Bulk { from, header, payload, credit }))
}

fn bounded(lengths: [u8; 6]) -> Result<(usize, usize), Fault> {
    let [a, b, c, d, e, f] = lengths;
    let header = usize::from(u16::from_le_bytes([a, b]));
    let payload = u32::from_le_bytes([c, d, e, f]) as usize;
    for (what, bytes, max) in
        [("bulk header", header, BULK_HEADER_BYTES_MAX), ("bulk payload", payload, BULK_BYTES_MAX)]
    {
        if bytes > max {
            return Err(Fault::TooLong { what, bytes, max });
        }
    }
    Ok((header, payload))
}

async fn read_vec<S: AsyncRead + Unpin>(stream: &mut S, len: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_pieces<S: AsyncRead + Unpin>(stream: &mut S, len: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; len];
    for piece in bytes.chunks_mut(PIECE_BYTES) {
        in_time(STALL, async { Ok(stream.read_exact(piece).await?) }).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_their_bounds_are_misconduct() {
        let lengths = |header: u16, payload: u32| {
            let [a, b] = header.to_le_bytes();
            let [c, d, e, f] = payload.to_le_bytes();
            bounded([a, b, c, d, e, f])
        };
        assert_eq!(lengths(256, BULK_BYTES_MAX as u32).unwrap(), (256, BULK_BYTES_MAX));
        assert!(lengths(257, 0).unwrap_err().is_misconduct());
        assert!(lengths(0, BULK_BYTES_MAX as u32 + 1).unwrap_err().is_misconduct());
        assert!(lengths(u16::MAX, u32::MAX).unwrap_err().is_misconduct());
    }
}
