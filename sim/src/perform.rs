//! The one `match` on [`Output`]: what a session asks for is done, and what comes of it is told later.

use crate::book::Moved;
use crate::check::{
    hold, s2_same_end, s4_nothing_dropped, s5_conservation, s6_leases, s8_verified,
};
use crate::cpu::Task;
use crate::holdings::Holdings;
use crate::keys;
use crate::log;
use crate::noise;
use crate::peer::Peer;
use crate::shelf::Shelf;
use crate::store::{At, Payload, Store};
use crate::training::Training;
use crate::world::{Event, World};
use shoal_protocol::event::{Input, Note, Output, Part, Settle};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::invariant;
use shoal_protocol::ledger::Record;
use shoal_protocol::membership::REFUSED_FOR;
use shoal_protocol::time::Span;
use shoal_protocol::wire::{self, ChunkId, Message};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

impl World {
    /// Does what peer `p` asks for.
    pub fn perform(&mut self, p: usize, output: Output) {
        match output {
            Output::Send { to, message } => self.send(p, &to, message),
            Output::Broadcast { message } => self.broadcast(p, message),
            Output::Refuse { peer, reason } => self.refuse(p, &peer, &reason),
            Output::Train { round, lease } => self.train(p, round, lease),
            Output::Evaluate { round, of } => self.measure(p, round, of),
            Output::Offer { round } => self.offer(p, round),
            Output::Contribute { to, chunk, fold } => self.contribute(p, &to, chunk, fold),
            Output::Reduce { plan, index, parts } => self.reduce(p, (plan, index), &parts),
            Output::SendResult { to, chunk } => self.send_result(p, &to, chunk),
            Output::SendState { to, chunk } => self.send_state(p, &to, chunk),
            Output::SendPiece { to, chunk } => self.send_piece(p, &to, chunk),
            Output::KeepList { .. } => {
                self.peers[p].shelf.iter_mut().for_each(Shelf::keep_list);
            }
            Output::KeepPiece { chunk, digest, .. } => {
                let shelf = self.peers[p].shelf.as_mut();
                s8_verified::is_the_text_s(
                    p,
                    chunk.index,
                    shelf.is_some_and(|shelf| shelf.keep(chunk.index, digest)),
                );
            }
            Output::DropPieces { pieces, .. } => {
                self.peers[p].shelf.iter_mut().for_each(|shelf| shelf.drop_pieces(&pieces));
            }
            Output::Discard { from, chunk, digest } => {
                self.store(p).discard(from, chunk, digest);
            }
            Output::Abandon { plan } | Output::Forget { plan } => self.store(p).drop_plan(plan),
            Output::Apply { round, plan, step } => self.apply(p, round, plan, step),
            Output::Commit { record, settle } => self.commit(p, &record, &settle),
            Output::Endorsed { .. } => {}
            Output::LoadState { record } => self.load(p, &record),
            Output::Release { digest } => self.store(p).release(digest),
            Output::TakeAlong { share, given, tokens } => {
                self.take_along(p, share, (given, tokens));
            }
            Output::Note(Note::Finished { .. }) => self.finished(p),
            Output::Note(_) => {}
        }
    }

    fn store(&mut self, p: usize) -> &mut Holdings {
        &mut self.peers[p].running.as_mut().expect("only a living peer asks").store
    }

    fn send(&mut self, p: usize, to: &PeerId, message: Message) {
        let to = self.number(to).expect("a session sends to peers that it knows");
        assert_ne!(to, p, "p{p} sends to itself: {}", log::brief(&message));
        if let Some(frame) = self.encoder.known(&message) {
            return self.post(p, to, frame);
        }
        self.observe(p, &message);
        let frame = self.encoder.frame(message);
        let bytes = frame.len();
        assert!(bytes <= wire::FRAME_BYTES_MAX, "S7 is broken: a frame of {bytes} bytes");
        self.post(p, to, frame);
    }

    fn broadcast(&mut self, p: usize, message: Message) {
        let frame = self.encoder.frame(message);
        let bytes = frame.len();
        assert!(bytes <= wire::BEACON_BYTES_MAX, "S7 is broken: a beacon of {bytes} bytes");
        self.net.linked(p).into_iter().for_each(|to| self.post(p, to, frame.clone()));
    }

    /// The outside view learns of plans from what is said.
    pub fn observe(&mut self, p: usize, message: &Message) {
        match message {
            Message::Plan(signed) => {
                let honest =
                    self.number(&signed.plan.convener).is_some_and(|c| c < self.peers.len());
                if p < self.peers.len() && honest && !self.has_liars() {
                    hold(
                        "plan",
                        "sound",
                        invariant::plan_is_sound(
                            &signed.plan,
                            self.peers[p].spec.chunks_in(signed.plan.round),
                        ),
                    );
                }
                self.book.saw_plan(&signed.plan);
            }
            Message::Round(committed) => self.book.saw_plan(&committed.plan.plan),
            _ => {}
        }
    }

    fn refuse(&mut self, p: usize, peer: &PeerId, reason: &str) {
        let about = self.number(peer).expect("a session refuses peers that it knows");
        let deserved = self.peers.get(about).is_none_or(|peer| peer.spoilt);
        assert!(deserved, "S7 is broken: p{p} refuses the honest p{about}: {reason}");
        let until = self.now + REFUSED_FOR + Span::from_secs(1);
        self.net.refuse(p, about, until);
        self.schedule(until, Event::Reconcile { p });
        self.reconcile(p);
    }

    fn train(&mut self, p: usize, round: Round, lease: Vec<Range<u64>>) {
        let tokens = noise::samples(&lease) * u64::from(self.peers[p].spec.model.context);
        let takes = self.peers[p].training_takes(tokens);
        let (id, life) = (self.peers[p].id, self.peers[p].life);
        let Peer { spec, shelf, .. } = &self.peers[p];
        s8_verified::data_are_here(p, shelf.as_ref().and_then(|shelf| shelf.lacks(spec, &lease)));
        let running = self.peers[p].running.as_mut().expect("only a living peer asks");
        assert_eq!(running.training, None, "p{p} is asked to train twice at a time");
        s6_leases::lease_is_its_own(running.store.record(), &id, &lease);
        if running.store.real().is_some() && self.book.is_kept() {
            let head = running.store.head();
            s6_leases::not_again(&self.book, &id, &running.trained, head, &lease);
            running.trained.extend(lease.iter().map(|range| (range.clone(), head)));
        }
        let params = match (&self.lesson, running.store.real()) {
            (Some(lesson), Some(store)) => {
                running.worker.get_or_insert_with(|| lesson.worker(&store.spec));
                store.local()
            }
            _ => Cow::default(),
        };
        running.training = Some(Training::new(round, lease, self.now, &params));
        self.schedule(self.now + takes, Event::Trained { p, life, tokens });
    }

    /// Training is done: its pseudo-gradient goes into the workspace.
    pub fn trained(&mut self, p: usize, mut tokens: u64) {
        let running = self.peers[p].running.as_mut().expect("events of the dead are dropped");
        let Some(training) = running.training.take() else { return };
        if let Some(recorder) = &mut self.recorder {
            recorder.trained(self.now, p);
        }
        let round = training.round;
        if running.store.real().is_some() && !self.learned(p, training) {
            tokens = 0;
        }
        self.peers[p].tokens += tokens;
        self.handle(p, Input::LocalWorkReady { round, tokens });
    }

    /// What a lease has taught goes into the workspace. False if it led nowhere: it counts for nothing then, as on a node, and the
    /// lease stands.
    fn learned(&mut self, p: usize, training: Training) -> bool {
        let running = self.peers[p].running.as_mut().expect("only the living learn");
        let Some(store) = running.store.real_mut() else { return true };
        let lease = training.lease.clone();
        let delta = match &mut running.worker {
            Some(worker) => training.finish(worker.as_mut(), store.spec.strategy.work),
            None => Some(noise::pseudo_gradient(store.numbers.params.len(), &lease)),
        };
        let Some(delta) = delta else {
            running.trained.retain(|(range, _)| !lease.contains(range));
            self.recorder.iter_mut().for_each(|recorder| recorder.diverged(self.now, p));
            return false;
        };
        store.learned(&delta);
        if self.book.is_kept() {
            self.book.trained(p, &delta);
            self.conserves(p);
        }
        true
    }

    fn finished(&mut self, p: usize) {
        let record = self.store(p).record().clone();
        s2_same_end::is_over(&self.peers[p].spec, p, &record);
    }

    fn offer(&mut self, p: usize, round: Round) {
        if let Some(store) = self.store(p).real_mut() {
            store.offer(round);
        }
    }

    /// What a peer has just committed reaches the local parameters that it trains on, after the steps that it has taken.
    fn merge(&mut self, p: usize) {
        let (now, peer) = (self.now, &mut self.peers[p]);
        let Some(running) = &mut peer.running else { return };
        let Some(merge) = running.store.real_mut().and_then(|store| store.merge.take()) else {
            return;
        };
        if let (Some(training), Some(worker)) = (&mut running.training, &mut running.worker) {
            let batch = u64::from(peer.spec.inner.batch);
            let tokens = now.since(training.since).0.saturating_mul(peer.speed) / 1_000_000;
            let steps = tokens / (batch * u64::from(peer.spec.model.context));
            training.merge(worker.as_mut(), steps * batch, &merge);
        }
    }

    fn take_along(&mut self, p: usize, share: f32, tokens: (u64, u64)) {
        if let Some(store) = self.store(p).real_mut() {
            store.take_along(share, tokens);
        }
    }

    fn contribute(&mut self, p: usize, to: &PeerId, chunk: ChunkId, fold: f32) {
        let payload = self.store(p).contribution(chunk, fold);
        let (elems, bytes) = (self.chunk_elems(p), u64::from(payload.len()));
        self.post_bulk(p, to, (chunk, payload), Task::Contribute { elems, bytes });
    }

    fn reduce(&mut self, p: usize, at: At, parts: &[Part]) {
        let (plan, index) = at;
        let life = self.peers[p].life;
        let store = &mut self.peers[p].running.as_mut().expect("only a living peer asks").store;
        let told = match store.reduce(at, parts) {
            Ok(digest) => Input::Reduced { plan, index, digest },
            Err((member, reason)) => {
                let unsound = parts.iter().find(|part| part.member == member);
                unsound.iter().for_each(|part| store.drop_contribution(at, part.peer));
                Input::Unsound { plan, index, member, reason }
            }
        };
        if let (Input::Reduced { .. }, Some(store), true) =
            (&told, store.real(), self.book.is_kept())
        {
            self.book.summed(p, life, store, at, parts);
        }
        let (elems, parts) = (self.chunk_elems(p), parts.len() as u64);
        let takes = self.takes(p, Task::Reduce { elems, parts }, (0, 3));
        self.tell_later(p, takes, told);
    }

    fn send_result(&mut self, p: usize, to: &PeerId, chunk: ChunkId) {
        let store = self.store(p);
        let own = store.real().and_then(|store| store.reduced.get(&(chunk.of, chunk.index)));
        if let Some(own) = own {
            hold("S1", "mask", invariant::mask_is_parts(own.included, &own.parts));
        }
        let payload = store.result(&chunk);
        let payload = payload
            .unwrap_or_else(|| panic!("p{p} sends a result that it does not hold: {chunk:?}"));
        let task = Task::Send { bytes: u64::from(payload.len()) };
        self.post_bulk(p, to, (chunk, payload), task);
    }

    fn send_state(&mut self, p: usize, to: &PeerId, chunk: ChunkId) {
        let payload = self.store(p).state_chunk(&chunk);
        let payload =
            payload.unwrap_or_else(|| panic!("p{p} sends state that it does not hold: {chunk:?}"));
        let task = Task::Send { bytes: u64::from(payload.len()) };
        self.post_bulk(p, to, (chunk, payload), task);
    }

    /// A piece that is not here any more does not leave.
    fn send_piece(&mut self, p: usize, to: &PeerId, chunk: ChunkId) {
        let piece = self.peers[p].shelf.as_ref().and_then(|shelf| shelf.piece(chunk.index));
        let Some((bytes, mut digest)) = piece else {
            return self.tell_later(p, Span::ZERO, Input::PieceSent { to: *to });
        };
        if self.rng.chance(self.peers[p].corrupts) {
            digest.0[0] ^= 1;
            self.peers[p].spoilt = true;
        }
        let task = Task::Send { bytes: u64::from(bytes) };
        self.post_bulk(p, to, (chunk, Payload::Sized { bytes, digest }), task);
    }

    fn apply(&mut self, p: usize, round: Round, plan: Digest, step: bool) {
        let chunks = self.store(p).apply(round, plan, step);
        let chunks = chunks.unwrap_or_else(|why| panic!("p{p} cannot apply round {round}: {why}"));
        let takes = self.takes(p, Task::Apply { elems: self.peers[p].spec.elems() }, (1, 20));
        self.tell_later(p, takes, Input::Applied { round, chunks });
    }

    fn commit(&mut self, p: usize, record: &Record, settle: &[Settle]) {
        let spec = &self.peers[p].spec;
        let whole = matches!(settle.first(), Some(Settle::Unknown | Settle::Restarted));
        let chunks = if whole { spec.chunks() } else { spec.chunks_in(record.round) };
        s4_nothing_dropped::settled_whole(p, settle, chunks);
        if self.store(p).real().is_some() && self.book.is_kept() {
            return self.commit_numbers(p, record, settle);
        }
        let done = self.store(p).commit(record, settle, false);
        done.unwrap_or_else(|why| panic!("p{p} commits round {}: {why}", record.round));
        let peer = &mut self.peers[p];
        peer.disk = peer.running.as_ref().expect("only a living peer asks").store.disk();
        self.merge(p);
        self.evaluate(p);
    }

    /// The numbers move, and the outside view sees to it that none is lost or counted twice.
    fn commit_numbers(&mut self, p: usize, record: &Record, settle: &[Settle]) {
        let (before, head) = (self.numbers(p).record.round, self.numbers(p).head);
        if self.book.leads(head, record.digest()) && self.is_repeatable(p, record) {
            s4_nothing_dropped::let_go_only_after_long(p, settle, before, record.round);
        }
        let plan = self.book.plans.get(&record.plan).cloned();
        let first = !self.book.records.contains_key(&record.digest());
        let woken = self.peers[p].running.as_ref().is_some_and(|running| running.just_woken);
        let store = self.numbers(p);
        let (from, down) = (store.record.round, store.work.residual_down().to_vec());
        let loaded = store.applied.as_ref().is_some_and(|applied| applied.loaded);
        let voided = self.store(p).commit(record, settle, woken).unwrap_or_else(|why| {
            panic!("S4 is broken: p{p} commits round {}: {why}", record.round)
        });
        self.merge(p);
        self.record_commit(p, settle, &down);
        self.evaluate(p);
        if let Some(plan) = plan.as_ref().filter(|_| first && !loaded) {
            self.book.one_result.majority(plan, &self.peers[p].id, record);
        }
        self.arrive_at(p, (from, loaded), settle, voided);
    }

    /// The held-out loss of what a peer has just committed.
    fn evaluate(&mut self, p: usize) {
        let Some(lesson) = &mut self.lesson else { return };
        let running = self.peers[p].running.as_ref().expect("only a living peer asks");
        let Some(store) = running.store.real() else { return };
        let (state, round) = (store.record.state, store.record.round);
        let evaluated = lesson.evaluate(state, round, &store.numbers.params);
        let Some((loss, new)) = evaluated else { return };
        if let Some(recorder) = &mut self.recorder {
            recorder.evaluated(self.now, p, self.net.run_of(p), &store.record, loss);
        }
        if new {
            self.trace_loss(loss);
        }
    }

    fn numbers(&self, p: usize) -> &Store {
        let running = self.peers[p].running.as_ref().expect("only a living peer asks");
        running.store.real().expect("only real numbers are looked at")
    }

    /// Whether somebody else that went on from this record still has all results of its plan, and is not refused by anybody for
    /// what it spoilt.
    fn is_repeatable(&self, p: usize, record: &Record) -> bool {
        let chunks = self.peers[p].spec.chunks_in(record.round);
        let chunks = if record.contributions.is_empty() { 0 } else { chunks };
        let others = self.peers.iter().enumerate().filter(|(q, peer)| *q != p && !peer.spoilt);
        let mut stores = others.filter_map(|(_, peer)| peer.running.as_ref()?.store.real());
        stores.any(|store| {
            self.book.leads(record.digest(), store.head)
                && (0..chunks).all(|c| store.standing_result((record.plan, c)).is_some())
        })
    }

    fn record_commit(&mut self, p: usize, settle: &[Settle], down: &[f32]) {
        let running = self.peers[p].running.as_ref().expect("only a living peer asks");
        let store = running.store.real().expect("only real numbers are looked at");
        let plan = self.book.plans.get(&store.record.plan);
        let spoils = |peer: &PeerId| {
            keys::number(peer).is_none_or(|q| self.peers.get(q).is_none_or(|peer| peer.spoilt))
        };
        let spoilt = plan.is_some_and(|plan| plan.members.iter().any(|m| spoils(&m.peer)));
        if !self.book.committed(store, spoilt) {
            let given = store.record.contributions.iter().filter_map(|c| keys::number(&c.peer));
            given.collect::<Vec<_>>().into_iter().for_each(|q| self.peers[q].spoilt = true);
        }
        let running = self.peers[p].running.as_ref().expect("only a living peer asks");
        let store = running.store.real().expect("only real numbers are looked at");
        self.book.settled(p, store, settle, store.record.plan, down);
    }

    fn load(&mut self, p: usize, record: &Record) {
        if self.store(p).real().is_some() && self.book.is_kept() {
            s8_verified::is_committed(&self.book, p, record);
        }
        let chunks = self.store(p).load(record);
        let chunks = chunks.unwrap_or_else(|why| panic!("S8 is broken: p{p} loads: {why}"));
        let takes = self.rng.millis(1, 20);
        self.tell_later(p, takes, Input::Loaded { round: record.round, chunks });
    }

    /// A peer's committed record has changed: its account follows, and what it now holds goes to its disk. `loaded`: as a
    /// whole state. `void`: a life before this one may have given to what was committed since, so that residuals of that life
    /// are void.
    fn arrive_at(
        &mut self,
        p: usize,
        (from, loaded): (Round, bool),
        settle: &[Settle],
        void: bool,
    ) {
        let peer = &mut self.peers[p];
        let running = peer.running.as_mut().expect("only a living peer asks");
        let store = running.store.real().expect("only real numbers are looked at");
        let (work, to) = (&store.work, store.record.round);
        let moved = self.book.moved(p, peer.life, store.head, settle);
        s4_nothing_dropped::no_step_back(p, from, to, moved);
        if moved == Moved::Aside {
            // The branch that counted its work is left.
            running.trained.clear();
        }
        if void || moved != Moved::Along {
            self.book.accounts[p].write_off(store);
        } else if loaded {
            self.book.accounts[p].write_off_down(work);
        }
        peer.disk = running.store.disk();
        running.just_woken = false;
        self.conserves(p);
    }

    /// S5 for one peer. What a peer spoils on its way is counted otherwise than it was sent.
    fn conserves(&self, p: usize) {
        let peer = &self.peers[p];
        if !peer.spoilt {
            let running = peer.running.as_ref().expect("only the living are looked at");
            let store = running.store.real().expect("only real numbers are looked at");
            s5_conservation::holds(p, &self.book.accounts[p], store);
        }
    }

    /// Elements of a chunk, the last of which may have fewer.
    fn chunk_elems(&self, p: usize) -> u64 {
        u64::from(self.peers[p].spec.exchange.chunk_elems)
    }

    /// How long a task takes; so many milliseconds if that is not counted.
    fn takes(&mut self, p: usize, task: Task, (least, most): (u64, u64)) -> Span {
        let guess = self.rng.millis(least, most);
        self.peers[p].busy(task, self.now).unwrap_or(guess)
    }

    /// Sends a bulk frame when the task is done that makes it.
    fn post_bulk(
        &mut self,
        p: usize,
        to: &PeerId,
        (chunk, payload): (ChunkId, Payload),
        task: Task,
    ) {
        let target = self.number(to).expect("a session sends to peers that it knows");
        assert_ne!(target, p, "p{p} sends bulk to itself: {chunk:?}");
        let payload = match payload {
            Payload::Bytes(bytes) if self.rng.chance(self.peers[p].corrupts) => {
                let mut bytes = bytes.to_vec();
                self.spoil(&mut bytes);
                self.peers[p].spoilt = true;
                Payload::Bytes(Rc::new(bytes))
            }
            payload => payload,
        };
        match self.peers[p].busy(task, self.now) {
            Some(takes) => {
                let life = self.peers[p].life;
                self.schedule(
                    self.now + takes,
                    Event::Ship { p, life, to: target, chunk, payload },
                );
            }
            None => self.ship(p, target, chunk, payload),
        }
    }

    /// Flips a bit or cuts the end off.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.index(bytes.len().max(1));
        match (self.rng.chance(0.2), bytes.get_mut(at)) {
            (false, Some(byte)) => *byte ^= 1 << self.rng.below(8),
            _ => bytes.truncate(at),
        }
    }
}
