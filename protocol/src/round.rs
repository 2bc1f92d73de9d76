//! The turns of a round: train -> gather -> reduce -> commit -> apply.

use crate::catchup::CatchUp;
use crate::convene::{self, Attendance, Gather, Step};
use crate::event::{Note, Output};
use crate::exchange::{Exchange, Progress, included};
use crate::id::{Digest, PeerId, Round};
use crate::ledger::{Record, state_root};
use crate::membership::Position;
use crate::sabotage::{Bug, planted};
use crate::session::{Applying, Session, Stage, Standing};
use crate::time::{Span, Time};
use crate::wire::{
    Committed, Confirm, Message, Milestone, Plan, RECENT_MAX, Ready, Signed, SignedPlan,
};

/// How often a peer that is ready says so again: its word may have been lost. Guess.
const REPEAT: Span = Span::from_secs(2);
/// Exchanges of one round that are kept after they were given up.
const SHELVED_MAX: usize = 3;
/// How long a peer that sees one gone on from its state waits for more before it convenes all the same. Guess.
const PASSED: Span = Span::from_secs(30);
/// How long a peer that hears others listens before it begins. Guess: their beacons come on connecting.
const SETTLE: Span = Span::from_secs(1);

impl Session {
    /// Goes as far as it can from where it is; sets when it has to look again.
    pub(crate) fn advance(&mut self, now: Time, out: &mut Vec<Output>) {
        self.follow_if_behind(now, out);
        let (until, on) = match &self.stage {
            Stage::Looking => self.look(now, out),
            Stage::Gathering(_) => self.gather(now, out),
            Stage::Exchanging(..) => self.exchange(now, out),
            Stage::CatchingUp(_) => self.catch_up(now, out),
            Stage::Applying(_) | Stage::Loading(_) | Stage::Finished => (None, Vec::new()),
        };
        self.look_after_blobs(now, out);
        self.stage_until = earliest(until, self.members.next_loss(now));
        self.waits_on = on;
    }

    pub(crate) fn enter(&mut self, stage: Stage, now: Time) {
        self.stage = stage;
        self.stage_since = now;
    }

    fn look(&mut self, now: Time, out: &mut Vec<Output>) -> (Option<Time>, Vec<PeerId>) {
        let company = self.members.living(now).any(|(_, entry)| entry.at.is_some());
        let alone_after = self.settings.alone_after;
        let patience = if company { SETTLE.min(alone_after) } else { alone_after };
        let until = self.stage_since + patience;
        if now < until {
            return (Some(until), Vec::new());
        }
        self.begin_round(now, out);
        (self.stage_until, self.waits_on.clone())
    }

    /// A record has just been committed, or this peer begins: local work for the next round.
    pub(crate) fn begin_round(&mut self, now: Time, out: &mut Vec<Output>) {
        let round = self.standing.record.round + 1;
        self.evaluate(out);
        if self.is_over() {
            self.enter(Stage::Finished, now);
            return out.push(Output::Note(Note::Finished { round: round - 1 }));
        }
        self.enter(Stage::Gathering(Gather::new(round, self.digest, now)), now);
        if self.spec.strategy.overlaps() {
            self.offer_and_go_on(now, out);
        } else if self.work.training_since.is_none() {
            if self.work.tokens() == 0 || planted(Bug::TrainsAgain) {
                self.train(now, out);
            }
            self.be_ready_unless_training(now, out);
        }
    }

    /// The beginning of a round where training does not wait: what is there is offered, and training goes on.
    fn offer_and_go_on(&mut self, now: Time, out: &mut Vec<Output>) {
        let has_work = !self.work.pieces.is_empty() || !self.work.fresh.is_empty();
        if !has_work {
            self.train(now, out);
        }
        if has_work {
            self.say_ready(now, out);
            self.stage_until = Some(now);
        } else {
            self.be_ready_unless_training(now, out);
        }
        self.train(now, out);
    }

    /// Whether this peer has told the others of the round being gathered that it is ready.
    pub(crate) fn has_said_ready(&self) -> bool {
        matches!(&self.stage, Stage::Gathering(gather) if gather.ready_since.is_some())
    }

    pub(crate) fn say_ready(&mut self, now: Time, out: &mut Vec<Output>) {
        let (wants, heldout) = (self.samples_wanted(), self.measured_now());
        if matches!(self.stage, Stage::Gathering(_)) {
            self.offer_fresh(now, out);
        }
        let Stage::Gathering(gather) = &mut self.stage else { return };
        gather.ready_since = Some(now);
        self.work.ready_since.get_or_insert(now);
        (self.work.wants, self.work.heldout) = (wants, heldout);
        self.repeat_ready_to_all(now, out);
    }

    /// Tells one peer that this one is ready, if it is.
    pub(crate) fn repeat_ready(&self, to: &PeerId, out: &mut Vec<Output>) {
        if let Stage::Gathering(gather) = &self.stage
            && gather.ready_since.is_some()
        {
            out.push(Output::Send { to: *to, message: Message::Ready(self.ready(gather)) });
        }
    }

    pub(crate) fn repeat_ready_to_all(&self, now: Time, out: &mut Vec<Output>) {
        self.members.living(now).for_each(|(peer, _)| self.repeat_ready(peer, out));
    }

    fn ready(&self, gather: &Gather) -> Ready {
        let (up_bytes_per_s, down_bytes_per_s) = self.link();
        Ready {
            round: gather.round,
            base: gather.base,
            attempt: gather.attempt,
            tokens: self.work.tokens(),
            wants: self.work.wants,
            nonce: self.work.nonce,
            leases: self.work.finishes(self.standing.record.cursor.lease(&self.me)),
            heldout: self.work.heldout,
            up_bytes_per_s,
            down_bytes_per_s,
            owns: self.settings.owns,
        }
    }

    pub(crate) fn take_ready(
        &mut self,
        from: PeerId,
        mut ready: Ready,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        self.judge_heldout(from, &mut ready, now, out);
        self.members.stands_on(&from, (ready.round.saturating_sub(1), ready.base), None);
        let attempt = ready.attempt;
        let same = ready.base == self.digest;
        let stale = ready.round <= self.standing.record.round;
        let mut told_lately = false;
        if let Some(entry) = self.members.heard(from, now) {
            entry.ready = Some(ready);
            told_lately = entry.plan_told.is_some_and(|told| now.since(told) < REPEAT);
        }
        match &mut self.stage {
            Stage::Gathering(gather) if same && attempt > gather.attempt => {
                gather.next_attempt(gather.attempt + 1, now);
                self.repeat_ready_to_all(now, out);
            }
            // Whoever still gathers does not know the plan yet; it is told, but not over and over.
            Stage::Exchanging(_, plan) if same && !told_lately => {
                let plan = plan.clone();
                self.tell_plan(&from, &plan, now, out);
            }
            _ if stale => {
                let message = Message::Beacon(self.beacon(now));
                out.push(Output::Send { to: from, message });
            }
            _ => {}
        }
    }

    fn gather(&mut self, now: Time, out: &mut Vec<Output>) -> (Option<Time>, Vec<PeerId>) {
        self.look_for_data(now, out);
        let Stage::Gathering(gather) = &self.stage else { return (None, Vec::new()) };
        if gather.ready_since.is_none() && gather.left_until <= now {
            // It trains: whoever else is there, it waits for itself.
            return (None, Vec::new());
        }
        let seen = self.attendance(now);
        let Stage::Gathering(gather) = &mut self.stage else { return (None, Vec::new()) };
        let paces = (self.work.took, self.pace.overdue.span());
        if gather.left_until > now {
            return (Some(gather.left_until), seen.ready);
        }
        match gather.step(&self.run, &self.me, &self.spec.group, &seen, paces, now) {
            Step::Wait { until, on } => {
                if gather.repeat_due(REPEAT, now) {
                    self.repeat_ready_to_all(now, out);
                }
                let Stage::Gathering(gather) = &self.stage else { return (None, on) };
                (earliest(until, gather.ready_since.map(|_| gather.repeated + REPEAT)), on)
            }
            Step::Convene => {
                // Somebody has gone on from here: this peer follows as soon as enough have, and makes no fork.
                let patient = now < self.work.ready_since.unwrap_or(now) + PASSED;
                if patient && self.members.passed(&self.position(), now) {
                    return (Some(now + SETTLE), Vec::new());
                }
                self.convene(&seen, now, out);
                (self.stage_until, self.waits_on.clone())
            }
            Step::TakeOver => {
                gather.next_attempt(gather.attempt + 1, now);
                self.repeat_ready_to_all(now, out);
                self.gather(now, out)
            }
        }
    }

    /// Living peers that stand where this one does, or one round before and so about to; those of them that are ready.
    fn attendance(&self, now: Time) -> Attendance {
        let Stage::Gathering(gather) = &self.stage else { return Attendance::default() };
        let parent = self.standing.record.parent;
        let near = |at: &Position| at.digest == self.digest || at.digest == parent;
        let mut seen = Attendance::default();
        for (peer, entry) in self.members.living(now) {
            match &entry.at {
                Some(at) if near(at) => seen.living.push(*peer),
                Some(at) if self.way.has(&at.digest, RECENT_MAX) => {
                    seen.behind.push(*peer);
                    continue;
                }
                Some(_) => {
                    seen.elsewhere.push(*peer);
                    continue;
                }
                None => continue,
            }
            let here = |r: &Ready| {
                r.round == gather.round && r.base == gather.base && r.attempt >= gather.attempt
            };
            if entry.ready.as_ref().is_some_and(here) {
                seen.ready.push(*peer);
            }
        }
        seen.living.push(self.me);
        if gather.ready_since.is_some() {
            seen.ready.push(self.me);
        }
        seen.living.sort_unstable();
        seen.ready.sort_unstable();
        seen
    }

    /// Closes the gather: makes the plan, tells its members, begins.
    fn convene(&mut self, seen: &Attendance, now: Time, out: &mut Vec<Output>) {
        let Stage::Gathering(gather) = &self.stage else { return };
        let ready_of = |peer: &PeerId| match self.members.get(peer) {
            Some(entry) if *peer != self.me => entry.ready.clone(),
            _ => Some(self.ready(gather)),
        };
        let ready: Vec<(PeerId, Ready)> =
            seen.ready.iter().filter_map(|peer| Some((*peer, ready_of(peer)?))).collect();
        let lost = self.lost_leaseholders(now, &seen.ready);
        let before = self.donor.round(&self.digest).map(|committed| &committed.plan.plan);
        let mut plan = convene::plan(&self.spec, gather, self.me, &ready, lost, before);
        // A plan that was given up is known by its name, and is not begun again under it.
        let mut name = plan.digest();
        while self.shelved_of(&name).is_some() {
            plan.attempt += 1;
            name = plan.digest();
        }
        let signature = self.keyring.sign(&Plan::signed_bytes_of(&name));
        let signed = SignedPlan { plan, signature };
        // Members begin; the others know to wait for it.
        for to in self.everybody(now) {
            self.tell_plan(&to, &signed, now, out);
        }
        self.adopt(signed, name, now, out);
    }

    /// Everybody that can be worked with now.
    fn everybody(&self, now: Time) -> Vec<PeerId> {
        self.members.living(now).map(|(peer, _)| *peer).collect()
    }

    /// Tells a peer the plan of the round.
    fn tell_plan(&mut self, to: &PeerId, plan: &SignedPlan, now: Time, out: &mut Vec<Output>) {
        if let Some(entry) = self.members.entry(to) {
            entry.plan_told = Some(now);
            out.push(Output::Send { to: *to, message: Message::Plan(plan.clone()) });
        }
    }

    /// Peers that hold a lease and cannot be reached: their samples return to the pool.
    fn lost_leaseholders(&self, now: Time, ready: &[PeerId]) -> Vec<PeerId> {
        let holders = self.standing.record.cursor.leases.iter().map(|lease| lease.peer);
        let gone = |peer: &PeerId| {
            *peer != self.me && !ready.contains(peer) && !self.members.alive(peer, now)
        };
        holders.filter(gone).take(crate::wire::PEERS_MAX).collect()
    }

    pub(crate) fn take_plan(
        &mut self,
        from: PeerId,
        signed: SignedPlan,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let plan = &signed.plan;
        if plan.run != self.run
            || plan.base != self.digest
            || plan.round != self.standing.record.round + 1
        {
            if planted(Bug::StalePlan) && plan.members.iter().any(|m| m.peer == self.me) {
                let name = plan.digest();
                self.adopt(signed, name, now, out);
            }
            return;
        }
        let name = plan.digest();
        if let Err(reason) = self.check_plan(&signed, &name) {
            return self.strike(from, 1, reason, now, out);
        }
        if !self.is_as_told(plan) {
            return self.leave_to_others(now);
        }
        let given_up = self.shelved_of(&name).is_some();
        match &self.stage {
            // Whoever has just begun to wait for a later attempt takes part in an earlier one all the same: its other members
            // carry it out and wait.
            Stage::Gathering(gather) if gather.ready_since.is_some() && !given_up => {
                self.adopt(signed, name, now, out);
            }
            Stage::Exchanging(exchange, known) if exchange.id != name => {
                if convene::replaces(plan, &known.plan) && !exchange.has_confirmed() {
                    self.shelve("a plan that comes before it", now, out);
                    self.adopt(signed, name, now, out);
                } else if convene::replaces(&known.plan, plan) {
                    let known = known.clone();
                    self.tell_plan(&from, &known, now, out);
                }
            }
            _ => {}
        }
    }

    /// Others carry out a plan without this peer: it waits for what comes of it, and does not convene one of its own.
    fn leave_to_others(&mut self, now: Time) {
        let patience = Span(self.pace.stall.span().0.saturating_mul(3));
        if let Stage::Gathering(gather) = &mut self.stage {
            gather.left_until = now + patience;
        }
    }

    fn check_plan(&self, signed: &SignedPlan, name: &Digest) -> Result<(), String> {
        convene::check(&self.spec, &signed.plan, &self.standing.record)?;
        let bytes = Plan::signed_bytes_of(name);
        if self.keyring.verify(&signed.plan.convener, &bytes, &signed.signature) {
            Ok(())
        } else {
            Err("sent a plan that its convener did not sign".into())
        }
    }

    /// Whether the plan has this peer as a member, and says of it what it said itself.
    fn is_as_told(&self, plan: &Plan) -> bool {
        let mine = plan.members.iter().find(|member| member.peer == self.me);
        mine.is_some_and(|member| {
            let told = (member.tokens, member.wants, member.nonce, member.leases);
            let leases = self.work.finishes(self.standing.record.cursor.lease(&self.me));
            let mine = (self.work.tokens(), self.work.wants, self.work.nonce, leases);
            told == mine && self.has_measured(member.heldout.as_ref())
        })
    }

    /// Takes part in a plan, which goes by this name.
    fn adopt(&mut self, signed: SignedPlan, name: Digest, now: Time, out: &mut Vec<Output>) {
        let plan = &signed.plan;
        let Some(me) = plan.members.iter().position(|member| member.peer == self.me) else {
            return;
        };
        if let Stage::Gathering(gather) = &self.stage
            && let Some(since) = gather.closable_since()
        {
            self.pace.overdue.observe(Span(now.since(since).0.saturating_mul(2)));
        }
        let (round, attempt, members) = (plan.round, plan.attempt, plan.members.len());
        out.push(Output::Note(Note::Planned { round, members, attempt }));
        let elems = self.spec.exchange.chunk_elems as usize;
        let chunk_bytes = self.spec.up(round, 0).encoded_len(elems) as u64;
        let exchange = Exchange::named(name, plan.clone(), me as u8, chunk_bytes, now);
        let mut exchange = Box::new(exchange);
        exchange.start(out);
        if exchange.fold() > 0.0 {
            self.work.pieces.iter_mut().for_each(|piece| piece.given_to(exchange.id, me as u8));
        }
        self.enter(Stage::Exchanging(exchange, signed), now);
        self.take_early(now, out);
        (self.stage_until, self.waits_on) = self.exchange(now, out);
    }

    fn exchange(&mut self, now: Time, out: &mut Vec<Output>) -> (Option<Time>, Vec<PeerId>) {
        let Stage::Exchanging(exchange, signed) = &mut self.stage else {
            return (None, Vec::new());
        };
        for member in 0..exchange.plan.members.len() as u8 {
            if member != exchange.me && !self.members.alive(&exchange.peer(member), now) {
                exchange.lose(member, now, out);
            }
        }
        if exchange.is_complete() && !exchange.has_confirmed() {
            confirm(exchange, &self.me, now, out);
        }
        if let Some(digest) = exchange.confirmed()
            && exchange.result() == Some(digest)
        {
            let results = exchange.results();
            let applying = Applying {
                settle: exchange.settle(&results),
                contributed: exchange.counts(&results),
                name: exchange.id,
                plan: signed.clone(),
                result: digest,
                results,
                expected: None,
            };
            self.apply(applying, now, out);
            return (None, Vec::new());
        }
        self.tick_exchange(now, out)
    }

    fn tick_exchange(&mut self, now: Time, out: &mut Vec<Output>) -> (Option<Time>, Vec<PeerId>) {
        let Stage::Exchanging(exchange, _) = &mut self.stage else { return (None, Vec::new()) };
        if let Progress::Stuck(reason) = exchange.tick(&self.pace.stall, now, out) {
            self.give_up(reason, now, out);
            return (self.stage_until, self.waits_on.clone());
        }
        (Some(exchange.next_tick(&self.pace.stall, now)), Vec::new())
    }

    /// The plan cannot be carried out: the gather begins again with a higher attempt; local work is kept.
    fn give_up(&mut self, reason: &str, now: Time, out: &mut Vec<Output>) {
        let Stage::Exchanging(exchange, _) = &self.stage else { return };
        let mut gather = Gather::new(exchange.plan.round, exchange.plan.base, now);
        gather.attempt = exchange.plan.attempt + 1;
        self.shelve(reason, now, out);
        self.enter(Stage::Gathering(gather), now);
        self.say_ready(now, out);
    }

    /// Keeps the exchange that is given up until the round is committed: others may commit its plan yet.
    pub(crate) fn shelve(&mut self, reason: &str, now: Time, out: &mut Vec<Output>) {
        if !matches!(self.stage, Stage::Exchanging(..)) {
            return;
        }
        let gathering =
            Stage::Gathering(Gather::new(self.standing.record.round + 1, self.digest, now));
        if let Stage::Exchanging(exchange, _) = std::mem::replace(&mut self.stage, gathering) {
            let round = exchange.plan.round;
            out.push(Output::Note(Note::Abandoned { round, reason: reason.into() }));
            self.shelved.push(*exchange);
        }
        if self.shelved.len() > SHELVED_MAX {
            let told = |exchange: &Exchange| (!exchange.is_divided(), exchange.taking_part());
            let told: Vec<(bool, u32)> = self.shelved.iter().map(told).collect();
            let least = forgotten(&told);
            let dropped = self.shelved.remove(least);
            out.push(Output::Abandon { plan: dropped.id });
        }
    }

    pub(crate) fn apply(&mut self, applying: Applying, now: Time, out: &mut Vec<Output>) {
        let plan = &applying.plan.plan;
        let (round, name, step) = (plan.round, applying.name, plan.trained());
        if let Stage::Exchanging(exchange, _) = &self.stage {
            let micros = now.since(exchange.since).0;
            out.push(Output::Note(Note::Exchanged { round, micros }));
        }
        self.enter(Stage::Applying(Box::new(applying)), now);
        out.push(Output::Apply { round, plan: name, step });
    }

    /// The new state stands: it is committed, unless it is not what the others have.
    pub(crate) fn applied(
        &mut self,
        round: Round,
        chunks: Vec<Digest>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if !matches!(&self.stage, Stage::Applying(applying) if applying.plan.plan.round == round) {
            return;
        }
        let placeholder = Stage::Gathering(Gather::new(round, self.digest, now));
        let Stage::Applying(applying) = std::mem::replace(&mut self.stage, placeholder) else {
            return;
        };
        let result = (applying.result, included(&applying.results));
        let plan = (applying.name, &applying.plan.plan);
        let record = self.next_record(plan, result, state_root(&chunks));
        if applying.expected.as_ref().is_some_and(|expected| *expected != record) {
            let reason = "the outer step led elsewhere than recorded".to_string();
            out.push(Output::Note(Note::Abandoned { round, reason }));
            let donors = self.everybody(now);
            let wanted = applying.expected.map_or(self.digest, |expected| expected.digest());
            return self
                .enter(Stage::CatchingUp(Box::new(CatchUp::state(wanted, &donors, now))), now);
        }
        let given = if applying.contributed { self.given_to(&applying.name) } else { Vec::new() };
        self.on_the_way &= applying.expected.is_some();
        let committed =
            Committed { record: record.clone(), plan: applying.plan, results: applying.results };
        out.push(Output::Commit { record: record.clone(), settle: applying.settle });
        let before = Milestone::named(self.digest, &self.standing.record);
        self.way.goes_on(before, given);
        let before = std::mem::replace(&mut self.standing, Standing { record, chunks });
        self.donor.committed((self.digest, before), Some(committed), now, out);
        self.committed(now, out);
    }

    /// Common to every way in which a state was committed: tells everybody, and goes on to the next round.
    pub(crate) fn committed(&mut self, now: Time, out: &mut Vec<Output>) {
        self.digest = self.standing.record.digest();
        self.work.nonce = now.0;
        self.work.ready_since = None;
        self.lacking.clear();
        self.work.first_after_restart = false;
        let (round, digest) = (self.standing.record.round, self.digest);
        let kept = self.standing.record.plan;
        let shelved = std::mem::take(&mut self.shelved);
        let others = shelved.iter().filter(|exchange| exchange.id != kept);
        out.extend(others.map(|exchange| Output::Abandon { plan: exchange.id }));
        let message = self.endorsement();
        let everybody = self.everybody(now).into_iter();
        out.extend(everybody.map(|to| Output::Send { to, message: message.clone() }));
        let message = Message::Beacon(self.beacon(now));
        out.push(Output::Broadcast { message });
        for (peer, signed) in std::mem::take(&mut self.endorsements) {
            if signed.digest == digest {
                out.push(Output::Endorsed { round, peer, signature: signed.signature });
            }
        }
        self.begin_round(now, out);
    }

    /// This peer's word that it committed what it stands on.
    fn endorsement(&self) -> Message {
        let (round, digest) = (self.standing.record.round, self.digest);
        let parent = self.standing.record.parent;
        let signature = self.keyring.sign(&Record::signed_bytes(&self.run, round, &digest));
        Message::Signed(Signed { round, digest, parent, signature })
    }

    pub(crate) fn take_confirm(
        &mut self,
        from: PeerId,
        confirm: &Confirm,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if let Some(exchange) = self.exchange_of(&confirm.plan) {
            return exchange.confirm(&from, confirm, now);
        }
        // A member that still collects confirmations for what is committed here: an endorsement tells it.
        if self.standing.record.plan == confirm.plan {
            out.push(Output::Send { to: from, message: self.endorsement() });
        }
    }
}

/// Which plan is forgotten, by whether it can still be carried out and how many others have taken part in it, oldest first: the
/// oldest of those that its members are divided over, then of those that the fewest took part in, since a liar's plans are carried
/// out by nobody else. Never the newest: if others went on, it was with that.
fn forgotten(told: &[(bool, u32)]) -> usize {
    (0..told.len().saturating_sub(1)).min_by_key(|plan| told[*plan]).unwrap_or(0)
}

/// Says that all results are here, to oneself and to all members.
fn confirm(exchange: &mut Exchange, me: &PeerId, now: Time, out: &mut Vec<Output>) {
    let Some(result) = exchange.result() else { return };
    let confirm = Confirm { plan: exchange.id, result };
    exchange.confirm(me, &confirm, now);
    let message = Message::Confirm(confirm);
    out.extend(exchange.others().map(|(_, to)| Output::Send { to, message: message.clone() }));
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[test]
fn the_newest_plan_is_never_forgotten() {
    let open = |taking_part: &[u32]| taking_part.iter().map(|n| (true, *n)).collect::<Vec<_>>();
    for (taking_part, plan) in [(&[4, 4, 5, 3][..], 0), (&[4, 2, 5, 0], 1), (&[1, 1], 0), (&[7], 0)]
    {
        assert_eq!(forgotten(&open(taking_part)), plan, "{taking_part:?}");
    }
    assert_eq!(forgotten(&[(true, 0), (false, 6), (false, 5), (false, 0)]), 2);
}
