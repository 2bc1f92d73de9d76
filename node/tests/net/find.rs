//! Nodes find each other, lose each other, and find each other again.

use crate::stage::{Node, pair, quiet, run};
use libp2p::identity::Keypair;
use shoal_node::net::local;
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_host_find_each_other_and_leave_no_file() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("shoal");
    let on_this_host = |name| {
        let mut config = quiet(run(name));
        config.local_discovery_dir = Some(folder.clone());
        Node::start(config)
    };
    let mut nodes: Vec<Node> = (0..4).map(|_| on_this_host(1)).collect();
    let stranger = on_this_host(2);
    full_mesh(&mut nodes).await;
    while local::list(&folder).unwrap().len() < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stranger.net.peers().is_empty());
    drop((nodes, stranger));
    assert_eq!(local::list(&folder).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bootstrap_address_is_enough_for_a_full_mesh() {
    let mut first = Node::start(quiet(run(1)));
    let address = first.address().await;
    let joiner = || {
        let mut config = quiet(run(1));
        config.bootstrap = vec![address.clone()];
        Node::start(config)
    };
    let mut nodes = vec![first];
    nodes.extend((0..3).map(|_| joiner()));
    full_mesh(&mut nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_a_name_is_enough() {
    let mut first = Node::start(quiet(run(1)));
    let mut config = quiet(run(1));
    let mut address = first.address().await;
    address.pop();
    config.bootstrap = vec![address];
    let mut second = Node::start(config);
    second.connected(first.me()).await;
    first.connected(second.me()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_alone_is_enough() {
    let over_quic = || {
        let mut config = quiet(run(1));
        config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
        config
    };
    let (a, mut b) = crate::stage::pair_with(over_quic(), over_quic()).await;
    a.net.send(b.me(), b"over quic".to_vec()).unwrap();
    assert_eq!(b.frame().await, (a.me(), b"over quic".to_vec()));
    assert!(b.net.traffic(&a.me()).bytes_received > 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dial_at_once_and_the_session_stands() {
    for _ in 0..5 {
        let (mut a, mut b) = (Node::start(quiet(run(1))), Node::start(quiet(run(1))));
        let (at_a, at_b) = (a.address().await, b.address().await);
        a.net.dial(at_b);
        b.net.dial(at_a);
        let (name_a, name_b) = (a.me(), b.me());
        tokio::join!(a.connected(name_b), b.connected(name_a));
        tokio::time::sleep(Duration::from_millis(300)).await;
        a.net.send(name_b, b"still there".to_vec()).unwrap();
        assert_eq!(b.frame().await, (name_a, b"still there".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_dialled_again() {
    let key = Keypair::generate_ed25519();
    let config = |listen: &str| {
        let mut config = quiet(run(1));
        config.keypair = key.clone();
        config.listen = vec![listen.parse().unwrap()];
        config
    };
    let mut restarted = Node::start(config("/ip4/127.0.0.1/tcp/0"));
    let mut stayed = Node::start(quiet(run(1)));
    let address = restarted.address().await;
    stayed.net.dial(address.clone());
    stayed.connected(restarted.me()).await;
    drop(restarted);
    let listen = libp2p::Multiaddr::from_iter(address.iter().take(2));
    let name = shoal_node::net::identity::from_libp2p(&key.public().to_peer_id()).unwrap();
    stayed.disconnected(name).await;
    let mut restarted = Node::start(config(&listen.to_string()));
    restarted.connected(stayed.me()).await;
    stayed.connected(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_holds() {
    let (mut a, mut b) = pair().await;
    a.net.ban(b.me(), "lied");
    a.disconnected(b.me()).await;
    b.disconnected(a.me()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(a.net.peers().is_empty() && b.net.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_disconnected_is_left_alone() {
    let (mut a, mut b) = pair().await;
    a.net.disconnect(b.me(), "enough for now");
    a.disconnected(b.me()).await;
    b.disconnected(a.me()).await;
    assert_eq!(a.net.send(b.me(), vec![1]), Err(shoal_node::net::SendError::NotConnected));
}

async fn full_mesh(nodes: &mut [Node]) {
    let names: BTreeSet<_> = nodes.iter().map(Node::me).collect();
    let begun = std::time::Instant::now();
    while nodes.iter().any(|node| node.net.peers().len() + 1 < names.len()) {
        assert!(begun.elapsed() < crate::stage::PATIENCE, "no full mesh");
        for node in nodes.iter_mut() {
            while node.events.try_recv().is_ok() {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
