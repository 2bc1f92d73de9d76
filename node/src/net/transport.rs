//! What connections are made of: TCP + noise + yamux for speed, QUIC for where TCP does not get through. Both counted.

use super::channel::{Channel, Credentials};
use super::muxer::Yamux;
use super::traffic::{Counted, CountedMuxer, Counter, Traffic};
use futures::future::{BoxFuture, Either};
use futures::io::BufReader;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{
    InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version,
};
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, quic, tcp};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// A dial or an accept that takes longer has failed.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Read from the socket at once; libp2p's noise by itself reads 8 KiB at a time.
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
pub(super) fn over_tcp(
    key: &Keypair,
    me: shoal_protocol::id::PeerId,
    traffic: Arc<Traffic>,
) -> anyhow::Result<Connections> {
    let (aes, chacha) = (Credentials::new(key, me)?, noise::Config::new(key)?);
    let secured = Secured { aes, chacha, traffic };
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

/// A counted stream that becomes an encrypted one; the count is booked once the peer is known.
///
/// Two ways to encrypt, told apart by name. The dialling side's first choice is taken: AES-GCM (see [`super::channel`]) if its
/// processor has AES, else libp2p's own noise with ChaCha20. Any peer speaks both.
#[derive(Clone)]
struct Secured {
    aes: Credentials,
    chacha: noise::Config,
    traffic: Arc<Traffic>,
}

const AES: &str = "/shoal/1/noise-aesgcm";
const CHACHA: &str = "/noise";

type Encrypted<C> = Either<Channel<Counted<C>>, noise::Output<BufReader<Counted<C>>>>;
type Outcome<C> = io::Result<(PeerId, Encrypted<C>)>;

impl Secured {
    async fn upgrade<C>(self, io: C, name: &'static str, dials: bool) -> Outcome<C>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let counter = Arc::<Counter>::default();
        let io = Counted::new(io, counter.clone());
        let (peer, stream) = match (name, dials) {
            (AES, true) => left(self.aes.dial(io).await?),
            (AES, false) => left(self.aes.accept(io).await?),
            (_, true) => right(self.chacha.upgrade_outbound(buffered(io), CHACHA).await)?,
            (_, false) => right(self.chacha.upgrade_inbound(buffered(io), CHACHA).await)?,
        };
        self.traffic.attach(&peer, counter);
        Ok((peer, stream))
    }
}

fn left<A, B>((peer, stream): (PeerId, A)) -> (PeerId, Either<A, B>) {
    (peer, Either::Left(stream))
}

fn right<A, B>(outcome: Result<(PeerId, B), noise::Error>) -> io::Result<(PeerId, Either<A, B>)> {
    outcome.map(|(peer, stream)| (peer, Either::Right(stream))).map_err(io::Error::other)
}

fn buffered<C: AsyncRead + Unpin>(io: C) -> BufReader<C> {
    BufReader::with_capacity(READ_BYTES, io)
}

/// Whether AES runs in hardware, as on nearly every processor of the last ten years.
fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl UpgradeInfo for Secured {
    type Info = &'static str;
    type InfoIter = std::array::IntoIter<&'static str, 2>;

    fn protocol_info(&self) -> Self::InfoIter {
        if has_fast_aes() { [AES, CHACHA].into_iter() } else { [CHACHA, AES].into_iter() }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Secured {
    type Output = (PeerId, Encrypted<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, Outcome<C>>;

    fn upgrade_inbound(self, io: C, name: Self::Info) -> Self::Future {
        self.upgrade(io, name, false).boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Secured {
    type Output = (PeerId, Encrypted<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, Outcome<C>>;

    fn upgrade_outbound(self, io: C, name: Self::Info) -> Self::Future {
        self.upgrade(io, name, true).boxed()
    }
}
