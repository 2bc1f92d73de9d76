//! What a node refuses, and that the others go on.

use crate::raw::{Answer, Raw, hello};
use crate::stage::{Node, pair, quiet, run};
use futures::{AsyncReadExt, AsyncWriteExt};
use shoal_node::net::{NetEvent, SendError};
use shoal_protocol::id::PeerId;
use std::time::{Duration, Instant};

const FAMILY: &str = "/shoal/1";

/// The node talks on with an honest peer.
async fn goes_on(a: &mut Node, b: &mut Node) {
    a.net.send(b.me(), b"go on".to_vec()).unwrap();
    assert_eq!(b.frame().await, (a.me(), b"go on".to_vec()));
    b.net.send(a.me(), b"so we do".to_vec()).unwrap();
    while a.frame().await.0 != b.me() {}
}

/// The refusal by one peer, whoever else refuses before: a stranger hears of all peers of the run from the first.
async fn refused_by(node: &mut Node, peer: PeerId) -> (PeerId, String) {
    loop {
        let told = node.refused().await;
        if told.0 == peer {
            return told;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_run_is_told_so_on_both_sides() {
    let (mut a, mut b) = pair().await;
    let mut other = Node::start(quiet(run(2)));
    other.net.dial(a.address().await);
    let dialled = a.me();
    let (told_a, told_other) = tokio::join!(a.refused(), refused_by(&mut other, dialled));
    assert_eq!((told_a.0, told_other.0), (other.me(), a.me()));
    assert!(told_a.1.contains("run 02020202") || told_a.1.contains("run 01010101"), "{}", told_a.1);
    assert!(told_other.1.contains("takes part in run"), "{}", told_other.1);
    assert_eq!(a.net.peers(), [b.me()]);
    goes_on(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_is_refused_by_name() {
    let (mut a, mut b) = pair().await;
    let mut raw = Raw::dial(a.address().await, "/shoal/99").await;
    let (peer, reason) = a.refused().await;
    assert_eq!(peer, raw.me);
    assert!(reason.contains("/shoal/99") || reason.contains("does not speak"), "{reason}");
    raw.cut_off().await;
    goes_on(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_within_the_greeting_gets_an_answer() {
    let mut a = Node::start(quiet(run(1)));
    let mut raw = Raw::dial(a.address().await, FAMILY).await;
    let mut stream = raw.open("control").await.unwrap();
    match hello(&mut stream, 99, run(1)).await {
        Some(Answer::Refused(reason)) => assert!(reason.contains("protocol 99"), "{reason}"),
        other => panic!("{other:?}"),
    }
    raw.cut_off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_instead_of_a_greeting_is_refused() {
    let (mut a, mut b) = pair().await;
    let rubbish: [&[u8]; 4] = [
        &[0xff; 64],
        &[0; 64],
        &[3, 0, 0, 0, 0xbf, 0xff, 1],
        &[5, 0, 0, 0, 0x9f, 0x9f, 0x9f, 0x9f, 0x9f],
    ];
    for bytes in rubbish {
        let mut raw = Raw::dial(a.address().await, FAMILY).await;
        let mut stream = raw.open("control").await.unwrap();
        // The node may hang up before we are done.
        let _ = stream.write_all(bytes).await;
        let _ = stream.close().await;
        let me = raw.me;
        let gone = async {
            tokio::select! {
                (peer, _) = a.refused() => assert_eq!(peer, me),
                () = raw.cut_off() => {}
            }
        };
        gone.await;
        goes_on(&mut a, &mut b).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_announces_giants_is_cut_off() {
    let (mut a, mut b) = pair().await;
    let giants: [(&str, &[u8]); 3] =
        [("control", &[0xff; 4]), ("bulk", &[0xff; 6]), ("bulk", &[1, 0, 1, 0, 0x40, 0])];
    for (part, bytes) in giants {
        let mut raw = Raw::dial(a.address().await, FAMILY).await;
        let (mut stream, theirs) = raw.take_part(run(1)).await;
        let mut held = vec![theirs];
        a.connected(raw.me).await;
        if part == "bulk" {
            held.push(std::mem::replace(&mut stream, raw.open("bulk").await.unwrap()));
            stream.read_exact(&mut [0]).await.unwrap();
        }
        // The node may hang up before we are done.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        a.disconnected(raw.me).await;
        let (peer, reason) = a.refused().await;
        assert_eq!(peer, raw.me);
        assert!(reason.contains("announced"), "{reason}");
        raw.cut_off().await;
        goes_on(&mut a, &mut b).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_anywhere_never_stop_a_node() {
    let (mut a, mut b) = pair().await;
    let mut noise = blake3::Hasher::new().update(b"noise").finalize_xof();
    for part in ["control", "bulk", "kad", "control", "bulk"] {
        let mut raw = Raw::dial(a.address().await, FAMILY).await;
        let _member = raw.take_part(run(1)).await;
        let mut bytes = vec![0; 100_000];
        noise.fill(&mut bytes);
        if let Some(mut stream) = raw.open(part).await {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.close().await;
        }
        goes_on(&mut a, &mut b).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_end_are_cut_off() {
    let (mut a, mut b) = pair().await;
    let mut raw = Raw::dial(a.address().await, FAMILY).await;
    let _member = raw.take_part(run(1)).await;
    let mut held = Vec::new();
    for n in 0..3000 {
        let opened = raw.open(if n % 2 == 0 { "control" } else { "bulk" });
        match tokio::time::timeout(Duration::from_secs(5), opened).await {
            Ok(Some(mut stream)) => {
                let _ = stream.write_all(&[1]).await;
                held.push(stream);
            }
            _ => break,
        }
    }
    assert!(held.len() < 3000, "all streams were taken");
    goes_on(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_fills_its_own_queue_alone() {
    let (mut a, mut b) = pair().await;
    let mut raw = Raw::dial(a.address().await, FAMILY).await;
    let _member = raw.take_part(run(1)).await;
    a.connected(raw.me).await;
    let begun = Instant::now();
    let mut queued = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        match a.net.send(raw.me, vec![0; 1 << 20]) {
            Ok(()) => queued += 1,
            Err(SendError::QueueFull) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(queued < 40, "{queued} MiB were taken for a peer that never reads");
    goes_on(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_waits_for_the_node() {
    let (mut a, mut b) = pair().await;
    let mut raw = Raw::dial(a.address().await, FAMILY).await;
    let (mut ours, _theirs) = raw.take_part(run(1)).await;
    a.connected(raw.me).await;
    let flood = tokio::spawn(async move {
        let frame = [&(1u32 << 20).to_le_bytes()[..], &vec![0; 1 << 20]].concat();
        let mut written = 0;
        while written < 500 && ours.write_all(&frame).await.is_ok() {
            written += 1;
        }
    });
    // Nobody takes the node's events; the flood must stand still rather than fill the memory.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!flood.is_finished(), "500 MiB were taken in");
    let mut frames = 0;
    while frames < 500 {
        if let Ok(NetEvent::Frame { from, .. }) = a.events.try_recv() {
            frames += usize::from(from == raw.me);
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    flood.await.unwrap();
    goes_on(&mut a, &mut b).await;
}
