//! One member's exchange: what it says became of its contribution, for every result that the others can have committed.

use super::*;
use crate::time::Span;
use crate::wire::{Amendment, Handover, Member};

const NOW: Time = Time(1_000_000);
const ALL: u64 = 0b111;

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

/// Three members with a chunk each, seen by the second.
fn exchange() -> Exchange {
    let member = |n| Member {
        peer: peer(n),
        tokens: 8,
        wants: 8,
        nonce: u64::from(n),
        leases: 1,
        heldout: None,
        chunks: 1,
    };
    let plan = Plan {
        run: Default::default(),
        round: 1,
        base: digest(0),
        attempt: 0,
        convener: peer(0),
        members: (0..3).map(member).collect(),
        lost: Vec::new(),
    };
    let mut exchange = Exchange::new(plan, 1, 0, NOW);
    exchange.start(&mut Vec::new());
    exchange
}

/// The same, once it has added up its chunk of everybody's contributions.
fn added_up(sum: Digest) -> Exchange {
    let mut exchange = exchange();
    let mut out = Vec::new();
    let chunk = exchange.chunk_id(ChunkKind::Contribution, 1, 0);
    for from in [0, 2] {
        assert_eq!(exchange.arrived(peer(from), &chunk, digest(9), NOW, &mut out), Ok(true));
    }
    assert!(matches!(out[..], [Output::Reduce { index: 1, .. }]), "{out:?}");
    exchange.reduced(1, sum, NOW, &mut out);
    exchange
}

/// What the member says of its own chunk, if this was committed of it.
fn own_chunk(exchange: &Exchange, sum: Digest, included: u64) -> Settle {
    let other = ResultChunk(digest(3), ALL);
    exchange.settle(&[other, ResultChunk(sum, included), other])[1]
}

#[test]
fn a_result_that_was_spoilt_on_its_way_is_its_owner_s_all_the_same() {
    let (sum, other) = (digest(1), digest(2));
    let exchange = added_up(sum);
    assert_eq!(own_chunk(&exchange, sum, ALL), Settle::Owned { own: true });
    assert_eq!(own_chunk(&exchange, other, ALL), Settle::Owned { own: true });
    assert_eq!(own_chunk(&exchange, other, 0b101), Settle::Missed, "an heir's, without it");
    let given = Settle::Counted { fold: 3.0, share: 1.0 / 3.0 };
    let settled = exchange.settle(&[ResultChunk(other, ALL); 3]);
    assert_eq!(settled, [given, Settle::Owned { own: true }, given]);
}

/// The heir's sum may hold what was given to it.
#[test]
fn after_a_handover_another_sum_is_the_heir_s() {
    let (sum, other) = (digest(1), digest(2));
    let mut exchange = added_up(sum);
    let handovers = vec![Handover { start: 1, end: 2, owner: 0, held: false }];
    let amendment = Amendment { plan: exchange.id, repair: 1, lost: bit(1), handovers };
    let mut out = Vec::new();
    assert_eq!(exchange.amended(peer(0), &amendment, NOW, &mut out), Ok(()));
    let leaves =
        |output: &Output| matches!(output, Output::Contribute { chunk, .. } if chunk.index == 1);
    assert!(out.iter().any(leaves), "{out:?}");
    let given = Settle::Counted { fold: 3.0, share: 1.0 / 3.0 };
    assert_eq!(own_chunk(&exchange, other, ALL), given);
    assert_eq!(own_chunk(&exchange, sum, ALL), Settle::Owned { own: true });
    assert_eq!(own_chunk(&exchange, other, 0b101), Settle::Missed);
}

/// Each of the two others takes the other for lost, and says so by turns.
#[test]
fn amendments_without_a_new_loss_do_not_keep_a_plan_going() {
    let mut exchange = exchange();
    let second = |n: u64| NOW + Span::from_secs(n);
    let mut amend = |from: u8, repair: u32, lost: u64| {
        let (plan, now) = (exchange.id, second(u64::from(repair)));
        let amendment = Amendment { plan, repair, lost, handovers: Vec::new() };
        assert_eq!(exchange.amended(peer(from), &amendment, now, &mut Vec::new()), Ok(()));
        exchange.idle(now)
    };
    assert_eq!(amend(0, 1, bit(2)), Span(0));
    assert_eq!(amend(2, 2, bit(0) | bit(1)), Span(0));
    assert_eq!(amend(0, 3, bit(1) | bit(2)), Span::from_secs(1));
    assert_eq!(amend(2, 4, bit(0) | bit(1)), Span::from_secs(2));
}
