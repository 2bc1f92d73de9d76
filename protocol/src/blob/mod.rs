//! Files that the run's spec names, a text foremost: fetched from peers that hold them, in the order in which leases need them, and
//! given on to others. Every piece is used only after its BLAKE3 is verified against the list that the spec commits to.

mod need;
mod serve;
mod shelf;

use crate::deadline::Deadline;
use crate::event::{ChunkId, ChunkKind, Output};
use crate::exchange::indices;
use crate::id::{Digest, PeerId};
use crate::run::RunSpec;
use crate::session::{Session, Settings, Stage};
use crate::time::{Span, Time};
use crate::wire::{Held, List, Message, PIECE_BYTES, PIECE_WINDOW, Want};
use need::Need;
use serve::Serve;
use shelf::Shelf;
use std::ops::Range;

/// Strikes for a piece that is not what it should be: two of them and the peer is refused.
const FALSE_PIECE_STRIKES: u32 = 4;

/// The run's files at one peer.
#[derive(Debug)]
pub(crate) struct Blobs {
    shelves: Vec<Shelf>,
    /// How many of them, from the first on, are only given on: they were needed before this peer began.
    spare: usize,
    need: Option<Need>,
    serve: Serve,
    /// Pieces of the text that may be held.
    most: usize,
    /// The committed record that what is wanted follows from.
    follows: Option<Digest>,
    /// Whether something has happened since the last look.
    stirred: bool,
    wake: Option<Time>,
    patience: Deadline,
}

/// How it stands with a run's data at one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataView {
    /// Whether training waits for it.
    pub waits: bool,
    /// Pieces that the peer's lease needs, the tokenizer's included.
    pub needed: u32,
    /// Those of them that are here.
    pub here: u32,
    /// Peers that pieces are asked of.
    pub from: usize,
    /// All pieces of the run's files.
    pub all: u32,
    /// Those of them that are here.
    pub held: u32,
}

/// The least room for a run's text: what is needed of it at one time.
pub fn least_data(spec: &RunSpec) -> u64 {
    Need::of(spec).map_or(0, |need| need.least())
}

impl Blobs {
    pub fn new(spec: &RunSpec, settings: &Settings, me: &PeerId) -> Blobs {
        let s = Span::from_secs;
        let cap = settings.data_cap.unwrap_or(u64::MAX);
        Blobs {
            shelves: spec.blobs().into_iter().map(|blob| Shelf::new(blob, me)).collect(),
            spare: spec.first_blobs().len(),
            need: Need::of(spec),
            serve: Serve::default(),
            most: usize::try_from(cap / PIECE_BYTES as u64).unwrap_or(usize::MAX),
            follows: None,
            stirred: true,
            wake: None,
            // Guess: four pieces at 2 Mbit/s, behind an exchange.
            patience: Deadline::new(s(30), s(5), s(120)),
        }
    }

    /// When it has to be looked at again.
    pub fn wake(&self) -> Option<Time> {
        self.wake
    }

    /// The file of this name, if it is one of the run's.
    pub fn shelf(&mut self, blob: &Digest) -> Option<&mut Shelf> {
        self.shelves.iter_mut().find(|shelf| shelf.blob.root == *blob)
    }

    /// A peer does not have what was asked of it. False if that is none of the run's files.
    pub fn take_gone(&mut self, from: &PeerId, blob: &Digest, now: Time) -> bool {
        self.stirred = true;
        let shelf = self.shelf(blob);
        shelf.map(|shelf| shelf.take_gone(from, now)).is_some()
    }

    /// Bytes of a piece; 0 for what is none.
    pub fn piece_bytes(&self, chunk: &ChunkId) -> usize {
        let shelf = self.shelves.iter().find(|shelf| shelf.blob.root == chunk.of);
        shelf.map_or(0, |shelf| shelf.blob.piece_bytes(chunk.index))
    }

    /// Whether all is here that it takes to train on these positions.
    fn suffice(&mut self, positions: &[Range<u64>]) -> bool {
        let Blobs { shelves, spare, need, .. } = self;
        let text = need.as_mut().map(|need| need.of_positions(positions));
        let needed = &shelves[*spare..];
        let (last, others) = match (&text, needed.split_last()) {
            (Some(_), Some((last, others))) => (Some(last), others),
            _ => (None, needed),
        };
        let has = |shelf: &Shelf| text.iter().flatten().all(|index| shelf.has(*index));
        others.iter().all(Shelf::is_whole) && last.is_none_or(has)
    }
}

impl Session {
    /// How it stands with the run's data, if peers fetch it from each other.
    pub fn data(&self) -> Option<DataView> {
        let mut view =
            DataView { waits: self.work.lacks, needed: 0, here: 0, from: 0, all: 0, held: 0 };
        for shelf in &self.blobs.shelves[self.blobs.spare..] {
            let (needed, here, from) = shelf.needs();
            view.needed += needed;
            view.here += here;
            view.from = view.from.max(from);
            view.all += shelf.blob.pieces();
            view.held += shelf.held().pieces.iter().map(|(start, end)| end - start).sum::<u32>();
        }
        (view.all > 0).then_some(view)
    }

    /// Whether what there is to train on is not here yet.
    pub(crate) fn lacks_data(&mut self, lease: &[Range<u64>]) -> bool {
        !self.blobs.suffice(lease)
    }

    /// Asks for what is missing and gives what others wait for, if anything has happened or it is time to.
    pub(crate) fn look_after_blobs(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.blobs.shelves.is_empty() {
            return;
        }
        if self.blobs.follows != Some(self.digest) {
            self.want_anew(now, out);
        }
        let exchanging = matches!(self.stage, Stage::Exchanging(..));
        let release = self.blobs.serve.release(exchanging, now, out);
        let due = self.blobs.wake.is_some_and(|wake| wake <= now);
        if !self.blobs.stirred && !due {
            self.blobs.wake = self.blobs.wake.into_iter().chain(release).min();
            return;
        }
        self.blobs.stirred = false;
        let living: Vec<PeerId> = self.members.living(now).map(|(peer, _)| *peer).collect();
        let Blobs { shelves, patience, .. } = &mut self.blobs;
        let looks = shelves.iter_mut().filter_map(|shelf| {
            shelf.tell_whole(out);
            shelf.fetch(&living, patience, now, out)
        });
        self.blobs.wake = looks.chain(release).min();
    }

    /// A record was committed, or this peer begins: other pieces are wanted than before.
    fn want_anew(&mut self, now: Time, out: &mut Vec<Output>) {
        let cursor = &self.standing.record.cursor;
        let Blobs { shelves, spare, need, most, .. } = &mut self.blobs;
        let (shelves, most) = (&mut shelves[*spare..], *most);
        let texts = usize::from(need.is_some());
        let others = shelves.len() - texts;
        let wants = self.settings.trains && !matches!(self.stage, Stage::Finished);
        for shelf in shelves.iter_mut().take(others).filter(|_| wants) {
            shelf.want(vec![0; shelf.blob.pieces() as usize], now);
        }
        if let (Some(need), Some(shelf)) = (need, shelves.last_mut().filter(|_| wants)) {
            shelf.want(need.ranks(cursor.lease(&self.me), cursor.next, most), now);
            shelf.make_room(most, out);
        }
        self.blobs.follows = Some(self.digest);
        self.blobs.stirred = true;
    }

    /// The driver tells what it holds of a file.
    pub(crate) fn holds(&mut self, blob: &Digest, list: Vec<Digest>, pieces: &[(u32, u32)]) {
        if let Some(shelf) = self.blobs.shelf(blob) {
            shelf.holds(list, pieces);
            self.blobs.stirred = true;
        }
    }

    /// A piece has left for a peer.
    pub(crate) fn piece_sent(&mut self, to: &PeerId) {
        self.blobs.serve.sent(to);
    }

    /// A peer's connection stands anew, or is gone.
    pub(crate) fn blobs_reconnected(&mut self, peer: &PeerId) {
        self.blobs.serve.clear(peer);
        self.blobs.shelves.iter_mut().for_each(|shelf| shelf.reconnected(peer));
        self.blobs.stirred = true;
    }

    /// A peer asks for a list, or what is held.
    pub(crate) fn tell_of_blob(
        &mut self,
        to: PeerId,
        blob: Digest,
        list: bool,
        out: &mut Vec<Output>,
    ) {
        let told = self.blobs.shelf(&blob).and_then(|shelf| match list {
            true => shelf.list().map(|list| Message::List(Box::new(list))),
            false => Some(Message::Held(shelf.held())),
        });
        out.push(Output::Send { to, message: told.unwrap_or(Message::Gone { digest: blob }) });
    }

    pub(crate) fn take_list(&mut self, from: PeerId, list: List, now: Time, out: &mut Vec<Output>) {
        self.blobs.stirred = true;
        let Some(shelf) = self.blobs.shelf(&list.blob) else { return };
        if let Err(reason) = shelf.take_list(&from, list.pieces, now, out) {
            self.strike(from, FALSE_PIECE_STRIKES, reason.into(), now, out);
        }
    }

    pub(crate) fn take_held(
        &mut self,
        from: PeerId,
        held: &Held,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if !is_ascending(&held.pieces) {
            return self.strike(from, 1, UNORDERED.into(), now, out);
        }
        self.blobs.stirred = true;
        if let Some(shelf) = self.blobs.shelf(&held.blob) {
            shelf.take_held(from, &held.pieces);
        }
    }

    /// A peer asks for pieces. If some are not here, it is told which are.
    pub(crate) fn want_pieces(
        &mut self,
        from: PeerId,
        want: &Want,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if !is_ascending(&want.chunks) {
            return self.strike(from, 1, UNORDERED.into(), now, out);
        }
        let Blobs { shelves, serve, .. } = &mut self.blobs;
        let Some(shelf) = shelves.iter().find(|shelf| shelf.blob.root == want.of) else {
            return out.push(Output::Send { to: from, message: Message::Gone { digest: want.of } });
        };
        let pieces = indices(&want.chunks, shelf.blob.pieces() as usize).take(PIECE_WINDOW);
        let (here, absent): (Vec<u32>, Vec<u32>) = pieces.partition(|index| shelf.has(*index));
        for index in here {
            serve.ask(from, ChunkId { of: want.of, kind: ChunkKind::Piece, index, included: 0 });
        }
        if !absent.is_empty() {
            out.push(Output::Send { to: from, message: Message::Held(shelf.held()) });
        }
    }

    /// A piece has arrived whole.
    pub(crate) fn piece_arrived(
        &mut self,
        (from, chunk, digest): (PeerId, ChunkId, Digest),
        now: Time,
        out: &mut Vec<Output>,
    ) {
        self.blobs.stirred = true;
        let Blobs { shelves, patience, need, most, .. } = &mut self.blobs;
        let is_text = need.is_some() && shelves.last().is_some_and(|s| s.blob.root == chunk.of);
        let shelf = shelves.iter_mut().find(|shelf| shelf.blob.root == chunk.of);
        let verdict = shelf.map_or(Ok(false), |shelf| {
            let kept = shelf.arrived(from, chunk, digest, patience, now)?;
            if kept {
                out.push(Output::KeepPiece { from, chunk, digest });
            }
            if kept && is_text {
                shelf.make_room(*most, out);
            }
            Ok(kept)
        });
        if verdict != Ok(true) {
            out.push(Output::Discard { from, chunk, digest });
        }
        if let Err(reason) = verdict {
            self.strike(from, FALSE_PIECE_STRIKES, reason, now, out);
        }
    }
}

const UNORDERED: &str = "told ranges of pieces that do not ascend";

/// Whether ranges follow one another: then to go through them costs no more than there are pieces.
fn is_ascending(ranges: &[(u32, u32)]) -> bool {
    let one = ranges.iter().all(|(start, end)| start < end);
    one && ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

#[cfg(test)]
mod tests;
