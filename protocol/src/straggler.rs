//! The deadlines of an exchange: who is asked again, who is dropped, whose chunks go to others, when the plan is given up.

use crate::deadline::Deadline;
use crate::event::{ChunkKind, Note, Output};
use crate::exchange::{Exchange, MemberIndex, Progress, bit, ranges};
use crate::id::PeerId;
use crate::time::{Span, Time};
use crate::wire::{Confirm, Message, Want};

/// Silences of a member, in stall deadlines, after which it is dropped from the chunks that it still owes.
const STALLS_STRAGGLER: u64 = 2;
/// Silences of an owner after which its chunks are given to others. More than a straggler's: an owner may be waiting for one.
const STALLS_OWNER: u64 = 5;
/// Silences of everybody after which the plan is given up.
const STALLS_PLAN: u64 = 10;

impl Exchange {
    /// A member is gone: its missing contributions are not waited for, its chunks are given to others.
    pub fn lose(&mut self, member: MemberIndex, now: Time, out: &mut Vec<Output>) {
        if self.lost & bit(member) != 0 || member == self.me {
            return;
        }
        self.lost |= bit(member);
        self.outbox.clear(member);
        self.drop_owed(member, now, out);
        self.begin_repair(now, out);
    }

    /// Stops waiting for the contributions that a member still owes.
    fn drop_owed(&mut self, member: MemberIndex, now: Time, out: &mut Vec<Output>) {
        let owed: Vec<usize> =
            (0..self.chunks.len()).filter(|&c| self.owes_chunk(member, c)).collect();
        if !owed.is_empty() {
            self.moved = now;
            out.push(Output::Note(Note::Straggler { peer: self.peer(member), chunks: owed.len() }));
        }
        for index in owed {
            self.chunks[index].dropped |= bit(member);
            self.reduce_if_due(index, out);
        }
    }

    /// How long nothing has moved.
    pub fn idle(&self, now: Time) -> Span {
        now.since(self.moved)
    }

    /// Looks at the clock: asks again for what is missing, drops stragglers, hands over what the silent own.
    pub fn tick(&mut self, stall: &Deadline, now: Time, out: &mut Vec<Output>) -> Progress {
        let stall = stall.span().max(self.transfer_least());
        for member in 0..self.plan.members.len() as MemberIndex {
            self.tick_member(member, stall, now, out);
        }
        self.tick_repair(stall, now, out);
        self.nudge_confirm(stall, now, out);
        self.pump(out);
        if self.is_divided() {
            return Progress::Stuck("its members hold different results");
        }
        if self.alive_weight_is_short() {
            return Progress::Stuck("members of half of its weight are lost");
        }
        if now >= self.moved + Span(stall.0.saturating_mul(STALLS_PLAN)) {
            return Progress::Stuck("nothing moved for too long");
        }
        Progress::Going
    }

    /// When to look again at the latest.
    pub fn next_tick(&self, stall: &Deadline, now: Time) -> Time {
        now + Span(stall.span().0 / 2)
    }

    fn tick_member(&mut self, member: MemberIndex, stall: Span, now: Time, out: &mut Vec<Output>) {
        let contact = self.members[member as usize];
        let silent = now.since(contact.heard);
        // Most members have just been heard: only of the silent ones is it asked, chunk by chunk, what they owe.
        if member == self.me || self.lost & bit(member) != 0 || silent < stall {
            return;
        }
        let (owes, result_owed) = (self.owes(member), self.result_owed(member));
        if !(owes || result_owed) {
            return;
        }
        if result_owed && silent.0 >= stall.0.saturating_mul(STALLS_OWNER) {
            self.lose(member, now, out);
        } else if owes && silent.0 >= stall.0.saturating_mul(STALLS_STRAGGLER) {
            self.drop_owed(member, now, out);
        } else if now.since(contact.asked) >= stall {
            self.members[member as usize].asked = now;
            self.ask(member, self.peer(member), out);
        }
    }

    /// Asks a silent member for everything that it owes.
    fn ask(&self, member: MemberIndex, to: PeerId, out: &mut Vec<Output>) {
        let owed = |c: &u32| self.owes_chunk(member, *c as usize);
        let results = |c: &u32| {
            self.chunks[*c as usize].owner == member && self.chunks[*c as usize].result.is_none()
        };
        let all = 0..self.chunks.len() as u32;
        self.want(to, ChunkKind::Contribution, all.clone().filter(owed), out);
        self.want(to, ChunkKind::Result, all.filter(results), out);
    }

    pub(crate) fn want(
        &self,
        to: PeerId,
        kind: ChunkKind,
        chunks: impl Iterator<Item = u32>,
        out: &mut Vec<Output>,
    ) {
        let chunks = ranges(chunks);
        if !chunks.is_empty() {
            out.push(Output::Send {
                to,
                message: Message::Want(Want { of: self.id, kind, chunks }),
            });
        }
    }

    /// Repeats this member's confirmation to those that have not confirmed: theirs or ours may have been lost.
    fn nudge_confirm(&mut self, stall: Span, now: Time, out: &mut Vec<Output>) {
        let (Some(since), Some(result)) =
            (self.complete_since, self.confirms.get(&self.me).copied())
        else {
            return;
        };
        if now >= since + Span(stall.0 / 2) {
            self.complete_since = Some(now);
            self.nudges += 1;
            let message = Message::Confirm(Confirm { plan: self.id, result });
            out.extend(
                self.unconfirmed()
                    .into_iter()
                    .map(|to| Output::Send { to, message: message.clone() }),
            );
        }
    }

    /// A stall shorter than a few chunks' honest transfer would punish thin links. Least rate assumed: 128 kbit/s for each chunk.
    fn transfer_least(&self) -> Span {
        Span(self.chunk_bytes.saturating_mul(1_000_000 / 16_384))
    }

    /// Whether every member that is not lost has confirmed a result.
    pub(crate) fn everybody_confirmed(&self) -> bool {
        let mut members = (0..self.plan.members.len()).map(|index| index as MemberIndex);
        members.all(|member| self.lost & bit(member) != 0 || self.confirms.contains_key(&member))
    }

    fn alive_weight_is_short(&self) -> bool {
        let members = || (0..self.plan.members.len()).map(|index| index as MemberIndex);
        let total: u64 = members().map(|member| self.weight(member)).sum();
        let counts = |member: &MemberIndex| {
            self.lost & bit(*member) == 0 || self.confirms.contains_key(member)
        };
        let living: u64 = members().filter(counts).map(|member| self.weight(member)).sum();
        living * 2 <= total
    }
}
