//! What has happened, as one digest: the same seed leaves the same one.

use crate::log;
use shoal_protocol::event::Input;
use shoal_protocol::gossip;
use shoal_protocol::id::Digest;
use shoal_protocol::time::Time;

/// Bytes that are gathered before they are hashed: BLAKE3 takes many of its 1 KiB chunks at once.
const GATHERED: usize = 16 << 10;

/// BLAKE3 over the marks of all inputs and losses, in order.
#[derive(Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Trace {
    /// An input leaves its mark: when, to whom, of which kind, and what tells it from others of its kind.
    pub fn mark(&mut self, now: Time, p: usize, input: &Input) {
        let (kind, what) = log::mark(input);
        let mut mark = [0; 21];
        mark[..8].copy_from_slice(&now.0.to_le_bytes());
        mark[8..12].copy_from_slice(&(p as u32).to_le_bytes());
        mark[12] = kind;
        mark[13..].copy_from_slice(&what.to_le_bytes());
        self.gather(&mark);
    }

    /// The same for a peer of a run by gossip.
    pub fn gossip(&mut self, now: Time, p: usize, input: &gossip::Input) {
        let mut mark = [0; 13];
        mark[..8].copy_from_slice(&now.0.to_le_bytes());
        mark[8..12].copy_from_slice(&(p as u32).to_le_bytes());
        mark[12] = match input {
            gossip::Input::Met { .. } => 1,
            gossip::Input::Lost { .. } => 2,
            gossip::Input::Received { .. } => 3,
            gossip::Input::Arrived { .. } => 4,
            gossip::Input::Trained => 5,
            gossip::Input::Wake => 6,
        };
        self.gather(&mark);
    }

    /// The held-out loss of a state leaves its mark too.
    pub fn loss(&mut self, loss: f64) {
        self.gather(&loss.to_bits().to_le_bytes());
    }

    fn gather(&mut self, mark: &[u8]) {
        self.gathered.extend_from_slice(mark);
        if self.gathered.len() >= GATHERED {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    /// Over all inputs and losses so far.
    pub fn digest(&self) -> Digest {
        Digest(*self.hasher.clone().update(&self.gathered).finalize().as_bytes())
    }
}

#[test]
fn every_mark_counts_and_so_does_their_order() {
    let digest = |times: &[u64]| {
        let mut trace = Trace::default();
        times.iter().for_each(|time| trace.mark(Time(*time), 3, &Input::Wake));
        trace.digest()
    };
    let long: Vec<u64> = (0..5000).collect();
    let mut swapped = long.clone();
    swapped.swap(10, 11);
    assert_eq!(digest(&long), digest(&long));
    assert_ne!(digest(&long), digest(&swapped));
    assert_ne!(digest(&long), digest(&long[..4999]));
    assert_ne!(digest(&long[..1]), digest(&[]));
}
