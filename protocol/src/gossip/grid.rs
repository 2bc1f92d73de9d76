//! Where peers have their places, and who meets whom.

use crate::id::{PeerId, Round, RunId};
use crate::run::gossip::{AXES_MAX, GossipSpec};

/// A peer's coordinates, one an axis: by BLAKE3(run, peer), so that anyone can tell anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place([u8; AXES_MAX as usize]);

impl Place {
    /// The place of a peer.
    pub fn of(run: &RunId, peer: &PeerId, spec: &GossipSpec) -> Place {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"place").update(&run.0).update(&peer.0);
        let mut reader = hasher.finalize_xof();
        let mut draw = || {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            (u64::from_le_bytes(bytes) % u64::from(spec.places.max(1))) as u8
        };
        Place::drawn(spec, &mut draw)
    }

    /// With one axis all are in one place.
    fn drawn(spec: &GossipSpec, digit: &mut dyn FnMut() -> u8) -> Place {
        let mut place = [0; AXES_MAX as usize];
        if spec.axes > 1 {
            place.iter_mut().take(spec.axes as usize).for_each(|x| *x = digit());
        }
        Place(place)
    }

    /// The cell of a claimed seat (see [`seats`](super::seats)): its digits to the base of `places`. Beyond the last cell it begins again.
    pub fn at(seat: u32, spec: &GossipSpec) -> Place {
        let (mut rest, places) = (seat, spec.places.max(1));
        let mut digit = || {
            let digit = rest % places;
            rest /= places;
            digit as u8
        };
        Place::drawn(spec, &mut digit)
    }

    /// The coordinates, one an axis.
    pub fn coordinates(&self, spec: &GossipSpec) -> &[u8] {
        &self.0[..spec.axes.min(AXES_MAX) as usize]
    }

    /// What those who meet along an axis have in common: all other coordinates.
    pub fn cell(&self, axis: usize) -> (usize, Vec<u8>) {
        let others = self.0.iter().enumerate().filter(|(k, _)| *k != axis);
        (axis, others.map(|(_, x)| *x).collect())
    }

    /// Whether two meet along an axis.
    pub fn meets(&self, other: &Place, axis: usize) -> bool {
        let differ = u64::from_le_bytes(self.0) ^ u64::from_le_bytes(other.0);
        differ & !(0xff << (8 * axis)) == 0
    }
}

/// The first position of a peer's samples in the endless order of epochs; it goes on from there. Each peer's is somewhere else, so that
/// two seldom train on one sample in one epoch.
pub fn first_position(run: &RunId, peer: &PeerId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"samples").update(&run.0).update(&peer.0);
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes) >> 24
}

/// The axis along which a round's groups form.
pub fn axis(round: Round, spec: &GossipSpec) -> usize {
    (round % Round::from(spec.axes)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(n: u16, spec: &GossipSpec) -> Vec<Place> {
        let id = |i: u16| PeerId([i.to_le_bytes(); 16].concat().try_into().unwrap());
        (0..n).map(|i| Place::of(&RunId([1; 32]), &id(i), spec)).collect()
    }

    #[test]
    fn with_one_axis_all_meet() {
        let all = places(10, &GossipSpec::noloco(1, 8));
        assert!(all.iter().all(|a| all.iter().all(|b| a.meets(b, 0) && a.cell(0) == b.cell(0))));
    }

    #[test]
    fn seats_fill_the_grid_row_by_row_and_then_again() {
        let spec = GossipSpec::moshpit(2, 2);
        let at = |seat| Place::at(seat, &spec).coordinates(&spec).to_vec();
        assert_eq!([at(0), at(1), at(2), at(3)], [[0, 0], [1, 0], [0, 1], [1, 1]]);
        assert_eq!(at(5), at(1));
        assert_eq!(Place::at(9, &GossipSpec::noloco(1, 2)).0[0], 0);
    }

    #[test]
    fn cells_are_those_who_meet_and_of_the_size_that_is_asked_for() {
        let spec = GossipSpec::moshpit(3, 8);
        let all = places(512, &spec);
        let mut met = 0;
        for axis in 0..3 {
            for (i, a) in all.iter().enumerate() {
                for b in &all[i + 1..] {
                    assert_eq!(a.meets(b, axis), a.cell(axis) == b.cell(axis));
                    met += usize::from(a.meets(b, axis));
                }
            }
        }
        // 512 peers on 64 cells an axis: each meets about seven others and, since places are drawn, some more.
        let each = 2.0 * met as f64 / 512.0 / 3.0;
        assert!((6.0..10.0).contains(&each), "{each}");
    }
}
