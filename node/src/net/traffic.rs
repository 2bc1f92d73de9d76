//! Bytes on the wire, measured rates and round trips, per peer and for the whole node.

use super::identity::from_libp2p;
use futures::{AsyncRead, AsyncWrite, ready};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use shoal_protocol::id::PeerId;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Busy time that one sample of a rate covers: shorter ones measure the socket's buffers, and how transfers happen to meet.
const SAMPLE: Duration = Duration::from_secs(1);
/// A link's rate is the largest of so many samples. All that can go wrong, slow receivers first, makes a sample smaller than what
/// the link carries, as in BBR's estimate of the bottleneck (Cardwell et al. 2016); a mean would take hosts that are equal
/// for unequal, and give them unequal shares of a round (guess: a link that became slower is believed after so many).
const SAMPLES_KEPT: usize = 6;
/// Peers that are accounted for; beyond it a disconnected one is forgotten.
const PEERS_MAX: usize = 1024;

/// What is known about the traffic with one peer, or of the whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeerTraffic {
    /// Bytes handed to the network, encryption and framing included, since the node started.
    pub bytes_sent: u64,
    /// Bytes taken from the network, likewise.
    pub bytes_received: u64,
    /// Bulk bytes per second sent while sending, the most of late; `None` until enough has been sent.
    pub up_bytes_per_s: Option<f64>,
    /// Bulk bytes per second received while receiving, likewise.
    pub down_bytes_per_s: Option<f64>,
    /// The last ping's round trip.
    pub rtt: Option<Duration>,
}

impl PeerTraffic {
    /// What the link carries up and down, bytes per second, 0 for what is not known: what was measured, up within the owner's
    /// bound. Hardly a link carries less down than up; that less came only says that the others had no more to send.
    pub fn link(&self, bound: Option<u64>) -> (u64, u64) {
        let rate = |rate: Option<f64>| rate.unwrap_or(0.0) as u64;
        let up = rate(self.up_bytes_per_s).min(bound.unwrap_or(u64::MAX));
        (up, rate(self.down_bytes_per_s).max(up))
    }
}

/// Bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Counter {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Bytes over busy time. Several transfers at once count the time once.
#[derive(Debug, Default)]
struct Meter {
    active: usize,
    since: Option<Instant>,
    bytes: u64,
    busy: Duration,
    /// Newest last.
    samples: VecDeque<f64>,
}

impl Meter {
    fn enter(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.active += 1;
    }

    fn exit(&mut self, now: Instant, bytes: u64) {
        let since = self.since.replace(now).unwrap_or(now);
        self.busy += now.saturating_duration_since(since);
        self.bytes += bytes;
        self.active = self.active.saturating_sub(1);
        if self.active == 0 {
            self.since = None;
        }
        if self.busy >= SAMPLE {
            self.fold();
        }
    }

    fn fold(&mut self) {
        if self.samples.len() == SAMPLES_KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(self.bytes as f64 / self.busy.as_secs_f64());
        (self.bytes, self.busy) = (0, Duration::ZERO);
    }

    fn rate(&self) -> Option<f64> {
        self.samples.iter().copied().reduce(f64::max)
    }
}

#[derive(Debug, Default)]
struct Account {
    sent: u64,
    received: u64,
    live: Vec<Arc<Counter>>,
    up: Meter,
    down: Meter,
    rtt: Option<Duration>,
}

impl Account {
    /// Adds what closed connections have carried to the sums.
    fn settle(&mut self) {
        let (sent, received) = (&mut self.sent, &mut self.received);
        self.live.retain(|counter| {
            let open = Arc::strong_count(counter) > 1;
            if !open {
                *sent += counter.sent.load(Relaxed);
                *received += counter.received.load(Relaxed);
            }
            open
        });
    }

    fn read(&mut self) -> PeerTraffic {
        self.settle();
        let sum = |closed: u64, of: fn(&Counter) -> &AtomicU64| {
            closed + self.live.iter().map(|counter| of(counter).load(Relaxed)).sum::<u64>()
        };
        PeerTraffic {
            bytes_sent: sum(self.sent, |counter| &counter.sent),
            bytes_received: sum(self.received, |counter| &counter.received),
            up_bytes_per_s: self.up.rate(),
            down_bytes_per_s: self.down.rate(),
            rtt: self.rtt,
        }
    }
}

#[derive(Debug, Default)]
struct Books {
    peers: BTreeMap<PeerId, Account>,
    up: Meter,
    down: Meter,
    /// Bytes of peers that were forgotten.
    sent: u64,
    received: u64,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// The node's books of traffic.
#[derive(Debug, Default)]
pub(super) struct Traffic(Mutex<Books>);

impl Traffic {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books a connection's bytes to the peer that it turned out to lead to.
    pub(super) fn attach(&self, peer: &libp2p::PeerId, counter: Arc<Counter>) {
        let Some(peer) = from_libp2p(peer) else { return };
        let mut books = self.books();
        books.peers.entry(peer).or_default().live.push(counter);
        if books.peers.len() > PEERS_MAX {
            books.forget_one(&peer);
        }
    }

    /// A bulk transfer with `peer` begins.
    pub(super) fn begin(&self, peer: &PeerId, way: Way) {
        self.with_meters(peer, way, |meter, now| meter.enter(now));
    }

    /// A bulk transfer with `peer` ended after `bytes`.
    pub(super) fn end(&self, peer: &PeerId, way: Way, bytes: usize) {
        self.with_meters(peer, way, |meter, now| meter.exit(now, bytes as u64));
    }

    fn with_meters(&self, peer: &PeerId, way: Way, mut act: impl FnMut(&mut Meter, Instant)) {
        let now = Instant::now();
        let mut books = self.books();
        act(if way == Way::Up { &mut books.up } else { &mut books.down }, now);
        let account = books.peers.entry(*peer).or_default();
        act(if way == Way::Up { &mut account.up } else { &mut account.down }, now);
    }

    /// Notes a ping's round trip.
    pub(super) fn set_rtt(&self, peer: &PeerId, rtt: Duration) {
        if let Some(account) = self.books().peers.get_mut(peer) {
            account.rtt = Some(rtt);
        }
    }

    /// The traffic with one peer.
    pub(super) fn of(&self, peer: &PeerId) -> PeerTraffic {
        self.books().peers.get_mut(peer).map(Account::read).unwrap_or_default()
    }

    /// The traffic of the whole node, in peer order, and its sum.
    pub(super) fn all(&self) -> (Vec<(PeerId, PeerTraffic)>, PeerTraffic) {
        let mut books = self.books();
        let peers: Vec<_> = books.peers.iter_mut().map(|(peer, a)| (*peer, a.read())).collect();
        let total = PeerTraffic {
            bytes_sent: books.sent + peers.iter().map(|(_, t)| t.bytes_sent).sum::<u64>(),
            bytes_received: books.received
                + peers.iter().map(|(_, t)| t.bytes_received).sum::<u64>(),
            up_bytes_per_s: books.up.rate(),
            down_bytes_per_s: books.down.rate(),
            rtt: None,
        };
        (peers, total)
    }
}

impl Books {
    /// Forgets one peer without a connection; its bytes stay in the node's sums.
    fn forget_one(&mut self, but: &PeerId) {
        let idle = self.peers.iter_mut().find_map(|(peer, account)| {
            account.settle();
            (account.live.is_empty() && peer != but).then_some(*peer)
        });
        if let Some(account) = idle.and_then(|peer| self.peers.remove(&peer)) {
            self.sent += account.sent;
            self.received += account.received;
        }
    }
}

/// A byte stream that counts what passes, at the last place before the system.
pub(super) struct Counted<C> {
    io: C,
    counter: Arc<Counter>,
}

impl<C> Counted<C> {
    pub(super) fn new(io: C, counter: Arc<Counter>) -> Self {
        Counted { io, counter }
    }

    fn passed(&self, way: Way, polled: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(bytes)) = polled else { return };
        let total = if way == Way::Up { &self.counter.sent } else { &self.counter.received };
        total.fetch_add(*bytes as u64, Relaxed);
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.passed(Way::Down, &polled);
        polled
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.passed(Way::Up, &polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.passed(Way::Up, &polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// A connection that multiplexes by itself (QUIC) and counts the bytes of its streams.
pub(super) struct CountedMuxer<M> {
    muxer: M,
    counter: Arc<Counter>,
}

impl<M> CountedMuxer<M> {
    /// Counts `muxer`'s bytes for `peer`.
    pub(super) fn new(peer: &libp2p::PeerId, muxer: M, traffic: &Traffic) -> Self {
        let counter = Arc::<Counter>::default();
        traffic.attach(peer, counter.clone());
        CountedMuxer { muxer, counter }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for CountedMuxer<M>
where
    M::Substream: Unpin,
{
    type Substream = Counted<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_inbound(cx))?;
        Poll::Ready(Ok(Counted::new(stream, self.counter.clone())))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(Counted::new(stream, self.counter.clone())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_at_once_share_the_time() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        meter.enter(at(0));
        meter.enter(at(0));
        meter.exit(at(500), 10_000);
        assert_eq!(meter.rate(), None, "too short to say");
        meter.exit(at(1000), 10_000);
        assert_eq!(meter.rate(), Some(20_000.0));
    }

    #[test]
    fn a_rate_is_the_largest_of_late() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let mut rates = Vec::new();
        for (n, bytes) in [5, 9, 4, 7, 3, 3, 3, 6].into_iter().enumerate() {
            meter.enter(start + 10 * SAMPLE * n as u32);
            meter.exit(start + 10 * SAMPLE * n as u32 + SAMPLE, bytes);
            rates.extend(meter.rate());
        }
        assert_eq!(rates, [5.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 7.0]);
    }

    #[test]
    fn a_link_carries_what_was_measured_within_the_bound() {
        let link = |up, down, bound| {
            let traffic =
                PeerTraffic { up_bytes_per_s: up, down_bytes_per_s: down, ..Default::default() };
            traffic.link(bound)
        };
        assert_eq!(link(None, None, Some(7)), (0, 0));
        assert_eq!(link(Some(5.0), Some(9.0), None), (5, 9));
        assert_eq!(link(Some(5.0), Some(3.0), None), (5, 5));
        assert_eq!(link(Some(12.0), Some(3.0), Some(7)), (7, 7));
        assert_eq!(link(None, Some(3.0), Some(7)), (0, 3));
    }

    #[test]
    fn closed_connections_stay_in_the_sums() {
        let traffic = Traffic::default();
        let key = libp2p::identity::Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let counter = Arc::<Counter>::default();
        traffic.attach(&peer, counter.clone());
        counter.sent.store(7, Relaxed);
        let name = from_libp2p(&peer).unwrap();
        assert_eq!(traffic.of(&name).bytes_sent, 7);
        drop(counter);
        assert_eq!(traffic.of(&name).bytes_sent, 7);
        assert_eq!(traffic.all().1.bytes_sent, 7);
    }
}
