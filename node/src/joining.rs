//! What a joiner fetches before its actors start: the run's spec, and the files that it cannot begin without.

use crate::blob::PieceStore;
use crate::net::{NetEvent, NetHandle};
use anyhow::{Context, ensure};
use bytes::Bytes;
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, PeerId, RunId};
use shoal_protocol::run::{Blob, RunSpec};
use shoal_protocol::wire::{
    self, ChunkId, ChunkKind, Message, PIECE_WINDOW, Want, from_cbor, to_cbor,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// How often a joiner asks again for what has not come.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a piece may be on its way before another peer is asked for it. Guess: a piece at 0.3 Mbit/s.
const PIECE_TAKES: Duration = Duration::from_secs(30);
/// The same of the list of their digests: 32 bytes for a MiB. Guess.
const LIST_TAKES: Duration = Duration::from_secs(10);

/// Asks every peer that is there for the run's spec until one gives what the run's id names.
///
/// # Errors
/// Nobody answered in time, or what the spec says cannot be carried out.
pub async fn fetch_spec(
    net: &NetHandle,
    events: &mut Receiver<NetEvent>,
    run: RunId,
    patience: Duration,
) -> anyhow::Result<RunSpec> {
    let deadline = Instant::now() + patience;
    loop {
        for peer in net.peers() {
            // Not connected any more: the next turn sees to it.
            let _ = net.send(peer, to_cbor(&Message::WantSpec));
        }
        let turn = (Instant::now() + ASK_EVERY).min(deadline);
        if let Some(spec) = hear_spec(events, run, turn).await {
            spec.validate().context("the run's spec is not one that this version can carry out")?;
            return Ok(spec);
        }
        ensure!(
            Instant::now() < deadline,
            "no peer of the run {} answered within {} s: is one of the ticket's nodes alive and reachable from here?",
            run.short(),
            patience.as_secs()
        );
    }
}

async fn hear_spec(events: &mut Receiver<NetEvent>, run: RunId, until: Instant) -> Option<RunSpec> {
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await {
        let NetEvent::Frame { from, bytes, .. } = event else { continue };
        let Input::Received { message: Message::Spec(spec), .. } = wire::decode(from, &bytes)
        else {
            continue;
        };
        if Digest::of(&spec).0 != run.0 {
            tracing::info!(peer = %from.short(), "gave the spec of another run");
            continue;
        }
        if let Ok(spec) = from_cbor::<RunSpec>(&spec) {
            return Some(spec);
        }
    }
    None
}

/// Fetches a file into `fetched`, the folder of all files that come in pieces, unless it is there. `what` names it for people.
///
/// # Errors
/// Nothing of it came for as long as `patience`, or the disk's.
pub async fn fetch_file(
    net: &NetHandle,
    events: &mut Receiver<NetEvent>,
    (what, blob): (&'static str, Blob),
    fetched: &Path,
    patience: Duration,
) -> anyhow::Result<()> {
    let mut fetch = Fetch::new(PieceStore::below(fetched, blob)?);
    tracing::info!(what, bytes = blob.bytes, here = fetch.here.len(), "fetching from peers");
    let mut deadline = Instant::now() + patience;
    while !fetch.is_done() {
        fetch.ask(net);
        let turn = (Instant::now() + ASK_EVERY).min(deadline);
        while let Ok(Some(event)) = tokio::time::timeout_at(turn, events.recv()).await {
            if fetch.hear(event)? {
                deadline = Instant::now() + patience;
                break;
            }
        }
        ensure!(
            Instant::now() < deadline,
            "{what} did not come: {} of {} pieces are here, and no peer gave another within {} s; join later, or when one is there that has it",
            fetch.here.len(),
            blob.pieces(),
            patience.as_secs()
        );
    }
    Ok(())
}

/// A file under way.
struct Fetch {
    store: PieceStore,
    list: Vec<Digest>,
    here: BTreeSet<u32>,
    /// Of whom pieces were asked, and when.
    asked: BTreeMap<u32, (PeerId, Instant)>,
    /// When a peer was asked for the list that is waited for.
    list_asked: Option<Instant>,
    /// Those who lack pieces, or gave false ones.
    passed_over: BTreeSet<PeerId>,
}

impl Fetch {
    fn new(store: PieceStore) -> Fetch {
        let here = store.verified().into_iter().flat_map(|(start, end)| start..end).collect();
        let (asked, passed_over) = (BTreeMap::new(), BTreeSet::new());
        Fetch { list: store.list(), store, here, asked, list_asked: None, passed_over }
    }

    fn is_done(&self) -> bool {
        self.here.len() == self.store.blob().pieces() as usize
    }

    /// Asks for the list, or each peer for as many pieces as it gives at a time.
    fn ask(&mut self, net: &NetHandle) {
        let root = self.store.blob().root;
        let peers = net.peers();
        if peers.iter().all(|peer| self.passed_over.contains(peer)) {
            self.passed_over.clear();
        }
        self.asked.retain(|_, (peer, since)| peers.contains(peer) && since.elapsed() < PIECE_TAKES);
        let mut willing = peers.into_iter().filter(|peer| !self.passed_over.contains(peer));
        let send = |peer, message: &Message| {
            // Not connected any more: what is asked of it now is asked of others later.
            let _ = net.send(peer, to_cbor(message));
        };
        if self.list.is_empty() {
            let patient = self.list_asked.is_some_and(|since| since.elapsed() < LIST_TAKES);
            if let Some(peer) = willing.next().filter(|_| !patient) {
                self.list_asked = Some(Instant::now());
                send(peer, &Message::WantList { blob: root });
            }
            return;
        }
        for peer in willing.collect::<Vec<_>>() {
            let chunks = self.choose(&peer);
            if !chunks.is_empty() {
                send(peer, &Message::Want(Want { of: root, kind: ChunkKind::Piece, chunks }));
            }
        }
    }

    /// Pieces to ask a peer for beside those that it was asked for.
    fn choose(&mut self, peer: &PeerId) -> Vec<(u32, u32)> {
        let under_way = self.asked.values().filter(|(of, _)| of == peer).count();
        let wanted = |index: &u32| !self.here.contains(index) && !self.asked.contains_key(index);
        let chosen: Vec<u32> = (0..self.store.blob().pieces())
            .filter(wanted)
            .take(PIECE_WINDOW.saturating_sub(under_way))
            .collect();
        let now = Instant::now();
        self.asked.extend(chosen.iter().map(|index| (*index, (*peer, now))));
        shoal_protocol::exchange::ranges(chosen.into_iter())
    }

    /// Takes what belongs to it; whether it is further than before.
    fn hear(&mut self, event: NetEvent) -> anyhow::Result<bool> {
        match event {
            NetEvent::Frame { from, bytes, .. } => match wire::decode(from, &bytes) {
                Input::Received { message, .. } => self.hear_message(from, message),
                _ => Ok(false),
            },
            NetEvent::Bulk { from, header, payload, .. } => match from_cbor::<ChunkId>(&header) {
                Ok(chunk) => self.take_piece(from, chunk, payload),
                Err(_) => Ok(false),
            },
            _ => Ok(false),
        }
    }

    fn hear_message(&mut self, from: PeerId, message: Message) -> anyhow::Result<bool> {
        let blob = self.store.blob();
        match message {
            Message::List(list) if list.blob == blob.root && self.list.is_empty() => {
                if let Err(reason) = blob.check(&list.pieces) {
                    self.pass_over(from, reason);
                    return Ok(false);
                }
                self.list.clone_from(&list.pieces);
                self.store.keep_list(list.pieces)?;
                Ok(true)
            }
            Message::Held(held) if held.blob == blob.root => {
                self.pass_over(from, "lacks pieces");
                Ok(false)
            }
            Message::Gone { digest } if digest == blob.root => {
                self.pass_over(from, "has none of it");
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn take_piece(&mut self, from: PeerId, chunk: ChunkId, bytes: Bytes) -> anyhow::Result<bool> {
        let ours = (chunk.of, chunk.kind) == (self.store.blob().root, ChunkKind::Piece);
        if !ours || self.here.contains(&chunk.index) {
            return Ok(false);
        }
        if self.list.get(chunk.index as usize) != Some(&Digest::of(&bytes)) {
            self.pass_over(from, "gave a piece that is not what the run's spec says");
            return Ok(false);
        }
        self.store.keep(chunk.index, bytes);
        self.store.write(chunk.index)?;
        self.asked.remove(&chunk.index);
        self.here.insert(chunk.index);
        Ok(true)
    }

    fn pass_over(&mut self, peer: PeerId, reason: &str) {
        tracing::info!(peer = %peer.short(), reason, "is not asked for now");
        self.asked.retain(|_, (of, _)| *of != peer);
        self.list_asked = None;
        self.passed_over.insert(peer);
    }
}
