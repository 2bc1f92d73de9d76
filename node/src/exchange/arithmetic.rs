//! The workspace and the committed states of one node, and what each output of the machine asks of them.

use super::hold::{Frame, Hold};
use crate::store::state::{StateBytes, write_state};
use bytes::Bytes;
use shoal_protocol::event::{ChunkId, Part, Settle};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::ledger::Record;
use shoal_protocol::math::outer::{self, OuterStep, add_squares};
use shoal_protocol::math::{
    self, Average, Merge, Others, Outcome, Replica, Source, Workspace, prune,
};
use shoal_protocol::run::{Overlap, RunSpec};
use shoal_protocol::wire::STATE_CHUNK_BYTES;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A committed state: outer parameters, `[params]`, and the outer optimiser's vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Outer parameters.
    pub params: Arc<Vec<f32>>,
    /// The outer optimiser's vectors one after the other, `[params]` each: see [`RunSpec::outer_states`].
    pub momentum: Arc<Vec<f32>>,
}

/// What was committed, with everything that a checkpoint needs.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The record.
    pub record: Record,
    /// The state.
    pub state: State,
    /// What this peer's contributions lost in encoding so far, `[params]`.
    pub residual_up: Vec<f32>,
    /// What this peer's sums lost in encoding so far, `[params]`.
    pub residual_down: Vec<f32>,
    /// The average of the states so far, where the spec asks for one.
    pub average: Option<Arc<Average>>,
}

/// Why a sum could not be made: whose contribution, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsoundPart {
    /// Index into the plan's members.
    pub member: u8,
    /// What is wrong.
    pub reason: String,
}

/// A state that stands beside the committed one.
struct Pending {
    round: Round,
    state: State,
    /// The mean that led to it, where it is wanted later.
    mean: Option<Vec<f32>>,
    /// Fetched whole, not computed.
    loaded: bool,
}

/// The data of one node in one run.
pub struct Arithmetic {
    spec: RunSpec,
    me: PeerId,
    workspace: Workspace,
    hold: Hold,
    committed: State,
    round: Round,
    pending: Option<Pending>,
    /// Local parameters, if they outlast rounds.
    replica: Option<Replica>,
    /// What the others brought to the last round, if training goes on from an estimate.
    others: Option<Others>,
    /// What commits have done to local parameters since training on them began.
    merges: Vec<Arc<Merge>>,
    /// Of the states so far, where the spec asks for it.
    average: Option<Average>,
    /// States that may still be served, by the digest of their record.
    served: BTreeMap<Digest, State>,
}

impl Arithmetic {
    /// At a committed state, with the residuals that belong to it (empty for none).
    pub fn new(
        spec: RunSpec,
        me: PeerId,
        record: &Record,
        state: State,
        residuals: [&[f32]; 2],
    ) -> Arithmetic {
        let elems = state.params.len();
        let mut workspace = Workspace::of_run(elems, &spec.exchange);
        let (up, down) = workspace.residuals_mut();
        for (into, from) in [(up, residuals[0]), (down, residuals[1])] {
            if from.len() == into.len() {
                into.copy_from_slice(from);
            }
        }
        let served = BTreeMap::from([(record.digest(), state.clone())]);
        let strategy = spec.strategy;
        let eager = strategy.overlap == Overlap::Eager;
        Arithmetic {
            replica: strategy.runs_on().then(|| Replica::new(&state.params)),
            others: eager.then(|| Others::new(elems)),
            merges: Vec::new(),
            average: super::average::begin(&spec, None),
            spec,
            me,
            workspace,
            hold: Hold::new(me),
            committed: state,
            round: record.round,
            pending: None,
            served,
        }
    }

    /// Goes on with the average that a checkpoint holds; with none if it does not fit.
    pub fn with_average(mut self, kept: Option<&[u8]>) -> Arithmetic {
        self.average = super::average::begin(&self.spec, kept);
        self
    }

    /// The averaged parameters, if there are any.
    pub fn averaged(&self) -> Option<Arc<Vec<f32>>> {
        let average = self.average.as_ref().filter(|average| average.states() > 0)?;
        Some(Arc::new(average.params().to_vec()))
    }

    /// Which of the model's chunks is the `index`-th of the exchange that is under way.
    fn chunk(&self, index: u32) -> usize {
        self.spec.chunk_at(self.round + 1, index) as usize
    }

    /// The codec of contributions to the `index`-th chunk of the exchange that is under way.
    fn up(&self, index: u32) -> math::Coder {
        let round = self.round + 1;
        self.spec.up(round, self.chunk(index) as u32)
    }

    /// The codec of the result of a round's `index`-th chunk.
    fn down(&self, round: Round, index: u32) -> math::Coder {
        self.spec.down(round, self.spec.chunk_at(round, index))
    }

    /// Where training begins now: the committed parameters, or local ones that outlast rounds.
    pub fn begin_training(&mut self) -> Arc<Vec<f32>> {
        self.merges.clear();
        match &self.replica {
            Some(replica) => Arc::new(replica.local().to_vec()),
            None if self.spec.exchange.ahead == 0.0 => self.committed.params.clone(),
            None => {
                Arc::new(self.workspace.ahead(self.spec.exchange.ahead, &self.committed.params))
            }
        }
    }

    /// What has been learned on goes into what is contributed to a round; where the spec says so, training goes on from an estimate
    /// of what the round will lead to.
    pub fn offer(&mut self, round: Round) {
        let Some(replica) = &mut self.replica else { return };
        let ranges = self.spec.ranges_in(round);
        replica.offer(&ranges, self.workspace.delta_mut());
        if let Some(others) = &self.others {
            let mean = others.estimate(self.workspace.delta());
            let guess = outer_step(&self.spec, round, &self.committed, &mean);
            replica.guess(&ranges, &guess.params);
        }
    }

    /// The committed state.
    pub fn committed(&self) -> &State {
        &self.committed
    }

    /// A bulk frame has arrived.
    pub fn arrive(&mut self, frame: &Frame, bytes: Bytes) {
        self.hold.arrive(frame, bytes);
    }

    /// A bulk frame that arrived is not wanted.
    pub fn discard(&mut self, frame: &Frame) {
        self.hold.discard(frame);
    }

    /// Adds local work to what is to be contributed, or to what local parameters have learned. Work that is not finite is left out
    /// and said to be so. `merged`: so many of the commits since it began are in it already.
    ///
    /// # Errors
    /// If a number of it is not finite, or it has another length than the model.
    pub fn add_delta(&mut self, mut delta: Vec<f32>, merged: usize) -> Result<(), &'static str> {
        let sum = self.workspace.delta_mut();
        if delta.len() != sum.len() {
            return Err("has another length than the model");
        }
        if !math::all_finite(&delta) {
            return Err("holds a number that is not finite");
        }
        let Some(replica) = &mut self.replica else {
            // What was measured before is out of date.
            sum.iter_mut().skip(self.spec.model.params() as usize).for_each(|sum| *sum = 0.0);
            sum.iter_mut().zip(&delta).for_each(|(sum, delta)| *sum += delta);
            return Ok(());
        };
        self.merges.iter().skip(merged).for_each(|merge| merge.shrink(&mut delta));
        replica.learned(&delta);
        Ok(())
    }

    /// This peer's contribution to a chunk, encoded once per plan.
    pub fn contribution(&mut self, chunk: &ChunkId, fold: f32) -> Bytes {
        if let Some(bytes) = self.hold.own(&chunk.of, chunk.index) {
            return bytes;
        }
        let (up, c) = (self.up(chunk.index), self.chunk(chunk.index));
        let bytes = Bytes::from(self.workspace.encode(up, c, fold));
        self.hold.keep_own(chunk.of, chunk.index, bytes.clone());
        bytes
    }

    /// Adds up a chunk, keeps the result; its BLAKE3.
    ///
    /// # Errors
    /// The contribution that does not decode; its bytes are dropped.
    pub fn reduce(
        &mut self,
        plan: Digest,
        index: u32,
        parts: &[Part],
    ) -> Result<Digest, UnsoundPart> {
        let sum = self.sum(plan, index, parts);
        if let Err(unsound) = &sum {
            let of = parts.iter().filter(|part| part.member == unsound.member);
            of.for_each(|part| self.hold.used(&plan, index, &part.peer));
        }
        sum
    }

    fn sum(&mut self, plan: Digest, index: u32, parts: &[Part]) -> Result<Digest, UnsoundPart> {
        let (up, down) = (self.up(index), self.down(self.round + 1, index));
        let sources = parts
            .iter()
            .map(|part| self.part(&plan, index, part))
            .collect::<Result<Vec<_>, _>>()?;
        let reduced = self.workspace.reduce(up, down, self.chunk(index), &sources);
        let reduced = reduced.map_err(|error| UnsoundPart {
            member: error.member as u8,
            reason: error.cause.to_string(),
        })?;
        drop(sources);
        parts.iter().for_each(|part| self.hold.used(&plan, index, &part.peer));
        let digest = Digest::of(&reduced.bytes);
        let sum = (digest, Bytes::from(reduced.bytes));
        self.hold.keep_result((plan, index), sum, reduced.target);
        Ok(digest)
    }

    fn part(&self, plan: &Digest, index: u32, part: &Part) -> Result<math::Part<'_>, UnsoundPart> {
        let absent =
            || UnsoundPart { member: part.member, reason: "bytes that are not here".into() };
        let bytes = if part.peer == self.me {
            Source::Own
        } else {
            Source::Encoded(self.hold.contribution(plan, index, &part.peer).ok_or_else(absent)?)
        };
        Ok(math::Part { member: part.member as usize, weight: part.weight, bytes })
    }

    /// A result chunk's bytes, if they are here.
    pub fn result(&self, chunk: &ChunkId) -> Option<Bytes> {
        self.hold.result(&chunk.of, chunk.index)
    }

    /// A piece of a committed state, if it is still served.
    pub fn state_chunk(&self, chunk: &ChunkId) -> Option<Bytes> {
        let state = self.served.get(&chunk.of)?;
        let bytes = StateBytes::new(&state.params, &state.momentum);
        ((chunk.index as usize) < bytes.chunks())
            .then(|| Bytes::from(bytes.read(bytes.chunk(chunk.index as usize))))
    }

    /// Takes the outer step into a new state beside the committed one; the BLAKE3 of its chunks.
    ///
    /// # Errors
    /// If a result is not here or does not decode; nothing has changed then.
    pub fn apply(
        &mut self,
        round: Round,
        plan: &Digest,
        step: bool,
    ) -> Result<Vec<Digest>, String> {
        let wanted = step && self.others.is_some();
        let mean = wanted.then(|| self.mean(round, plan)).transpose()?;
        let state = match &mean {
            Some(mean) => outer_step(&self.spec, round, &self.committed, mean),
            None if step => self.stepped(round, plan)?,
            None => self.committed.clone(),
        };
        let digests = StateBytes::new(&state.params, &state.momentum).chunk_digests();
        self.pending = Some(Pending { round, state, mean, loaded: false });
        Ok(digests)
    }

    /// The mean, `[params]`; zero outside of the round's fragment.
    fn mean(&self, round: Round, plan: &Digest) -> Result<Vec<f32>, String> {
        let mut mean = vec![0.0; self.committed.params.len()];
        self.each_result(round, plan, |range, delta| mean[range].copy_from_slice(delta))?;
        Ok(mean)
    }

    /// The state after the outer step, chunk by chunk: nothing as long as the model is held beside it.
    fn stepped(&self, round: Round, plan: &Digest) -> Result<State, String> {
        let mut params = self.committed.params.as_ref().clone();
        let mut momentum = self.committed.momentum.as_ref().clone();
        let mut step = OuterStep::new(&self.spec, round);
        if step.needs_norm() {
            let mut squares = 0.0;
            self.each_result(round, plan, |_, delta| add_squares(&mut squares, delta))?;
            step.clip(squares.sqrt());
        }
        self.each_result(round, plan, |range, delta| {
            step.take_range(range, &mut params, &mut momentum, delta);
        })?;
        prune::after_step(&self.spec, round, &mut params, &mut momentum);
        Ok(State { params: Arc::new(params), momentum: Arc::new(momentum) })
    }

    /// Goes through the decoded results of a plan, chunk by chunk, with their places in the flat vector.
    fn each_result(
        &self,
        round: Round,
        plan: &Digest,
        mut visit: impl FnMut(Range<usize>, &[f32]),
    ) -> Result<(), String> {
        let mut delta = vec![0.0; self.spec.exchange.chunk_elems as usize];
        for (index, range) in self.spec.ranges_in(round).into_iter().enumerate() {
            let bytes = self
                .hold
                .result(plan, index as u32)
                .ok_or(format!("result {index} is not here"))?;
            let delta = &mut delta[..range.len()];
            self.down(round, index as u32)
                .decode(&bytes, delta)
                .map_err(|error| error.to_string())?;
            visit(range, delta);
        }
        Ok(())
    }

    /// The pending state is now the committed one; the workspace is settled. What it does to local parameters that are being trained
    /// on comes with it.
    pub fn commit(
        &mut self,
        record: Record,
        settle: &[Settle],
    ) -> Option<(Committed, Option<Arc<Merge>>)> {
        let Pending { round, state, mean, loaded } = self.pending.take()?;
        if round != record.round {
            return None;
        }
        if let (Some(others), Some(mean)) = (&mut self.others, mean) {
            others.note(&mean, self.workspace.delta(), record.share_of(&self.me));
        }
        for (index, settle) in settle.iter().enumerate() {
            let whole = matches!(settle, Settle::Unknown | Settle::Restarted);
            let c = if whole { index } else { self.spec.chunk_at(round, index as u32) as usize };
            self.settle(&record, (index, c), *settle);
            self.workspace.clear(c);
        }
        self.workspace.forget_residuals(self.spec.model.params() as usize);
        self.hold.settled(&record.plan);
        self.round = round;
        self.committed = state.clone();
        let merge = self.merge(round, loaded);
        let average = self.take_average(&record, loaded);
        self.served.insert(record.digest(), state.clone());
        let residual_up = self.workspace.residual_up().to_vec();
        let residual_down = self.workspace.residual_down().to_vec();
        Some((Committed { record, state, residual_up, residual_down, average }, merge))
    }

    /// One more state in the average, if it was trained; after a state that was fetched whole it begins anew.
    fn take_average(&mut self, record: &Record, loaded: bool) -> Option<Arc<Average>> {
        let average = self.average.as_mut()?;
        match loaded {
            true => average.restart(&self.committed.params),
            false if record.contributions.is_empty() => {}
            false => average.take(&self.committed.params),
        }
        (average.states() > 0).then(|| Arc::new(average.clone()))
    }

    /// The committed parameters reach the local ones.
    fn merge(&mut self, round: Round, loaded: bool) -> Option<Arc<Merge>> {
        let (replica, params) = (self.replica.as_mut()?, &self.committed.params);
        let whole = std::iter::once(0..params.len());
        let ranges = if loaded { whole.collect() } else { self.spec.ranges_in(round) };
        let merge = Arc::new(replica.arrive(self.spec.strategy.overlap, &ranges, params));
        self.merges.push(merge.clone());
        Some(merge)
    }

    fn settle(&mut self, record: &Record, (index, c): (usize, usize), settle: Settle) {
        let plan = &record.plan;
        let up = self.spec.up(record.round, c as u32);
        let down = self.spec.down(record.round, c as u32);
        if let Settle::Unknown | Settle::Restarted = settle {
            return self.let_go(c, settle == Settle::Restarted);
        }
        let result = self.hold.result(plan, index as u32);
        let outcome = match (settle, self.hold.target(plan, index as u32), &result) {
            (Settle::Owned { own }, Some(target), Some(result)) => {
                Outcome::Owned { target, codec: down, result, own: own.then_some(up) }
            }
            (Settle::Counted { fold, share }, ..) => {
                return self.settle_counted(plan, (index, c), (fold, share), up);
            }
            _ => Outcome::Missed,
        };
        if let Err(error) = self.workspace.settle(c, outcome) {
            tracing::error!(%error, index, "a result that was applied cannot be settled");
        }
    }

    /// Nobody knows what became of the chunk's residuals: they count as lost rather than twice. What this life has trained
    /// stays if it was never sent.
    fn let_go(&mut self, c: usize, keep_delta: bool) {
        let range = self.workspace.range(c);
        let kept = keep_delta.then(|| self.workspace.delta()[range.clone()].to_vec());
        let (up, down) = self.workspace.residuals_mut();
        match kept {
            Some(delta) => up[range.clone()].copy_from_slice(&delta),
            None => up[range.clone()].fill(0.0),
        }
        down[range].fill(0.0);
    }

    /// What was sent is in the sum. After a restart it is encoded again, as it was.
    fn settle_counted(
        &mut self,
        plan: &Digest,
        (index, c): (usize, usize),
        (fold, share): (f32, f32),
        codec: math::Coder,
    ) {
        let kept = self.hold.own(plan, index as u32);
        let bytes = kept.unwrap_or_else(|| Bytes::from(self.workspace.encode(codec, c, fold)));
        let outcome = Outcome::Counted { codec, fold, share, bytes: &bytes };
        if let Err(error) = self.workspace.settle(c, outcome) {
            tracing::error!(%error, index, "an own contribution cannot be settled");
        }
    }

    /// Assembles fetched chunks into a pending state; the BLAKE3 of its chunks.
    ///
    /// # Errors
    /// If a chunk is not here.
    pub fn load(&mut self, record: &Record) -> Result<Vec<Digest>, String> {
        let elems = self.committed.params.len();
        let mut params = vec![0.0; elems];
        let mut momentum = vec![0.0; elems * self.spec.outer_states()];
        let digest = record.digest();
        for index in 0..(self.spec.state_bytes() as usize).div_ceil(STATE_CHUNK_BYTES) {
            let bytes = self.hold.state_chunk(&digest, index as u32);
            let bytes = bytes.ok_or(format!("state chunk {index} is not here"))?;
            if !write_state(&mut params, &mut momentum, index * STATE_CHUNK_BYTES, bytes) {
                return Err(format!("state chunk {index} does not fit"));
            }
        }
        self.hold.clear_state();
        let digests = StateBytes::new(&params, &momentum).chunk_digests();
        let state = State { params: Arc::new(params), momentum: Arc::new(momentum) };
        self.pending = Some(Pending { round: record.round, state, mean: None, loaded: true });
        Ok(digests)
    }

    /// Nothing of this plan is needed any more.
    pub fn forget(&mut self, plan: &Digest) {
        self.hold.forget(plan);
    }

    /// The committed parameters become a pseudo-gradient on the loaded ones, which are of another branch.
    pub fn take_along(&mut self, share: f32, given: u64, tokens: u64) {
        if let Some(loaded) = &self.pending {
            let (from, to) = (&self.committed.params, &loaded.state.params);
            self.workspace.take_along(from, to, share, (given, tokens));
        }
    }

    /// A state is not asked for any more.
    pub fn release(&mut self, record: &Digest) {
        self.served.remove(record);
    }
}

/// The state after an outer step with this mean, `[params]`.
fn outer_step(spec: &RunSpec, round: Round, from: &State, mean: &[f32]) -> State {
    let (mut params, mut momentum) = (from.params.as_ref().clone(), from.momentum.as_ref().clone());
    outer::step(spec, round, &mut params, &mut momentum, mean);
    State { params: Arc::new(params), momentum: Arc::new(momentum) }
}
