//! Getting in step when others went on without this peer: when to, from whom, and what comes of it.

use crate::catchup::{self, CatchUp, Target};
use crate::event::{Note, Output, Settle};
use crate::exchange::Exchange;
use crate::fork::Way;
use crate::id::{Digest, PeerId, Round};
use crate::ledger::{Record, state_root};
use crate::membership::{Head, Patience, Position};
use crate::session::{Applying, Session, Stage, Standing};
use crate::time::{Span, Time};
use crate::wire::{Committed, Manifest, ResultChunk};

/// How long an exchange is left alone before a peer that others have left behind follows them instead. Guess.
const LEFT_BEHIND: Span = Span::from_secs(1);
/// How long a peer that is ready waits for a plan before less evidence is enough to follow. Guess.
const LONG: Span = Span::from_secs(4);
/// Most that is remembered of what others lack.
const LACKING_MAX: usize = 1024;
/// How long a peer waits, whose run is over, for others to come to what it holds before it goes to them. Guess: time to fetch a state.
const ALONE: Span = Span::from_secs(30);
/// Pause between tries to get in step. Guess.
const RETRY: Span = Span::from_secs(1);
/// How often a peer that waits in doubt looks whether others have gone on meanwhile. Guess: a beacon's time.
const LOOK_AGAIN: Span = Span::from_secs(2);

impl Session {
    /// Others may have gone on without this peer: then it follows.
    pub(crate) fn follow_if_behind(&mut self, now: Time, out: &mut Vec<Output>) {
        let free = match &self.stage {
            Stage::Looking | Stage::Gathering(_) | Stage::Finished => true,
            Stage::Exchanging(exchange, _) => exchange.idle(now) >= LEFT_BEHIND,
            _ => false,
        };
        if !free || now < self.retry_catchup {
            return;
        }
        let ahead = self.members.is_ahead(&self.standing.record, self.digest, now);
        let head = if ahead { self.head(now) } else { None };
        if let Some(head) = head.or_else(|| self.yields_to(now)) {
            self.shelve("others went on", now, out);
            self.follow(&head, now, out);
        }
    }

    /// Where this peer goes if its run has been over for long, and it is alone with what it holds.
    fn yields_to(&self, now: Time) -> Option<Head> {
        let over = matches!(self.stage, Stage::Finished) && now >= self.stage_since + ALONE;
        let head = self.members.yields_to(&self.position(), now).filter(|_| over)?;
        let lacks = |peer: &PeerId| self.lacking.contains(&(head.digest, false, *peer));
        (!head.holders.iter().all(lacks)).then_some(head)
    }

    /// Whether this peer, whose run is over, leaves what it holds for less: only for another end. Where the others still go on, they
    /// may come to where it is, and would be left by it again.
    fn yields(&self, record: &Record, now: Time) -> bool {
        let head = self.members.yields_to(&self.position(), now);
        let both = self.is_over() && self.spec.is_over(record);
        both && head.is_some_and(|head| head.digest == record.digest())
    }

    fn head(&self, now: Time) -> Option<Head> {
        self.members.head(&self.position(), self.patience(now), &self.lacking, now)
    }

    fn follow(&mut self, head: &Head, now: Time, out: &mut Vec<Output>) {
        let (from, to) = (self.standing.record.round, head.round);
        out.push(Output::Note(Note::CatchingUp { from, to }));
        let catchup = if head.follows {
            CatchUp::round(head.digest, &head.holders, now)
        } else {
            CatchUp::state(head.digest, &head.holders, now)
        };
        self.enter(Stage::CatchingUp(Box::new(catchup)), now);
    }

    /// Nothing comes of what is being fetched: others may have gone on meanwhile, or more of them hold it now.
    fn look_again(&mut self, now: Time, out: &mut Vec<Output>) {
        let Stage::CatchingUp(catchup) = &mut self.stage else { return };
        if now < catchup.looked + LOOK_AGAIN || !catchup.is_in_doubt(LOOK_AGAIN, now) {
            return;
        }
        catchup.looked = now;
        let wanted = (catchup.digest, catchup.follows());
        let Some(head) = self.head(now) else { return };
        match &mut self.stage {
            Stage::CatchingUp(catchup) if (head.digest, head.follows) == wanted => {
                catchup.add_donors(&head.holders);
            }
            _ => self.follow(&head, now, out),
        }
    }

    fn patience(&self, now: Time) -> Patience {
        match self.work.ready_since {
            _ if self.on_the_way => Patience::OnTheWay,
            _ if matches!(&self.stage, Stage::Exchanging(x, _) if x.idle(now) < LONG) => {
                Patience::Busy
            }
            Some(since) if now >= since + LONG => Patience::Over,
            None if self.is_over() && now >= self.stage_since + LONG => Patience::Over,
            _ => Patience::Ready,
        }
    }

    pub(crate) fn catch_up(
        &mut self,
        now: Time,
        out: &mut Vec<Output>,
    ) -> (Option<Time>, Vec<PeerId>) {
        self.look_again(now, out);
        let Stage::CatchingUp(catchup) = &mut self.stage else { return (None, Vec::new()) };
        let gone: Vec<PeerId> =
            catchup.requests.donors().filter(|p| !self.members.alive(p, now)).copied().collect();
        gone.iter().for_each(|peer| catchup.requests.drop_donor(peer));
        match catchup.ask(&self.pace.fetch, now, out) {
            catchup::Outcome::Going => {
                let look = Span(self.pace.fetch.span().0 / 4).min(LOOK_AGAIN);
                (Some(now + look), catchup.awaited())
            }
            catchup::Outcome::Complete => {
                self.caught_up(now, out);
                (None, Vec::new())
            }
            catchup::Outcome::Failed => {
                self.fail_catchup(now, out);
                (self.stage_until, self.waits_on.clone())
            }
        }
    }

    /// Everything is here: the driver makes a state of it.
    fn caught_up(&mut self, now: Time, out: &mut Vec<Output>) {
        let Stage::CatchingUp(catchup) = &mut self.stage else { return };
        match std::mem::replace(&mut catchup.target, Target::Done) {
            Target::Results(committed) => {
                let applying = self.repeat(*committed, now);
                self.apply(applying, now, out);
            }
            Target::State(manifest) => {
                out.push(Output::LoadState { record: manifest.record.clone() });
                self.enter(Stage::Loading(manifest), now);
            }
            other => catchup.target = other,
        }
    }

    /// A round that others committed, as this peer has to apply it; with what became of its own contribution.
    fn repeat(&self, committed: Committed, now: Time) -> Applying {
        let plan = &committed.plan.plan;
        let me = plan.members.iter().position(|member| member.peer == self.me);
        let (settle, contributed) = match (self.shelved_of(&committed.record.plan), me) {
            (Some(exchange), _) => outcome(exchange, &committed.results),
            // A restart: what was sent is gone, but was made with the residual that is still here.
            (None, Some(me)) if plan.members[me].tokens > 0 => {
                let (name, me) = (committed.record.plan, me as u8);
                outcome(&Exchange::named(name, plan.clone(), me, 0, now), &committed.results)
            }
            _ => (Vec::new(), false),
        };
        Applying {
            settle,
            contributed,
            result: committed.record.result,
            results: committed.results,
            name: committed.record.plan,
            plan: committed.plan,
            expected: Some(committed.record),
        }
    }

    /// The exchange of this plan, if this peer took part in it before it gave it up.
    pub(crate) fn shelved_of(&self, plan: &Digest) -> Option<&Exchange> {
        self.shelved.iter().find(|exchange| exchange.id == *plan)
    }

    fn fail_catchup(&mut self, now: Time, out: &mut Vec<Output>) {
        self.retry_catchup = now + RETRY;
        self.begin_round(now, out);
    }

    pub(crate) fn take_round(
        &mut self,
        from: PeerId,
        committed: Committed,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let Stage::CatchingUp(catchup) = &mut self.stage else { return };
        if !matches!(catchup.target, Target::Round) || !catchup.requests.is_donor(&from) {
            return;
        }
        if committed.record.digest() != catchup.digest {
            // An answer to what was asked before others went on, or none at all.
            return;
        }
        let checked =
            catchup::check_round(&self.spec, &self.standing.record, &catchup.digest, &committed);
        let bytes = committed.plan.plan.signed_bytes();
        let signed =
            self.keyring.verify(&committed.plan.plan.convener, &bytes, &committed.plan.signature);
        match checked {
            Ok(()) if signed => {
                let plan = committed.record.plan;
                let exchange = self.shelved.iter().find(|exchange| exchange.id == plan);
                catchup.begin_results(committed, exchange);
            }
            verdict => {
                catchup.requests.drop_donor(&from);
                let reason = verdict.err().unwrap_or("gave a plan that nobody signed".into());
                self.strike(from, 1, reason, now, out);
            }
        }
    }

    pub(crate) fn take_manifest(
        &mut self,
        from: PeerId,
        manifest: Manifest,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let position = self.position();
        let better = is_better(&manifest.record, &position);
        let yields = !better && self.yields(&manifest.record, now);
        let Stage::CatchingUp(catchup) = &mut self.stage else { return };
        if !matches!(catchup.target, Target::Manifest) || !catchup.requests.is_donor(&from) {
            return;
        }
        if manifest.record.digest() != catchup.digest {
            // As with a round.
            return;
        }
        if let Err(reason) = catchup::check_manifest(&self.spec, &catchup.digest, &manifest) {
            catchup.requests.drop_donor(&from);
            return self.strike(from, 2, reason.into(), now, out);
        }
        if better || yields {
            return catchup.begin_state(manifest);
        }
        // Neither ahead nor an end: it is not asked for again.
        self.remember_lacking((manifest.record.digest(), false, from));
        // The donor is honest; whoever made so much of that state is not.
        let reason = "claims more for a state than its record does";
        for peer in self.members.overstated(&manifest.record) {
            self.strike(peer, 2, reason.into(), now, out);
        }
        self.fail_catchup(now, out);
    }

    pub(crate) fn take_busy(&mut self, from: &PeerId, retry_ms: u32, now: Time) {
        if let Stage::CatchingUp(catchup) = &mut self.stage {
            catchup
                .requests
                .busy(from, now + Span::from_millis(u64::from(retry_ms.clamp(100, 60_000))));
        }
    }

    pub(crate) fn drop_donor(&mut self, from: &PeerId) {
        if let Stage::CatchingUp(catchup) = &mut self.stage {
            catchup.requests.drop_donor(from);
        }
    }

    /// A donor does not have what was asked for, and never will: it is not asked again.
    pub(crate) fn take_gone(&mut self, from: &PeerId) {
        if let Stage::CatchingUp(catchup) = &mut self.stage
            && catchup.requests.is_donor(from)
        {
            let lacks = (catchup.digest, catchup.follows(), *from);
            catchup.requests.drop_donor(from);
            self.remember_lacking(lacks);
        }
    }

    fn remember_lacking(&mut self, lacks: (Digest, bool, PeerId)) {
        if self.lacking.len() < LACKING_MAX {
            self.lacking.insert(lacks);
        }
    }

    pub(crate) fn loaded(
        &mut self,
        round: Round,
        chunks: Vec<Digest>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if !matches!(&self.stage, Stage::Loading(manifest) if manifest.record.round == round) {
            return;
        }
        let Stage::Loading(manifest) = std::mem::replace(&mut self.stage, Stage::Looking) else {
            return;
        };
        if state_root(&chunks) != manifest.record.state {
            let reason = "the loaded state is not what was fetched".to_string();
            out.push(Output::Note(Note::Abandoned { round, reason }));
            self.retry_catchup = now + RETRY;
            return self.begin_round(now, out);
        }
        let offer = self.offer_to(&manifest);
        let had = self.work.pieces.len();
        self.work.pieces.retain(|piece| !piece.is_counted(&manifest));
        let counted = self.work.pieces.len() < had;
        // What this peer offers replaces what it has in hand, if that is counted.
        let settle = match offer {
            Some(_) => None,
            None if counted => Some(Settle::Unknown),
            None if self.knows_way_to(&manifest) => None,
            None => self.settle_loaded(&manifest.record),
        };
        if settle == Some(Settle::Unknown) {
            self.work.pieces.clear();
        }
        let chunks_of = self.spec.chunks() as usize;
        let settle = settle.map_or(Vec::new(), |settle| vec![settle; chunks_of]);
        if let Some(offer) = offer {
            self.take_along(offer, out);
        }
        out.push(Output::Commit { record: manifest.record.clone(), settle });
        let parent_first = manifest.way.first().is_some_and(|m| m.digest == manifest.record.parent);
        self.way = if parent_first { Way::along(manifest.way) } else { Way::to(&manifest.record) };
        self.on_the_way = true;
        self.donor.rebased(out);
        let before =
            std::mem::replace(&mut self.standing, Standing { record: manifest.record, chunks });
        self.donor.committed((self.digest, before), None, now, out);
        self.committed(now, out);
    }

    /// Whether the donor tells of every round between this peer's state and the one to be taken over, and this peer of every plan
    /// that its work was given to.
    fn knows_way_to(&self, manifest: &Manifest) -> bool {
        let passes = manifest.way.iter().any(|milestone| milestone.digest == self.digest);
        passes && !self.work.first_after_restart
    }

    /// What becomes of this peer's work when it takes over a whole state. Of the next round the record tells whether it is
    /// counted; of rounds in between nobody does any more.
    fn settle_loaded(&self, record: &Record) -> Option<Settle> {
        let follows = record.parent == self.digest;
        let left_out = record.contributions.iter().all(|given| given.peer != self.me);
        // A lease ends when the work on it is counted: as long as it stands, nothing of it is.
        let lease = record.cursor.lease_of(&self.me);
        let uncounted = lease == self.standing.record.cursor.lease_of(&self.me);
        if follows && left_out || !lease.is_empty() && uncounted {
            None
        } else if !self.shelved.is_empty() && self.work.tokens() > 0 {
            Some(Settle::Unknown)
        } else {
            self.work.first_after_restart.then_some(Settle::Restarted)
        }
    }
}

/// What became of this peer's contribution to a plan that others carried out, and whether its work is counted.
fn outcome(exchange: &Exchange, committed: &[ResultChunk]) -> (Vec<Settle>, bool) {
    (exchange.settle(committed), exchange.counts(committed))
}

/// Whether a record is worth leaving `mine` for; a claim in a beacon is not enough.
fn is_better(record: &Record, mine: &Position) -> bool {
    let digest = record.digest();
    let known = mine.digest == digest || mine.recent.contains(&digest);
    !known && (record.tokens, record.round) >= (mine.tokens, mine.round)
}
