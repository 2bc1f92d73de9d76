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
    let here = Output::Send { to: id(2), message: Message::Here { round: 1 } };
    assert_eq!(give(&mut session, 10, Input::Met { peer: id(2) }), [here]);
    give(&mut session, 20, says(2, Message::Here { round: 1 }));
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
    give(&mut session, 20, says(2, Message::Here { round: 7 }));
    let want = Output::Send { to: id(2), message: Message::WantState };
    assert_eq!(give(&mut session, 2000, Input::Wake), [want]);
    let frame = Frame { group: Digest::default(), slice: 6, kind: FrameKind::State };
    let out = give(&mut session, 2500, Input::Arrived { from: id(2), frame });
    assert_eq!(out, [Output::Load { from: id(2), frame }, Output::Train { round: 7 }]);
    give(&mut session, 3000, Input::Trained);
    give(&mut session, 3100, says(2, Message::Here { round: 9 }));
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
    for message in [Message::Here { round: u64::MAX }, Message::Ready { round: 102 }] {
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
