//! L4: after a partition heals, the side with more committed tokens is kept, and the other offers what it learned since the fork
//! (PROTOCOL, Promises): no token that anybody trained on is lost.

use crate::world::World;

/// All stand on one record: what was ever trained is counted in it, or in somebody's hand. Holds where nobody has died and no
/// frame was spoilt.
pub fn all_is_counted_or_in_hand(world: &World) {
    let trained: u64 = world.peers.iter().map(|peer| peer.tokens).sum();
    let running = || world.peers.iter().filter_map(|peer| peer.running.as_ref());
    let in_hand: u64 = running().map(|running| running.session.tokens_in_hand()).sum();
    let counted = running().map(|running| running.store.record().tokens).max().unwrap_or(0);
    assert_eq!(
        trained,
        counted + in_hand,
        "L4 is broken: of {trained} tokens {counted} are counted and {in_hand} in hand"
    );
}
