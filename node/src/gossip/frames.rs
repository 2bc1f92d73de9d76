//! Frames of groups and states as they arrive: in pieces that fit a bulk chunk, put together, held by name until they are used.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shoal_protocol::gossip::{Frame, FrameKind, step};
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::math::Codec;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::{self, MEMBERS_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes of a piece.
pub(super) const PIECE_BYTES: usize = wire::STATE_CHUNK_BYTES;
/// Frames of one peer that are held, and as many that are under way; beyond it the oldest goes. A part and a mean of this
/// round and of the next come before the first is used. Guess.
const HELD_MAX: usize = 6;

/// What a piece is of, in its sender's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) frame: Frame,
    /// Members of the group, and so slices of the vector; 0 of a state.
    pub(super) slices: u64,
    pub(super) piece: u32,
}

/// A frame of which pieces are missing.
struct Torn {
    frame: Frame,
    bytes: Vec<u8>,
    missing: BTreeSet<u32>,
}

/// What came from one peer.
#[derive(Default)]
struct Desk {
    torn: VecDeque<Torn>,
    whole: VecDeque<(Frame, Bytes)>,
}

/// Frames that came and are not used yet.
pub(super) struct Frames {
    elems: usize,
    codecs: (Codec, Codec),
    desks: BTreeMap<PeerId, Desk>,
    /// Whose state is wanted.
    donor: Option<PeerId>,
}

/// Numbers of how many elements, in which codec, a frame holds.
pub(super) fn content(
    elems: usize,
    codecs: (Codec, Codec),
    frame: &Frame,
    slices: u64,
) -> (usize, Codec) {
    match frame.kind {
        FrameKind::State => (elems, Codec::F32),
        FrameKind::Part => (step::slice(elems, slices, frame.slice).len(), codecs.0),
        FrameKind::Mean => (step::slice(elems, slices, frame.slice).len(), codecs.1),
    }
}

impl Frames {
    pub(super) fn new(spec: &RunSpec) -> Frames {
        let codecs = (spec.exchange.up, spec.exchange.down);
        Frames { elems: spec.elems() as usize, codecs, desks: BTreeMap::new(), donor: None }
    }

    /// A state is wanted of this peer, and of no other any more.
    pub(super) fn want(&mut self, donor: PeerId) {
        self.donor = Some(donor);
    }

    /// A piece has come; the frame that it was the last of.
    ///
    /// # Errors
    /// What is wrong with it, or with the frame: it is dropped then.
    pub(super) fn take(
        &mut self,
        from: PeerId,
        header: &[u8],
        payload: &[u8],
    ) -> Result<Option<Frame>, String> {
        let header: Header = wire::from_cbor(header)?;
        let (elems, codec) = self.check(&from, &header)?;
        let desk = self.desks.entry(from).or_default();
        if desk.whole.iter().any(|(frame, _)| *frame == header.frame) {
            return Ok(None);
        }
        let at = desk.torn.iter().position(|torn| torn.frame == header.frame);
        let at = at.unwrap_or_else(|| desk.begin(header.frame, codec.encoded_len(elems)));
        if !desk.torn[at].put(header.piece, payload)? {
            return Ok(None);
        }
        let Some(Torn { frame, bytes, .. }) = desk.torn.remove(at) else { return Ok(None) };
        codec.check(&bytes, elems).map_err(|error| error.to_string())?;
        desk.keep(frame, bytes.into());
        if frame.kind == FrameKind::State {
            self.donor = None;
        }
        Ok(Some(frame))
    }

    /// Whether there is such a frame, and it is wanted: the elements and the codec.
    fn check(&self, from: &PeerId, header: &Header) -> Result<(usize, Codec), String> {
        let Header { frame, slices, .. } = header;
        if frame.kind == FrameKind::State {
            return match self.donor {
                Some(donor) if donor == *from => {
                    Ok(content(self.elems, self.codecs, frame, *slices))
                }
                _ => Err("parameters that nobody asked for".into()),
            };
        }
        let sound = (2..=MEMBERS_MAX as u64).contains(slices) && frame.slice < *slices;
        sound
            .then(|| content(self.elems, self.codecs, frame, *slices))
            .ok_or_else(|| format!("slice {} of {slices}", frame.slice))
    }

    /// A peer's frame, which is not held any more.
    pub(super) fn remove(&mut self, from: &PeerId, frame: &Frame) -> Option<Bytes> {
        let whole = &mut self.desks.get_mut(from)?.whole;
        let at = whole.iter().position(|(held, _)| held == frame)?;
        whole.remove(at).map(|(_, bytes)| bytes)
    }

    /// A frame of whoever sent it.
    pub(super) fn find(&self, frame: &Frame) -> Option<Bytes> {
        let mut whole = self.desks.values().flat_map(|desk| &desk.whole);
        whole.find(|(held, _)| held == frame).map(|(_, bytes)| bytes.clone())
    }

    /// Nothing of this group is needed any more.
    pub(super) fn forget(&mut self, group: &Digest) {
        for desk in self.desks.values_mut() {
            desk.torn.retain(|torn| torn.frame.group != *group);
            desk.whole.retain(|(frame, _)| frame.group != *group);
        }
    }

    /// A peer is gone: what it did not finish will not be. What came whole counts still.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        if let Some(desk) = self.desks.get_mut(peer) {
            desk.torn.clear();
        }
        self.desks.retain(|_, desk| !desk.torn.is_empty() || !desk.whole.is_empty());
    }
}

impl Desk {
    /// A place for a frame of so many bytes; which.
    fn begin(&mut self, frame: Frame, bytes: usize) -> usize {
        if self.torn.len() == HELD_MAX {
            self.torn.pop_front();
        }
        let pieces = bytes.div_ceil(PIECE_BYTES).max(1) as u32;
        self.torn.push_back(Torn { frame, bytes: vec![0; bytes], missing: (0..pieces).collect() });
        self.torn.len() - 1
    }

    fn keep(&mut self, frame: Frame, bytes: Bytes) {
        if self.whole.len() == HELD_MAX {
            self.whole.pop_front();
        }
        self.whole.push_back((frame, bytes));
    }
}

impl Torn {
    /// Puts a piece in its place; whether none is missing any more.
    fn put(&mut self, piece: u32, payload: &[u8]) -> Result<bool, String> {
        let start = (piece as usize).saturating_mul(PIECE_BYTES).min(self.bytes.len());
        let place = start..(start + PIECE_BYTES).min(self.bytes.len());
        if place.len() != payload.len() {
            return Err(format!("a piece of {} bytes, not {}", payload.len(), place.len()));
        }
        self.bytes[place].copy_from_slice(payload);
        self.missing.remove(&piece);
        Ok(self.missing.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::test_spec;

    fn spec() -> RunSpec {
        let mut spec = test_spec();
        (spec.exchange.up, spec.exchange.down) = (Codec::F32, Codec::F32);
        spec
    }

    fn id(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn header(kind: FrameKind, slice: u64, slices: u64, piece: u32) -> Vec<u8> {
        let group = Digest([u8::from(kind != FrameKind::State); 32]);
        wire::to_cbor(&Header { frame: Frame { group, slice, kind }, slices, piece })
    }

    #[test]
    fn a_header_fits_and_pieces_make_a_frame_in_any_order() {
        let spec = spec();
        let len = 4 * step::slice(spec.elems() as usize, 2, 1).len();
        let mut frames = Frames::new(&spec);
        let bytes = vec![0_u8; len];
        let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
        let mut whole = None;
        for (n, piece) in pieces.iter().enumerate().rev() {
            assert_eq!(whole, None);
            let header = header(FrameKind::Part, 1, 2, n as u32);
            assert!(header.len() <= wire::HEADER_BYTES_MAX, "{}", header.len());
            whole = frames.take(id(2), &header, piece).unwrap();
        }
        let frame = whole.expect("it is whole");
        assert_eq!(frames.take(id(2), &header(FrameKind::Part, 1, 2, 0), pieces[0]), Ok(None));
        assert_eq!(frames.find(&frame).unwrap().len(), len);
        assert_eq!(frames.remove(&id(3), &frame), None);
        assert_eq!(frames.remove(&id(2), &frame).unwrap().len(), len);
        assert_eq!(frames.find(&frame), None);
    }

    #[test]
    fn what_is_no_frame_is_told_and_an_unwanted_state_is_not_taken() {
        let spec = spec();
        let mut frames = Frames::new(&spec);
        let state = header(FrameKind::State, 3, 0, 0);
        let bytes = vec![0_u8; (4 * spec.elems() as usize).min(PIECE_BYTES)];
        let told = |taken: Result<Option<Frame>, String>| taken.unwrap_err();
        assert!(told(frames.take(id(2), &state, &bytes)).contains("nobody asked"));
        frames.want(id(2));
        assert!(told(frames.take(id(3), &state, &bytes)).contains("nobody asked"));
        assert!(frames.take(id(2), &state, &bytes).is_ok());
        for (header, bytes, reason) in [
            (header(FrameKind::Mean, 2, 2, 0), &[][..], "slice 2 of 2"),
            (header(FrameKind::Mean, 0, 65, 0), &[][..], "slice 0 of 65"),
            (header(FrameKind::Mean, 1, 2, 0), &[1, 2, 3][..], "a piece of 3 bytes"),
            (header(FrameKind::Mean, 1, 2, u32::MAX), &[1][..], "a piece of 1 bytes, not 0"),
            (vec![1, 2, 3], &[][..], ""),
        ] {
            let told = told(frames.take(id(2), &header, bytes));
            assert!(told.contains(reason), "{told}");
        }
    }

    #[test]
    fn not_a_number_is_dropped_and_frames_of_one_peer_are_few() {
        let spec = spec();
        let mut frames = Frames::new(&spec);
        let len = 4 * step::slice(spec.elems() as usize, 64, 1).len();
        assert!(len <= PIECE_BYTES);
        let nan = f32::NAN.to_le_bytes().repeat(len / 4);
        assert!(len == 0 || frames.take(id(2), &header(FrameKind::Part, 1, 64, 0), &nan).is_err());
        for slice in 0..64 {
            let len = 4 * step::slice(spec.elems() as usize, 64, slice).len();
            let header = header(FrameKind::Part, slice, 64, 0);
            assert!(frames.take(id(2), &header, &vec![0; len]).unwrap().is_some());
        }
        assert_eq!(frames.desks[&id(2)].whole.len(), HELD_MAX);
        frames.forget(&Digest([1; 32]));
        frames.gone(&id(2));
        assert!(frames.desks.is_empty());
    }
}
