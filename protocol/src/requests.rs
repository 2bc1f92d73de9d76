//! Pieces that are asked of several peers at a time: of whom which, who is silent, and who is left alone for a while.

use crate::deadline::Deadline;
use crate::id::PeerId;
use crate::time::{Span, Time};
use std::collections::BTreeMap;

/// Silences after which a donor is not asked any more.
const SILENCES_MAX: u32 = 3;

/// How long a list may take, which is small. Guess: a few round trips on a poor link.
pub(crate) const LIST_PATIENCE: Span = Span::from_secs(3);

/// How it stands with one donor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Donation {
    under_way: usize,
    not_before: Time,
    silent: u32,
}

/// How it stands with one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Missing,
    Asked(PeerId, Time),
    Here,
}

/// Pieces of one thing, and who may have them.
#[derive(Debug)]
pub(crate) struct Requests {
    donors: BTreeMap<PeerId, Donation>,
    pieces: Vec<Piece>,
    missing: usize,
}

impl Requests {
    /// Nothing of one piece is here.
    pub fn one(donors: &[PeerId]) -> Requests {
        let donors = donors.iter().map(|peer| (*peer, Donation::default())).collect();
        Requests { donors, pieces: vec![Piece::Missing], missing: 1 }
    }

    /// Something else is fetched from the same donors, of which these pieces are here already.
    pub fn begin(&mut self, here: impl Iterator<Item = bool>) {
        let piece = |here| if here { Piece::Here } else { Piece::Missing };
        self.pieces = here.map(piece).collect();
        self.missing = self.pieces.iter().filter(|piece| **piece == Piece::Missing).count();
        self.donors.values_mut().for_each(|donation| *donation = Donation::default());
    }

    /// Pieces that are not here.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Whether a piece is here.
    pub fn has(&self, index: u32) -> bool {
        self.pieces.get(index as usize) == Some(&Piece::Here)
    }

    /// Whether a piece is not here and asked of nobody.
    pub fn lacks(&self, index: u32) -> bool {
        self.pieces.get(index as usize) == Some(&Piece::Missing)
    }

    /// The pieces that are here, ascending.
    pub fn here(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.pieces.len() as u32).filter(|index| self.has(*index))
    }

    /// Peers that may have it, ascending.
    pub fn donors(&self) -> impl Iterator<Item = &PeerId> {
        self.donors.keys()
    }

    /// Whether a peer is among them.
    pub fn is_donor(&self, peer: &PeerId) -> bool {
        self.donors.contains_key(peer)
    }

    /// Whether a piece is asked of a peer for which this holds.
    pub fn is_asked(&self, donor: &PeerId, holds: impl Fn(u32) -> bool) -> bool {
        let asked = |piece: &Piece| matches!(piece, Piece::Asked(who, _) if who == donor);
        let mut pieces = self.pieces.iter().zip(0..);
        pieces.any(|(piece, index)| asked(piece) && holds(index))
    }

    /// Donors of whom something is asked.
    pub fn serving(&self) -> usize {
        self.donors.values().filter(|donation| donation.under_way > 0).count()
    }

    /// One more peer has turned out to have something of it.
    pub fn add_donor(&mut self, peer: PeerId) {
        self.donors.entry(peer).or_default();
    }

    /// Whom to ask for what is one small piece, if it is not asked for yet: one donor at a time, the least silent first.
    pub fn ask_one(&mut self, now: Time) -> Option<PeerId> {
        if self.pieces.first() != Some(&Piece::Missing) {
            return None;
        }
        let free = self.donors.iter_mut().filter(|(_, donation)| donation.not_before <= now);
        let (donor, donation) = free.min_by_key(|(_, donation)| donation.silent)?;
        donation.under_way = 1;
        self.pieces[0] = Piece::Asked(*donor, now);
        Some(*donor)
    }

    /// Asks whoever has room for what is missing, in this order, each piece of one donor at a time and of one that `holds` it.
    pub fn ask(
        &mut self,
        window: usize,
        order: impl Iterator<Item = u32>,
        holds: impl Fn(&PeerId, u32) -> bool,
        now: Time,
    ) -> Vec<(PeerId, Vec<u32>)> {
        let mut missing: Vec<u32> = order.filter(|index| self.lacks(*index)).collect();
        let mut asked = Vec::new();
        for (donor, donation) in
            self.donors.iter_mut().filter(|(_, donation)| donation.not_before <= now)
        {
            let room = window.saturating_sub(donation.under_way);
            let mut batch = Vec::new();
            missing.retain(|&index| {
                let takes = batch.len() < room && holds(donor, index);
                batch.extend(takes.then_some(index));
                !takes
            });
            batch.sort_unstable();
            donation.under_way += batch.len();
            batch.iter().for_each(|&index| self.pieces[index as usize] = Piece::Asked(*donor, now));
            if !batch.is_empty() {
                asked.push((*donor, batch));
            }
        }
        asked
    }

    /// Requests that were not answered in time are free to be asked of another; a donor that is often silent is let go, and told.
    pub fn expire(&mut self, patience: Span, now: Time) -> Vec<PeerId> {
        let mut silent: Vec<PeerId> = Vec::new();
        for piece in &mut self.pieces {
            if let Piece::Asked(donor, since) = *piece
                && now.since(since) >= patience
            {
                *piece = Piece::Missing;
                silent.push(donor);
            }
        }
        silent.sort_unstable();
        silent.dedup();
        silent.retain(|donor| self.silence(donor, patience, now));
        silent
    }

    /// The first silence may be a lost message; who is silent again is left alone for a while, and at last for good: true then.
    fn silence(&mut self, donor: &PeerId, patience: Span, now: Time) -> bool {
        let Some(donation) = self.donors.get_mut(donor) else { return false };
        let silent = donation.silent + 1;
        let not_before = if silent == 1 { now } else { now + patience };
        *donation = Donation { under_way: 0, not_before, silent };
        let gone = silent >= SILENCES_MAX;
        if gone {
            self.donors.remove(donor);
        }
        gone
    }

    /// A donor's connection stands again: what was asked of it may be lost, and is asked again.
    pub fn reconnected(&mut self, donor: &PeerId) {
        if let Some(donation) = self.donors.get_mut(donor) {
            donation.under_way = 0;
            self.release(donor);
        }
    }

    /// A donor asks to be left alone for a while.
    pub fn busy(&mut self, donor: &PeerId, until: Time) {
        self.release(donor);
        if let Some(donation) = self.donors.get_mut(donor) {
            donation.under_way = 0;
            donation.not_before = until;
        }
    }

    /// A donor is gone, does not have it, or gave what is not it.
    pub fn drop_donor(&mut self, donor: &PeerId) {
        self.release(donor);
        self.donors.remove(donor);
    }

    /// What was asked of a donor is free to be asked of another.
    fn release(&mut self, donor: &PeerId) {
        for piece in &mut self.pieces {
            if matches!(piece, Piece::Asked(who, _) if who == donor) {
                *piece = Piece::Missing;
            }
        }
    }

    /// A piece has come, asked for or not. False if it was here already.
    pub fn came(&mut self, from: PeerId, index: u32, patience: &mut Deadline, now: Time) -> bool {
        let piece = &mut self.pieces[index as usize];
        if let Piece::Asked(donor, since) = *piece
            && donor == from
        {
            patience.observe(Span(now.since(since).0.saturating_mul(3)));
            *piece = Piece::Missing;
            if let Some(donation) = self.donors.get_mut(&from) {
                donation.under_way = donation.under_way.saturating_sub(1);
                donation.silent = 0;
            }
        }
        *piece != Piece::Here
    }

    /// A piece that came is what it should be.
    pub fn keep(&mut self, index: u32) {
        if !self.has(index) {
            self.pieces[index as usize] = Piece::Here;
            self.missing -= 1;
        }
    }

    /// A piece is not here any more.
    pub fn lose(&mut self, index: u32) {
        if self.has(index) {
            self.pieces[index as usize] = Piece::Missing;
            self.missing += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    #[test]
    fn each_piece_is_asked_of_one_that_holds_it_and_again_of_another_when_it_does_not_come() {
        let second = Span::from_secs(1);
        let at = |s| Time::ZERO + Span::from_secs(s);
        let mut requests = Requests::one(&[peer(1), peer(2)]);
        requests.begin((0..6).map(|index| index == 0));
        // 1 has all but the last, 2 has odd ones.
        let holds = |who: &PeerId, index: u32| match who.0[0] {
            1 => index < 5,
            _ => index % 2 == 1,
        };
        let asked = requests.ask(2, 0..6, holds, at(0));
        assert_eq!(asked, [(peer(1), vec![1, 2]), (peer(2), vec![3, 5])]);
        assert_eq!(requests.ask(2, 0..6, holds, at(0)), []);
        let mut patience = Deadline::new(second, second, second);
        assert!(requests.came(peer(1), 2, &mut patience, at(0)));
        requests.keep(2);
        assert!(!requests.came(peer(2), 2, &mut patience, at(0)));
        assert_eq!(requests.expire(second, at(1)), []);
        let asked = requests.ask(2, [5, 4, 3, 1].into_iter(), holds, at(1));
        assert_eq!(asked, [(peer(1), vec![3, 4]), (peer(2), vec![1, 5])]);
        // Silent twice: left alone for a while; thrice: let go.
        assert_eq!(requests.expire(second, at(2)), []);
        assert_eq!(requests.ask(2, 0..6, holds, at(2)), []);
        requests.ask(2, 0..6, holds, at(3));
        assert_eq!(requests.expire(second, at(4)), [peer(1), peer(2)]);
        assert_eq!((requests.missing(), requests.here().collect::<Vec<_>>()), (4, vec![0, 2]));
        requests.lose(0);
        assert_eq!((requests.missing(), requests.lacks(0)), (5, true));
    }
}
