//! One group's average: each member adds up one slice for all, and sends its mean to all.

use super::event::{Frame, FrameKind, Output};
use crate::id::{Digest, PeerId, Round};
use std::collections::BTreeSet;

/// The average of one group, as one member sees it.
#[derive(Clone, Debug)]
pub struct Group {
    /// BLAKE3 of round and members.
    pub name: Digest,
    /// In order; a slice has the number of the member that adds it up.
    pub members: Vec<PeerId>,
    me: usize,
    /// Members whose part of this peer's slice is here, this peer among them.
    parts: BTreeSet<usize>,
    summed: bool,
    /// Slices whose mean is here.
    means: BTreeSet<usize>,
    lost: BTreeSet<usize>,
}

impl Group {
    /// The group's name.
    pub fn name(round: Round, members: &[PeerId]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"group").update(&round.to_le_bytes());
        members.iter().for_each(|peer| {
            hasher.update(&peer.0);
        });
        Digest(*hasher.finalize().as_bytes())
    }

    /// The group of a round; `None` if `me` is no member of it. Says what this peer sends at once.
    pub fn begin(
        round: Round,
        members: Vec<PeerId>,
        me: &PeerId,
        out: &mut Vec<Output>,
    ) -> Option<Group> {
        let me = members.iter().position(|member| member == me)?;
        let (name, none) = (Group::name(round, &members), BTreeSet::new());
        let parts = BTreeSet::from([me]);
        let group =
            Group { name, members, me, parts, summed: false, means: none.clone(), lost: none };
        out.push(Output::Begin { group: name, members: group.members.len() as u64 });
        for (slice, owner) in group.others() {
            let frame = Frame { group: name, slice: slice as u64, kind: FrameKind::Part };
            out.push(Output::Part { to: owner, frame });
        }
        Some(group)
    }

    fn others(&self) -> impl Iterator<Item = (usize, PeerId)> + '_ {
        let me = self.me;
        self.members.iter().copied().enumerate().filter(move |(i, _)| *i != me)
    }

    /// A frame of the group has come. Each counts once; those that are not the sender's to send, or too late, do not.
    pub fn arrived(&mut self, from: &PeerId, frame: &Frame) {
        let Some(sender) = self.members.iter().position(|member| member == from) else { return };
        match frame.kind {
            FrameKind::Part if frame.slice == self.me as u64 && !self.summed => {
                self.parts.insert(sender);
            }
            FrameKind::Mean if frame.slice == sender as u64 => {
                self.means.insert(sender);
            }
            _ => {}
        }
    }

    /// A member cannot be reached any more.
    pub fn lost(&mut self, peer: &PeerId) {
        self.lost.extend(self.members.iter().position(|member| member == peer));
    }

    /// Goes on as far as it can; whether there is nothing more to wait for. `late`: who has not come will not.
    pub fn advance(&mut self, late: bool, out: &mut Vec<Output>) -> bool {
        let all = |here: &BTreeSet<usize>| {
            (0..self.members.len()).all(|i| late || here.contains(&i) || self.lost.contains(&i))
        };
        if !self.summed && all(&self.parts) {
            self.summed = true;
            self.means.insert(self.me);
            self.sum(out);
        }
        // A member that is late with its part may be as late with its mean.
        self.summed && all(&self.means)
    }

    fn sum(&self, out: &mut Vec<Output>) {
        let (group, slice) = (self.name, self.me as u64);
        let parts = self.parts.iter().map(|i| self.members[*i]).collect();
        out.push(Output::Sum { frame: Frame { group, slice, kind: FrameKind::Part }, parts });
        let frame = Frame { group, slice, kind: FrameKind::Mean };
        let reachable = self.others().filter(|(i, _)| !self.lost.contains(i));
        out.extend(reachable.map(|(_, to)| Output::Mean { to, frame }));
    }

    /// Who is waited for.
    pub fn missing(&self) -> Vec<PeerId> {
        let here = if self.summed { &self.means } else { &self.parts };
        let absent = self.others().filter(|(i, _)| !here.contains(i) && !self.lost.contains(i));
        absent.map(|(_, peer)| peer).collect()
    }

    /// The outer step with what is here.
    pub fn step(&self, round: Round) -> Output {
        let here = self.means.iter().map(|slice| *slice as u64).collect();
        Output::Step { round, slices: self.members.len() as u64, here, group: self.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn frame(group: &Group, slice: u64, kind: FrameKind) -> Frame {
        Frame { group: group.name, slice, kind }
    }

    #[test]
    fn three_exchange_slices_and_each_counts_once() {
        let mut out = Vec::new();
        let members = vec![id(1), id(2), id(3)];
        let mut group = Group::begin(7, members.clone(), &id(2), &mut out).unwrap();
        let part = |to, slice| Output::Part { to, frame: frame(&group, slice, FrameKind::Part) };
        let begin = Output::Begin { group: group.name, members: 3 };
        assert_eq!(out, [begin, part(id(1), 0), part(id(3), 2)]);
        out.clear();
        let mine = frame(&group, 1, FrameKind::Part);
        group.arrived(&id(1), &mine);
        group.arrived(&id(1), &mine);
        group.arrived(&id(9), &mine);
        assert!(!group.advance(false, &mut out) && out.is_empty());
        assert_eq!(group.missing(), [id(3)]);
        group.arrived(&id(3), &mine);
        assert!(!group.advance(false, &mut out));
        let mean = frame(&group, 1, FrameKind::Mean);
        let sum = Output::Sum { frame: mine, parts: members };
        let sent = |to| Output::Mean { to, frame: mean };
        assert_eq!(out, [sum, sent(id(1)), sent(id(3))]);
        // A mean counts from the slice's owner alone.
        group.arrived(&id(3), &frame(&group, 0, FrameKind::Mean));
        assert_eq!(group.missing(), [id(1), id(3)]);
        group.arrived(&id(1), &frame(&group, 0, FrameKind::Mean));
        group.arrived(&id(3), &frame(&group, 2, FrameKind::Mean));
        assert!(group.advance(false, &mut out));
        let here = vec![0, 1, 2];
        assert_eq!(group.step(7), Output::Step { round: 7, slices: 3, here, group: group.name });
    }

    #[test]
    fn who_is_lost_costs_its_slice_and_who_is_late_too() {
        let mut out = Vec::new();
        let mut group = Group::begin(1, vec![id(1), id(2), id(3)], &id(1), &mut out).unwrap();
        group.lost(&id(2));
        out.clear();
        assert!(!group.advance(false, &mut out));
        assert!(group.advance(true, &mut out));
        let own = frame(&group, 0, FrameKind::Part);
        assert_eq!(out[0], Output::Sum { frame: own, parts: vec![id(1)] });
        assert_eq!(out.len(), 2);
        let Output::Step { here, .. } = group.step(1) else { panic!() };
        assert_eq!(here, [0]);
    }
}
