//! The all-reduce machine of one plan: who owes which chunk to whom, stragglers, repair of what the dead owned.
//!
//! Butterfly: each chunk has one owner. Members send it their encoded contributions; it adds them in member order, encodes
//! the mean once and sends the same bytes to all. A result leaves as soon as the last contribution to it is in.

use crate::event::{ChunkId, ChunkKind, Output, Part, Settle};
use crate::id::{Digest, PeerId};
use crate::outbox::Outbox;
use crate::repair::Repair;
use crate::sabotage::{Bug, planted};
use crate::time::Time;
use crate::wire::{Confirm, Plan, RANGES_MAX, ResultChunk, Want};
use std::collections::BTreeMap;

/// After so many vain requests for confirmation a member of more than half of the weight stands by its result alone.
const NUDGES_ALONE: u32 = 2;

/// A member, as an index into the plan's members.
pub type MemberIndex = u8;

/// One plan being carried out by one of its members.
#[derive(Debug)]
pub struct Exchange {
    /// The plan's name.
    pub id: Digest,
    /// The plan.
    pub plan: Plan,
    /// This peer's place among the members.
    pub me: MemberIndex,
    /// When the plan was adopted.
    pub since: Time,
    /// Who of the members is lost, a bit each.
    pub lost: u64,
    /// Members that trained, a bit each.
    pub(crate) contributors: u64,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) repair: Repair,
    pub(crate) outbox: Outbox,
    pub(crate) chunk_bytes: u64,
    pub(crate) members: Vec<Contact>,
    pub(crate) confirms: BTreeMap<MemberIndex, Digest>,
    open: usize,
    pub(crate) complete_since: Option<Time>,
    /// How often the others were asked to confirm.
    pub(crate) nudges: u32,
    pub(crate) moved: Time,
}

/// One chunk of the fragment.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Who adds it up.
    pub owner: MemberIndex,
    /// Whose contributions are here, a bit each (as its owner).
    pub got: u64,
    /// Whose contributions are not waited for any more.
    pub dropped: u64,
    /// Whether the sum is under way.
    pub reducing: bool,
    /// The result, once it is here.
    pub result: Option<ResultChunk>,
    /// The sum that this peer has made itself, if it did; also when the chunk was handed over afterwards.
    pub added: Option<ResultChunk>,
    /// Whether this peer's contribution has ever left for another owner.
    pub given: bool,
}

/// What was last heard of a member on the data plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    /// When its last bulk frame came.
    pub heard: Time,
    /// When it was last asked for what it owes.
    pub asked: Time,
}

/// How an exchange stands after a look at the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Going on.
    Going,
    /// Nobody has moved for too long, or too few are left to commit.
    Stuck(&'static str),
}

impl Exchange {
    /// The exchange of a plan that has been checked, as seen by its member `me`. `chunk_bytes`: of a contribution at the most.
    pub fn new(plan: Plan, me: MemberIndex, chunk_bytes: u64, now: Time) -> Exchange {
        Exchange::named(plan.digest(), plan, me, chunk_bytes, now)
    }

    /// The same, of a plan whose digest is known.
    pub(crate) fn named(
        id: Digest,
        plan: Plan,
        me: MemberIndex,
        chunk_bytes: u64,
        now: Time,
    ) -> Exchange {
        let owners = plan.members.iter().enumerate();
        let owners = owners.flat_map(|(index, m)| (0..m.chunks).map(move |_| index as MemberIndex));
        let chunks: Vec<Chunk> = owners.map(Chunk::new).collect();
        let members = plan.members.len();
        let mut exchange = Exchange {
            id,
            contributors: contributors(&plan),
            me,
            since: now,
            lost: 0,
            open: chunks.len(),
            repair: Repair::default(),
            outbox: Outbox::new(members),
            chunk_bytes,
            members: vec![Contact { heard: now, asked: now }; members],
            confirms: BTreeMap::new(),
            complete_since: None,
            nudges: 0,
            moved: now,
            chunks,
            plan,
        };
        exchange.queue_contributions();
        exchange
    }

    /// The member's index, if it is one.
    pub fn index_of(&self, peer: &PeerId) -> Option<MemberIndex> {
        self.plan
            .members
            .iter()
            .position(|member| member.peer == *peer)
            .map(|index| index as MemberIndex)
    }

    /// Who that is.
    pub fn peer(&self, index: MemberIndex) -> PeerId {
        self.plan.members[index as usize].peer
    }

    /// All members but this peer.
    pub fn others(&self) -> impl Iterator<Item = (MemberIndex, PeerId)> {
        let me = self.me;
        let all =
            self.plan.members.iter().enumerate().map(|(index, m)| (index as MemberIndex, m.peer));
        all.filter(move |(index, _)| *index != me)
    }

    /// Starts: own chunks that need nobody else are added, contributions begin to leave.
    pub fn start(&mut self, out: &mut Vec<Output>) {
        (0..self.chunks.len()).for_each(|index| self.reduce_if_due(index, out));
        self.pump(out);
    }

    /// Everything that the windows allow leaves.
    pub fn pump(&mut self, out: &mut Vec<Output>) {
        let fold = self.fold();
        for (to, chunk) in self.outbox.drain(self.id) {
            let to = self.plan.members[to as usize].peer;
            out.push(match chunk.kind {
                ChunkKind::Contribution => {
                    self.chunks[chunk.index as usize].given = true;
                    Output::Contribute { to, chunk, fold }
                }
                _ => Output::SendResult { to, chunk },
            });
        }
    }

    /// A bulk frame of this plan has arrived. `Err` says what is wrong with it; its bytes are to be discarded then, and
    /// when it is no news (`Ok(false)`).
    pub fn arrived(
        &mut self,
        from: PeerId,
        chunk: &ChunkId,
        digest: Digest,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<bool, &'static str> {
        let from = self.index_of(&from).ok_or("sent a chunk of a plan it is no member of")?;
        let held =
            self.chunks.get(chunk.index as usize).ok_or("sent a chunk beyond the fragment")?;
        self.members[from as usize].heard = now;
        let news = match chunk.kind {
            // A handover may come behind what was sent because of it: what a lost owner had is kept.
            ChunkKind::Contribution
                if held.owner != self.me && self.lost & bit(held.owner) == 0 =>
            {
                false
            }
            ChunkKind::Contribution => self.contributed(from, chunk.index as usize)?,
            ChunkKind::Result if held.result.is_some() || held.owner != from => false,
            ChunkKind::Result => self.resulted(chunk, digest, now)?,
            ChunkKind::State | ChunkKind::Piece => return Err("sent state under a plan's name"),
        };
        if news {
            self.moved = now;
            self.reduce_if_due(chunk.index as usize, out);
        }
        Ok(news)
    }

    fn contributed(&mut self, from: MemberIndex, index: usize) -> Result<bool, &'static str> {
        if self.plan.members[from as usize].tokens == 0 {
            return Err("contributed without having trained");
        }
        let chunk = &mut self.chunks[index];
        let open = !chunk.reducing || planted(Bug::LateInMask);
        let news = chunk.got & bit(from) == 0 && open && chunk.result.is_none();
        chunk.got |= if news { bit(from) } else { 0 };
        Ok(news)
    }

    fn resulted(&mut self, id: &ChunkId, digest: Digest, now: Time) -> Result<bool, &'static str> {
        if id.included & !self.contributors != 0 {
            return Err("sent a result that includes who did not train");
        }
        self.close(id.index as usize, ResultChunk(digest, id.included), now);
        Ok(true)
    }

    fn close(&mut self, index: usize, result: ResultChunk, now: Time) {
        self.chunks[index].result = Some(result);
        self.chunks[index].reducing = false;
        self.open -= 1;
        if self.open == 0 {
            self.complete_since = Some(now);
        }
    }

    /// A sum that [`Output::Reduce`] asked for is done: its result goes to everybody.
    pub fn reduced(&mut self, index: u32, digest: Digest, now: Time, out: &mut Vec<Output>) {
        let Some(chunk) = self.chunks.get(index as usize) else { return };
        if chunk.owner != self.me || !chunk.reducing {
            return;
        }
        let all = if planted(Bug::MaskOfAll) { self.contributors } else { 0 };
        let included = self.included(index as usize) | all;
        let result = ResultChunk(digest, included);
        self.chunks[index as usize].added = Some(result);
        self.moved = now;
        self.close(index as usize, result, now);
        let id = self.chunk_id(ChunkKind::Result, index, included);
        let others: Vec<MemberIndex> = self.others().map(|(member, _)| member).collect();
        others
            .into_iter()
            .filter(|&m| self.lost & bit(m) == 0)
            .for_each(|m| self.outbox.result(m, id));
        self.pump(out);
    }

    /// A contribution did not decode, its bytes are dropped: it is left out and the sum is done again. Whose it was.
    pub fn unsound(
        &mut self,
        index: u32,
        member: MemberIndex,
        out: &mut Vec<Output>,
    ) -> Option<PeerId> {
        let chunk = self.chunks.get_mut(index as usize)?;
        if chunk.owner != self.me || !chunk.reducing || chunk.got & bit(member) == 0 {
            return None;
        }
        chunk.got &= !bit(member);
        chunk.dropped |= bit(member);
        chunk.reducing = false;
        let peer = self.peer(member);
        self.reduce_if_due(index as usize, out);
        Some(peer)
    }

    /// A bulk frame has left.
    pub fn sent(&mut self, to: &PeerId, out: &mut Vec<Output>) {
        if let Some(member) = self.index_of(to) {
            self.outbox.sent(member);
            self.pump(out);
        }
    }

    /// A member's connection stands again: what was under way to it is lost, and will be asked for.
    pub fn reconnected(&mut self, peer: &PeerId, out: &mut Vec<Output>) {
        if let Some(member) = self.index_of(peer) {
            self.outbox.reconnected(member);
            self.pump(out);
        }
    }

    /// A member asks for chunks (again).
    pub fn wanted(&mut self, from: &PeerId, want: &Want, out: &mut Vec<Output>) {
        let Some(member) = self.index_of(from) else { return };
        for index in indices(&want.chunks, self.chunks.len()) {
            let chunk = &self.chunks[index as usize];
            match (want.kind, chunk.result) {
                (ChunkKind::Result, Some(result)) => {
                    self.outbox.result(member, self.chunk_id(ChunkKind::Result, index, result.1));
                }
                (ChunkKind::Contribution, _) if chunk.owner == member => {
                    self.outbox.contribution(member, index)
                }
                _ => {}
            }
        }
        self.pump(out);
    }

    /// A member says that it holds all results.
    pub fn confirm(&mut self, from: &PeerId, confirm: &Confirm, now: Time) {
        if let Some(member) = self.index_of(from) {
            self.moved = if self.confirms.contains_key(&member) { self.moved } else { now };
            self.confirms.entry(member).or_insert(confirm.result);
        }
    }

    /// How many others have shown that they carry out this plan: by a contribution, a result or a confirmation.
    pub fn taking_part(&self) -> u32 {
        let of_chunk =
            |chunk: &Chunk| chunk.got | if chunk.result.is_some() { bit(chunk.owner) } else { 0 };
        let confirmed = self.confirms.keys().fold(0, |mask, member| mask | bit(*member));
        let shown = self.chunks.iter().fold(confirmed, |mask, chunk| mask | of_chunk(chunk));
        (shown & !bit(self.me)).count_ones()
    }

    /// Whether all have confirmed, and no result has the weight that it takes: none ever will.
    pub fn is_divided(&self) -> bool {
        self.is_complete() && self.everybody_confirmed() && self.confirmed().is_none()
    }

    /// Whether this member has confirmed a result: then it stays with it (S3).
    pub fn has_confirmed(&self) -> bool {
        self.confirms.contains_key(&self.me)
    }

    /// The digest over the result, once every chunk is here: BLAKE3 of the plan's name and each chunk's digest and mask.
    pub fn result(&self) -> Option<Digest> {
        let results: Option<Vec<ResultChunk>> =
            self.chunks.iter().map(|chunk| chunk.result).collect();
        results.map(|results| result_digest(&self.id, &results))
    }

    /// Whether every chunk is here (cheaper than [`Exchange::result`]).
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// The digest that members of more than half of the plan's weight confirmed (S3), if there is one. More than half of those
    /// that have confirmed anything must say the same, and one more than a single heavy member unless the others keep silent: to
    /// one member alone an owner can have sent anything.
    pub fn confirmed(&self) -> Option<Digest> {
        let total: u64 =
            (0..self.plan.members.len()).map(|index| self.weight(index as MemberIndex)).sum();
        if planted(Bug::Unconfirmed) {
            return self.result();
        }
        let enough =
            |weight: u64| weight * 2 > total || planted(Bug::HalfIsEnough) && weight * 2 == total;
        let mut tally: BTreeMap<Digest, (u64, usize)> = BTreeMap::new();
        for (member, digest) in &self.confirms {
            let (weight, heads) = tally.entry(*digest).or_default();
            (*weight, *heads) = (*weight + self.weight(*member), *heads + 1);
        }
        let living = self.plan.members.len() - self.lost.count_ones() as usize;
        let heads_least = if self.nudges >= NUDGES_ALONE { 1 } else { living.min(2) };
        let agreed = tally.into_iter().find(|(_, (weight, heads))| {
            enough(*weight) && *heads * 2 > self.confirms.len() && *heads >= heads_least
        });
        agreed.map(|(digest, _)| digest)
    }

    /// A member's weight in a vote: its tokens, or one each when nobody trained.
    pub(crate) fn weight(&self, member: MemberIndex) -> u64 {
        let tokens = self.plan.members[member as usize].tokens;
        if self.contributors == 0 { 1 } else { tokens }
    }

    /// Who has not confirmed yet.
    pub fn unconfirmed(&self) -> Vec<PeerId> {
        self.others()
            .filter(|(index, _)| !self.confirms.contains_key(index))
            .map(|(_, peer)| peer)
            .collect()
    }

    /// Whom this member waits for: owners of missing results, and members that owe contributions.
    pub fn awaited(&self) -> Vec<PeerId> {
        self.others()
            .filter(|(index, _)| self.owes(*index) || self.result_owed(*index))
            .map(|(_, peer)| peer)
            .collect()
    }

    pub(crate) fn reduce_if_due(&mut self, index: usize, out: &mut Vec<Output>) {
        let waited = self.contributors & !bit(self.me);
        let chunk = &mut self.chunks[index];
        let due = chunk.owner == self.me && chunk.result.is_none() && !chunk.reducing;
        if !due || waited & !(chunk.got | chunk.dropped) != 0 {
            return;
        }
        chunk.reducing = true;
        let included = self.included(index);
        let part = |(member, m): (usize, &crate::wire::Member)| Part {
            member: member as MemberIndex,
            peer: m.peer,
            weight: m.tokens,
        };
        let members = self.plan.members.iter().enumerate();
        let mut parts: Vec<Part> = members
            .filter(|(member, _)| included & bit(*member as MemberIndex) != 0)
            .map(part)
            .collect();
        if planted(Bug::CountedTwice) {
            parts.extend(parts.last().cloned());
        }
        if planted(Bug::OutOfOrder) {
            parts.reverse();
        }
        out.push(Output::Reduce { plan: self.id, index: index as u32, parts });
    }

    /// Who is in the sum of a chunk of this member's: those that delivered, and itself if it trained.
    fn included(&self, index: usize) -> u64 {
        self.chunks[index].got | (self.contributors & bit(self.me))
    }

    /// Whether a member owes a contribution to any chunk of this member's.
    pub(crate) fn owes(&self, member: MemberIndex) -> bool {
        (0..self.chunks.len()).any(|index| self.owes_chunk(member, index))
    }

    pub(crate) fn owes_chunk(&self, member: MemberIndex, index: usize) -> bool {
        let chunk = &self.chunks[index];
        let open = chunk.owner == self.me && chunk.result.is_none() && !chunk.reducing;
        open && (self.contributors & bit(member) & !(chunk.got | chunk.dropped)) != 0
    }

    /// Whether a member owes a result.
    pub(crate) fn result_owed(&self, member: MemberIndex) -> bool {
        self.chunks.iter().any(|chunk| chunk.owner == member && chunk.result.is_none())
    }

    /// The factor of the downward residual in this member's contributions: total weight over its own.
    pub fn fold(&self) -> f32 {
        let total: u64 = self.plan.members.iter().map(|member| member.tokens).sum();
        match self.plan.members[self.me as usize].tokens {
            0 => 0.0,
            own => (total as f64 / own as f64) as f32,
        }
    }

    /// This member's part of the weights that a result includes.
    fn share(&self, included: u64) -> f32 {
        let weight = |member: &MemberIndex| self.plan.members[*member as usize].tokens;
        let members = (0..self.plan.members.len()).map(|index| index as MemberIndex);
        let total: u64 =
            members.filter(|member| included & bit(*member) != 0).map(|m| weight(&m)).sum();
        (weight(&self.me) as f64 / total.max(1) as f64) as f32
    }

    fn chunk_id(&self, kind: ChunkKind, index: u32, included: u64) -> ChunkId {
        ChunkId { of: self.id, kind, index, included }
    }

    /// Queues all contributions, owner by owner in turn, beginning behind this member: every owner's link is busy from the
    /// start, and all members' contributions to a chunk come at about the same time.
    fn queue_contributions(&mut self) {
        if self.contributors & bit(self.me) == 0 {
            return;
        }
        for index in 0..self.chunks.len() {
            let owner = self.chunks[index].owner;
            if owner != self.me {
                self.outbox.contribution(owner, index as u32);
            }
        }
    }

    /// Whether a committed result counts this member's work.
    pub fn counts(&self, committed: &[ResultChunk]) -> bool {
        self.fold() > 0.0 && included(committed) & bit(self.me) != 0
    }

    /// What became of each chunk of this member's contribution, given the committed result; empty if its work is still to be
    /// counted.
    pub fn settle(&self, committed: &[ResultChunk]) -> Vec<Settle> {
        if !self.plan.trained() || self.fold() > 0.0 && !self.counts(committed) {
            return Vec::new();
        }
        self.chunks.iter().zip(committed).map(|(chunk, result)| self.fate(chunk, *result)).collect()
    }

    /// What became of this member's contribution to one chunk.
    fn fate(&self, chunk: &Chunk, result: ResultChunk) -> Settle {
        let own = result.1 & bit(self.me) != 0;
        let as_added = chunk.added.is_some_and(|added| added.0 == result.0);
        // A contribution that was given to nobody can only be in the sum that was made here: its bytes were spoilt on their
        // way, and that is what the others committed.
        let spoilt = own && !chunk.given && chunk.added.is_some_and(|added| added.1 == result.1);
        match own {
            _ if as_added || spoilt => Settle::Owned { own },
            true if planted(Bug::CountedKept) => Settle::Missed,
            true => Settle::Counted { fold: self.fold(), share: self.share(result.1) },
            false => Settle::Missed,
        }
    }

    /// The result's chunks, once all are here.
    pub fn results(&self) -> Vec<ResultChunk> {
        self.chunks.iter().filter_map(|chunk| chunk.result).collect()
    }

    /// Notes that an owner changed: forgets what this member had for the chunk.
    pub(crate) fn reopen(&mut self, index: usize, owner: MemberIndex) {
        let was_closed = self.chunks[index].result.is_some();
        let Chunk { added, given, .. } = self.chunks[index];
        // Once added up, contributions are gone.
        let got = if added.is_none() { self.chunks[index].got } else { 0 };
        self.chunks[index] = Chunk { got, dropped: self.lost, added, given, ..Chunk::new(owner) };
        if was_closed {
            self.open += 1;
            self.complete_since = None;
        }
    }

    pub(crate) fn touched(&mut self, now: Time) {
        self.moved = now;
        self.members.iter_mut().for_each(|contact| contact.heard = contact.heard.max(now));
    }
}

impl Chunk {
    fn new(owner: MemberIndex) -> Chunk {
        Chunk {
            owner,
            got: 0,
            dropped: 0,
            reducing: false,
            result: None,
            added: None,
            given: false,
        }
    }
}

/// Members of a plan that trained, a bit each.
fn contributors(plan: &Plan) -> u64 {
    let trained = plan.members.iter().enumerate().filter(|(_, member)| member.tokens > 0);
    trained.fold(0, |mask, (index, _)| mask | bit(index as MemberIndex))
}

/// A member's bit in a mask.
pub fn bit(member: MemberIndex) -> u64 {
    1 << member
}

/// The digest of a whole result: BLAKE3 of the plan's name and, chunk by chunk, digest and mask (little-endian).
pub fn result_digest(plan: &Digest, chunks: &[ResultChunk]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&plan.0);
    for ResultChunk(digest, included) in chunks {
        hasher.update(&digest.0).update(&included.to_le_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Members that some chunk of a result includes, a bit each.
pub fn included(chunks: &[ResultChunk]) -> u64 {
    chunks.iter().fold(0, |all, ResultChunk(_, included)| all | included)
}

/// Ascending indices as ranges, at most [`RANGES_MAX`] of them.
pub fn ranges(indices: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for index in indices {
        let full = ranges.len() == RANGES_MAX;
        match ranges.last_mut() {
            Some((_, end)) if *end == index => *end += 1,
            _ if full => break,
            _ => ranges.push((index, index + 1)),
        }
    }
    ranges
}

/// The indices in ranges that a peer sent, each below `len` and none twice in a row.
pub fn indices(ranges: &[(u32, u32)], len: usize) -> impl Iterator<Item = u32> + use<> {
    let mut wanted = vec![false; len];
    for &(start, end) in ranges {
        let end = (end as usize).min(len);
        if (start as usize) < end {
            wanted[start as usize..end].fill(true);
        }
    }
    (0..len as u32).filter(move |index| wanted[*index as usize])
}

#[cfg(test)]
mod tests;
