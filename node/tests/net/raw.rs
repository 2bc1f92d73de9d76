//! A peer that speaks libp2p by itself, so that it can say what no node says.

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Stream, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use shoal_node::net::identity::from_libp2p;
use shoal_protocol::id::{PeerId, RunId};
use shoal_protocol::wire;
use std::time::Duration;
use tokio::sync::watch;

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
}

/// A peer that obeys nothing.
pub struct Raw {
    pub me: PeerId,
    remote: libp2p::PeerId,
    control: libp2p_stream::Control,
    incoming: Option<libp2p_stream::IncomingStreams>,
    connected: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Hello {
    protocol: u16,
    run: RunId,
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    Welcome,
    Refused(String),
}

impl Raw {
    /// Dials a node, whose address names it. `family` is what identify tells.
    pub async fn dial(address: Multiaddr, family: &str) -> Raw {
        let key = Keypair::generate_ed25519();
        let behaviour = Behaviour {
            streams: libp2p_stream::Behaviour::new(),
            identify: identify::Behaviour::new(identify::Config::new(family.into(), key.public())),
        };
        let tcp = tcp::Config::default().nodelay(true);
        let builder = SwarmBuilder::with_existing_identity(key.clone()).with_tokio();
        let builder = builder.with_tcp(tcp, noise::Config::new, yamux::Config::default).unwrap();
        let builder = builder.with_behaviour(|_| behaviour).unwrap();
        let idle = Duration::from_secs(60);
        let mut swarm = builder.with_swarm_config(|c| c.with_idle_connection_timeout(idle)).build();
        let mut control = swarm.behaviour().streams.new_control();
        let incoming = control.accept(StreamProtocol::new("/shoal/1/control")).ok();
        let Some(libp2p::multiaddr::Protocol::P2p(remote)) = address.iter().last() else {
            panic!("{address} names no peer");
        };
        swarm.dial(address).unwrap();
        let (up, connected) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => drop(up.send(true)),
                    SwarmEvent::ConnectionClosed { .. } => drop(up.send(false)),
                    _ => {}
                }
            }
        });
        let me = from_libp2p(&key.public().to_peer_id()).unwrap();
        let mut raw = Raw { me, remote, control, incoming, connected, task };
        raw.connected.wait_for(|up| *up).await.unwrap();
        raw
    }

    /// Opens a stream to the node.
    pub async fn open(&mut self, part: &str) -> Option<Stream> {
        let protocol = StreamProtocol::try_from_owned(format!("/shoal/1/{part}")).unwrap();
        self.control.open_stream(self.remote, protocol).await.ok()
    }

    /// Takes part in a run as far as the node can see, and returns our control stream and theirs.
    pub async fn take_part(&mut self, run: RunId) -> (Stream, Stream) {
        let mut incoming = self.incoming.take().expect("takes part once");
        let theirs = tokio::spawn(async move {
            let (_, mut theirs) = incoming.next().await.unwrap();
            read(&mut theirs).await.unwrap();
            write(&mut theirs, &wire::to_cbor(&Answer::Welcome)).await;
            theirs
        });
        let mut ours = self.open("control").await.unwrap();
        assert_eq!(hello(&mut ours, 1, run).await, Some(Answer::Welcome));
        (ours, theirs.await.unwrap())
    }

    /// Waits until the node has closed the connection.
    pub async fn cut_off(&mut self) {
        let closed = self.connected.wait_for(|up| !*up);
        tokio::time::timeout(crate::stage::PATIENCE, closed)
            .await
            .expect("cut off in time")
            .unwrap();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Greets, and returns the answer if there is one.
pub async fn hello(stream: &mut Stream, protocol: u16, run: RunId) -> Option<Answer> {
    write(stream, &wire::to_cbor(&Hello { protocol, run })).await;
    wire::from_cbor(&read(stream).await?).ok()
}

pub async fn write(stream: &mut Stream, frame: &[u8]) {
    let bytes = [&(frame.len() as u32).to_le_bytes()[..], frame].concat();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
}

async fn read(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.ok()?;
    let mut frame = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}
