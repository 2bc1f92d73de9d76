//! The yamux upgrade with large frames: 16 KiB frames, the wrapper's fixed choice, cost a third of a bulk stream's speed.

use futures::{AsyncRead, AsyncWrite, future, ready};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::{io, iter};

/// Most payload of one yamux frame (measured: see `node/examples/bulk_bench.rs`).
const FRAME_BYTES: usize = 4 * super::channel::MESSAGE_BYTES;
/// Most streams of one connection: ours and the behaviours' together stay under twenty; the rest is slack.
const STREAMS_MAX: usize = 128;
/// All receive windows of one connection together: enough for 1 Gbit/s at 100 ms several times over.
const WINDOW_BYTES_MAX: usize = 256 << 20;
/// Inbound streams that wait for the swarm to take them; more are reset.
const INBOUND_MAX: usize = 64;

const _: () = assert!(WINDOW_BYTES_MAX >= STREAMS_MAX * yamux::DEFAULT_CREDIT as usize);

/// The upgrade from a secured byte stream to a yamux connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Yamux;

impl Yamux {
    fn connect<C: AsyncRead + AsyncWrite + Unpin>(io: C, mode: yamux::Mode) -> Muxer<C> {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(WINDOW_BYTES_MAX));
        config.set_split_send_size(FRAME_BYTES);
        let connection = yamux::Connection::new(io, config, mode);
        Muxer { connection, inbound: VecDeque::new(), waker: None }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = future::Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Yamux::connect(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = future::Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Yamux::connect(io, yamux::Mode::Client)))
    }
}

/// One yamux connection as libp2p drives it.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<C>,
    /// Streams that came in while the connection was driven for another reason.
    inbound: VecDeque<yamux::Stream>,
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = yamux::ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let polled = self.connection.poll_next_inbound(cx);
        if polled.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        polled.map(|next| next.unwrap_or(Err(yamux::ConnectionError::Closed)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        let stream = next.unwrap_or(Err(yamux::ConnectionError::Closed))?;
        if self.inbound.len() < INBOUND_MAX {
            self.inbound.push_back(stream);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        } else {
            tracing::debug!(%stream, "stream reset: too many wait");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
