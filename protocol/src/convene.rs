//! Who convenes a round's group, when it closes, and the plan that comes of it.
//!
//! The duty to convene falls to one peer by hash order, and to the next when that one stays silent past its deadline.

use crate::id::{Digest, PeerId, Round, RunId};
use crate::ledger::Record;
use crate::math::partition::{Capacity, partition_again};
use crate::run::{ExchangeSpec, GroupSpec, RunSpec};
use crate::time::{Span, Time};
use crate::wire::{MEMBERS_MAX, Member, PEERS_MAX, Plan, Ready};

/// Least time between one's own word of readiness and a close without everybody: those who hold a plan already answer in
/// it. Guess: two round trips across the world.
const SETTLE: Span = Span::from_millis(500);
/// Longest wait for a majority that is a few rounds behind, and the same in times of one's own training. Guess: to repeat four
/// rounds takes less.
const BEHIND: Span = Span::from_secs(30);
const BEHIND_TRAINED: u64 = 4;
/// Shortest grace after quorum, however short the training. Guess.
const GRACE_LEAST: Span = Span::from_millis(1_000);

/// The gather of one round, as one peer sees it.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The round to be exchanged.
    pub round: Round,
    /// Digest of the record before.
    pub base: Digest,
    /// When the gather began: when the round before was committed.
    pub since: Time,
    /// How often it was taken over.
    pub attempt: u32,
    /// When this peer said that it is ready.
    pub ready_since: Option<Time>,
    /// Until then others are left to carry out a plan that this peer is no member of.
    pub left_until: Time,
    /// When this peer last said that it is ready.
    pub repeated: Time,
    quorum_since: Option<Time>,
    closable_since: Option<Time>,
}

/// Who could take part, as one peer sees it now.
#[derive(Clone, Debug, Default)]
pub struct Attendance {
    /// Living peers in step, this one included; ascending.
    pub living: Vec<PeerId>,
    /// Those of them that are ready for this attempt; ascending.
    pub ready: Vec<PeerId>,
    /// Living peers on this branch that are some rounds behind; ascending.
    pub behind: Vec<PeerId>,
    /// Living peers that stand elsewhere; ascending.
    pub elsewhere: Vec<PeerId>,
}

impl Attendance {
    /// The least time from being ready to the plan. A few peers make rounds so quickly that the others, who fetch what they
    /// made, never reach them: their state is gone from the donors' memory before those hold it. So where most are about to
    /// come, they are waited for; and where most are somewhere else, those who are here go at half their pace.
    fn patience(&self, trained: Span) -> Span {
        if self.behind.len() > self.living.len() {
            BEHIND.max(Span(trained.0.saturating_mul(BEHIND_TRAINED)))
        } else if self.behind.len() + self.elsewhere.len() > self.living.len() {
            trained
        } else {
            Span::ZERO
        }
    }

    /// Who is waited for.
    fn missing(&self) -> Vec<PeerId> {
        let absent = self.living.iter().filter(|p| self.ready.binary_search(p).is_err());
        let away = self.behind.iter().chain(&self.elsewhere);
        let away = away.filter(|_| self.behind.len() + self.elsewhere.len() > self.living.len());
        absent.chain(away).copied().collect()
    }
}

/// What to do about a gather now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before `until`; others are waited for.
    Wait {
        /// Next look.
        until: Option<Time>,
        /// On whom.
        on: Vec<PeerId>,
    },
    /// This peer closes the gather.
    Convene,
    /// The convener was silent for too long: the next one's turn.
    TakeOver,
}

impl Gather {
    /// The gather for the round after `base`.
    pub fn new(round: Round, base: Digest, now: Time) -> Gather {
        let ready_since = None;
        Gather {
            round,
            base,
            since: now,
            attempt: 0,
            ready_since,
            left_until: Time::ZERO,
            repeated: now,
            quorum_since: None,
            closable_since: None,
        }
    }

    /// A higher attempt: everybody has to say again that it is ready.
    pub fn next_attempt(&mut self, attempt: u32, now: Time) {
        self.attempt = attempt;
        self.quorum_since = None;
        self.closable_since = None;
        self.ready_since = self.ready_since.map(|_| now);
    }

    /// Whether it is time to say again that this peer is ready; if so, that is noted.
    pub fn repeat_due(&mut self, every: Span, now: Time) -> bool {
        let due = self.ready_since.is_some() && now >= self.repeated + every;
        self.repeated = if due { now } else { self.repeated };
        due
    }

    /// Since when the gather could close, as far as this peer sees.
    pub fn closable_since(&self) -> Option<Time> {
        self.closable_since
    }

    /// Looks at who is there and says what is to be done.
    ///
    /// `trained` is how long local work took, `overdue` how long a convener may take to act.
    pub fn step(
        &mut self,
        run: &RunId,
        me: &PeerId,
        group: &GroupSpec,
        seen: &Attendance,
        (trained, overdue): (Span, Span),
        now: Time,
    ) -> Step {
        let Some(ready_since) = self.ready_since else {
            return Step::Wait { until: None, on: vec![*me] };
        };
        match self.closes_at(group, seen, trained, ready_since, now) {
            None => return Step::Wait { until: None, on: seen.missing() },
            Some(at) if at > now => return Step::Wait { until: Some(at), on: seen.missing() },
            Some(_) => {}
        }
        let closable_since = *self.closable_since.get_or_insert(now);
        let order = rank(run, self.round, &seen.ready);
        let convener = order[self.attempt as usize % order.len()];
        if convener == *me {
            Step::Convene
        } else if now >= closable_since + overdue {
            Step::TakeOver
        } else {
            Step::Wait { until: Some(closable_since + overdue), on: vec![convener] }
        }
    }

    /// When the gather may close: at once when all are ready, else at quorum plus grace; `None` before quorum.
    fn closes_at(
        &mut self,
        group: &GroupSpec,
        seen: &Attendance,
        trained: Span,
        ready_since: Time,
        now: Time,
    ) -> Option<Time> {
        let least = now.max(ready_since + seen.patience(trained));
        if seen.ready.len() >= seen.living.len().min(group.members_max as usize) {
            return Some(least);
        }
        if seen.ready.len() * 100 < seen.living.len() * group.quorum_percent as usize {
            self.quorum_since = None;
            return None;
        }
        let quorum_since = *self.quorum_since.get_or_insert(now);
        let grace =
            Span(trained.scale(f64::from(group.grace_percent) / 100.0).0.max(GRACE_LEAST.0));
        Some((quorum_since + grace).max(ready_since + SETTLE).max(least))
    }
}

/// The round's hash order: by BLAKE3(run, round, peer).
pub fn rank(run: &RunId, round: Round, peers: &[PeerId]) -> Vec<PeerId> {
    let key = |peer: &PeerId| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&run.0).update(&round.to_le_bytes()).update(&peer.0);
        *hasher.finalize().as_bytes()
    };
    let mut order: Vec<PeerId> = peers.to_vec();
    order.sort_by_cached_key(key);
    order
}

/// The order of a plan's members, who own the model's chunks in this order.
fn seated(run: &RunId, exchange: &ExchangeSpec, round: Round, members: &[PeerId]) -> Vec<PeerId> {
    rank(run, if exchange.owners_stay { 0 } else { round }, members)
}

/// The plan for a gather that closes: members in hash order, ranges by measured bandwidth.
///
/// `ready` holds everybody that takes part, the convener included; at most `members_max` of them are taken. Where owners stay, so
/// do the ranges of `before`, the plan of the round before, if it had the same members and their bandwidths are still much the same.
pub fn plan(
    spec: &RunSpec,
    gather: &Gather,
    convener: PeerId,
    ready: &[(PeerId, Ready)],
    lost: Vec<PeerId>,
    before: Option<&Plan>,
) -> Plan {
    let run = spec.id();
    let peers: Vec<PeerId> = ready.iter().map(|(peer, _)| *peer).collect();
    let mut order = rank(&run, gather.round, &peers);
    cut(&mut order, spec.group.members_max as usize, &convener);
    let order = seated(&run, &spec.exchange, gather.round, &order);
    let ready_of =
        |peer: &PeerId| ready.iter().find(|(other, _)| other == peer).map(|(_, ready)| ready);
    let chosen: Vec<(PeerId, &Ready)> =
        order.iter().filter_map(|peer| Some((*peer, ready_of(peer)?))).collect();
    let trained = chosen.iter().any(|(_, ready)| ready.tokens > 0);
    let capacities: Vec<Capacity> = chosen.iter().map(|(_, ready)| capacity(ready)).collect();
    let chunks = if trained { spec.chunks_in(gather.round) } else { 0 };
    let before = before.filter(|_| spec.exchange.owners_stay);
    let owned = before.map_or(Vec::new(), |plan| owned_by(&order, plan));
    let ranges = partition_again(chunks, &capacities, &owned);
    let member = |((peer, ready), range): (&(PeerId, &Ready), &std::ops::Range<u32>)| Member {
        peer: *peer,
        tokens: ready.tokens,
        wants: ready.wants,
        nonce: ready.nonce,
        leases: ready.leases,
        heldout: ready.heldout,
        chunks: range.end - range.start,
    };
    Plan {
        run,
        round: gather.round,
        base: gather.base,
        attempt: gather.attempt,
        convener,
        members: chosen.iter().zip(&ranges).map(member).collect(),
        lost,
    }
}

/// How many chunks each of these peers owned in a plan; nothing if its members were others.
fn owned_by(peers: &[PeerId], plan: &Plan) -> Vec<u32> {
    let same = plan.members.iter().map(|member| &member.peer).eq(peers);
    plan.members.iter().filter(|_| same).map(|member| member.chunks).collect()
}

/// Keeps the first `most` of the order, the convener among them.
fn cut(order: &mut Vec<PeerId>, most: usize, convener: &PeerId) {
    if order.len() > most {
        order.truncate(most);
        if !order.contains(convener) {
            order[most - 1] = *convener;
        }
    }
}

fn capacity(ready: &Ready) -> Capacity {
    Capacity {
        up_bytes_per_s: ready.up_bytes_per_s,
        down_bytes_per_s: ready.down_bytes_per_s,
        owns: ready.owns,
        contributes: ready.tokens > 0,
    }
}

/// Checks what a plan must be, whoever made it, against the spec and the committed record.
///
/// # Errors
/// What is wrong with it.
pub fn check(spec: &RunSpec, plan: &Plan, base: &Record) -> Result<(), String> {
    ensure(!spec.is_over(base), "goes beyond the run's end")?;
    let peers: Vec<PeerId> = plan.members.iter().map(|member| member.peer).collect();
    let most = MEMBERS_MAX.min(spec.group.members_max as usize);
    ensure(!peers.is_empty() && peers.len() <= most, "has too few or too many members")?;
    let seats = seated(&plan.run, &spec.exchange, plan.round, &peers);
    ensure(seats == peers, "has its members out of order")?;
    ensure(peers.windows(2).all(|pair| pair[0] != pair[1]), "names a member twice")?;
    ensure(peers.contains(&plan.convener), "has a convener that is no member")?;
    ensure(plan.lost.len() <= PEERS_MAX, "names too many lost peers")?;
    ensure(plan.lost.windows(2).all(|pair| pair[0] < pair[1]), "has its lost peers out of order")?;
    ensure(plan.lost.iter().all(|peer| !peers.contains(peer)), "calls a member lost")?;
    let holds_lease = |peer: &PeerId| !base.cursor.lease_of(peer).is_empty();
    ensure(plan.lost.iter().all(holds_lease), "calls a peer lost that holds no lease")?;
    let mut told = plan.members.iter().filter_map(|member| member.heldout.as_ref());
    let evaluated = told.all(|heldout| spec.may_tell(heldout, plan.round));
    ensure(evaluated, "tells the held-out loss of a state that is not evaluated")?;
    let trained = plan.members.iter().any(|member| member.tokens > 0);
    let chunks: u64 = plan.members.iter().map(|member| u64::from(member.chunks)).sum();
    let expected = if trained { spec.chunks_in(plan.round) } else { 0 };
    ensure(chunks == u64::from(expected), "does not cover the fragment")
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("the plan {what}")) }
}

/// Whether `new` replaces `old` for the same round and base: a higher attempt, or the same with the convener that comes first.
pub fn replaces(new: &Plan, old: &Plan) -> bool {
    let order = rank(&new.run, new.round, &[new.convener, old.convener]);
    new.attempt > old.attempt
        || (new.attempt == old.attempt && new.convener != old.convener && order[0] == new.convener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Codec;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn peers(n: u8) -> Vec<PeerId> {
        (1..=n).map(peer).collect()
    }

    const GROUP: GroupSpec = GroupSpec { members_max: 8, quorum_percent: 50, grace_percent: 50 };
    const TRAINED: Span = Span::from_secs(10);
    const OVERDUE: Span = Span::from_secs(3);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Span::from_secs(seconds)
    }

    fn step(gather: &mut Gather, me: u8, living: u8, ready: u8, now: Time) -> Step {
        let seen =
            Attendance { living: peers(living), ready: peers(ready), ..Attendance::default() };
        gather.step(&RunId::default(), &peer(me), &GROUP, &seen, (TRAINED, OVERDUE), now)
    }

    fn ready_gather() -> Gather {
        let mut gather = Gather::new(1, Digest::default(), Time::ZERO);
        gather.ready_since = Some(Time::ZERO);
        gather
    }

    #[test]
    fn the_first_in_hash_order_convenes_when_all_are_ready() {
        let order = rank(&RunId::default(), 1, &peers(4));
        let steps: Vec<Step> =
            order.iter().map(|who| step(&mut ready_gather(), who.0[0], 4, 4, at(1))).collect();
        let wait = Step::Wait { until: Some(at(4)), on: vec![order[0]] };
        assert_eq!(steps, [Step::Convene, wait.clone(), wait.clone(), wait]);
    }

    #[test]
    fn quorum_then_grace_then_close_without_the_rest() {
        let mut gather = ready_gather();
        let convener = rank(&RunId::default(), 1, &peers(2))[0].0[0];
        assert_eq!(
            step(&mut gather, convener, 4, 1, at(1)),
            Step::Wait { until: None, on: peers(4)[1..].to_vec() }
        );
        let wait = Step::Wait { until: Some(at(7)), on: peers(4)[2..].to_vec() };
        assert_eq!(step(&mut gather, convener, 4, 2, at(2)), wait);
        assert_eq!(step(&mut gather, convener, 4, 2, at(7)), Step::Convene);
    }

    #[test]
    fn a_few_wait_for_most_behind_and_go_at_half_their_pace_with_most_elsewhere() {
        let meets = |behind: &[u8], elsewhere: &[u8]| {
            let peers_of = |n: &[u8]| n.iter().map(|n| peer(*n)).collect();
            let (behind, elsewhere) = (peers_of(behind), peers_of(elsewhere));
            let seen = Attendance { living: peers(1), ready: peers(1), behind, elsewhere };
            let step = |now| {
                let paces = (TRAINED, OVERDUE);
                ready_gather().step(&RunId::default(), &peer(1), &GROUP, &seen, paces, now)
            };
            (step(at(0)), step(at(10)), step(at(40)))
        };
        let convene = || Step::Convene;
        let wait = |s| Step::Wait { until: Some(at(s)), on: vec![peer(2), peer(3)] };
        assert_eq!(meets(&[2], &[]), (convene(), convene(), convene()));
        assert_eq!(meets(&[], &[2, 3]), (wait(10), convene(), convene()));
        assert_eq!(meets(&[2], &[3]), (wait(10), convene(), convene()));
        assert_eq!(meets(&[2, 3], &[]), (wait(40), wait(40), convene()));
    }

    #[test]
    fn owners_that_stay_sit_in_the_same_order_in_every_round() {
        let mut spec = crate::session::tests::spec();
        let seated = |spec: &RunSpec, round, peers: &[PeerId]| {
            seated(&spec.id(), &spec.exchange, round, peers)
        };
        let orders = |spec: &RunSpec| [1, 2, 3].map(|round| seated(spec, round, &peers(9)));
        assert_ne!(orders(&spec)[0], orders(&spec)[1]);
        spec.exchange.owners_stay = true;
        let [first, second, third] = orders(&spec);
        assert!(first == second && second == third);
        // Whoever else there is, these follow one another.
        let even = |peers: &[PeerId]| -> Vec<PeerId> {
            peers.iter().copied().filter(|peer| peer.0[0].is_multiple_of(2)).collect()
        };
        assert_eq!(seated(&spec, 4, &even(&peers(9))), even(&first));
    }

    #[test]
    fn owners_that_stay_keep_their_ranges_where_bandwidths_are_much_the_same() {
        let mut spec = crate::session::tests::spec();
        spec.exchange =
            ExchangeSpec { owners_stay: true, ..ExchangeSpec::new(Codec::F32, Codec::F32, 512) };
        spec.model.vocab = 4096;
        let gather = ready_gather();
        let ready = |n: u8, rate: u64| Ready {
            round: 1,
            base: Digest::default(),
            attempt: 0,
            tokens: 100,
            wants: 1,
            nonce: 0,
            leases: 1,
            heldout: None,
            up_bytes_per_s: if n == 1 { rate } else { 1000 },
            down_bytes_per_s: 1000,
            owns: true,
        };
        let close = |spec: &RunSpec, n: u8, rate: u64, before: Option<&Plan>| {
            let ready: Vec<(PeerId, Ready)> = (1..=n).map(|n| (peer(n), ready(n, rate))).collect();
            plan(spec, &gather, peer(1), &ready, Vec::new(), before)
        };
        let owned = |plan: &Plan| plan.members.iter().map(|m| m.chunks).collect::<Vec<u32>>();
        let first = close(&spec, 4, 1000, None);
        let anew = |spec: &RunSpec, n, rate| owned(&close(spec, n, rate, None));
        assert_ne!(anew(&spec, 4, 900), owned(&first));
        assert_eq!(owned(&close(&spec, 4, 900, Some(&first))), owned(&first));
        assert_eq!(owned(&close(&spec, 4, 500, Some(&first))), anew(&spec, 4, 500));
        assert_eq!(owned(&close(&spec, 5, 900, Some(&first))), anew(&spec, 5, 900));
        spec.exchange.owners_stay = false;
        assert_eq!(owned(&close(&spec, 4, 900, Some(&first))), anew(&spec, 4, 900));
    }

    #[test]
    fn a_silent_convener_is_passed_over() {
        let order = rank(&RunId::default(), 1, &peers(3));
        let mut gather = ready_gather();
        let second = order[1].0[0];
        assert!(matches!(step(&mut gather, second, 3, 3, at(1)), Step::Wait { .. }));
        assert_eq!(step(&mut gather, second, 3, 3, at(4)), Step::TakeOver);
        gather.next_attempt(1, at(4));
        assert_eq!(step(&mut gather, second, 3, 3, at(4)), Step::Convene);
    }

    #[test]
    fn a_large_crowd_is_cut_but_the_convener_stays() {
        let order = peers(5);
        let check = |convener: u8, expected: &[u8]| {
            let mut cut_order = order.clone();
            cut(&mut cut_order, 3, &peer(convener));
            assert_eq!(cut_order.iter().map(|p| p.0[0]).collect::<Vec<_>>(), expected);
        };
        check(1, &[1, 2, 3]);
        check(5, &[1, 2, 5]);
    }
}
