//! What the dead owned is split among the survivors; nothing that anyone holds is done again (L2).
//!
//! The first living member asks the others which results they hold, then says who owns what from now on.

use crate::event::{ChunkKind, Note, Output};
use crate::exchange::{Exchange, MemberIndex, bit, indices, ranges};
use crate::id::PeerId;
use crate::time::{Span, Time};
use crate::wire::{Amendment, Handover, Holding, Message, RANGES_MAX, Survey};
use std::collections::BTreeMap;

/// The repairs of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    /// Number of the newest survey or amendment seen.
    number: u32,
    /// Who sent it.
    author: MemberIndex,
    /// Members whose loss some amendment was about, a bit each.
    mended: u64,
    /// The survey that this peer runs.
    survey: Option<Running>,
}

#[derive(Debug)]
struct Running {
    since: Time,
    lost: u64,
    answers: BTreeMap<MemberIndex, Vec<bool>>,
}

impl Exchange {
    /// The first member that is not lost.
    fn coordinator(&self) -> MemberIndex {
        (!self.lost).trailing_zeros() as MemberIndex
    }

    /// Starts a survey if it is this member's duty and there is something to repair.
    pub(crate) fn begin_repair(&mut self, now: Time, out: &mut Vec<Output>) {
        let orphaned = self.chunks.iter().any(|chunk| self.lost & bit(chunk.owner) != 0);
        let running = self.repair.survey.as_ref().is_some_and(|survey| survey.lost == self.lost);
        if self.coordinator() != self.me || !orphaned || running {
            return;
        }
        self.repair.number += 1;
        self.repair.author = self.me;
        self.repair.survey =
            Some(Running { since: now, lost: self.lost, answers: BTreeMap::new() });
        let survey = Survey { plan: self.id, repair: self.repair.number, lost: self.lost };
        for to in self.survivors() {
            out.push(Output::Send { to, message: Message::Survey(survey.clone()) });
        }
        self.finish_survey_if_answered(now, out);
    }

    /// Everybody that is not lost, without this member.
    fn survivors(&self) -> Vec<PeerId> {
        self.others()
            .filter(|(index, _)| self.lost & bit(*index) == 0)
            .map(|(_, peer)| peer)
            .collect()
    }

    /// A survey has come: says which results this member holds.
    pub(crate) fn surveyed(
        &mut self,
        from: PeerId,
        survey: &Survey,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let Some(author) = self.index_of(&from) else { return };
        if !self.accepts(author, survey.repair, survey.lost) {
            return;
        }
        self.learn_losses(survey.lost, now, out);
        let held =
            (0..self.chunks.len() as u32).filter(|c| self.chunks[*c as usize].result.is_some());
        let holding = Holding { plan: self.id, repair: survey.repair, results: ranges(held) };
        out.push(Output::Send { to: from, message: Message::Holding(holding) });
    }

    /// Newer than what is known, or as new from a member that comes first; and from the first of those it does not call lost.
    fn accepts(&mut self, author: MemberIndex, number: u32, lost: u64) -> bool {
        let first = (!lost).trailing_zeros() == u32::from(author);
        let newer = number > self.repair.number;
        let as_new = number == self.repair.number && author <= self.repair.author;
        // A number far ahead would lock all others out: honest ones grow by one a loss.
        let honest = number <= self.repair.number.saturating_add(64);
        let accepted = first && honest && (newer || as_new) && author != self.me;
        if accepted {
            self.repair.number = number;
            self.repair.author = author;
            self.repair.survey = None;
        }
        accepted
    }

    fn learn_losses(&mut self, lost: u64, now: Time, out: &mut Vec<Output>) {
        let members = self.plan.members.len() as MemberIndex;
        let mine = bit(self.me);
        for member in (0..members).filter(|member| lost & bit(*member) & !mine != 0) {
            self.lose(member, now, out);
        }
    }

    /// An answer to this member's survey.
    pub(crate) fn answered(
        &mut self,
        from: PeerId,
        holding: &Holding,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let Some(member) = self.index_of(&from) else { return };
        let len = self.chunks.len();
        if holding.repair == self.repair.number
            && let Some(survey) = &mut self.repair.survey
        {
            let mut held = vec![false; len];
            indices(&holding.results, len).for_each(|index| held[index as usize] = true);
            survey.answers.insert(member, held);
            self.finish_survey_if_answered(now, out);
        }
    }

    fn finish_survey_if_answered(&mut self, now: Time, out: &mut Vec<Output>) {
        let survivors = self.survivors().len();
        if self.repair.survey.as_ref().is_some_and(|survey| survey.answers.len() >= survivors) {
            self.amend(now, out);
        }
    }

    /// A survey that stays unanswered is closed with the answers there are.
    pub(crate) fn tick_repair(&mut self, stall: Span, now: Time, out: &mut Vec<Output>) {
        match &self.repair.survey {
            Some(survey) if now >= survey.since + stall => self.amend(now, out),
            None if self.lost != 0 => self.begin_repair(now, out),
            _ => {}
        }
    }

    /// Says who owns what from now on.
    fn amend(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(survey) = self.repair.survey.take() else { return };
        let handovers = self.handovers(&survey.answers);
        let amendment =
            Amendment { plan: self.id, repair: self.repair.number, lost: self.lost, handovers };
        for (_, to) in self.others() {
            out.push(Output::Send { to, message: Message::Amend(amendment.clone()) });
        }
        self.carry_out(&amendment, now, out);
    }

    /// New owners for all chunks of lost owners: whoever holds the result, else survivors in turn.
    fn handovers(&self, answers: &BTreeMap<MemberIndex, Vec<bool>>) -> Vec<Handover> {
        let heirs = self.heirs();
        let orphans: Vec<usize> = (0..self.chunks.len())
            .filter(|&c| self.lost & bit(self.chunks[c].owner) != 0)
            .collect();
        let share = orphans.len().div_ceil(heirs.len()).max(1);
        let mut handovers: Vec<Handover> = Vec::new();
        for (nth, &index) in orphans.iter().enumerate() {
            let holder = self.holder(index, answers);
            let owner = holder.unwrap_or(heirs[nth / share]);
            push_handover(&mut handovers, index as u32, owner, holder.is_some());
        }
        handovers.truncate(RANGES_MAX);
        handovers
    }

    fn holder(
        &self,
        index: usize,
        answers: &BTreeMap<MemberIndex, Vec<bool>>,
    ) -> Option<MemberIndex> {
        if self.chunks[index].result.is_some() {
            return Some(self.me);
        }
        answers
            .iter()
            .find(|(member, held)| held[index] && self.lost & bit(**member) == 0)
            .map(|(m, _)| *m)
    }

    /// Survivors that own chunks already (they can be dialled), or all when none does.
    fn heirs(&self) -> Vec<MemberIndex> {
        let living =
            (0..self.plan.members.len() as MemberIndex).filter(|m| self.lost & bit(*m) == 0);
        let (owners, rest): (Vec<_>, Vec<_>) =
            living.partition(|m| self.plan.members[*m as usize].chunks > 0);
        if owners.is_empty() { rest } else { owners }
    }

    /// An amendment has come.
    pub(crate) fn amended(
        &mut self,
        from: PeerId,
        amendment: &Amendment,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let author = self.index_of(&from).ok_or("amends a plan it is no member of")?;
        let members = self.plan.members.len();
        let within =
            |h: &Handover| (h.owner as usize) < members && h.end as usize <= self.chunks.len();
        if !amendment.handovers.iter().all(|h| within(h) && amendment.lost & bit(h.owner) == 0) {
            return Err("sent an amendment that points beyond the plan");
        }
        if self.accepts(author, amendment.repair, amendment.lost) {
            self.learn_losses(amendment.lost, now, out);
            self.carry_out(amendment, now, out);
        }
        Ok(())
    }

    fn carry_out(&mut self, amendment: &Amendment, now: Time, out: &mut Vec<Output>) {
        // Survivors that take each other for lost amend by turns: only what is new to all of that may keep the plan going.
        if amendment.lost & !self.repair.mended != 0 {
            self.repair.mended |= amendment.lost;
            self.touched(now);
        }
        let mut moved = 0;
        for handover in &amendment.handovers {
            for index in handover.start..handover.end {
                moved += 1;
                self.hand_over(index, handover.owner, handover.held, out);
            }
        }
        self.fetch_held(amendment, out);
        self.pump(out);
        let lost = self.plan.members.iter().enumerate();
        let lost =
            lost.filter(|(m, _)| amendment.lost & bit(*m as MemberIndex) != 0).map(|(_, m)| m.peer);
        out.push(Output::Note(Note::Repaired { lost: lost.collect(), chunks: moved }));
    }

    fn hand_over(&mut self, index: u32, owner: MemberIndex, held: bool, out: &mut Vec<Output>) {
        self.outbox.forget_contribution(index);
        // A member that has confirmed a result stays with it (S3).
        if held || self.has_confirmed() {
            // Whoever has the result keeps it: the same bytes, unless an owner lied, and then the digests tell.
            self.chunks[index as usize].owner = owner;
            return;
        }
        self.outbox.forget_result(index);
        self.reopen(index as usize, owner);
        if owner != self.me && self.contributors & bit(self.me) != 0 {
            self.outbox.contribution(owner, index);
        }
        self.reduce_if_due(index as usize, out);
    }

    /// Asks the new owners for results that others hold and this member does not.
    fn fetch_held(&mut self, amendment: &Amendment, out: &mut Vec<Output>) {
        let held = amendment
            .handovers
            .iter()
            .filter(|handover| handover.held && handover.owner != self.me);
        for handover in held {
            let missing = (handover.start..handover.end)
                .filter(|c| self.chunks[*c as usize].result.is_none());
            self.want(self.peer(handover.owner), ChunkKind::Result, missing, out);
        }
    }
}

fn push_handover(handovers: &mut Vec<Handover>, index: u32, owner: MemberIndex, held: bool) {
    match handovers.last_mut() {
        Some(last) if last.end == index && last.owner == owner && last.held == held => {
            last.end += 1
        }
        _ => handovers.push(Handover { start: index, end: index + 1, owner, held }),
    }
}
