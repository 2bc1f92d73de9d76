//! What connections are made of: TCP + noise + yamux for speed, QUIC for where TCP does not get through. Both counted.

use super::muxer::Yamux;
use super::traffic::{Counted, CountedMuxer, Counter, Traffic};
use futures::future::BoxFuture;
use futures::io::BufReader;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{
    InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version,
};
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, quic, tcp};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// A dial or an accept that takes longer has failed.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Read from the socket at once; noise by itself reads 8 KiB at a time.
const READ_BYTES: usize = 256 << 10;
/// Unsent bytes that the system may hold for one connection: a control frame waits behind no more than this, and a
/// measured rate is the link's rather than the buffer's (guess).
const UNSENT_BYTES_MAX: libc::c_int = 256 << 10;

/// Peers over one of the two transports.
pub(super) type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// TCP, secured by noise, multiplexed by yamux.
///
/// # Errors
/// If the key cannot sign noise's handshake.
pub(super) fn over_tcp(key: &Keypair, traffic: Arc<Traffic>) -> Result<Connections, noise::Error> {
    let secured = Secured { noise: noise::Config::new(key)?, traffic };
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(|stream, _| tuned(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(secured)
        .multiplex(Yamux)
        .timeout(HANDSHAKE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(transport.boxed())
}

/// QUIC, which brings its own encryption (TLS 1.3) and streams.
pub(super) fn over_quic(key: &Keypair, traffic: Arc<Traffic>) -> Connections {
    let mut config = quic::Config::new(key);
    config.max_concurrent_stream_limit = 128;
    config.max_idle_timeout = 20_000;
    quic::tokio::Transport::new(config)
        .map(move |(peer, muxer), _| {
            let counted = CountedMuxer::new(&peer, muxer, &traffic);
            (peer, StreamMuxerBox::new(counted))
        })
        .boxed()
}

/// Keeps the system's send queue short. Where that is not offered, the connection works all the same.
fn tuned(stream: tcp::tokio::TcpStream) -> tcp::tokio::TcpStream {
    let (value, len) = (&UNSENT_BYTES_MAX, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open while `stream` lives, and the option is an int that outlives the call.
    unsafe {
        libc::setsockopt(
            stream.0.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            std::ptr::from_ref(value).cast(),
            len,
        );
    }
    stream
}

/// Noise over a counted stream; the count is booked once the peer is known.
#[derive(Clone)]
struct Secured {
    noise: noise::Config,
    traffic: Arc<Traffic>,
}

type Stream<C> = BufReader<Counted<C>>;
type Outcome<C> = Result<(PeerId, noise::Output<Stream<C>>), noise::Error>;

impl Secured {
    fn counted<C: AsyncRead + Unpin>(io: C) -> (Stream<C>, Arc<Counter>) {
        let counter = Arc::<Counter>::default();
        (BufReader::with_capacity(READ_BYTES, Counted::new(io, counter.clone())), counter)
    }
}

impl UpgradeInfo for Secured {
    type Info = <noise::Config as UpgradeInfo>::Info;
    type InfoIter = <noise::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.noise.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Secured {
    type Output = (PeerId, noise::Output<Stream<C>>);
    type Error = noise::Error;
    type Future = BoxFuture<'static, Outcome<C>>;

    fn upgrade_inbound(self, io: C, info: Self::Info) -> Self::Future {
        let (stream, counter) = Secured::counted(io);
        let handshake = self.noise.upgrade_inbound(stream, info);
        let booked = handshake
            .map(move |outcome| outcome.inspect(|(peer, _)| self.traffic.attach(peer, counter)));
        booked.boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Secured {
    type Output = (PeerId, noise::Output<Stream<C>>);
    type Error = noise::Error;
    type Future = BoxFuture<'static, Outcome<C>>;

    fn upgrade_outbound(self, io: C, info: Self::Info) -> Self::Future {
        let (stream, counter) = Secured::counted(io);
        let handshake = self.noise.upgrade_outbound(stream, info);
        let booked = handshake
            .map(move |outcome| outcome.inspect(|(peer, _)| self.traffic.attach(peer, counter)));
        booked.boxed()
    }
}
