//! What the tests set up: nodes of a run, and waiting for what they say.

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use shoal_node::net::{self, NetConfig, NetEvent, NetHandle};
use shoal_protocol::id::{PeerId, RunId};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longest wait for one event.
pub const PATIENCE: Duration = Duration::from_secs(12);

pub struct Node {
    pub net: NetHandle,
    pub events: Receiver<NetEvent>,
}

pub fn run(name: u8) -> RunId {
    RunId([name; 32])
}

/// A node that hears of others only through what a test adds.
pub fn quiet(run: RunId) -> NetConfig {
    NetConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        mdns: false,
        local_discovery_dir: None,
        threads: 1,
        ..NetConfig::new(Keypair::generate_ed25519(), run)
    }
}

impl Node {
    pub fn start(config: NetConfig) -> Node {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let (net, events) = net::start(config).unwrap();
        Node { net, events }
    }

    pub fn me(&self) -> PeerId {
        self.net.me()
    }

    /// The first address to dial, with the peer.
    pub async fn address(&mut self) -> Multiaddr {
        while self.net.ticket_addresses(8).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.net.ticket_addresses(8).remove(0)
    }

    /// Waits for an event that `pick` takes; the others are passed over.
    pub async fn expect<T>(&mut self, pick: impl Fn(NetEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("the event comes in time")
    }

    pub async fn connected(&mut self, peer: PeerId) {
        self.expect(|event| matches!(event, NetEvent::Connected(p) if p == peer).then_some(()))
            .await;
    }

    pub async fn disconnected(&mut self, peer: PeerId) {
        self.expect(|event| matches!(event, NetEvent::Disconnected(p) if p == peer).then_some(()))
            .await;
    }

    pub async fn frame(&mut self) -> (PeerId, Vec<u8>) {
        self.expect(|event| match event {
            NetEvent::Frame { from, bytes, .. } => Some((from, bytes)),
            _ => None,
        })
        .await
    }

    pub async fn refused(&mut self) -> (PeerId, String) {
        self.expect(|event| match event {
            NetEvent::Refused { peer, reason } => Some((peer, reason)),
            _ => None,
        })
        .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        self.net.shutdown();
        if !std::thread::panicking() {
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "shutdown took {:?}",
                begun.elapsed()
            );
        }
    }
}

/// Two nodes of one run, connected.
pub async fn pair() -> (Node, Node) {
    pair_with(quiet(run(1)), quiet(run(1))).await
}

pub async fn pair_with(a: NetConfig, b: NetConfig) -> (Node, Node) {
    let (mut a, mut b) = (Node::start(a), Node::start(b));
    b.net.dial(a.address().await);
    let (name_a, name_b) = (a.me(), b.me());
    tokio::join!(a.connected(name_b), b.connected(name_a));
    (a, b)
}
