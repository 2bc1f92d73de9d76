//! Recorded lives of peers replay byte for byte; what is not as it was is named.

use super::seeds::for_seeds;
use crate::keys::{Keys, peer_id};
use crate::peer::{Peer, Tape};
use crate::replay::{Same, Stopped, repeat, replay};
use crate::rng::Rng;
use crate::world::World;
use shoal_protocol::event::{Input, Output};
use shoal_protocol::id::Signature;
use shoal_protocol::recording::frame::{Chain, HEAD_BYTES};
use shoal_protocol::recording::{Opening, Scribe, magic};
use shoal_protocol::sabotage::{Bug, plant};
use shoal_protocol::session::Standing;
use shoal_protocol::time::{Span, Time};
use shoal_protocol::wire::{Message, to_cbor};
use std::sync::mpsc::channel;

/// One life of a peer.
type Life = ((Time, Standing), Tape);

/// A run of three with losses, in which peer 0 is killed and restarts, and peer 1's death is seen by the others: the lives of
/// peer 0.
fn lives(seed: u64) -> (World, Vec<Life>) {
    let mut world = World::new("recorded_lives_replay", seed, 3);
    world.net.weather.control_loss = 0.02;
    world.net.weather.bulk_loss = 0.02;
    world.peers[0].tape = Some(Vec::new());
    world.start_all();
    world.run_for(Span::from_secs(25));
    world.kill(1);
    let dies = world.rng.millis(5_000, 15_000);
    world.run_for(dies);
    world.kill(0);
    let mut lives = vec![life(&mut world.peers[0])];
    world.run_for(Span::from_secs(3));
    world.start(0);
    world.start(1);
    world.run_for(Span::from_secs(30));
    lives.push(life(&mut world.peers[0]));
    (world, lives)
}

fn life(peer: &mut Peer) -> Life {
    let tape = peer.tape.replace(Vec::new()).expect("it is taped");
    (peer.start.clone().expect("it has started"), tape)
}

/// The recording that a node writes of a life, frame by frame; the first holds the opening.
fn frames(peer: &Peer, ((now, standing), tape): &Life) -> Vec<Vec<u8>> {
    let opening = Opening {
        program: "test".into(),
        now: *now,
        me: peer.id,
        spec: (*peer.spec).clone(),
        settings: peer.settings.clone(),
        standing: standing.clone(),
    };
    let (tell, told) = channel();
    let write = Box::new(move |frame| tell.send(frame).expect("it is listened to"));
    let (mut session, mut scribe) = Scribe::begin(&opening, Box::new(Keys(peer.id)), write);
    for (now, input, outputs) in tape {
        let mut again = Vec::new();
        scribe.handle(&mut session, *now, input.clone(), &mut again);
        assert_eq!(to_cbor(outputs), to_cbor(&again), "at {now:?} after {input:?}");
    }
    told.try_iter().collect()
}

/// A short life of one peer, and its recording.
fn short() -> (Life, Vec<Vec<u8>>) {
    let (world, mut lives) = lives(1);
    let mut life = lives.remove(0);
    life.1.truncate(150);
    let frames = frames(&world.peers[0], &life);
    (life, frames)
}

fn differs(bytes: &[u8]) -> String {
    match repeat(bytes) {
        Err(Stopped::Differs(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// From which byte on a file is bad, why, and how many inputs came before.
fn bad(bytes: &[u8]) -> (u64, String, u64) {
    match repeat(bytes) {
        Err(Stopped::Bad(bad, inputs)) => (bad.at, bad.why, inputs),
        other => panic!("{other:?}"),
    }
}

/// Frames with these bodies instead, sealed as if they had been recorded so.
fn forged(frames: &[Vec<u8>], forge: impl Fn(usize, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let start = magic();
    let mut chain = Chain::after(&start);
    let mut bytes = start.to_vec();
    for (n, frame) in frames.iter().enumerate() {
        let body = &frame[if n == 0 { start.len() } else { 0 }..][HEAD_BYTES..];
        bytes.extend(chain.seal(&forge(n, body.to_vec())));
    }
    bytes
}

/// `bytes` with the first occurrence of `old` replaced.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("it is in there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn recorded_lives_replay() {
    for_seeds(6, |seed| {
        let (world, lives) = lives(seed);
        let resumed = lives[1].0.1.record.round;
        assert!(resumed > 0, "the second life goes on from a committed round");
        for life in &lives {
            let bytes = frames(&world.peers[0], life).concat();
            let same: Same = repeat(&bytes[..]).unwrap();
            let outputs: usize = life.1.iter().map(|(_, _, outputs)| outputs.len()).sum();
            assert_eq!((same.inputs, same.outputs), (life.1.len() as u64, outputs as u64));
            assert!(same.inputs > 100 && same.torn.is_none() && !same.panics);
        }
    });
}

#[test]
fn a_machine_that_does_otherwise_is_noticed() {
    let (world, lives) = lives(3);
    let bytes = frames(&world.peers[0], &lives[0]).concat();
    plant(Some(Bug::LeasedTwice));
    let stopped = repeat(&bytes[..]);
    plant(None);
    let Err(Stopped::Differs(what)) = stopped else { panic!("{stopped:?}") };
    assert!(what.contains("recorded: ") && what.contains("replayed: "), "{what}");
    assert!(repeat(&bytes[..]).is_ok());
}

#[test]
fn a_changed_output_is_named_with_its_input() {
    let ((begun, tape), frames) = short();
    let trains = |(_, _, outputs): &(Time, Input, Vec<Output>)| {
        outputs.iter().position(|output| matches!(output, Output::Train { .. }))
    };
    let (n, place) = tape
        .iter()
        .enumerate()
        .find_map(|(n, entry)| Some((n, trains(entry)?)))
        .expect("it trains");
    let Output::Train { round, lease } = &tape[n].2[place] else { unreachable!() };
    let other = Output::Train { round: round + 1, lease: lease.clone() };
    let bytes = forged(&frames, |frame, body| match frame == n + 1 {
        true => replaced(&body, &to_cbor(&tape[n].2[place]), &to_cbor(&other)),
        false => body,
    });
    let seconds = tape[n].0.since(begun.0).as_secs_f64();
    let what = differs(&bytes);
    assert!(what.starts_with(&format!("input {} differs, {seconds:.6} s", n + 1)), "{what}");
    assert!(what.contains(&format!("number {} is the first", place + 1)), "{what}");
    assert!(what.contains(&format!("recorded: Train {{ round: {}", round + 1)), "{what}");
    assert!(what.contains(&format!("replayed: Train {{ round: {round},")), "{what}");
}

#[test]
fn an_input_that_never_was_leads_elsewhere() {
    let ((_, tape), frames) = short();
    let signed =
        |input: &Input| matches!(input, Input::Received { message: Message::Beacon(_), .. });
    let n = tape.iter().position(|(_, input, _)| signed(input)).expect("beacons come");
    let bytes = forged(&frames, |frame, body| match frame == n + 1 {
        true => {
            let from = peer_id(1);
            let other = to_cbor(&Input::Malformed { from, reason: "x".into() });
            let before = to_cbor(&tape[n].1);
            let string = |bytes: &[u8]| to_cbor(&Signature(bytes.to_vec()));
            replaced(&body, &string(&before), &string(&other))
        }
        false => body,
    });
    let what = differs(&bytes);
    assert!(what.starts_with(&format!("input {} differs", n + 1)), "{what}");
    assert!(what.contains("Malformed") && what.contains("of its keys"), "{what}");
}

#[test]
fn a_torn_tail_is_read_up_to_its_last_whole_entry() {
    let (_, frames) = short();
    let (whole, last) = (frames.concat(), frames[frames.len() - 1].len());
    let complete = repeat(&whole[..]).unwrap();
    for missing in [1, last / 2, last - HEAD_BYTES, last - 3, last - 1] {
        let same = repeat(&whole[..whole.len() - missing]).unwrap();
        assert_eq!(same.torn, Some((whole.len() - last) as u64));
        assert_eq!(same.inputs, complete.inputs - 1);
        assert!(same.to_string().contains("the file ends within the entry at byte"));
    }
    let at_an_edge = repeat(&whole[..whole.len() - last]).unwrap();
    assert_eq!((at_an_edge.torn, at_an_edge.inputs), (None, complete.inputs - 1));
    let (_, why, _) = bad(&frames[0][..frames[0].len() - 1]);
    assert!(why.contains("nothing was recorded"), "{why}");
}

#[test]
fn a_flipped_byte_is_named_with_its_offset() {
    let (_, frames) = short();
    let (before, hit) = frames.split_at(20);
    let start = before.concat().len();
    for place in [0, 5, 9, HEAD_BYTES, hit[0].len() - 1] {
        let mut bytes = frames.concat();
        bytes[start + place] ^= 1;
        let (at, why, inputs) = bad(&bytes);
        assert_eq!((at, inputs), (start as u64, 19), "byte {place} of the frame: {why}");
        assert!(why.contains("damaged"), "{why}");
    }
}

#[test]
fn a_file_that_is_no_recording_is_refused() {
    let (_, frames) = short();
    let whole = frames.concat();
    let mut newer = whole.clone();
    newer[15] = 9;
    let forge =
        |body: &[u8]| forged(&frames, |frame, old| if frame == 5 { body.to_vec() } else { old });
    let rows: [(&[u8], &str); 7] = [
        (b"", "no recording"),
        (b"shoal", "no recording"),
        (&[0x5a; 5000], "no recording"),
        (&newer, "format 9"),
        (&magic(), "nothing was recorded"),
        (&forge(b"\xa0"), "nothing that this build's protocol knows"),
        (&forge(&[0x81; 300]), "nothing that this build's protocol knows"),
    ];
    for (bytes, expected) in rows {
        let (_, why, _) = bad(bytes);
        assert!(why.contains(expected), "{why}");
    }
}

/// Whatever a frame with good checks says: replaying ends with a word on it. (A machine that is told what no node tells it may
/// panic; that is a difference like any other.)
#[test]
fn no_forged_frame_breaks_the_replay() {
    let (_, frames) = short();
    let few = &frames[..40];
    let mut rng = Rng::new(7);
    let mut stopped = 0;
    for _ in 0..400 {
        let (hit, flips) = (rng.index(few.len()), 1 + rng.index(4));
        let places: Vec<(u64, u8)> =
            (0..flips).map(|_| (rng.next(), rng.next() as u8 | 1)).collect();
        let bytes = forged(few, |frame, mut body| {
            for (place, flip) in places.iter().filter(|_| frame == hit) {
                let place = *place as usize % body.len();
                body[place] ^= flip;
            }
            body
        });
        stopped += usize::from(repeat(&bytes[..]).is_err());
    }
    assert!(stopped > 300, "{stopped} of 400 were noticed");
}

/// A head that announces four gigabytes, and CBOR that announces as many elements: nothing is allocated for either.
#[test]
fn giant_lengths_take_no_memory() {
    let (_, frames) = short();
    let head = |length: u32| {
        let length = length.to_le_bytes();
        let chain = blake3::hash(&magic());
        let check = blake3::hash(&[&chain.as_bytes()[..], &length].concat());
        [&magic()[..], &length, &check.as_bytes()[..4], &[0; 8]].concat()
    };
    assert!(bad(&head(u32::MAX)).1.contains("exceeds"), "{:?}", bad(&head(u32::MAX)));
    assert!(bad(&head(64 << 20)).1.contains("nothing was recorded"));
    let many: Vec<u8> = [b"\x9b".as_slice(), &[0x7f; 8]].concat();
    let text: Vec<u8> = [b"\x7b".as_slice(), &[0x7f; 8]].concat();
    for body in [many, text] {
        let (_, why, inputs) =
            bad(&forged(&frames, |frame, old| if frame == 3 { body.clone() } else { old }));
        assert!(inputs == 2 && why.contains("nothing that this build"), "{why}");
    }
}

#[test]
fn the_exit_status_tells_a_difference_from_a_bad_file() {
    let (_, frames) = short();
    let name = format!("shoal-replay-{}.rec", std::process::id());
    let path = std::env::temp_dir().join(name);
    let status = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("there is room");
        replay(&path)
    };
    let whole = status(&frames.concat()).expect("it is the same");
    assert!(whole.starts_with("150 inputs, ") && whole.contains("same byte for byte"), "{whole}");
    let swapped = forged(&frames, |frame, body| match frame {
        0 => replaced(&body, b"\x66trains\xf5", b"\x66trains\xf4"),
        _ => body,
    });
    let differs = status(&swapped).expect_err("another peer would have done otherwise");
    assert!(differs.code == 1 && differs.why.contains("differs"), "{differs}");
    let mut flipped = frames.concat();
    *flipped.last_mut().expect("it holds something") ^= 1;
    let damaged = status(&flipped).expect_err("it is damaged");
    assert!(damaged.code == 2 && damaged.why.contains("inputs before it"), "{damaged}");
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(replay(&path).map_err(|failure| failure.code), Err(2));
}
