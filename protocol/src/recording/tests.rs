//! Everything that can be recorded comes back as it was, and nothing else gets in.

use super::*;
use crate::event::{ChunkId, ChunkKind, Note, Part, Settle};
use crate::id::Signature;
use crate::ledger::{Cursor, Lease, Record};
use crate::plateau::{Heldout, Loss};
use crate::time::Span;
use crate::wire::{BEACON_BYTES_MAX, Message, RANGES_MAX, Want};
use std::sync::mpsc::{Receiver, channel};

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn chunk(kind: ChunkKind) -> ChunkId {
    ChunkId { of: digest(3), kind, index: 70_000, included: u64::MAX }
}

#[expect(clippy::single_range_in_vec_init, reason = "a lease of one range is meant")]
fn record() -> Record {
    let leases = vec![Lease { peer: peer(4), ranges: vec![7..9], then: vec![9..11] }];
    let cursor = Cursor { next: 9, pool: vec![1..3], leases };
    Record { cursor, ..Record::genesis(crate::id::RunId([1; 32]), digest(2)) }
}

fn want(ranges: usize) -> Message {
    Message::Want(Want { of: digest(1), kind: ChunkKind::Result, chunks: vec![(0, 1); ranges] })
}

fn inputs() -> Vec<Input> {
    vec![
        Input::Wake,
        Input::Connected { peer: peer(1) },
        Input::Disconnected { peer: peer(2) },
        Input::Received { from: peer(3), message: want(2) },
        Input::Malformed { from: peer(3), reason: "ä \"quote\"".into() },
        Input::Arrived {
            from: peer(1),
            chunk: chunk(ChunkKind::State),
            bytes: u32::MAX,
            digest: digest(9),
        },
        Input::Sent { to: peer(1) },
        Input::PieceSent { to: peer(1) },
        Input::Holds { blob: digest(1), list: vec![digest(2)], pieces: vec![(0, 1)] },
        Input::LocalWorkReady { round: u64::MAX, tokens: 0 },
        Input::Evaluated(Heldout { round: 4, of: digest(8), loss: Loss::MAX }),
        Input::Reduced { plan: digest(1), index: 3, digest: digest(2) },
        Input::Unsound { plan: digest(1), index: 3, member: 63, reason: String::new() },
        Input::Applied { round: 2, chunks: vec![digest(1), digest(2)] },
        Input::Loaded { round: 2, chunks: vec![] },
        Input::Measured { up_bytes_per_s: 1, down_bytes_per_s: 1 << 40, tokens_per_s: 0 },
    ]
}

fn outputs() -> Vec<Output> {
    let settle = vec![
        Settle::Counted { fold: 0.1, share: 1.0 / 3.0 },
        Settle::Owned { own: true },
        Settle::Missed,
        Settle::Unknown,
        Settle::Restarted,
    ];
    let part = Part { member: 63, peer: peer(5), weight: 1 << 44 };
    vec![
        Output::Send { to: peer(1), message: want(1) },
        Output::Broadcast { message: Message::Gone { digest: digest(4) } },
        Output::Refuse { peer: peer(1), reason: "so".into() },
        Output::Train { round: 1, lease: vec![0..5, 9..u64::MAX] },
        Output::Evaluate { round: 4, of: digest(8) },
        Output::Contribute { to: peer(1), chunk: chunk(ChunkKind::Contribution), fold: -0.0 },
        Output::Reduce { plan: digest(1), index: 0, parts: vec![part] },
        Output::SendResult { to: peer(1), chunk: chunk(ChunkKind::Result) },
        Output::SendState { to: peer(1), chunk: chunk(ChunkKind::State) },
        Output::SendPiece { to: peer(1), chunk: chunk(ChunkKind::Piece) },
        Output::KeepPiece { from: peer(1), chunk: chunk(ChunkKind::Piece), digest: digest(1) },
        Output::KeepList { blob: digest(1), list: vec![digest(2)] },
        Output::DropPieces { blob: digest(1), pieces: vec![(3, 5)] },
        Output::Discard { from: peer(1), chunk: chunk(ChunkKind::State), digest: digest(1) },
        Output::Abandon { plan: digest(1) },
        Output::Apply { round: 1, plan: digest(1), step: false },
        Output::Commit { record: record(), settle },
        Output::Endorsed { round: 1, peer: peer(1), signature: Signature(vec![1; 64]) },
        Output::LoadState { record: record() },
        Output::TakeAlong { share: f32::MIN_POSITIVE, given: 1, tokens: 2 },
        Output::Forget { plan: digest(1) },
        Output::Release { digest: digest(1) },
        Output::Note(Note::Repaired { lost: vec![peer(1)], chunks: 4 }),
        Output::Note(Note::Abandoned { round: 3, reason: "why".into() }),
    ]
}

#[test]
fn every_input_and_output_comes_back_as_it_was() {
    for input in inputs() {
        assert_eq!(from_cbor::<Input>(&to_cbor(&input)).as_ref(), Ok(&input));
    }
    assert_eq!(Came::of(&outputs()).outputs(), Some(outputs()));
    let zero = |output: &Output| match output {
        Output::Contribute { fold, .. } => Some(fold.to_bits()),
        _ => None,
    };
    let again = Came::of(&outputs()).outputs().unwrap();
    assert_eq!(again.iter().find_map(zero), Some((-0.0f32).to_bits()), "every bit of a float");
}

#[test]
fn no_message_gets_in_that_a_peer_could_not_send() {
    let entry = |message| Entry {
        now: Time(5),
        input: ByteBuf::from(to_cbor(&Input::Received { from: peer(1), message })),
        answers: vec![Answer::Verified(digest(1), true)],
        came: Came::Panic,
    };
    let good = entry(want(RANGES_MAX));
    assert_eq!(Entry::read(&to_cbor(&good)), Ok(good.clone()));
    assert!(good.input().is_ok());
    let excess = entry(want(RANGES_MAX + 1)).input().unwrap_err();
    assert!(excess.contains("ranges exceed"), "{excess}");
}

#[test]
fn outputs_beyond_the_bound_are_kept_as_their_digest() {
    let note = || Output::Note(Note::Abandoned { round: 0, reason: "x".repeat(1 << 20) });
    let many: Vec<Output> = std::iter::repeat_with(note).take(17).collect();
    assert_eq!(Came::of(&many), Came::Digest(Digest::of(&to_cbor(&many))));
    assert!(matches!(Came::of(&many[..15]), Came::Outputs(_)));
}

fn opening() -> Opening {
    let (spec, chunks) = (crate::session::tests::spec(), vec![digest(7)]);
    let record = Record::genesis(spec.id(), crate::ledger::state_root(&chunks));
    Opening {
        program: "unit".into(),
        now: Time(1_000),
        me: peer(1),
        spec,
        settings: Settings { alone_after: Span::from_secs(1), ..Settings::default() },
        standing: Standing { record, chunks },
    }
}

/// A session of this keyring, who writes it down, and where to.
fn begin(keyring: impl Keyring + 'static) -> (Session, Scribe, Receiver<Vec<u8>>) {
    let (tell, told) = channel();
    let write = Box::new(move |frame| tell.send(frame).expect("the test listens"));
    let (session, scribe) = Scribe::begin(&opening(), Box::new(keyring), write);
    (session, scribe, told)
}

fn body(frame: &[u8]) -> &[u8] {
    &frame[frame::HEAD_BYTES..]
}

/// A key whose secret is not its name.
struct Secret([u8; 32]);

impl Keyring for Secret {
    fn id(&self) -> PeerId {
        peer(1)
    }
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(blake3::keyed_hash(&self.0, message).as_bytes().to_vec())
    }
    fn verify(&self, _: &PeerId, _: &[u8], _: &Signature) -> bool {
        true
    }
}

#[test]
fn a_life_is_repeated_without_the_secret() {
    let secret = [0xa5; 32];
    let (mut session, mut scribe, told) = begin(Secret(secret));
    let (mut now, mut out) = (opening().now, Vec::new());
    for input in [inputs(), vec![Input::Wake; 5]].concat() {
        now = now + Span::from_secs(3);
        scribe.handle(&mut session, now, input, &mut out);
    }
    let frames: Vec<Vec<u8>> = told.try_iter().collect();
    assert!(frames.concat().windows(32).all(|window| window != secret), "the secret got in");
    assert!(out.iter().any(|output| matches!(output, Output::Broadcast { .. })), "it signs");

    let opening_again = Opening::read(body(&frames[0][magic().len()..])).unwrap();
    assert_eq!(opening_again, opening());
    let mut player = Player::begin(&opening_again);
    let mut repeated = Vec::new();
    for frame in &frames[1..] {
        let entry = Entry::read(body(frame)).unwrap();
        let played = player.play(&entry).unwrap();
        assert!(played.asked_alike && played.came == entry.came, "{entry:?}: {played:?}");
        repeated.extend(played.outputs);
    }
    assert_eq!(to_cbor(&repeated), to_cbor(&out));
    assert!(frames.iter().skip(1).all(|frame| frame.len() < 8 * BEACON_BYTES_MAX));
    assert_eq!(player.session.record().digest(), session.record().digest());
}

/// A key that cannot be used.
struct Broken;

impl Keyring for Broken {
    fn id(&self) -> PeerId {
        peer(1)
    }
    fn sign(&self, _: &[u8]) -> Signature {
        panic!("a planted panic")
    }
    fn verify(&self, _: &PeerId, _: &[u8], _: &Signature) -> bool {
        false
    }
}

#[test]
fn the_input_that_makes_a_session_panic_is_written_down() {
    let (mut session, mut scribe, told) = begin(Broken);
    let connected = Input::Connected { peer: peer(2) };
    let mut handle = || scribe.handle(&mut session, Time(2_000), connected.clone(), &mut vec![]);
    assert!(catch_unwind(AssertUnwindSafe(&mut handle)).is_err(), "the panic goes on");
    let frames: Vec<Vec<u8>> = told.try_iter().collect();
    let last = Entry::read(body(&frames[frames.len() - 1])).unwrap();
    assert_eq!((last.input(), &last.came), (Ok(connected), &Came::Panic));
    let played = Player::begin(&opening()).play(&last).unwrap();
    assert!(!played.asked_alike && played.came != Came::Panic, "{played:?}");
}
