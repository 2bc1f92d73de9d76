//! Frames, beacons and bulk between connected nodes.

use crate::stage::{Node, PATIENCE, pair, pair_with, quiet, run};
use bytes::Bytes;
use shoal_node::net::{Limits, NetEvent, Priority, SendError};
use shoal_protocol::wire::{BULK_BYTES_MAX, FRAME_BYTES_MAX};
use std::time::Duration;

const T: tokio::time::Duration = PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_in_order_both_ways() {
    let (mut a, mut b) = pair().await;
    let (name_a, name_b) = (a.me(), b.me());
    for n in 0u32..500 {
        a.net.send(name_b, n.to_le_bytes().to_vec()).unwrap();
        b.net.send(name_a, n.to_le_bytes().to_vec()).unwrap();
    }
    for n in 0u32..500 {
        assert_eq!(b.frame().await, (name_a, n.to_le_bytes().to_vec()));
        assert_eq!(a.frame().await, (name_b, n.to_le_bytes().to_vec()));
    }
    let largest = vec![7; FRAME_BYTES_MAX];
    a.net.send(name_b, largest.clone()).unwrap();
    assert_eq!(b.frame().await, (name_a, largest));
    assert_eq!(a.net.send(name_b, vec![0; FRAME_BYTES_MAX + 1]), Err(SendError::TooLong));
    assert_eq!(a.net.send(name_a, vec![]), Err(SendError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_arrives_whole_is_credited_and_counted() {
    let (a, mut b) = pair().await;
    let (name_a, name_b) = (a.me(), b.me());
    let before = a.net.traffic(&name_b);
    let payload = Bytes::from((0..BULK_BYTES_MAX).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>());
    let chunks = 16u8;
    for n in 0..chunks {
        a.net.send_bulk(name_b, vec![n; 20], payload.clone(), Priority::Urgent).unwrap();
    }
    for n in 0..chunks {
        let (from, header, arrived) = b.bulk().await;
        assert_eq!((from, header), (name_a, vec![n; 20]));
        assert!(arrived == payload);
    }
    let mut a = a;
    let mut credited = 0;
    while credited < usize::from(chunks) * payload.len() {
        credited += a.bulk_sent().await;
    }
    let needed = (usize::from(chunks) * payload.len()) as f64;
    let sent = (a.net.traffic(&name_b).bytes_sent - before.bytes_sent) as f64;
    let received = b.net.traffic(&name_a).bytes_received as f64;
    assert!((1.0..1.01).contains(&(sent / needed)), "{sent} for {needed}");
    assert!((0.99..1.01).contains(&(received / sent)), "{received} of {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_bulk_overtakes_background() {
    let (a, mut b) = pair().await;
    let payload = Bytes::from(vec![0; BULK_BYTES_MAX]);
    for n in 0..20u8 {
        a.net.send_bulk(b.me(), vec![n], payload.clone(), Priority::Background).unwrap();
    }
    a.net.send_bulk(b.me(), vec![99], payload.clone(), Priority::Urgent).unwrap();
    let mut order = Vec::new();
    for _ in 0..21 {
        order.push(b.bulk().await.1[0]);
    }
    let place = order.iter().position(|n| *n == 99).unwrap();
    assert!(place < 20, "{order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beacon_reaches_everyone_with_its_author() {
    let (mut a, mut b) = pair().await;
    // The other side's subscription may still be under way.
    let heard = tokio::time::timeout(T, async {
        for n in 0u8.. {
            a.net.broadcast(vec![n; 1024]).unwrap();
            let soon = tokio::time::timeout(Duration::from_millis(300), b.gossip()).await;
            if let Ok((from, beacon)) = soon {
                assert_eq!((from, beacon.len()), (a.me(), 1024));
                return;
            }
        }
    });
    heard.await.unwrap();
    assert_eq!(a.net.broadcast(vec![0; 1025]), Err(SendError::TooLong));
    let _ = &mut a;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_listen_slows_its_peers_and_nothing_grows() {
    let limits =
        Limits { events: 4, bulk_in_bytes: 8 << 20, bulk_out_bytes: 16 << 20, ..Limits::default() };
    let mut slow = quiet(run(1));
    slow.limits = limits.clone();
    let mut fast = quiet(run(1));
    fast.limits = Limits { events: 512, ..limits };
    let (mut a, mut b) = pair_with(slow, fast).await;
    let payload = Bytes::from(vec![1; 1 << 20]);
    let mut queued = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        match b.net.send_bulk(a.me(), vec![], payload.clone(), Priority::Urgent) {
            Ok(()) => queued += 1,
            Err(SendError::QueueFull) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                while b.events.try_recv().is_ok() {}
            }
            Err(error) => panic!("{error}"),
        }
    }
    // 8 MiB with credits, 16 MiB in the queue, the rest in yamux's window and the system's buffers.
    assert!(queued < 60, "{queued} MiB left for a peer that takes nothing");
    for _ in 0..queued {
        a.bulk().await;
    }
}

impl Node {
    async fn bulk(&mut self) -> (shoal_protocol::id::PeerId, Vec<u8>, Bytes) {
        self.expect(|event| match event {
            NetEvent::Bulk { from, header, payload, .. } => Some((from, header, payload)),
            _ => None,
        })
        .await
    }

    async fn bulk_sent(&mut self) -> usize {
        self.expect(|event| match event {
            NetEvent::BulkSent { bytes, .. } => Some(bytes),
            _ => None,
        })
        .await
    }

    async fn gossip(&mut self) -> (shoal_protocol::id::PeerId, Vec<u8>) {
        self.expect(|event| match event {
            NetEvent::Gossip { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }
}
