//! Serves joiners: the committed state from a snapshot, and the last rounds from what is kept. Training never pauses for it.

use crate::event::{ChunkId, ChunkKind, Output};
use crate::exchange::indices;
use crate::fork::Way;
use crate::id::{Digest, PeerId};
use crate::membership::Membership;
use crate::sabotage::{Bug, planted};
use crate::session::Standing;
use crate::time::{Span, Time};
use crate::wire::{Committed, JOINERS_MAX, Manifest, Message, STATE_WINDOW, Want};
use std::collections::{BTreeMap, VecDeque};

/// Rounds whose results can be fetched: a peer that missed no more follows without fetching the whole state. Guess: memory.
pub const ROUNDS_KEPT: usize = 4;
/// Results sent for one request; the rest is asked for again.
const RESULTS_WINDOW: usize = 64;
/// A joiner that asks for nothing this long is not served any more.
const JOINER_IDLE: Span = Span::from_secs(15);
/// How long a joiner is asked to wait when too many are served.
const RETRY_MS: u32 = 3_000;

/// What this peer can give to others.
#[derive(Debug, Default)]
pub struct Donor {
    /// The last committed rounds, oldest first.
    rounds: VecDeque<Committed>,
    /// The state before the committed one, while somebody still fetches it.
    previous: Option<(Digest, Standing)>,
    joiners: BTreeMap<PeerId, Joiner>,
}

#[derive(Clone, Copy, Debug)]
struct Joiner {
    of: Digest,
    active: Time,
}

impl Donor {
    /// A round has been committed on top of `before`, which goes with its digest: keeps what joiners still need, lets go of the
    /// rest.
    pub fn committed(
        &mut self,
        before: (Digest, Standing),
        committed: Option<Committed>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        self.joiners.retain(|_, joiner| now.since(joiner.active) < JOINER_IDLE);
        let fetched = |digest: &Digest| self.joiners.values().any(|joiner| joiner.of == *digest);
        let keep_previous = self.previous.as_ref().is_some_and(|(digest, _)| fetched(digest));
        let dropped = if keep_previous { Some(before) } else { self.previous.replace(before) };
        out.extend(dropped.map(|(digest, _)| Output::Release { digest }));
        self.rounds.extend(committed);
        while self.rounds.len() > ROUNDS_KEPT && !planted(Bug::Hoards) {
            let old = self.rounds.pop_front().map(|round| round.record.plan);
            out.extend(old.map(|plan| Output::Forget { plan }));
        }
    }

    /// Another branch was taken: the kept rounds do not lead to the committed state any more.
    pub fn rebased(&mut self, out: &mut Vec<Output>) {
        out.extend(self.rounds.drain(..).map(|round| Output::Forget { plan: round.record.plan }));
    }

    /// What it takes to repeat the round that ended with this digest.
    pub fn round(&self, digest: &Digest) -> Option<&Committed> {
        self.rounds.iter().find(|committed| committed.record.digest() == *digest)
    }

    /// Whether results of this plan are kept.
    pub fn by_plan(&self, plan: &Digest) -> Option<&Committed> {
        self.rounds.iter().find(|committed| committed.record.plan == *plan)
    }

    /// A joiner asks for the digests of a state's chunks.
    pub(crate) fn manifest(
        &mut self,
        from: PeerId,
        digest: Digest,
        (standing, way): (&Standing, &Way),
        members: &Membership,
        now: Time,
    ) -> Message {
        let Some(found) = self.standing(&digest, standing).cloned() else {
            return Message::Gone { digest };
        };
        if !self.admits(from, digest, members, now) {
            return Message::Busy { retry_ms: RETRY_MS };
        }
        let way = way.before(&digest);
        Message::Manifest(Box::new(Manifest { record: found.record, chunks: found.chunks, way }))
    }

    /// Whether a joiner is served: it is already, or there is room for one more. Who is seen to stand on what it fetched is done.
    fn admits(&mut self, from: PeerId, of: Digest, members: &Membership, now: Time) -> bool {
        let is_done = |peer: &PeerId, of: &Digest| {
            let at = members.get(peer).and_then(|peer| peer.at.as_ref());
            at.is_some_and(|at| at.digest == *of || at.recent.contains(of))
        };
        self.joiners.retain(|peer, joiner| {
            now.since(joiner.active) < JOINER_IDLE && !is_done(peer, &joiner.of)
        });
        let admitted = self.joiners.len() < JOINERS_MAX || self.joiners.contains_key(&from);
        if admitted {
            self.joiners.insert(from, Joiner { of, active: now });
        }
        admitted
    }

    /// A joiner asks for state chunks. It has the manifest, perhaps from another donor or from this one's earlier life.
    pub fn state(
        &mut self,
        from: PeerId,
        want: &Want,
        standing: &Standing,
        members: &Membership,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let gone = Output::Send { to: from, message: Message::Gone { digest: want.of } };
        let Some(chunks) = self.standing(&want.of, standing).map(|found| found.chunks.len()) else {
            return out.push(gone);
        };
        if !self.admits(from, want.of, members, now) {
            let message = Message::Busy { retry_ms: RETRY_MS };
            return out.push(Output::Send { to: from, message });
        }
        for index in indices(&want.chunks, chunks).take(STATE_WINDOW) {
            let chunk = ChunkId { of: want.of, kind: ChunkKind::State, index, included: 0 };
            out.push(Output::SendState { to: from, chunk });
        }
    }

    /// A joiner or late member asks for the results of a committed round.
    pub fn results(&self, from: PeerId, want: &Want, out: &mut Vec<Output>) {
        let Some(committed) = self.by_plan(&want.of) else {
            return out.push(Output::Send { to: from, message: Message::Gone { digest: want.of } });
        };
        for index in indices(&want.chunks, committed.results.len()).take(RESULTS_WINDOW) {
            let included = committed.results[index as usize].1;
            let chunk = ChunkId { of: want.of, kind: ChunkKind::Result, index, included };
            out.push(Output::SendResult { to: from, chunk });
        }
    }

    fn standing<'a>(&'a self, digest: &Digest, current: &'a Standing) -> Option<&'a Standing> {
        let previous = self.previous.as_ref().filter(|(previous, _)| previous == digest);
        let current = Some(current).filter(|current| current.record.digest() == *digest);
        current.or(previous.map(|(_, standing)| standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;
    use crate::ledger::Record;

    #[test]
    fn who_stands_on_what_it_fetched_makes_room() {
        let record = Record::genesis(RunId([7; 32]), Digest([1; 32]));
        let (digest, standing) = (record.digest(), Standing { record, chunks: Vec::new() });
        let (mut donor, way) = (Donor::default(), Way::default());
        let mut members = Membership::new(Span::from_secs(2));
        let joiner = |n: usize| PeerId([n as u8 + 1; 32]);
        let asks = |donor: &mut Donor, n, members: &Membership| {
            let answer = donor.manifest(joiner(n), digest, (&standing, &way), members, Time::ZERO);
            matches!(answer, Message::Manifest(_))
        };
        for n in 0..JOINERS_MAX {
            members.heard(joiner(n), Time::ZERO);
            assert!(asks(&mut donor, n, &members));
        }
        assert!(!asks(&mut donor, JOINERS_MAX, &members));
        members.stands_on(&joiner(3), (0, digest), None);
        assert!(asks(&mut donor, JOINERS_MAX, &members));
        assert!(!asks(&mut donor, JOINERS_MAX + 1, &members));
    }
}
