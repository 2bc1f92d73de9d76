//! The root machine of a gossip run: train, meet, average, step.

use super::event::{Frame, FrameKind, Input, Message, Output};
use super::grid::{Place, axis};
use super::group::Group;
use super::seats;
use crate::convene::rank;
use crate::deadline::Deadline;
use crate::id::{Digest, PeerId, Round, RunId};
use crate::run::RunSpec;
use crate::run::gossip::GossipSpec;
use crate::time::{Span, Time};
use crate::wire::{MEMBERS_MAX, PEERS_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Frames that are kept of groups that are not known yet, the last to come: the convener's word may come later than a member's part.
/// Guess.
pub const EARLY_MAX: usize = 4 * MEMBERS_MAX;
/// Rounds ahead of this peer's own in which it convenes for others. Guess.
const AHEAD_MAX: Round = 4;
/// How long a starting peer listens to its neighbours before it begins, from the first that it meets. Guess: some beacons' time.
const LISTEN: Span = Span::from_secs(2);
/// A peer that is more rounds behind than this takes over a neighbour's parameters. Guess.
const FAR_BEHIND: Round = 8;
/// Shortest grace after half of a cell is ready. Guess.
const GRACE_LEAST: Span = Span::from_millis(500);
/// Neighbours that are asked for parameters before a peer begins without. Guess.
const DONORS_MAX: u32 = 3;

/// A neighbour that can be reached.
#[derive(Clone, Debug)]
struct Neighbour {
    /// `None` until it claims one.
    place: Option<Place>,
    seat: Option<u32>,
    /// The round that it was last heard to work towards; 0 if it was not heard yet.
    round: Round,
}

/// A neighbour as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub peer: PeerId,
    /// The round that it was last heard to work towards; 0 if it was not heard yet.
    pub round: Round,
    /// Its place, if it has one.
    pub place: Option<Place>,
}

/// Those who are ready for one round in one cell.
#[derive(Clone, Debug, Default)]
struct Gather {
    ready: BTreeSet<PeerId>,
    /// When the first was, and when half of the cell was.
    first: Option<Time>,
    half: Option<Time>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Listens to its neighbours.
    Listening,
    /// Waits for a neighbour's parameters.
    Fetching(PeerId),
    /// Local work is under way.
    Training,
    /// Waits for the convener's word.
    Gathering,
    /// Averages.
    Averaging(Box<Group>),
    /// All rounds are over; it still serves its parameters.
    Over,
}

/// One peer of a gossip run. See the [module](super).
#[derive(Clone, Debug)]
pub struct GossipSession {
    run: RunId,
    spec: GossipSpec,
    grace_percent: u32,
    /// The run's last round.
    rounds: Round,
    me: PeerId,
    place: Place,
    seat: Option<u32>,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// The round that it works towards.
    round: Round,
    stage: Stage,
    since: Time,
    until: Option<Time>,
    trained: Span,
    asked: u32,
    gathers: BTreeMap<Round, Gather>,
    early: VecDeque<(PeerId, Frame)>,
    /// From being ready to the convener's word, and from that to all means.
    grouping: Deadline,
    averaging: Deadline,
}

impl GossipSession {
    /// At the parameters of round `committed`, 0 for a new peer. `None` if the spec is of no gossip run.
    pub fn new(now: Time, spec: &RunSpec, me: PeerId, committed: Round) -> Option<GossipSession> {
        GossipSession::patient(now, spec, me, committed, LISTEN)
    }

    /// The same, for a peer that begins alone only if it has met nobody for so long.
    pub fn patient(
        now: Time,
        spec: &RunSpec,
        me: PeerId,
        committed: Round,
        alone_after: Span,
    ) -> Option<GossipSession> {
        let gossip = spec.gossip?;
        let run = spec.id();
        let s = Span::from_secs;
        let place =
            if gossip.claimed { Place::at(0, &gossip) } else { Place::of(&run, &me, &gossip) };
        Some(GossipSession {
            place,
            seat: None,
            run,
            spec: gossip,
            grace_percent: spec.group.grace_percent,
            rounds: spec.rounds,
            me,
            neighbours: BTreeMap::new(),
            round: committed + 1,
            stage: Stage::Listening,
            since: now,
            until: Some(now + alone_after),
            trained: Span::ZERO,
            asked: 0,
            gathers: BTreeMap::new(),
            early: VecDeque::new(),
            grouping: Deadline::new(s(10), s(1), s(600)), // guess
            averaging: Deadline::new(s(60), s(2), s(600)), // guess: 8 MiB at 1 Mbit/s
        })
    }

    /// The round that it works towards.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Whom it could meet, now or in another round; where places are claimed, all that it knows.
    pub fn neighbours(&self) -> impl Iterator<Item = Known> {
        let known = |(peer, n): (&PeerId, &Neighbour)| Known {
            peer: *peer,
            round: n.round,
            place: n.place,
        };
        self.neighbours.iter().map(known)
    }

    /// Its own place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// In one word what it does.
    pub fn doing(&self) -> &'static str {
        match &self.stage {
            Stage::Listening => "listening",
            Stage::Fetching(_) => "fetching",
            Stage::Training => "training",
            Stage::Gathering => "gathering",
            Stage::Averaging(_) => "averaging",
            Stage::Over => "over",
        }
    }

    /// What it does, on whom it waits, since when and until when.
    pub fn waits(&self) -> (&'static str, Vec<PeerId>, Time, Option<Time>) {
        let on = match &self.stage {
            Stage::Fetching(from) => vec![*from],
            Stage::Training => vec![self.me],
            Stage::Gathering => vec![self.convener()],
            Stage::Averaging(group) => group.missing(),
            Stage::Listening | Stage::Over => Vec::new(),
        };
        (self.doing(), on, self.since, self.until)
    }

    /// When it wants [`Input::Wake`], if nothing else comes before.
    pub fn next_wake(&self) -> Option<Time> {
        let closes = self.gathers.iter().filter_map(|(round, gather)| self.closes(*round, gather));
        self.until.into_iter().chain(closes).min()
    }

    /// Everything that can happen to it.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Met { peer } => self.met(peer, now, out),
            Input::Lost { peer } => self.lost(&peer, now, out),
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::Arrived { from, frame } => self.arrived(from, frame, now, out),
            Input::Trained => self.trained(now, out),
            Input::Wake => {}
        }
        self.convene(now, out);
        if self.until.is_some_and(|until| until <= now) {
            self.overdue(now, out);
        }
    }

    fn met(&mut self, peer: PeerId, now: Time, out: &mut Vec<Output>) {
        let place = (!self.spec.claimed).then(|| Place::of(&self.run, &peer, &self.spec));
        let near =
            |place: &Place| (0..self.spec.axes as usize).any(|axis| self.place.meets(place, axis));
        let full = self.neighbours.len() >= PEERS_MAX && self.spec.claimed;
        if peer == self.me || full || !place.as_ref().is_none_or(near) {
            return;
        }
        self.neighbours.entry(peer).or_insert(Neighbour { place, seat: None, round: 0 });
        if matches!(self.stage, Stage::Listening) {
            self.until = self.until.map(|until| until.min(now + LISTEN));
        }
        out.push(self.here(peer));
    }

    fn here(&self, to: PeerId) -> Output {
        Output::Send { to, message: Message::Here { round: self.round, seat: self.seat } }
    }

    fn lost(&mut self, peer: &PeerId, now: Time, out: &mut Vec<Output>) {
        self.neighbours.remove(peer);
        self.early.retain(|(from, _)| from != peer);
        self.gathers.values_mut().for_each(|gather| {
            gather.ready.remove(peer);
        });
        match &mut self.stage {
            Stage::Averaging(group) => {
                group.lost(peer);
                self.average(false, now, out);
            }
            Stage::Fetching(from) if from == peer => self.until = Some(now),
            _ => {}
        }
    }

    fn received(&mut self, from: PeerId, message: Message, now: Time, out: &mut Vec<Output>) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        match message {
            // A round that the run does not have.
            Message::Here { round, .. }
            | Message::Ready { round }
            | Message::Group { round, .. }
                if round > self.rounds.saturating_add(1) => {}
            Message::Here { round, seat } => {
                // What it was told when it met this peer may have come too early for it.
                let first = neighbour.round == 0;
                neighbour.round = neighbour.round.max(round);
                self.claims(&from, seat);
                if first {
                    out.push(self.here(from));
                }
                self.follow(&from, round, now, out);
            }
            Message::Ready { round } => {
                neighbour.round = neighbour.round.max(round);
                if round < self.round {
                    out.push(self.here(from));
                } else if round <= self.round + AHEAD_MAX {
                    self.is_ready(round, from, now);
                }
            }
            Message::Group { round, members } => self.begin(from, round, members, now, out),
            Message::WantState => {
                let slice = self.round - 1;
                let frame = Frame { group: Digest::default(), slice, kind: FrameKind::State };
                out.push(Output::SendState { to: from, frame });
            }
        }
    }

    fn claims(&mut self, peer: &PeerId, seat: Option<u32>) {
        let Some(neighbour) = self.neighbours.get_mut(peer).filter(|_| self.spec.claimed) else {
            return;
        };
        neighbour.seat = seat;
        neighbour.place = seat.map(|seat| Place::at(seat, &self.spec));
    }

    /// Who waits for a round's group in vain goes on to the round of those who are beyond it: of the convener, which makes no group
    /// for that round any more, or of the others, if all of the cell are. After the run's last round there is none to go on to.
    fn follow(&mut self, leader: &PeerId, round: Round, now: Time, out: &mut Vec<Output>) {
        let waits = matches!(self.stage, Stage::Gathering) && round > self.round;
        if !waits || (self.convener() != *leader && self.expected(self.round) > 1) {
            return;
        }
        if self.round >= self.rounds {
            return self.step(None, now, out);
        }
        self.round = round.min(self.rounds);
        self.gather(now, out);
    }

    fn arrived(&mut self, from: PeerId, frame: Frame, now: Time, out: &mut Vec<Output>) {
        match &mut self.stage {
            Stage::Averaging(group) if group.name == frame.group => {
                group.arrived(&from, &frame);
                self.average(false, now, out);
            }
            Stage::Fetching(donor)
                if *donor == from
                    && frame.kind == FrameKind::State
                    && (self.round..=self.rounds).contains(&frame.slice) =>
            {
                out.push(Output::Load { from, frame });
                self.round = frame.slice + 1;
                self.train(now, out);
            }
            _ if self.neighbours.contains_key(&from) => self.keep(from, frame),
            _ => {}
        }
    }

    /// Keeps a frame of a group that is not known; where there are too many, the first to come was of one that is over.
    fn keep(&mut self, from: PeerId, frame: Frame) {
        if self.early.contains(&(from, frame)) {
            return;
        }
        if self.early.len() == EARLY_MAX {
            self.early.pop_front();
        }
        self.early.push_back((from, frame));
    }

    /// A wait is over.
    fn overdue(&mut self, now: Time, out: &mut Vec<Output>) {
        match &self.stage {
            Stage::Listening | Stage::Fetching(_) => self.fetch_or_train(now, out),
            Stage::Gathering => self.step(None, now, out),
            Stage::Averaging(_) => self.average(true, now, out),
            Stage::Training | Stage::Over => self.until = None,
        }
    }

    /// A new peer, or one that is far behind, takes over parameters of the neighbour that is furthest, if there is one.
    fn fetch_or_train(&mut self, now: Time, out: &mut Vec<Output>) {
        let furthest = self
            .neighbours
            .iter()
            .max_by_key(|(peer, n)| (n.round, rank_of(&self.run, self.asked, peer)));
        let furthest = furthest.map(|(peer, n)| (*peer, n.round));
        let far = |round: Round| round > self.round + if self.round == 1 { 1 } else { FAR_BEHIND };
        match furthest {
            Some((donor, round)) if far(round) && self.asked < DONORS_MAX => {
                self.asked += 1;
                self.enter(Stage::Fetching(donor), Some(now + self.averaging.span()), now);
                out.push(Output::Send { to: donor, message: Message::WantState });
            }
            _ => self.train(now, out),
        }
    }

    fn enter(&mut self, stage: Stage, until: Option<Time>, now: Time) {
        (self.stage, self.since, self.until) = (stage, now, until);
    }

    fn train(&mut self, now: Time, out: &mut Vec<Output>) {
        self.asked = 0;
        // Whoever is ready for a round that is over here has its group before it hears so.
        self.convene(now, out);
        self.sit(out);
        if self.round > self.rounds {
            return self.enter(Stage::Over, None, now);
        }
        self.enter(Stage::Training, None, now);
        out.push(Output::Train { round: self.round });
    }

    /// Where places are claimed, sees to its seat and tells all where it is.
    fn sit(&mut self, out: &mut Vec<Output>) {
        if !self.spec.claimed {
            return;
        }
        let heard = self.neighbours.iter().filter(|(_, n)| n.round > 0);
        let claims = heard.map(|(peer, n)| (*peer, n.seat)).chain([(self.me, self.seat)]).collect();
        if let Some(seat) = seats::settle(&self.run, &claims).get(&self.me) {
            self.seat = Some(*seat);
            self.place = Place::at(*seat, &self.spec);
        }
        out.extend(self.neighbours.keys().map(|peer| self.here(*peer)));
    }

    fn trained(&mut self, now: Time, out: &mut Vec<Output>) {
        if matches!(self.stage, Stage::Training) {
            self.trained = now.since(self.since);
            self.gather(now, out);
        }
    }

    /// Asks the cell's convener for a group; alone in it there is nobody to ask.
    fn gather(&mut self, now: Time, out: &mut Vec<Output>) {
        let patience = self.grouping.span() + self.trained;
        self.enter(Stage::Gathering, Some(now + patience), now);
        let convener = self.convener();
        if convener != self.me {
            let message = Message::Ready { round: self.round };
            out.push(Output::Send { to: convener, message });
        } else if self.cell(self.round).next().is_none() {
            self.step(None, now, out);
        } else {
            self.is_ready(self.round, self.me, now);
        }
    }

    /// Neighbours that it meets in a round.
    fn cell(&self, round: Round) -> impl Iterator<Item = (&PeerId, &Neighbour)> {
        let axis = axis(round, &self.spec);
        let meets = move |place: &Place| place.meets(&self.place, axis);
        self.neighbours.iter().filter(move |(_, n)| n.place.as_ref().is_some_and(meets))
    }

    /// First of its cell in the round's hash order.
    fn convener(&self) -> PeerId {
        let cell = self.cell(self.round).map(|(peer, _)| *peer).chain([self.me]);
        let cell: Vec<PeerId> = cell.collect();
        rank(&self.run, self.round, &cell)[0]
    }

    fn is_ready(&mut self, round: Round, peer: PeerId, now: Time) {
        let half = self.expected(round).div_ceil(2);
        let gather = self.gathers.entry(round).or_default();
        gather.ready.insert(peer);
        gather.first.get_or_insert(now);
        if gather.ready.len() >= half {
            gather.half.get_or_insert(now);
        }
    }

    /// How many may come to a round's gather: this peer and those neighbours that are not beyond it.
    fn expected(&self, round: Round) -> usize {
        let others = self.cell(round).filter(|(_, n)| n.round <= round).count();
        others + usize::from(self.round <= round)
    }

    /// When a gather closes without those who are missing.
    fn closes(&self, round: Round, gather: &Gather) -> Option<Time> {
        let first = gather.first?;
        if round < self.round {
            return Some(first);
        }
        if gather.ready.len() >= self.expected(round) {
            return Some(first);
        }
        let grace = self.trained.scale(f64::from(self.grace_percent) / 100.0);
        let grace = Span(grace.0.max(GRACE_LEAST.0));
        let latest = first + self.trained + grace;
        Some(gather.half.map_or(latest, |half| latest.min(half + grace)))
    }

    /// Closes what is to be closed: divides those that are ready into groups, and tells them.
    fn convene(&mut self, now: Time, out: &mut Vec<Output>) {
        let closed = |(round, gather): (&Round, &Gather)| {
            self.closes(*round, gather).is_some_and(|at| at <= now).then_some(*round)
        };
        let closed: Vec<Round> = self.gathers.iter().filter_map(closed).collect();
        for round in closed {
            let Some(mut gather) = self.gathers.remove(&round) else { continue };
            if round < self.round {
                gather.ready.remove(&self.me);
            }
            let ready: Vec<PeerId> = gather.ready.into_iter().collect();
            for group in groups(&self.run, round, &ready, self.spec.pairs) {
                self.tell(round, &group, now, out);
            }
        }
    }

    fn tell(&mut self, round: Round, members: &[PeerId], now: Time, out: &mut Vec<Output>) {
        for peer in members.iter().filter(|peer| **peer != self.me) {
            let message = Message::Group { round, members: members.to_vec() };
            out.push(Output::Send { to: *peer, message });
        }
        if members.contains(&self.me) {
            self.begin(self.me, round, members.to_vec(), now, out);
        }
    }

    /// The convener's word. It counts from whoever says it to a peer that waits for one: where two are taken for the convener, there
    /// are two groups.
    fn begin(
        &mut self,
        from: PeerId,
        round: Round,
        members: Vec<PeerId>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let waits = matches!(self.stage, Stage::Gathering) && round == self.round;
        if !waits || !self.is_sound(&from, &members) {
            return;
        }
        self.grouping.observe(now.since(self.since));
        if members.len() == 1 {
            return self.step(None, now, out);
        }
        let Some(mut group) = Group::begin(round, members, &self.me, out) else { return };
        let name = group.name;
        for (from, frame) in self.early.iter().filter(|(_, frame)| frame.group == name) {
            group.arrived(from, frame);
        }
        self.early.retain(|(_, frame)| frame.group != name);
        let gone =
            group.members.iter().filter(|m| **m != self.me && !self.neighbours.contains_key(m));
        let gone: Vec<PeerId> = gone.copied().collect();
        gone.iter().for_each(|peer| group.lost(peer));
        self.enter(Stage::Averaging(Box::new(group)), Some(now + self.averaging.span()), now);
        self.average(false, now, out);
    }

    /// Distinct members of one cell, this peer among them, told by one who may know. Where places are claimed a claim may be under way:
    /// there all that are known are taken for members of the cell.
    fn is_sound(&self, from: &PeerId, members: &[PeerId]) -> bool {
        let axis = axis(self.round, &self.spec);
        let here = |peer: &PeerId| match self.spec.claimed {
            true => *peer == self.me || self.neighbours.contains_key(peer),
            false => Place::of(&self.run, peer, &self.spec).meets(&self.place, axis),
        };
        let distinct = members.iter().collect::<BTreeSet<_>>().len() == members.len();
        distinct
            && members.len() <= MEMBERS_MAX
            && members.contains(&self.me)
            && members.iter().chain([from]).all(here)
    }

    fn average(&mut self, late: bool, now: Time, out: &mut Vec<Output>) {
        let Stage::Averaging(group) = &mut self.stage else { return };
        if !group.advance(late, out) {
            return;
        }
        if !late {
            self.averaging.observe(Span(now.since(self.since).0.saturating_mul(2)));
        }
        let step = group.step(self.round);
        self.step(Some(step), now, out);
    }

    /// The round ends, with a group's means or alone.
    fn step(&mut self, step: Option<Output>, now: Time, out: &mut Vec<Output>) {
        let (round, group) = (self.round, Digest::default());
        out.push(step.unwrap_or(Output::Step { round, slices: 0, here: Vec::new(), group }));
        self.round += 1;
        let furthest = self.neighbours.values().map(|n| n.round).max().unwrap_or(0);
        if furthest > self.round + FAR_BEHIND {
            return self.fetch_or_train(now, out);
        }
        self.train(now, out);
    }
}

/// The groups of those of a cell that are ready for a round, in an order that only these follow from.
pub fn groups(run: &RunId, round: Round, ready: &[PeerId], pairs: bool) -> Vec<Vec<PeerId>> {
    divide(rank(run, round, ready), pairs)
}

/// Pairs, the last of which may be three; or one group, cut so that none is too large.
fn divide(ready: Vec<PeerId>, pairs: bool) -> Vec<Vec<PeerId>> {
    let size =
        if pairs { 2 } else { ready.len().div_ceil(ready.len().div_ceil(MEMBERS_MAX).max(1)) };
    let mut groups: Vec<Vec<PeerId>> = ready.chunks(size.max(1)).map(<[PeerId]>::to_vec).collect();
    if groups.len() > 1 && groups.last().is_some_and(|last| last.len() == 1) {
        let last = groups.pop().unwrap_or_default();
        groups.last_mut().into_iter().for_each(|group| group.extend(&last));
    }
    groups
}

/// An order of neighbours that is another for each try.
fn rank_of(run: &RunId, asked: u32, peer: &PeerId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"donor").update(&run.0).update(&asked.to_le_bytes()).update(&peer.0);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
