//! Nodes that have a ticket and nothing else: they fetch the run's text from whoever holds it, and refuse who alters it.

use crate::liar::{Garbage, Liar, Lie};
use crate::nodes::Nodes;
use crate::refusal;
use shoal_node::status::NodeStatus;
use shoal_protocol::wire::{ChunkKind, PIECE_BYTES};

/// Nodes with a ticket alone.
const JOINERS: [&str; 3] = ["b", "c", "d"];
/// More pieces than are asked of one peer at a time, so that the liar is asked too.
const PIECES: usize = 6;

fn text() -> Vec<u8> {
    let words =
        ["the fish ", "swim in ", "the sea.\n", "a shoal ", "turns as one ", "and is gone.\n"];
    let mut seed = 1u32;
    let mut text = Vec::new();
    while text.len() < PIECES * PIECE_BYTES - 1000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(seed >> 16) as usize % words.len()].as_bytes());
    }
    text
}

#[test]
fn joiners_fetch_the_text_from_peers_verify_it_train_and_refuse_who_alters_it() {
    let text = text();
    let mut nodes = Nodes::with_text(&text);
    nodes.until("the holder's status", |nodes| nodes.statuses());
    let lie = Lie { of: ChunkKind::Piece, garbage: Garbage::Noise };
    let liar = Liar::with_text(&nodes.spec, &nodes.local(), &text, lie);
    nodes.join(&JOINERS);
    nodes.until("a refusal with a reason", |nodes| refusal(nodes, liar.peer, lie));
    // Whom some have refused and others not costs each round a second attempt.
    drop(liar);
    let all = Some((PIECES as u32, PIECES as u32));
    let statuses = nodes.until("the whole text and some training everywhere", |nodes| {
        let statuses = nodes.statuses()?;
        let done = |status: &NodeStatus| status.data_pieces == all && status.tokens > 0;
        statuses.iter().all(done).then_some(statuses)
    });
    let from = statuses.iter().filter_map(|status| status.rounds.back()).map(|r| r.round).max();
    nodes.until("more rounds together", |nodes| {
        let statuses = crate::in_step(nodes, from.unwrap())?;
        let last = statuses.iter().filter_map(|status| status.rounds.back());
        (last.min_by_key(|last| last.members)?.members > JOINERS.len()).then_some(())
    });
    for name in JOINERS {
        let folder =
            nodes.home(name).join("data").join(nodes.spec.text().unwrap().root.to_string());
        let piece = |index: usize| std::fs::read(folder.join(format!("{index:08}.piece"))).unwrap();
        assert!((0..PIECES).flat_map(piece).eq(text.iter().copied()), "{name}");
    }
}
