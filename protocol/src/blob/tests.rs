//! One session alone that lacks its data: inputs in, what it does about them out, in few words each.

#![expect(clippy::single_range_in_vec_init, reason = "leases of one range are meant")]

use super::need::{NEVER, Need};
use super::*;
use crate::event::{Input, Note};
use crate::id::{Keyring, Signature};
use crate::ledger::{Cursor, Lease, Record, state_root};
use crate::run::{Blob, DataSpec, TokenizerSpec};
use crate::session::Standing;
use crate::wire::{PIECES_MAX, Ready};
use proptest::prelude::*;

struct Keys(PeerId);

impl Keyring for Keys {
    fn id(&self) -> PeerId {
        self.0
    }
    fn sign(&self, _: &[u8]) -> Signature {
        Signature::default()
    }
    fn verify(&self, _: &PeerId, _: &[u8], _: &Signature) -> bool {
        true
    }
}

const ME: PeerId = PeerId([0; 32]);

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn list(pieces: u32) -> Vec<Digest> {
    (0..pieces).map(|index| Digest::of(&index.to_le_bytes())).collect()
}

/// A text of so many pieces in bytes as tokens, a hundredth held out.
fn spec(pieces: u32) -> RunSpec {
    let mut spec = crate::session::tests::spec();
    let bytes = u64::from(pieces) * PIECE_BYTES as u64 - 7;
    let trained = bytes - bytes / 100;
    spec.data = DataSpec::Text {
        digest: Digest([1; 32]),
        bytes,
        samples: (trained - 1) / u64::from(spec.model.context),
        heldout_permille: 10,
        pieces: Blob::of(&list(pieces), bytes).map(|blob| blob.root),
        id_bytes: None,
        window: None,
    };
    spec.validate().expect("it is sound");
    spec
}

/// A session with a lease of one range, and what happens to it; time is in milliseconds.
struct Bench {
    session: Session,
    blob: Digest,
    pieces: u32,
}

impl Bench {
    fn new(pieces: u32, data_cap: Option<u64>) -> Bench {
        let spec = spec(pieces);
        let chunks = vec![Digest([7; 32])];
        let mut record = Record::genesis(spec.id(), state_root(&chunks));
        let lease = Lease { peer: ME, ranges: vec![0..8], then: Vec::new() };
        record.cursor = Cursor { next: 8, pool: Vec::new(), leases: vec![lease] };
        let settings =
            Settings { data_cap, alone_after: Span::from_secs(1), ..Settings::default() };
        let blob = spec.text().expect("it is in pieces").root;
        let standing = Standing { record, chunks };
        let session = Session::new(Time::ZERO, spec, settings, Box::new(Keys(ME)), standing);
        Bench { session, blob, pieces }
    }

    /// What comes of an input, as far as it concerns data and training.
    fn tell(&mut self, ms: u64, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.session.handle(Time(ms * 1000), input, &mut out);
        out.iter().filter_map(brief).collect()
    }

    fn hears(&mut self, ms: u64, from: u8, message: Message) -> Vec<String> {
        self.tell(ms, Input::Received { from: peer(from), message })
    }

    fn list(&self) -> Message {
        Message::List(Box::new(List { blob: self.blob, pieces: list(self.pieces) }))
    }

    fn held(&self, pieces: &[(u32, u32)]) -> Message {
        Message::Held(Held { blob: self.blob, pieces: pieces.to_vec() })
    }

    fn want(&self, chunks: &[(u32, u32)]) -> Message {
        Message::Want(Want { of: self.blob, kind: ChunkKind::Piece, chunks: chunks.to_vec() })
    }

    fn arrives(&mut self, ms: u64, from: u8, index: u32, digest: Digest) -> Vec<String> {
        let chunk = ChunkId { of: self.blob, kind: ChunkKind::Piece, index, included: 0 };
        let bytes = self.session.blobs.piece_bytes(&chunk) as u32;
        self.tell(ms, Input::Arrived { from: peer(from), chunk, bytes, digest })
    }

    fn comes(&mut self, ms: u64, from: u8, index: u32) -> Vec<String> {
        self.arrives(ms, from, index, list(self.pieces)[index as usize])
    }

    /// The pieces of the lease.
    fn leased(&self) -> Vec<u32> {
        let mut need = Need::of(&self.session.spec).expect("it is in pieces");
        need.of_positions(self.session.standing.record.cursor.lease_of(&ME)).into_iter().collect()
    }
}

fn brief(output: &Output) -> Option<String> {
    let to = |to: &PeerId| to.0[0];
    Some(match output {
        Output::Send { to: who, message: Message::WantList { .. } } => {
            format!("asks {} for the list", to(who))
        }
        Output::Send { to: who, message: Message::WantHeld { .. } } => {
            format!("asks {} what it holds", to(who))
        }
        Output::Send { to: who, message: Message::Want(want) } => {
            format!("asks {} for {:?}", to(who), want.chunks)
        }
        Output::Send { to: who, message: Message::List(list) } => {
            format!("gives {} a list of {}", to(who), list.pieces.len())
        }
        Output::Send { to: who, message: Message::Held(held) } => {
            format!("tells {} that it holds {:?}", to(who), held.pieces)
        }
        Output::Send { to: who, message: Message::Gone { .. } } => {
            format!("has nothing for {}", to(who))
        }
        Output::Send { to: who, message: Message::Ready(ready) } => {
            format!("is ready with {} to {}", ready.tokens, to(who))
        }
        Output::KeepList { list, .. } => format!("keeps a list of {}", list.len()),
        Output::KeepPiece { from, chunk, .. } => format!("keeps {} of {}", chunk.index, to(from)),
        Output::SendPiece { to: who, chunk } => format!("sends {} to {}", chunk.index, to(who)),
        Output::DropPieces { pieces, .. } => format!("drops {pieces:?}"),
        Output::Discard { from, chunk, .. } => format!("discards {} of {}", chunk.index, to(from)),
        Output::Train { .. } => "trains".into(),
        Output::Refuse { peer, .. } => format!("refuses {}", to(peer)),
        Output::Note(Note::Strike { peer, reason }) => format!("strike {}: {reason}", to(peer)),
        Output::Note(Note::Fetched { pieces, .. }) => format!("has all of {pieces}"),
        _ => return None,
    })
}

const FALSE: &str = "gave a piece of a file that is not what the run's spec says";

#[test]
fn a_peer_fetches_what_its_lease_needs_verifies_it_and_trains_before_the_rest_is_here() {
    let mut bench = Bench::new(20, None);
    let lease = bench.leased();
    let [a, b] = lease[..] else {
        panic!("a shard of one piece and the token behind it: {lease:?}")
    };
    assert_eq!(bench.tell(0, Input::Connected { peer: peer(1) }), ["asks 1 for the list"]);
    assert_eq!(bench.tell(1, Input::Connected { peer: peer(2) }), [] as [&str; 0]);
    // Who cannot give it is asked no more for a while.
    let blob = bench.blob;
    assert_eq!(bench.hears(2, 1, Message::Gone { digest: blob }), ["asks 2 for the list"]);
    let list = bench.list();
    assert_eq!(bench.hears(3, 2, list), ["keeps a list of 20", "asks 2 what it holds"]);
    let first = bench.held(&[(0, 20)]);
    let told = bench.hears(4, 2, first);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("asks 2 for ["), "{told:?}");
    // The lease's pieces are among the four that are asked for first.
    assert_eq!(bench.tell(1500, Input::Wake), [] as [&str; 0], "nobody has trained: it holds back");
    let view = bench.session.data().unwrap();
    assert_eq!((view.waits, view.needed, view.here, view.from), (true, 2, 0, 1));
    let kept = bench.comes(1600, 2, a);
    assert_eq!(kept[0], format!("keeps {a} of 2"));
    assert!(!kept.contains(&"trains".into()));
    let kept = bench.comes(1700, 2, b);
    assert_eq!((kept[0].clone(), kept[1].as_str()), (format!("keeps {b} of 2"), "trains"));
    assert_eq!(bench.session.data().map(|view| view.waits), Some(false));
    // The same once more is not wanted.
    assert_eq!(bench.comes(1800, 2, b)[0], format!("discards {b} of 2"));
}

#[test]
fn altered_pieces_are_not_kept_and_who_gave_two_is_refused() {
    let mut bench = Bench::new(20, None);
    bench.tell(0, Input::Connected { peer: peer(1) });
    bench.tell(0, Input::Connected { peer: peer(2) });
    let (list, all) = (bench.list(), bench.held(&[(0, 20)]));
    bench.hears(1, 1, list);
    bench.hears(2, 1, all.clone());
    let at = bench.leased()[0];
    let altered = bench.arrives(3, 1, at, Digest([9; 32]));
    assert_eq!(altered, [format!("discards {at} of 1"), format!("strike 1: {FALSE}")]);
    // What was asked of it is asked of another, as soon as one tells that it holds it.
    assert!(bench.hears(4, 2, all.clone())[0].starts_with("asks 2 for ["));
    assert_eq!(bench.hears(5, 1, all), [] as [&str; 0]);
    let altered = bench.arrives(6, 1, at, Digest([9; 32]));
    assert_eq!(altered[2..], ["refuses 1"]);
    let wrong = Message::List(Box::new(List { blob: bench.blob, pieces: vec![Digest([3; 32])] }));
    assert_eq!(bench.hears(7, 2, wrong), [] as [&str; 0], "a list that nobody asked for");
}

#[test]
fn a_false_list_is_a_strike_and_another_is_asked() {
    let mut bench = Bench::new(3, None);
    bench.tell(0, Input::Connected { peer: peer(1) });
    bench.tell(0, Input::Connected { peer: peer(2) });
    let wrong =
        Message::List(Box::new(List { blob: bench.blob, pieces: vec![Digest([3; 32]); 3] }));
    let strike = "strike 1: gave a list of pieces that is not what the run's spec says";
    assert_eq!(bench.hears(1, 1, wrong), [strike, "asks 2 for the list"]);
    let unordered = bench.held(&[(1, 2), (0, 1)]);
    assert_eq!(bench.hears(2, 2, unordered), [format!("strike 2: {UNORDERED}")]);
}

#[test]
fn a_peer_that_lacks_its_data_is_ready_as_soon_as_another_has_trained() {
    let mut bench = Bench::new(3, None);
    bench.tell(0, Input::Connected { peer: peer(1) });
    assert_eq!(
        bench.tell(6000, Input::Wake),
        ["asks 1 for the list"],
        "asked again: it was silent"
    );
    let record = bench.session.standing.record.clone();
    let ready = |tokens| {
        Message::Ready(Ready {
            round: 1,
            base: record.digest(),
            attempt: 0,
            tokens,
            wants: 8,
            nonce: 1,
            leases: 1,
            up_bytes_per_s: 0,
            down_bytes_per_s: 0,
            owns: true,
            heldout: None,
        })
    };
    assert_eq!(bench.hears(6001, 1, ready(0)), [] as [&str; 0]);
    assert_eq!(bench.hears(6002, 1, ready(128)), ["is ready with 0 to 1"]);
}

#[test]
fn who_holds_a_text_serves_it() {
    let mut bench = Bench::new(3, None);
    let (blob, digests) = (bench.blob, list(3));
    bench.tell(0, Input::Holds { blob, list: digests, pieces: vec![(0, 2)] });
    bench.tell(1, Input::Connected { peer: peer(1) });
    assert_eq!(bench.hears(2, 1, Message::WantList { blob }), ["gives 1 a list of 3"]);
    let holds = "tells 1 that it holds [(0, 2)]";
    assert_eq!(bench.hears(3, 1, Message::WantHeld { blob }), [holds]);
    let other = Digest([5; 32]);
    assert_eq!(bench.hears(3, 1, Message::WantHeld { blob: other }), ["has nothing for 1"]);
    let want = bench.want(&[(1, 3)]);
    assert_eq!(bench.hears(4, 1, want), [holds, "sends 1 to 1"]);
    let want = bench.want(&[(0, 1)]);
    assert_eq!(bench.hears(5, 1, want), [] as [&str; 0], "one is under way");
    assert_eq!(bench.tell(6, Input::PieceSent { to: peer(1) }), ["sends 0 to 1"]);
    // What turns out to be damaged is fetched again.
    let list = list(3);
    assert!(bench.tell(7, Input::Holds { blob, list, pieces: vec![] }).len() == 1);
}

#[test]
fn under_a_cap_what_was_needed_longest_ago_makes_room_and_what_is_needed_stays() {
    let mut bench = Bench::new(20, Some(6 * PIECE_BYTES as u64));
    let (blob, digests) = (bench.blob, list(20));
    bench.tell(0, Input::Holds { blob, list: digests, pieces: vec![(0, 20)] });
    assert_eq!(bench.session.data().map(|view| view.held), Some(6));
    assert!(bench.leased().iter().all(|piece| bench.session.blobs.shelves[0].has(*piece)));
    assert!(bench.session.blobs.shelves[0].has(19), "the held-out part");
}

proptest! {
    #[test]
    fn every_piece_has_a_rank_and_the_lease_the_first(
        pieces in 1u32..200,
        start in 0u64..5_000_000,
        len in 1u64..200_000,
        most in 0usize..300,
        window in proptest::option::of(1u32..40),
    ) {
        let mut spec = spec(pieces);
        if let DataSpec::Text { window: of, .. } = &mut spec.data {
            *of = window;
        }
        let mut need = Need::of(&spec).unwrap();
        let lease = Lease { peer: ME, ranges: vec![start..start + len], then: vec![start + len..start + 2 * len] };
        let all = need.ranks(Some(&lease), start + 2 * len, usize::MAX);
        prop_assert!(!all.contains(&NEVER));
        let few = need.ranks(Some(&lease), start + 2 * len, most);
        let needed = few.iter().filter(|rank| **rank <= 2).count();
        let wanted = few.iter().filter(|rank| **rank != NEVER).count();
        prop_assert!(wanted <= most.max(needed));
        prop_assert!(all.iter().zip(&few).all(|(all, few)| all == few || *few == NEVER));
        let mut order = crate::data::Order::of(&spec);
        let context = u64::from(spec.model.context);
        for position in [start, start + len / 2, start + len - 1] {
            let at = order.sequence(position) * context;
            let text = spec.text().unwrap();
            prop_assert!(text.pieces_of(at..at + context + 1).all(|piece| all[piece as usize] == 0));
        }
    }
}

#[test]
fn with_a_tokenizer_from_a_file_every_lease_needs_the_whole_text_and_the_file() {
    let mut spec = spec(5);
    let pieces = Blob::of(&list(2), PIECE_BYTES as u64 + 1);
    spec.tokenizer = TokenizerSpec::File { digest: Digest([4; 32]), pieces };
    assert_eq!(spec.blobs().len(), 2);
    let mut need = Need::of(&spec).unwrap();
    assert!(need.ranks(None, 0, usize::MAX).iter().all(|rank| *rank <= 3));
    assert!(need.of_positions(&[0..1]).into_iter().eq(0..5));
    let huge = Blob { root: Digest([4; 32]), bytes: (PIECES_MAX as u64 + 1) * PIECE_BYTES as u64 };
    spec.tokenizer = TokenizerSpec::File { digest: Digest([4; 32]), pieces: Some(huge) };
    assert_eq!(spec.validate().unwrap_err().key, "model.tokenizer");
}
