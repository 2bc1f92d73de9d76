//! Noise XX with AES-256-GCM over a byte stream: what a connection is encrypted with where both processors have AES.
//!
//! The pattern, the keys and what they prove are libp2p's (`/noise`): each side makes a Diffie-Hellman key, signs it with its
//! identity, and sends both inside the handshake. Only the cipher differs, and the buffers: a message is sealed straight from
//! the muxer's frame and opened straight into it. On the wire: `u16` length (big-endian), then the message.

use super::identity::{public_key, to_libp2p};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ready};
use libp2p::identity::Keypair;
use shoal_protocol::id::PeerId;
use snow::params::NoiseParams;
use snow::{HandshakeState, TransportState};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The pattern and its primitives.
const PATTERN: &str = "Noise_XX_25519_AESGCM_SHA256";
/// Both sides mix this into the handshake, so that no other protocol's handshake passes for ours.
const PROLOGUE: &[u8] = b"/shoal/1/noise-aesgcm";
/// Put before a Diffie-Hellman key when it is signed, so that the signature means nothing elsewhere.
const DOMAIN: &[u8] = b"shoal-noise-static-key:";
/// Bytes of an identity in the handshake: ed25519 key and signature.
const IDENTITY_BYTES: usize = 32 + 64;
/// Most bytes of a handshake message: two keys, the identity, two tags; rounded up.
const HANDSHAKE_BYTES_MAX: usize = 256;
/// Most plain bytes of one message; divides the muxer's frame.
pub(super) const MESSAGE_BYTES: usize = 32 << 10;
/// Bytes of the length before, and of the tag behind a message.
const LENGTH: usize = 2;
const TAG: usize = 16;
/// Sealed messages are collected up to one muxer frame (and its header) before they go to the socket.
const OUT_BYTES: usize = 5 * (LENGTH + MESSAGE_BYTES + TAG);
/// Read from the socket at once.
const IN_BYTES: usize = 256 << 10;
/// A smaller write waits for more to be sealed with it.
const SMALL_BYTES: usize = 4 << 10;
/// Both sides change a direction's key after so many messages (32 GiB): far below AES-GCM's bound of about 2^24.5 records
/// (RFC 8446, section 5.5).
const REKEY_MESSAGES: u64 = 1 << 20;

const _: () =
    assert!(MESSAGE_BYTES + TAG <= u16::MAX as usize && IN_BYTES > LENGTH + u16::MAX as usize);

/// What a node brings to every handshake.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Inner>);

struct Inner {
    params: NoiseParams,
    secret: Vec<u8>,
    /// Our identity and its signature over the Diffie-Hellman key.
    identity: Vec<u8>,
}

impl Credentials {
    /// A fresh Diffie-Hellman key, signed by `keypair`.
    ///
    /// # Errors
    /// If the key cannot sign, or the system gives no randomness.
    pub(super) fn new(keypair: &Keypair, me: PeerId) -> anyhow::Result<Self> {
        let params: NoiseParams = PATTERN.parse()?;
        let dh = snow::Builder::new(params.clone()).generate_keypair()?;
        let signature = keypair.sign(&[DOMAIN, &dh.public].concat())?;
        let identity = [&me.0[..], &signature].concat();
        anyhow::ensure!(identity.len() == IDENTITY_BYTES, "the node's key is not an ed25519 key");
        Ok(Credentials(Arc::new(Inner { params, secret: dh.private, identity })))
    }

    /// The dialling side's handshake.
    ///
    /// # Errors
    /// A stream that breaks, or a peer that does not prove who it is.
    pub(super) async fn dial<C: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut io: C,
    ) -> io::Result<(libp2p::PeerId, Channel<C>)> {
        let mut state = self.builder()?.build_initiator().map_err(invalid)?;
        say(&mut io, &mut state, &[]).await?;
        let identity = hear(&mut io, &mut state).await?;
        say(&mut io, &mut state, &self.0.identity).await?;
        finish(io, state, &identity)
    }

    /// The accepting side's handshake.
    ///
    /// # Errors
    /// As [`Credentials::dial`].
    pub(super) async fn accept<C: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut io: C,
    ) -> io::Result<(libp2p::PeerId, Channel<C>)> {
        let mut state = self.builder()?.build_responder().map_err(invalid)?;
        hear(&mut io, &mut state).await?;
        say(&mut io, &mut state, &self.0.identity).await?;
        let identity = hear(&mut io, &mut state).await?;
        finish(io, state, &identity)
    }

    fn builder(&self) -> io::Result<snow::Builder<'_>> {
        let builder = snow::Builder::new(self.0.params.clone());
        let builder = builder.prologue(PROLOGUE).map_err(invalid)?;
        builder.local_private_key(&self.0.secret).map_err(invalid)
    }
}

async fn say<C: AsyncWrite + Unpin>(
    io: &mut C,
    state: &mut HandshakeState,
    payload: &[u8],
) -> io::Result<()> {
    let mut message = [0; LENGTH + HANDSHAKE_BYTES_MAX];
    let len = state.write_message(payload, &mut message[LENGTH..]).map_err(invalid)?;
    // At most HANDSHAKE_BYTES_MAX, by the size of the buffer.
    message[..LENGTH].copy_from_slice(&(len as u16).to_be_bytes());
    io.write_all(&message[..LENGTH + len]).await?;
    io.flush().await
}

async fn hear<C: AsyncRead + Unpin>(io: &mut C, state: &mut HandshakeState) -> io::Result<Vec<u8>> {
    let mut len = [0; LENGTH];
    io.read_exact(&mut len).await?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > HANDSHAKE_BYTES_MAX {
        return Err(invalid("handshake message too long"));
    }
    let mut message = [0; HANDSHAKE_BYTES_MAX];
    io.read_exact(&mut message[..len]).await?;
    let mut payload = vec![0; HANDSHAKE_BYTES_MAX];
    let read = state.read_message(&message[..len], &mut payload).map_err(invalid)?;
    payload.truncate(read);
    Ok(payload)
}

/// Checks that the other side's identity signed the key that it used.
fn finish<C>(
    io: C,
    state: HandshakeState,
    identity: &[u8],
) -> io::Result<(libp2p::PeerId, Channel<C>)> {
    let (key, signature) =
        identity.split_first_chunk::<32>().ok_or_else(|| invalid("no identity"))?;
    let (peer, dh) = (PeerId(*key), state.get_remote_static().unwrap_or_default());
    let signed = public_key(&peer)
        .is_some_and(|key| dh.len() == 32 && key.verify(&[DOMAIN, dh].concat(), signature));
    let name = to_libp2p(&peer).filter(|_| signed).ok_or_else(|| invalid("identity not proven"))?;
    let keys = state.into_transport_mode().map_err(invalid)?;
    Ok((name, Channel::new(io, keys)))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A byte stream whose bytes are sealed on the way out and opened on the way in.
pub(super) struct Channel<C> {
    io: C,
    keys: TransportState,
    sealed: u64,
    opened: u64,
    /// Plain bytes that wait to be sealed.
    draft: Vec<u8>,
    /// Sealed messages that wait for the socket, at `out_at`.
    out: Box<[u8]>,
    out_at: Range<usize>,
    /// Bytes from the socket, at `in_at`.
    incoming: Box<[u8]>,
    in_at: Range<usize>,
    /// An opened message that its reader has not taken whole, at `plain_at`.
    plain: Box<[u8]>,
    plain_at: Range<usize>,
}

impl<C> Channel<C> {
    fn new(io: C, keys: TransportState) -> Self {
        let room = |bytes| vec![0; bytes].into_boxed_slice();
        Channel {
            io,
            keys,
            sealed: 0,
            opened: 0,
            draft: Vec::with_capacity(SMALL_BYTES * 2),
            out: room(OUT_BYTES),
            out_at: 0..0,
            incoming: room(IN_BYTES),
            in_at: 0..0,
            plain: room(u16::MAX as usize),
            plain_at: 0..0,
        }
    }

    fn has_room(&self) -> bool {
        self.out.len() - self.out_at.end >= LENGTH + MESSAGE_BYTES + TAG
    }

    /// Seals one message of at most [`MESSAGE_BYTES`] into the room that [`Channel::has_room`] found.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (length, message) = self.out[self.out_at.end..].split_at_mut(LENGTH);
        let len = self.keys.write_message(bytes, message).map_err(invalid)?;
        // MESSAGE_BYTES and the tag fit in a u16: asserted above.
        length.copy_from_slice(&(len as u16).to_be_bytes());
        self.out_at.end += LENGTH + len;
        self.sealed += 1;
        if self.sealed.is_multiple_of(REKEY_MESSAGES) {
            self.keys.rekey_outgoing();
        }
        Ok(())
    }

    fn seal_draft(&mut self) -> io::Result<()> {
        if self.draft.is_empty() {
            return Ok(());
        }
        let draft = std::mem::take(&mut self.draft);
        let sealed = self.seal(&draft);
        self.draft = draft;
        self.draft.clear();
        sealed
    }

    /// Where in `incoming` the next message is, if it is there whole.
    fn message(&self) -> Option<Range<usize>> {
        let (length, rest) = self.incoming[self.in_at.clone()].split_first_chunk::<LENGTH>()?;
        let len = usize::from(u16::from_be_bytes(*length));
        let begin = self.in_at.start + LENGTH;
        (rest.len() >= len).then_some(begin..begin + len)
    }

    /// Opens a message into `buffer` if it fits there, else into `plain`; returns how many bytes `buffer` got.
    fn open(&mut self, message: Range<usize>, buffer: &mut [u8]) -> io::Result<usize> {
        self.in_at.start = message.end;
        let fits = buffer.len() >= message.len();
        let target = if fits { &mut buffer[..] } else { &mut self.plain[..] };
        let len = self.keys.read_message(&self.incoming[message], target).map_err(invalid)?;
        self.opened += 1;
        if self.opened.is_multiple_of(REKEY_MESSAGES) {
            self.keys.rekey_incoming();
        }
        if fits {
            return Ok(len);
        }
        self.plain_at = 0..len;
        Ok(self.take_plain(buffer))
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.plain_at.len());
        let from = self.plain_at.start;
        buffer[..len].copy_from_slice(&self.plain[from..from + len]);
        self.plain_at.start += len;
        len
    }

    /// Moves what is left of `incoming` to its front when there is no room for a whole message behind it.
    fn make_room(&mut self) {
        if self.in_at.is_empty() {
            self.in_at = 0..0;
        } else if self.incoming.len() - self.in_at.start < LENGTH + u16::MAX as usize {
            self.incoming.copy_within(self.in_at.clone(), 0);
            self.in_at = 0..self.in_at.len();
        }
    }
}

impl<C: AsyncWrite + Unpin> Channel<C> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out_at.is_empty() {
            let bytes = &self.out[self.out_at.clone()];
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_at.start += written;
        }
        self.out_at = 0..0;
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_room() { Poll::Ready(Ok(())) } else { self.poll_drain(cx) }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Channel<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if !this.plain_at.is_empty() {
                return Poll::Ready(Ok(this.take_plain(buffer)));
            }
            if let Some(message) = this.message() {
                match this.open(message, buffer)? {
                    0 => continue,
                    len => return Poll::Ready(Ok(len)),
                }
            }
            this.make_room();
            let room = &mut this.incoming[this.in_at.end..];
            match ready!(Pin::new(&mut this.io).poll_read(cx, room))? {
                0 if this.in_at.is_empty() => return Poll::Ready(Ok(0)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                len => this.in_at.end += len,
            }
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Channel<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let is_small = bytes.len() < SMALL_BYTES;
        if is_small && this.draft.len() + bytes.len() <= SMALL_BYTES {
            this.draft.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(this.poll_room(cx))?;
        this.seal_draft()?;
        ready!(this.poll_room(cx))?;
        let len = bytes.len().min(MESSAGE_BYTES);
        this.seal(&bytes[..len])?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        this.seal_draft()?;
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::identity::from_libp2p;
    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpStream};

    /// A tokio stream as futures' traits want it.
    type Socket = libp2p::tcp::tokio::TcpStream;

    fn credentials() -> (libp2p::PeerId, Credentials) {
        let key = Keypair::generate_ed25519();
        let name = key.public().to_peer_id();
        (name, Credentials::new(&key, from_libp2p(&name).unwrap()).unwrap())
    }

    async fn sockets() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());
        (
            libp2p::tcp::tokio::TcpStream(dialled.unwrap()),
            libp2p::tcp::tokio::TcpStream(accepted.unwrap().0),
        )
    }

    async fn channels() -> (Channel<Socket>, Channel<Socket>) {
        let ((name_a, a), (name_b, b)) = (credentials(), credentials());
        let (dialled, accepted) = sockets().await;
        let (a, b) = tokio::join!(a.dial(dialled), b.accept(accepted));
        let ((met_b, a), (met_a, b)) = (a.unwrap(), b.unwrap());
        assert_eq!((met_a, met_b), (name_a, name_b));
        (a, b)
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bytes_pass_in_pieces_of_any_size(
            pieces in proptest::collection::vec((0usize..200_000, any::<bool>()), 1..12),
            read in 1usize..200_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut a, mut b) = channels().await;
                let total: usize = pieces.iter().map(|(len, _)| len).sum();
                let sent = bytes(total);
                let (mut arrived, mut buffer) = (Vec::new(), vec![0; read]);
                let send = async {
                    let mut rest = &sent[..];
                    for (len, flush) in pieces {
                        let piece;
                        (piece, rest) = rest.split_at(len);
                        a.write_all(piece).await.unwrap();
                        if flush {
                            a.flush().await.unwrap();
                        }
                    }
                    a.close().await.unwrap();
                };
                let receive = async {
                    loop {
                        match b.read(&mut buffer).await.unwrap() {
                            0 => break,
                            len => arrived.extend_from_slice(&buffer[..len]),
                        }
                    }
                };
                tokio::join!(send, receive);
                assert!(arrived == sent);
            });
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_is_noticed() {
        let (mut a, mut b) = channels().await;
        a.write_all(&bytes(10_000)).await.unwrap();
        a.out[a.out_at.start + 5000] ^= 1;
        a.flush().await.unwrap();
        let error = b.read(&mut vec![0; 20_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn keys_change_on_both_sides_at_once() {
        let (mut a, mut b) = channels().await;
        (a.sealed, b.opened) = (REKEY_MESSAGES - 2, REKEY_MESSAGES - 2);
        for n in 0..5u8 {
            a.write_all(&[n; 100]).await.unwrap();
            a.flush().await.unwrap();
            let mut arrived = [0; 100];
            b.read_exact(&mut arrived).await.unwrap();
            assert_eq!(arrived, [n; 100]);
        }
    }

    #[tokio::test]
    async fn another_s_identity_cannot_be_borrowed() {
        let ((_, honest), (_, mut thief)) = (credentials(), credentials());
        let inner = Arc::get_mut(&mut thief.0).unwrap();
        inner.identity = honest.0.identity.clone();
        let (dialled, accepted) = sockets().await;
        let (_, met) = tokio::join!(thief.dial(dialled), credentials().1.accept(accepted));
        assert!(met.err().unwrap().to_string().contains("not proven"));
    }

    #[tokio::test]
    async fn rubbish_in_the_handshake_is_an_error() {
        for rubbish in [&[0xff; 300][..], &[0, 0], &[0, 32, 1, 2, 3], &[1, 0]] {
            let (mut dialled, accepted) = sockets().await;
            dialled.write_all(rubbish).await.unwrap();
            dialled.close().await.unwrap();
            assert!(credentials().1.accept(accepted).await.is_err());
        }
    }
}
