//! One file: which of its pieces are here, which are wanted first, who holds which, and what is asked of whom.

use super::need::{NEEDED, NEVER};
use crate::deadline::Deadline;
use crate::event::{ChunkId, ChunkKind, Note, Output};
use crate::exchange::{indices, ranges};
use crate::id::{Digest, PeerId};
use crate::requests::{LIST_PATIENCE, Requests};
use crate::run::Blob;
use crate::sabotage::{Bug, planted};
use crate::time::{Span, Time};
use crate::wire::{Held, List, Message, PIECE_WINDOW, Want};
use std::collections::BTreeMap;

/// How often it is looked who holds what by now, while something is missing. Guess: a beacon's time.
const LOOK: Span = Span::from_secs(2);
/// How long a peer is not asked that was silent too often or gave what is not it. Guess.
const SHUN: Span = Span::from_secs(60);

/// A file that the spec names.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub blob: Blob,
    /// BLAKE3 of each piece; empty as long as it is not known.
    list: Vec<Digest>,
    /// Of the list, as one piece, until that is known; then of the pieces.
    requests: Requests,
    /// Which pieces others hold, by their own word.
    holders: BTreeMap<PeerId, Vec<bool>>,
    /// Who is not asked before then.
    shunned: BTreeMap<PeerId, Time>,
    /// By piece: the lower, the sooner it is wanted.
    ranks: Vec<u32>,
    /// By piece: when it was last needed.
    needed: Vec<Time>,
    looked: Option<Time>,
    /// Where this peer begins among pieces that are wanted alike, so that others begin elsewhere and have something to give.
    begins: u32,
    told: bool,
}

impl Shelf {
    /// Of a file nothing of which is here, or wanted.
    pub fn new(blob: Blob, me: &PeerId) -> Shelf {
        let pieces = blob.pieces() as usize;
        let begins = u32::from_le_bytes([me.0[0], me.0[1], me.0[2], me.0[3]]);
        Shelf {
            blob,
            list: Vec::new(),
            requests: Requests::one(&[]),
            holders: BTreeMap::new(),
            shunned: BTreeMap::new(),
            ranks: vec![NEVER; pieces],
            needed: vec![Time::ZERO; pieces],
            looked: None,
            begins: begins % pieces.max(1) as u32,
            told: true,
        }
    }

    /// What the driver holds.
    pub fn holds(&mut self, list: Vec<Digest>, held: &[(u32, u32)]) {
        if self.list.is_empty() && self.blob.check(&list).is_ok() {
            self.list = list;
        }
        if !self.list.is_empty() {
            let mut here = vec![false; self.list.len()];
            indices(held, here.len()).for_each(|index| here[index as usize] = true);
            self.requests.begin(here.into_iter());
        }
        self.looked = None;
    }

    /// Whether a piece is here.
    pub fn has(&self, index: u32) -> bool {
        !self.list.is_empty() && self.requests.has(index)
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        !self.list.is_empty() && self.requests.missing() == 0
    }

    /// The pieces that are here, in ranges.
    pub fn held(&self) -> Held {
        let here = self.requests.here().filter(|_| !self.list.is_empty());
        Held { blob: self.blob.root, pieces: ranges(here) }
    }

    /// The digests of its pieces, if they are known.
    pub fn list(&self) -> Option<List> {
        (!self.list.is_empty()).then(|| List { blob: self.blob.root, pieces: self.list.clone() })
    }

    /// Pieces that are needed now; those of them that are here; peers that are asked for some.
    pub fn needs(&self) -> (u32, u32, usize) {
        let needed = || (0..self.blob.pieces()).filter(|index| self.ranks[*index as usize] == 0);
        let here = needed().filter(|index| self.has(*index)).count();
        (needed().count() as u32, here as u32, self.requests.serving())
    }

    /// What is wanted has changed.
    pub fn want(&mut self, ranks: Vec<u32>, now: Time) {
        for (needed, rank) in self.needed.iter_mut().zip(&ranks) {
            *needed = if *rank <= NEEDED { now } else { *needed };
        }
        self.ranks = ranks;
    }

    fn wanted(&self) -> impl Iterator<Item = u32> + '_ {
        let wanted = self.ranks.iter().enumerate().filter(|(_, rank)| **rank != NEVER);
        wanted.map(|(index, _)| index as u32)
    }

    /// Whether something that is wanted is not here.
    fn is_wanting(&self) -> bool {
        self.wanted().any(|index| !self.has(index))
    }

    /// Asks for what is missing. When to look again, if anything is.
    pub fn fetch(
        &mut self,
        living: &[PeerId],
        patience: &Deadline,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Option<Time> {
        self.shunned.retain(|_, until| *until > now);
        self.holders.retain(|peer, _| living.contains(peer));
        let gone: Vec<PeerId> =
            self.requests.donors().filter(|donor| !living.contains(donor)).copied().collect();
        gone.iter().for_each(|donor| self.requests.drop_donor(donor));
        let patience = if self.list.is_empty() { LIST_PATIENCE } else { patience.span() };
        for donor in self.requests.expire(patience, now) {
            self.shun(&donor, now + SHUN);
        }
        if !self.is_wanting() {
            return None;
        }
        self.told = false;
        if self.list.is_empty() {
            self.ask_for_the_list(living, now, out);
        } else {
            self.ask_who_holds_what(living, now, out);
            self.ask_for_pieces(now, out);
        }
        Some(now + LOOK.min(Span(patience.0 / 4)))
    }

    fn ask_for_the_list(&mut self, living: &[PeerId], now: Time, out: &mut Vec<Output>) {
        let free = living.iter().filter(|peer| !self.shunned.contains_key(peer));
        free.for_each(|peer| self.requests.add_donor(*peer));
        if let Some(to) = self.requests.ask_one(now) {
            out.push(Output::Send { to, message: Message::WantList { blob: self.blob.root } });
        }
    }

    /// Whoever holds all of it need not be asked again.
    fn ask_who_holds_what(&mut self, living: &[PeerId], now: Time, out: &mut Vec<Output>) {
        if self.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.looked = Some(now);
        let whole = |peer: &PeerId| {
            self.holders.get(peer).is_some_and(|held| held.iter().all(|held| *held))
        };
        let open = living.iter().filter(|peer| !whole(peer) && !self.shunned.contains_key(peer));
        let message = Message::WantHeld { blob: self.blob.root };
        out.extend(open.map(|to| Output::Send { to: *to, message: message.clone() }));
    }

    /// The sooner it is wanted and the fewer hold it, the sooner it is asked for.
    fn ask_for_pieces(&mut self, now: Time, out: &mut Vec<Output>) {
        let count = self.list.len() as u32;
        let rarity = |index: u32| self.holders.values().filter(|held| held[index as usize]).count();
        let turn = |index: u32| (index + count - self.begins) % count;
        let mut order: Vec<u32> =
            self.wanted().filter(|index| self.requests.lacks(*index)).collect();
        order.sort_by_cached_key(|index| {
            (self.ranks[*index as usize], rarity(*index), turn(*index))
        });
        let holds = |peer: &PeerId, index: u32| {
            self.holders.get(peer).is_some_and(|held| held[index as usize])
        };
        for (to, batch) in self.requests.ask(PIECE_WINDOW, order.into_iter(), holds, now) {
            let chunks = ranges(batch.into_iter());
            let want = Want { of: self.blob.root, kind: ChunkKind::Piece, chunks };
            out.push(Output::Send { to, message: Message::Want(want) });
        }
    }

    /// A peer has told the digests of the pieces.
    ///
    /// # Errors
    /// They are not the file's.
    pub fn take_list(
        &mut self,
        from: &PeerId,
        list: Vec<Digest>,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        if !self.list.is_empty() || !self.requests.is_donor(from) {
            return Ok(());
        }
        if let Err(reason) = self.blob.check(&list) {
            self.shun(from, now + SHUN);
            return Err(reason);
        }
        out.push(Output::KeepList { blob: self.blob.root, list: list.clone() });
        self.requests.begin(list.iter().map(|_| false));
        self.list = list;
        Ok(())
    }

    /// A peer has told which pieces it holds.
    pub fn take_held(&mut self, from: PeerId, told: &[(u32, u32)]) {
        if self.list.is_empty() || self.shunned.contains_key(&from) {
            return;
        }
        let mut held = vec![false; self.list.len()];
        indices(told, held.len()).for_each(|index| held[index as usize] = true);
        if self.requests.is_asked(&from, |index| !held[index as usize]) {
            self.requests.reconnected(&from);
        }
        if held.contains(&true) {
            self.requests.add_donor(from);
        }
        self.holders.insert(from, held);
    }

    /// A peer does not have the list, or not the file.
    pub fn take_gone(&mut self, from: &PeerId, now: Time) {
        self.shun(from, now + LOOK);
    }

    /// What was asked of a peer is lost with its connection; what it holds is asked anew.
    pub fn reconnected(&mut self, peer: &PeerId) {
        self.requests.drop_donor(peer);
        self.holders.remove(peer);
        self.looked = None;
    }

    fn shun(&mut self, peer: &PeerId, until: Time) {
        self.requests.drop_donor(peer);
        self.holders.remove(peer);
        self.shunned.insert(*peer, until);
    }

    /// A piece has come. `Ok(true)`: keep its bytes; `Ok(false)`: they are not wanted; `Err`: they are not the file's.
    pub fn arrived(
        &mut self,
        from: PeerId,
        chunk: ChunkId,
        digest: Digest,
        patience: &mut Deadline,
        now: Time,
    ) -> Result<bool, &'static str> {
        let Some(expected) = self.list.get(chunk.index as usize) else { return Ok(false) };
        if !self.requests.came(from, chunk.index, patience, now) {
            return Ok(false);
        }
        if digest != *expected && !planted(Bug::UnverifiedPiece) {
            self.shun(&from, now + SHUN);
            return Err("gave a piece of a file that is not what the run's spec says");
        }
        if self.ranks[chunk.index as usize] == NEVER {
            return Ok(false);
        }
        self.requests.keep(chunk.index);
        Ok(true)
    }

    /// Drops what was needed longest ago and is not wanted, until so many pieces are left.
    pub fn make_room(&mut self, most: usize, out: &mut Vec<Output>) {
        let held = self.blob.pieces() as usize - self.requests.missing();
        let mut spare: Vec<u32> =
            self.requests.here().filter(|index| self.ranks[*index as usize] == NEVER).collect();
        spare.sort_by_key(|index| self.needed[*index as usize]);
        spare.truncate(held.saturating_sub(most));
        spare.sort_unstable();
        if !spare.is_empty() {
            spare.iter().for_each(|index| self.requests.lose(*index));
            let pieces = ranges(spare.into_iter());
            out.push(Output::DropPieces { blob: self.blob.root, pieces });
        }
    }

    /// That all that is wanted is here is told once.
    pub fn tell_whole(&mut self, out: &mut Vec<Output>) {
        if !self.told && !self.is_wanting() {
            self.told = true;
            let pieces = self.blob.pieces() - self.requests.missing() as u32;
            out.push(Output::Note(Note::Fetched { blob: self.blob.root, pieces }));
        }
    }
}
