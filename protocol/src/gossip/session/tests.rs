//! One machine alone: inputs in, the exact list of outputs out.

use super::*;
use crate::session::tests::spec;

fn id(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn at(ms: u64) -> Time {
    Time(ms * 1000)
}

/// Peer 1 of a run of one cell, listening.
fn session(pairs: bool) -> GossipSession {
    let gossip = GossipSpec { pairs, ..GossipSpec::noloco(1, 8) };
    let spec = RunSpec { gossip: Some(gossip), ..spec() };
    GossipSession::new(at(0), &spec, id(1), 0).unwrap()
}

fn give(session: &mut GossipSession, ms: u64, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    session.handle(at(ms), input, &mut out);
    out
}

fn says(from: u8, message: Message) -> Input {
    Input::Received { from: id(from), message }
}

fn alone(round: Round) -> Output {
    Output::Step { round, slices: 0, here: vec![], group: Digest::default() }
}

#[test]
fn alone_it_goes_from_round_to_round() {
    let mut session = session(true);
    assert_eq!(session.next_wake(), Some(at(2000)));
    assert_eq!(give(&mut session, 2000, Input::Wake), [Output::Train { round: 1 }]);
    assert_eq!(give(&mut session, 3000, Input::Trained), [alone(1), Output::Train { round: 2 }]);
    assert_eq!(session.next_wake(), None);
}

/// Trained towards round 1, with peer 2 met.
fn ready() -> (GossipSession, Vec<Output>) {
    let mut session = session(true);
    let here = Output::Send { to: id(2), message: Message::Here { round: 1, seat: None } };
    assert_eq!(give(&mut session, 10, Input::Met { peer: id(2) }), [here]);
    give(&mut session, 20, says(2, Message::Here { round: 1, seat: None }));
    give(&mut session, 2000, Input::Wake);
    let out = give(&mut session, 3000, Input::Trained);
    (session, out)
}

#[test]
fn a_pair_meets_averages_and_steps() {
    let (mut session, out) = ready();
    // Whichever of the two is convener: the other's word or readiness makes the group.
    let members = if session.convener() == id(1) {
        assert_eq!(out, []);
        let out = give(&mut session, 3100, says(2, Message::Ready { round: 1 }));
        let Some(Output::Send { message: Message::Group { members, .. }, .. }) = out.first() else {
            panic!("{out:?}")
        };
        members.clone()
    } else {
        let message = Message::Ready { round: 1 };
        assert_eq!(out, [Output::Send { to: id(2), message }]);
        let members = vec![id(2), id(1)];
        let message = Message::Group { round: 1, members: members.clone() };
        give(&mut session, 3100, says(2, message));
        members
    };
    let group = Group::name(1, &members);
    let mine = members.iter().position(|member| *member == id(1)).unwrap() as u64;
    let part = Frame { group, slice: mine, kind: FrameKind::Part };
    let out = give(&mut session, 3200, Input::Arrived { from: id(2), frame: part });
    let parts = vec![members[0], members[1]];
    let mean = |slice| Frame { group, slice, kind: FrameKind::Mean };
    let to = id(2);
    assert_eq!(out, [Output::Sum { frame: part, parts }, Output::Mean { to, frame: mean(mine) }]);
    let out = give(&mut session, 3300, Input::Arrived { from: id(2), frame: mean(1 - mine) });
    let step = Output::Step { round: 1, slices: 2, here: vec![0, 1], group };
    assert_eq!(out, [step, Output::Train { round: 2 }]);
}

#[test]
fn who_does_not_come_costs_a_wait_and_nothing_else() {
    let (mut session, _) = ready();
    let until = session.next_wake().unwrap();
    let out = give(&mut session, until.0 / 1000, Input::Wake);
    let out = if out.is_empty() { give(&mut session, 60_000, Input::Wake) } else { out };
    assert_eq!(out, [alone(1), Output::Train { round: 2 }]);
}

#[test]
fn a_new_peer_takes_over_parameters_and_one_behind_jumps() {
    let mut session = session(true);
    give(&mut session, 10, Input::Met { peer: id(2) });
    give(&mut session, 20, says(2, Message::Here { round: 7, seat: None }));
    let want = Output::Send { to: id(2), message: Message::WantState };
    assert_eq!(give(&mut session, 2000, Input::Wake), [want]);
    let frame = Frame { group: Digest::default(), slice: 6, kind: FrameKind::State };
    let out = give(&mut session, 2500, Input::Arrived { from: id(2), frame });
    assert_eq!(out, [Output::Load { from: id(2), frame }, Output::Train { round: 7 }]);
    give(&mut session, 3000, Input::Trained);
    give(&mut session, 3100, says(2, Message::Here { round: 9, seat: None }));
    assert_eq!(session.round(), 9);
}

#[test]
fn the_word_of_a_liar_makes_no_group() {
    let (mut session, _) = ready();
    for members in [vec![id(2)], vec![id(1), id(1)], vec![id(2), id(3)]] {
        let out = give(&mut session, 3100, says(2, Message::Group { round: 1, members }));
        assert_eq!(out, []);
    }
    let out = give(&mut session, 3100, says(9, Message::Group { round: 1, members: vec![id(1)] }));
    assert_eq!(out, []);
}

#[test]
fn a_round_that_the_run_does_not_have_is_not_believed() {
    let (mut session, _) = ready();
    for message in [Message::Here { round: u64::MAX, seat: None }, Message::Ready { round: 102 }] {
        assert_eq!(give(&mut session, 3100, says(2, message)), []);
        assert_eq!(session.round(), 1);
    }
}

#[test]
fn after_the_last_round_it_trains_no_more_and_serves() {
    let gossip = Some(GossipSpec::noloco(1, 8));
    let spec = RunSpec { gossip, rounds: 1, ..spec() };
    let mut session = GossipSession::new(at(0), &spec, id(1), 0).unwrap();
    give(&mut session, 2000, Input::Wake);
    assert_eq!(give(&mut session, 3000, Input::Trained), [alone(1)]);
    assert_eq!((session.next_wake(), session.waits().0), (None, "over"));
    give(&mut session, 3000, Input::Met { peer: id(2) });
    let frame = Frame { group: Digest::default(), slice: 1, kind: FrameKind::State };
    let serves = Output::SendState { to: id(2), frame };
    assert_eq!(give(&mut session, 3000, says(2, Message::WantState)), [serves]);
}

#[test]
fn those_who_are_ready_are_divided() {
    let ready = |n: u8| (0..n).map(id).collect::<Vec<_>>();
    let sizes = |n, pairs| divide(ready(n), pairs).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(1, true), [1]);
    assert_eq!(sizes(5, true), [2, 3]);
    assert_eq!(sizes(6, true), [2, 2, 2]);
    assert_eq!(sizes(6, false), [6]);
    assert_eq!(sizes(70, false), [35, 35]);
}

/// Peer 1 of a run whose places are claimed, on a grid of two by two.
fn claiming() -> GossipSession {
    let gossip = GossipSpec { claimed: true, ..GossipSpec::moshpit(2, 2) };
    let spec = RunSpec { gossip: Some(gossip), ..spec() };
    GossipSession::patient(at(0), &spec, id(1), 0, Span::from_secs(30)).unwrap()
}

fn here(to: u8, round: Round, seat: Option<u32>) -> Output {
    Output::Send { to: id(to), message: Message::Here { round, seat } }
}

#[test]
fn it_listens_for_long_alone_and_not_for_long_with_others() {
    let mut session = claiming();
    assert_eq!(session.next_wake(), Some(at(30_000)));
    assert_eq!(give(&mut session, 500, Input::Met { peer: id(2) }), [here(2, 1, None)]);
    assert_eq!(session.next_wake(), Some(at(2500)));
    give(&mut session, 900, Input::Met { peer: id(3) });
    assert_eq!(session.next_wake(), Some(at(2500)));
}

#[test]
fn a_newcomer_claims_a_free_seat_and_says_so_to_all() {
    let mut session = claiming();
    for peer in 2..=4 {
        assert_eq!(give(&mut session, 10, Input::Met { peer: id(peer) }), [here(peer, 1, None)]);
    }
    // Whoever is heard for the first time hears it back; peer 4 is not heard at all.
    let out = give(&mut session, 20, says(2, Message::Here { round: 1, seat: Some(0) }));
    assert_eq!(out, [here(2, 1, None)]);
    assert_eq!(give(&mut session, 25, says(2, Message::Here { round: 1, seat: Some(0) })), []);
    give(&mut session, 30, says(3, Message::Here { round: 1, seat: Some(2) }));
    let out = give(&mut session, 2010, Input::Wake);
    let told = [here(2, 1, Some(1)), here(3, 1, Some(1)), here(4, 1, Some(1))];
    assert_eq!((&out[..3], &out[3..]), (&told[..], &[Output::Train { round: 1 }][..]));
    assert_eq!(session.place().coordinates(&GossipSpec::moshpit(2, 2)), [1, 0]);
}

#[test]
fn who_waits_follows_its_convener_and_not_just_anybody() {
    let mut session = claiming();
    for (peer, seat) in [(2, 0), (3, 2)] {
        give(&mut session, 10, Input::Met { peer: id(peer) });
        give(&mut session, 20, says(peer, Message::Here { round: 1, seat: Some(seat) }));
    }
    give(&mut session, 2010, Input::Wake);
    // Round 1 is of axis 1, where seat 1 meets nobody; round 2 of axis 0, where it meets seat 0.
    let out = give(&mut session, 3000, Input::Trained);
    assert_eq!(out[0], alone(1));
    give(&mut session, 4000, Input::Trained);
    assert_eq!(session.waits().0, "gathering");
    give(&mut session, 4100, says(3, Message::Here { round: 3, seat: Some(2) }));
    assert_eq!(session.round(), 2);
    give(&mut session, 4200, says(2, Message::Here { round: 4, seat: Some(0) }));
    assert_eq!(session.round(), 4);
}

#[test]
fn who_is_ready_for_a_round_that_is_over_here_has_its_group_all_the_same() {
    let (mut session, _) = ready();
    give(&mut session, 3000, Input::Met { peer: id(3) });
    give(&mut session, 3000, says(3, Message::Here { round: 1, seat: None }));
    give(&mut session, 3000, Input::Met { peer: id(4) });
    give(&mut session, 3000, says(4, Message::Here { round: 1, seat: None }));
    let members = vec![id(2), id(1)];
    give(&mut session, 3100, says(2, Message::Group { round: 1, members }));
    // While it averages, two more come that take it for the round's convener.
    give(&mut session, 3200, says(3, Message::Ready { round: 1 }));
    give(&mut session, 3200, says(4, Message::Ready { round: 1 }));
    let out = give(&mut session, 3300, Input::Lost { peer: id(2) });
    let told = |output: &Output| match output {
        Output::Send { to, message: Message::Group { round: 1, members } } => {
            Some((*to, members.iter().copied().collect::<BTreeSet<_>>()))
        }
        _ => None,
    };
    let both = BTreeSet::from([id(3), id(4)]);
    let groups: BTreeSet<_> = out.iter().filter_map(told).collect();
    assert_eq!(groups, BTreeSet::from([(id(3), both.clone()), (id(4), both)]));
    assert_eq!((session.round(), session.gathers.len()), (2, 0));
}

#[test]
fn frames_of_groups_that_never_come_push_each_other_out() {
    let (mut session, _) = ready();
    let frame =
        |n: usize| Frame { group: Digest::of(&n.to_le_bytes()), slice: 0, kind: FrameKind::Part };
    for n in 0..EARLY_MAX + 10 {
        give(&mut session, 3100, Input::Arrived { from: id(2), frame: frame(n) });
    }
    assert_eq!(session.early.len(), EARLY_MAX);
    assert_eq!(session.early.front(), Some(&(id(2), frame(10))));
}

/// Peers of one run by claimed places, by messages without delay or loss; local work and averages take no time.
struct Hall {
    peers: BTreeMap<PeerId, GossipSession>,
    now: Time,
    met: BTreeSet<(PeerId, PeerId)>,
}

impl Hall {
    fn give(&mut self, to: PeerId, input: Input) {
        let mut todo = VecDeque::from([(to, input)]);
        while let Some((to, input)) = todo.pop_front() {
            let Some(session) = self.peers.get_mut(&to) else { continue };
            let mut out = Vec::new();
            session.handle(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Send { to: peer, message } => {
                        todo.push_back((peer, Input::Received { from: to, message }));
                    }
                    Output::Part { to: peer, frame } => {
                        self.met.insert((to, peer));
                        todo.push_back((peer, Input::Arrived { from: to, frame }));
                    }
                    Output::Mean { to: peer, frame } | Output::SendState { to: peer, frame } => {
                        todo.push_back((peer, Input::Arrived { from: to, frame }));
                    }
                    _ => {}
                }
            }
        }
    }

    fn join(&mut self, peer: PeerId, spec: &RunSpec) {
        let session = GossipSession::patient(self.now, spec, peer, 0, Span::from_secs(3)).unwrap();
        let others: Vec<PeerId> = self.peers.keys().copied().collect();
        self.peers.insert(peer, session);
        for other in others {
            self.give(peer, Input::Met { peer: other });
            self.give(other, Input::Met { peer });
        }
    }

    fn leave(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        let others: Vec<PeerId> = self.peers.keys().copied().collect();
        others.into_iter().for_each(|other| self.give(other, Input::Lost { peer }));
    }

    /// So many seconds; whoever trains is done within one.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..2 * seconds {
            self.now = self.now + Span::from_millis(500);
            let peers: Vec<PeerId> = self.peers.keys().copied().collect();
            for peer in peers {
                let training = self.peers[&peer].waits().0 == "training";
                self.give(peer, if training { Input::Trained } else { Input::Wake });
            }
        }
    }

    fn seats(&self) -> Vec<u32> {
        let mut seats: Vec<u32> = self.peers.values().filter_map(|peer| peer.seat).collect();
        seats.sort_unstable();
        seats
    }
}

#[test]
fn all_seats_are_taken_once_whoever_comes_and_goes_and_all_meet() {
    let gossip = GossipSpec { claimed: true, ..GossipSpec::moshpit(2, 2) };
    let spec = RunSpec { gossip: Some(gossip), rounds: 100_000, ..spec() };
    let mut hall = Hall { peers: BTreeMap::new(), now: at(0), met: BTreeSet::new() };
    (1..=4).for_each(|n| hall.join(id(n), &spec));
    hall.pass(20);
    assert_eq!(hall.seats(), [0, 1, 2, 3]);
    // Each meets the two that share a row or a column with it, and nobody on the diagonal.
    assert_eq!(hall.met.len(), 8);
    hall.leave(id(2));
    hall.pass(20);
    assert_eq!(hall.seats(), [0, 1, 2]);
    hall.join(id(9), &spec);
    hall.join(id(8), &spec);
    hall.met.clear();
    hall.pass(30);
    assert_eq!(hall.seats(), [0, 1, 2, 3, 4]);
    let rounds: Vec<Round> = hall.peers.values().map(GossipSession::round).collect();
    let (least, most) = (rounds.iter().min().unwrap(), rounds.iter().max().unwrap());
    assert!(*least > 10 && most - least <= 2, "{rounds:?}");
    let met = |n: u8| hall.met.iter().any(|(peer, _)| *peer == id(n));
    assert!([1, 3, 4, 8, 9].into_iter().all(met), "{:?}", hall.met);
}

#[test]
fn who_waits_in_the_last_round_for_those_who_are_done_steps_alone() {
    let gossip = Some(GossipSpec::noloco(1, 8));
    let spec = RunSpec { gossip, rounds: 3, ..spec() };
    for committed in [0, 2] {
        let mut session = GossipSession::new(at(0), &spec, id(1), committed).unwrap();
        let round = committed + 1;
        give(&mut session, 10, Input::Met { peer: id(2) });
        give(&mut session, 20, says(2, Message::Here { round, seat: None }));
        give(&mut session, 2000, Input::Wake);
        give(&mut session, 3000, Input::Trained);
        let mut out = give(&mut session, 3100, says(2, Message::Here { round: 4, seat: None }));
        // A peer that was further behind goes on to the last round first, and hears of it again.
        out.extend(give(&mut session, 3200, says(2, Message::Here { round: 4, seat: None })));
        assert_eq!(out.last(), Some(&alone(3)));
        assert_eq!(session.waits().0, "over");
    }
}
