//! Gets in step: repeats the rounds that were missed, or fetches a whole state. Everything is verified against a digest
//! that a quorum by weight confirmed (S8), comes from several peers in parallel, and is asked for again when it does not come.

use crate::deadline::Deadline;
use crate::event::{ChunkId, ChunkKind, Output};
use crate::exchange::{Exchange, included, ranges, result_digest};
use crate::id::{Digest, PeerId};
use crate::ledger::{Record, state_root};
use crate::requests::{LIST_PATIENCE, Requests};
use crate::run::RunSpec;
use crate::sabotage::{Bug, planted};
use crate::time::{Span, Time};
use crate::wire::{
    Committed, Manifest, Message, ResultChunk, STATE_CHUNK_BYTES, STATE_WINDOW, Want,
};

/// What is being fetched.
#[derive(Debug)]
pub enum Target {
    /// The record of the next round, not here yet.
    Round,
    /// The results of the next round.
    Results(Box<Committed>),
    /// The manifest of a state, not here yet.
    Manifest,
    /// The chunks of a state.
    State(Box<Manifest>),
    /// All is here; the driver works on it.
    Done,
}

/// Getting in step with a committed digest.
#[derive(Debug)]
pub struct CatchUp {
    /// What is being fetched.
    pub target: Target,
    /// Digest of the record that is wanted.
    pub digest: Digest,
    /// Who may have it, and what is asked of whom.
    pub(crate) requests: Requests,
    /// When it began.
    pub since: Time,
    /// When the last piece came that was asked for, if any has.
    came: Option<Time>,
    /// When the head and its holders were last looked for.
    pub looked: Time,
}

/// How long a piece is waited for. Guess until some have come: 1 MiB at 1 Mbit/s takes 8 s, smaller ones less; but who asks again
/// while several fetch from one donor makes it slower for all.
pub fn patience(spec: &RunSpec) -> Deadline {
    let share = spec.state_bytes() as f64 / STATE_CHUNK_BYTES as f64;
    let guess = Span::from_secs(10).scale(share.min(1.0)).max(Span::from_secs(5));
    Deadline::new(guess, Span::from_secs(2), Span::from_secs(120))
}

/// What came of an arrival or a look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Going on.
    Going,
    /// Every chunk is here.
    Complete,
    /// Nobody is left to ask.
    Failed,
}

impl CatchUp {
    /// Fetches the record of the round after the committed one, and its results, from these peers.
    pub fn round(digest: Digest, donors: &[PeerId], now: Time) -> CatchUp {
        CatchUp::new(Target::Round, digest, donors, now)
    }

    /// Fetches a whole state from these peers.
    pub fn state(digest: Digest, donors: &[PeerId], now: Time) -> CatchUp {
        CatchUp::new(Target::Manifest, digest, donors, now)
    }

    fn new(target: Target, digest: Digest, donors: &[PeerId], now: Time) -> CatchUp {
        let requests = Requests::one(donors);
        CatchUp { target, digest, requests, since: now, came: None, looked: now }
    }

    /// Whether it gets in step by repeating a round; else by a whole state.
    pub fn follows(&self) -> bool {
        matches!(self.target, Target::Round | Target::Results(_))
    }

    /// Whether it may be in vain: what is small, or a round that was about to be repeated, does not come. A whole state is worth waiting
    /// for, whatever comes after it: it may be long on its way, and to ask for a newer one makes the way longer.
    pub fn is_in_doubt(&self, idle: Span, now: Time) -> bool {
        match self.target {
            Target::Round | Target::Manifest => true,
            Target::Results(_) => self.came.is_none_or(|came| now.since(came) >= idle),
            Target::State(_) | Target::Done => false,
        }
    }

    /// More peers have turned out to hold what is wanted.
    pub fn add_donors(&mut self, holders: &[PeerId]) {
        holders.iter().for_each(|peer| self.requests.add_donor(*peer));
    }

    /// Takes the record of the round, which the caller has checked; what this peer's own exchange of that plan holds already
    /// is not asked for.
    pub fn begin_results(&mut self, committed: Committed, exchange: Option<&Exchange>) {
        let held = |index: usize, result: &ResultChunk| {
            let mine = exchange.and_then(|exchange| exchange.chunks[index].result);
            mine.is_some_and(|mine| mine.0 == result.0)
        };
        let results = committed.results.iter().enumerate();
        self.requests.begin(results.map(|(index, result)| held(index, result)));
        self.target = Target::Results(Box::new(committed));
    }

    /// Takes the manifest, which the caller has checked.
    pub fn begin_state(&mut self, manifest: Manifest) {
        self.requests.begin(manifest.chunks.iter().map(|_| false));
        self.target = Target::State(Box::new(manifest));
    }

    /// Asks whoever has room for what is missing, each piece of one donor at a time.
    pub fn ask(&mut self, patience: &Deadline, now: Time, out: &mut Vec<Output>) -> Outcome {
        self.expire(patience.span(), now);
        if matches!(self.target, Target::Done) {
            return Outcome::Going;
        }
        if self.requests.donors().next().is_none() {
            return Outcome::Failed;
        }
        match self.target {
            Target::Round | Target::Manifest => self.ask_for_the_list(now, out),
            _ if self.requests.missing() == 0 => return Outcome::Complete,
            _ => self.ask_for_pieces(now, out),
        }
        Outcome::Going
    }

    /// The record or manifest is small: one donor at a time.
    fn ask_for_the_list(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(to) = self.requests.ask_one(now) else { return };
        let message = match self.target {
            Target::Manifest => Message::WantManifest { digest: self.digest },
            _ => Message::WantRound { digest: self.digest },
        };
        out.push(Output::Send { to, message });
    }

    fn ask_for_pieces(&mut self, now: Time, out: &mut Vec<Output>) {
        let (of, kind) = self.wanted();
        let all = match &self.target {
            Target::Results(committed) => committed.results.len() as u32,
            Target::State(manifest) => manifest.chunks.len() as u32,
            _ => 0,
        };
        for (to, batch) in self.requests.ask(STATE_WINDOW, 0..all, |_, _| true, now) {
            let want = Want { of, kind, chunks: ranges(batch.into_iter()) };
            out.push(Output::Send { to, message: Message::Want(want) });
        }
    }

    /// Whether chunks of this plan or state are wanted.
    pub fn wants(&self, of: &Digest) -> bool {
        self.wanted().0 == *of
    }

    fn wanted(&self) -> (Digest, ChunkKind) {
        match &self.target {
            Target::Results(committed) => (committed.record.plan, ChunkKind::Result),
            _ => (self.digest, ChunkKind::State),
        }
    }

    fn expire(&mut self, patience: Span, now: Time) {
        let listing = matches!(self.target, Target::Round | Target::Manifest);
        self.requests.expire(if listing { patience.min(LIST_PATIENCE) } else { patience }, now);
    }

    /// A bulk frame has come. `Ok(true)`: it is what was wanted, keep its bytes; `Ok(false)`: discard it; `Err`: its sender
    /// gave something else under this name.
    pub fn arrived(
        &mut self,
        from: PeerId,
        chunk: &ChunkId,
        digest: Digest,
        patience: &mut Deadline,
        now: Time,
    ) -> Result<bool, &'static str> {
        let (of, kind) = self.wanted();
        let expected = match &self.target {
            Target::Results(committed) => {
                committed.results.get(chunk.index as usize).map(|result| result.0)
            }
            Target::State(manifest) => manifest.chunks.get(chunk.index as usize).copied(),
            _ => None,
        };
        let Some(expected) = expected.filter(|_| chunk.of == of && chunk.kind == kind) else {
            return Ok(false);
        };
        if !self.requests.came(from, chunk.index, patience, now) {
            return Ok(false);
        }
        if digest != expected && !planted(Bug::UnverifiedChunk) {
            return Err("gave a chunk that is not what the confirmed digest says");
        }
        self.requests.keep(chunk.index);
        self.came = Some(now);
        Ok(true)
    }

    /// Which peers are waited for.
    pub fn awaited(&self) -> Vec<PeerId> {
        self.requests.donors().copied().collect()
    }
}

/// Checks a manifest against the digest that was asked for and the run's spec.
///
/// # Errors
/// What is wrong with it.
pub fn check_manifest(
    spec: &RunSpec,
    digest: &Digest,
    manifest: &Manifest,
) -> Result<(), &'static str> {
    if manifest.record.digest() != *digest {
        return Err("gave the manifest of another state");
    }
    if state_root(&manifest.chunks) != manifest.record.state {
        return Err("gave a manifest whose chunks are not the state's");
    }
    if spec.is_beyond(&manifest.record) {
        return Err("gave a state beyond the run's end");
    }
    if manifest.chunks.len() as u64 != spec.state_bytes().div_ceil(STATE_CHUNK_BYTES as u64) {
        return Err("gave a manifest of another size than the model's");
    }
    Ok(())
}

/// Checks what it takes to repeat a round against the record before it. The plan's signature is the caller's to check.
///
/// # Errors
/// What is wrong with it.
pub fn check_round(
    spec: &RunSpec,
    mine: &Record,
    digest: &Digest,
    committed: &Committed,
) -> Result<(), String> {
    let (record, plan) = (&committed.record, &committed.plan.plan);
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_string()) };
    ensure(record.digest() == *digest, "gave the record of another round")?;
    ensure(record.parent == mine.digest(), "gave a record that does not follow from ours")?;
    ensure(record.plan == plan.digest(), "gave a record with another plan")?;
    crate::convene::check(spec, plan, mine)?;
    ensure(
        result_digest(&record.plan, &committed.results) == record.result,
        "gave other results than recorded",
    )?;
    let chunks: u32 = plan.members.iter().map(|member| member.chunks).sum();
    ensure(committed.results.len() == chunks as usize, "gave too few or too many results")?;
    let result = (record.result, included(&committed.results));
    let expected = mine.next(spec, record.parent, (record.plan, plan), result, record.state);
    ensure(*record == expected, "gave a record that its plan does not lead to")
}
