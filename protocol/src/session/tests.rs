//! One session alone: inputs in, the exact list of outputs out, in few words each.

use super::*;
use crate::event::ChunkKind;
use crate::id::{Round, Signature};
use crate::ledger::state_root;
use crate::math::Codec;
use crate::plateau::{Heldout, Loss};
use crate::run::*;
use crate::wire::{Plan, decode};

struct Keys(PeerId);

impl Keyring for Keys {
    fn id(&self) -> PeerId {
        self.0
    }
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(blake3::keyed_hash(&self.0.0, message).as_bytes().to_vec())
    }
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool {
        Keys(*peer).sign(message) == *signature
    }
}

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

pub fn spec() -> RunSpec {
    RunSpec {
        protocol: PROTOCOL_VERSION,
        name: "unit".into(),
        creator: peer(1),
        seed: 1,
        rounds: 100,
        model: ModelSpec {
            vocab: 256,
            dim: 8,
            layers: 1,
            heads: 2,
            kv_heads: 2,
            hidden: 16,
            context: 16,
            head_width: None,
            tied: true,
            rope_theta: 1e4,
            norm_eps: 1e-5,
            init_std: None,
        },
        start: None,
        tokenizer: TokenizerSpec::Bytes,
        data: DataSpec::Stories { seed: 1, bytes: 1 << 20, samples: 1000, heldout_permille: 10 },
        inner: InnerSpec {
            steps: 4,
            batch: 2,
            round_ms: 0,
            lr: 1e-3,
            lr_floor: 0.1,
            warmup_rounds: 0,
            schedule: InnerSchedule::Cosine,
            optimizer: InnerOptimizer::AdamW,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            l2: 0.0,
            decays: Default::default(),
            clip: 1.0,
        },
        outer: OuterSpec { kind: OuterKind::Sgd, lr: 0.7, momentum: 0.0 },
        exchange: ExchangeSpec::new(Codec::ALL[0], Codec::ALL[0], 2048),
        group: GroupSpec { members_max: 8, quorum_percent: 60, grace_percent: 50 },
        strategy: Default::default(),
        gossip: None,
        stop: None,
        regularisation: Default::default(),
        prune: None,
        distill: None,
    }
}

/// A session and what happens to it; time is in milliseconds.
struct Bench {
    session: Session,
    spec: RunSpec,
}

impl Bench {
    fn new(me: u8) -> Bench {
        Bench::of(me, spec())
    }

    fn of(me: u8, spec: RunSpec) -> Bench {
        let chunks = vec![Digest([7; 32])];
        let record = Record::genesis(spec.id(), state_root(&chunks));
        let standing = Standing { record, chunks };
        let settings = Settings::default();
        let session =
            Session::new(Time::ZERO, spec.clone(), settings, Box::new(Keys(peer(me))), standing);
        Bench { session, spec }
    }

    fn raw(&mut self, ms: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.session.handle(Time(ms * 1000), input, &mut out);
        out
    }

    #[track_caller]
    fn check(&mut self, ms: u64, input: Input, expected: &[&str]) -> Vec<Output> {
        let out = self.raw(ms, input);
        assert_eq!(out.iter().map(brief).collect::<Vec<_>>(), expected, "at {ms} ms");
        out
    }

    /// A session of another peer of the run.
    fn session_of(&self, n: u8) -> Session {
        Bench::of(n, self.spec.clone()).session
    }

    /// A beacon of a peer that stands on the genesis or, with a digest, on round 1.
    fn beacon(&self, n: u8, digest: Option<Digest>) -> Input {
        let genesis = self.session_of(n).digest;
        match digest {
            Some(digest) => self.beacon_at(n, 1, digest, vec![genesis]),
            None => {
                let beacon = self.session_of(n).beacon(Time(1));
                Input::Received { from: peer(n), message: Message::Beacon(beacon) }
            }
        }
    }

    /// A beacon of a peer that stands on this round, and on the way there those before.
    fn beacon_at(&self, n: u8, round: Round, digest: Digest, recent: Vec<Digest>) -> Input {
        let mut beacon = self.session_of(n).beacon(Time(round));
        (beacon.round, beacon.digest, beacon.recent) = (round, digest, recent);
        beacon.signature = Signature::default();
        beacon.signature = Keys(peer(n)).sign(&beacon.signed_bytes(&self.spec.id()));
        Input::Received { from: peer(n), message: Message::Beacon(beacon) }
    }

    fn ready(&self, n: u8) -> Input {
        let mut ready = self.session_of(n).ready_for_tests();
        ready.nonce = u64::from(n);
        Input::Received { from: peer(n), message: Message::Ready(ready) }
    }
}

impl Session {
    fn ready_for_tests(&self) -> crate::wire::Ready {
        crate::wire::Ready {
            round: self.standing.record.round + 1,
            base: self.digest,
            attempt: 0,
            tokens: 0,
            wants: 8,
            nonce: 0,
            leases: 1,
            heldout: None,
            up_bytes_per_s: 0,
            down_bytes_per_s: 0,
            owns: true,
        }
    }
}

fn brief(output: &Output) -> String {
    let name = |peer: &PeerId| peer.0[0];
    match output {
        Output::Send { to, message } => format!("{} < {}", name(to), said(message)),
        Output::Broadcast { .. } => "beacon".into(),
        Output::Refuse { peer, .. } => format!("refuse {}", name(peer)),
        Output::Train { round, lease } => format!("train {round} {lease:?}"),
        Output::Reduce { index, parts, .. } => format!("reduce {index} of {}", parts.len()),
        Output::Apply { round, step, .. } => format!("apply {round} step {step}"),
        Output::Commit { record, settle } => {
            format!("commit {} {} tokens {settle:?}", record.round, record.tokens)
        }
        Output::Note(Note::Planned { round, members, attempt }) => {
            format!("planned {round} by {members} attempt {attempt}")
        }
        Output::Note(Note::Exchanged { round, .. }) => format!("exchanged {round}"),
        Output::Note(Note::Strike { peer, .. }) => format!("strike {}", name(peer)),
        Output::Note(Note::CatchingUp { from, to }) => format!("catch up {from} to {to}"),
        Output::Release { .. } => "release".into(),
        Output::Evaluate { round, .. } => format!("evaluate {round}"),
        Output::Note(Note::Finished { round }) => format!("finished {round}"),
        other => format!("{other:?}"),
    }
}

fn said(message: &Message) -> String {
    match message {
        Message::Beacon(beacon) => format!("beacon {}", beacon.round),
        Message::Ready(ready) => format!("ready {} tokens {}", ready.round, ready.tokens),
        Message::Plan(signed) => format!("plan {}", signed.plan.round),
        Message::Confirm(_) => "confirm".into(),
        Message::Signed(signed) => format!("signed {}", signed.round),
        Message::WantRound { .. } => "want round".into(),
        Message::WantManifest { .. } => "want manifest".into(),
        Message::Refusal { .. } => "refusal".into(),
        other => format!("{other:?}"),
    }
}

fn applied(round: Round) -> Input {
    Input::Applied { round, chunks: vec![Digest([round as u8; 32])] }
}

#[test]
fn alone_two_rounds() {
    let mut bench = Bench::new(1);
    bench.check(0, Input::Wake, &["beacon"]);
    bench.check(5_000, Input::Wake, &["beacon"]);
    let first = ["planned 1 by 1 attempt 0", "exchanged 1", "apply 1 step false"];
    bench.check(5_000, Input::Wake, &first);
    let commit = ["commit 1 0 tokens []", "beacon", "train 2 [0..8]"];
    bench.check(5_001, applied(1), &commit);
    let chunks = bench.spec.chunks();
    let out = bench.raw(7_000, Input::LocalWorkReady { round: 2, tokens: 128 });
    let reduces = (0..chunks).map(|index| format!("reduce {index} of 1"));
    let expected: Vec<String> =
        std::iter::once("planned 2 by 1 attempt 0".to_string()).chain(reduces).collect();
    assert_eq!(out.iter().map(brief).collect::<Vec<_>>(), expected);
    let Some(Output::Reduce { plan, .. }) = out.last() else { panic!("it adds up its own") };
    let reduced = |index| Input::Reduced { plan: *plan, index, digest: Digest([9; 32]) };
    (0..chunks - 1).for_each(|index| drop(bench.check(7_001, reduced(index), &[])));
    bench.check(7_001, reduced(chunks - 1), &["exchanged 2", "apply 2 step true"]);
    let settle = vec![Settle::Owned { own: true }; chunks as usize];
    let commit = format!("commit 2 128 tokens {settle:?}");
    bench.check(7_002, applied(2), &[&commit, "release", "beacon", "train 3 [8..16]"]);
}

/// A round of a peer that is alone, with what it measured of the state before; what comes of the commit.
fn round_alone(bench: &mut Bench, round: Round, nats: Option<f64>) -> Vec<String> {
    let of = bench.session.digest;
    let told = nats.map(|nats| Heldout { round: round - 1, of, loss: Loss::of(nats) });
    let at = 10_000 * round;
    told.into_iter().for_each(|told| drop(bench.check(at, Input::Evaluated(told), &[])));
    let out = bench.raw(at, Input::LocalWorkReady { round, tokens: 128 });
    let plans = out.iter().filter_map(|output| match output {
        Output::Reduce { plan, index, .. } => Some((*plan, *index)),
        _ => None,
    });
    for (plan, index) in plans.collect::<Vec<_>>() {
        bench.raw(at, Input::Reduced { plan, index, digest: Digest([9; 32]) });
    }
    let out = bench.raw(at + 1, applied(round));
    let of_rounds = |output: &Output| {
        !matches!(output, Output::Release { .. } | Output::Broadcast { .. } | Output::Forget { .. })
    };
    let told = out.iter().filter(|output| of_rounds(output)).skip(1);
    told.map(brief).collect()
}

#[test]
fn a_run_whose_loss_stands_still_is_over_with_the_record_that_says_so() {
    let stop = StopSpec { every: 1, patience: 2, min_gain: 0.1, sequences: 8, ema: 0.0 };
    let mut bench = Bench::of(1, RunSpec { stop: Some(stop), ..spec() });
    bench.raw(5_000, Input::Wake);
    bench.raw(5_000, Input::Wake);
    let commit = ["commit 1 0 tokens []", "beacon", "evaluate 1", "train 2 [0..8]"];
    bench.check(5_001, applied(1), &commit);
    let goes_on = |round: u64| {
        let lease = 8 * (round - 1)..8 * round;
        [format!("evaluate {round}"), format!("train {} [{lease:?}]", round + 1)].to_vec()
    };
    // A loss that was not measured in time is left open; a gain that is too small is none.
    for (round, nats) in [(2, Some(3.0)), (3, None), (4, Some(2.8)), (5, Some(2.75))] {
        assert_eq!(round_alone(&mut bench, round, nats), goes_on(round), "{round}");
    }
    assert_eq!(round_alone(&mut bench, 6, Some(2.79)), ["evaluate 6", "finished 6"]);
    let plateau = bench.session.record().plateau.expect("it was decided");
    assert_eq!((plateau.best.round, plateau.best.loss, plateau.idle), (4, Loss::of(2.75), 2));
    assert_eq!(bench.session.waiting().phase, Phase::Finished);
}

#[test]
fn a_loss_that_nobody_can_have_measured_counts_against_its_sender() {
    let stop = StopSpec { every: 2, patience: 2, min_gain: 0.1, sequences: 8, ema: 0.0 };
    for (stop, round, struck) in
        [(None, 2, true), (Some(stop), 3, true), (Some(stop), 4, true), (Some(stop), 2, false)]
    {
        let mut bench = Bench::of(1, RunSpec { stop, ..spec() });
        bench.raw(0, Input::Connected { peer: peer(2) });
        let heldout = Some(Heldout { round, of: Digest([3; 32]), loss: Loss(5) });
        let ready = crate::wire::Ready { round: 4, heldout, ..bench.session.ready_for_tests() };
        let said = Input::Received { from: peer(2), message: Message::Ready(ready) };
        let out = bench.raw(1, said);
        let strikes = out.iter().filter(|output| brief(output) == "strike 2").count();
        assert_eq!(strikes == 1, struck, "{stop:?} {round}");
        let kept = bench.session.members.get(&peer(2)).and_then(|entry| entry.ready.as_ref());
        assert_eq!(kept.is_some_and(|ready| ready.heldout.is_some()), !struck);
    }
    let frame = |micro: u32| {
        let heldout = Some(Heldout { round: 2, of: Digest([3; 32]), loss: Loss(micro) });
        let ready = crate::wire::Ready { heldout, ..Bench::new(1).session.ready_for_tests() };
        decode(peer(2), &to_cbor(&Message::Ready(ready)))
    };
    assert!(matches!(frame(Loss::MAX.0), Input::Received { .. }));
    assert!(matches!(frame(Loss::MAX.0 + 1), Input::Malformed { .. }));
}

/// The first of two in the hash order of round 1, and the other.
fn ranks(spec: &RunSpec) -> (u8, u8) {
    let order = crate::convene::rank(&spec.id(), 1, &[peer(1), peer(2)]);
    (order[0].0[0], order[1].0[0])
}

/// A session that knows of one other peer, has listened, and says that it is ready.
fn in_company(me: u8, other: u8, spec: RunSpec) -> Bench {
    let mut bench = Bench::of(me, spec);
    let greeting = format!("{other} < beacon 0");
    bench.check(0, Input::Connected { peer: peer(other) }, &[&greeting]);
    let hello = bench.beacon(other, None);
    bench.check(10, hello, &[]);
    let ready = format!("{other} < ready 1 tokens 0");
    bench.check(1_000, Input::Wake, &[&ready]);
    bench
}

fn plan_of(out: &[Output]) -> Option<SignedPlan> {
    out.iter().find_map(|output| match output {
        Output::Send { message: Message::Plan(plan), .. } => Some(plan.clone()),
        _ => None,
    })
}

#[test]
fn two_peers_first_plan() {
    let (convener, member) = ranks(&spec());
    let mut first = in_company(convener, member, spec());
    let mut second = in_company(member, convener, spec());
    let mut word = second.session.ready_for_tests();
    word.nonce = second.session.work.nonce;
    let word = Input::Received { from: peer(member), message: Message::Ready(word) };
    let to = |n: u8, what: &str| format!("{n} < {what}");
    let (told, confirmed) = (to(member, "plan 1"), to(member, "confirm"));
    let out = first.check(1_050, word, &[&told, "planned 1 by 2 attempt 0", &confirmed]);
    let plan = plan_of(&out).expect("it was just told");
    let plan: SignedPlan = plan;
    let Plan { members, lost, .. } = &plan.plan;
    let listed: Vec<(u8, u64, u32)> =
        members.iter().map(|m| (m.peer.0[0], m.tokens, m.wants)).collect();
    assert_eq!((listed, lost.len()), (vec![(convener, 0, 8), (member, 0, 8)], 0));

    let plan = Input::Received { from: peer(convener), message: Message::Plan(plan) };
    let confirmed = to(convener, "confirm");
    let out = second.check(1_100, plan, &["planned 1 by 2 attempt 0", &confirmed]);
    let confirm = out.into_iter().find_map(|output| match output {
        Output::Send { message, .. } => Some(message),
        _ => None,
    });
    let message = confirm.expect("it was just sent");
    let confirm = Input::Received { from: peer(member), message };
    first.check(1_150, confirm, &["exchanged 1", "apply 1 step false"]);
    let signed = to(member, "signed 1");
    let commit = ["commit 1 0 tokens []", &signed, "beacon", "train 2 [0..8]"];
    first.check(1_151, applied(1), &commit);
}

#[test]
fn a_stall_is_judged_by_what_a_contribution_takes_in_the_runs_own_codec() {
    let mut run = spec();
    (run.exchange.up, run.exchange.mask_one_of) = (Codec::Mask, 4);
    assert_eq!(run.validate(), Ok(()));
    let (convener, member) = ranks(&run);
    let mut bench = in_company(convener, member, run);
    let mut word = bench.session.ready_for_tests();
    word.nonce += 1;
    bench.raw(1_050, Input::Received { from: peer(member), message: Message::Ready(word) });
    let Stage::Exchanging(exchange, _) = &bench.session.stage else {
        panic!("{:?}", bench.session.stage);
    };
    assert_eq!(exchange.chunk_bytes, 4 * 2048 / 4);
}

#[test]
fn a_joiner_repeats_the_round_that_it_missed() {
    let mut bench = Bench::new(1);
    bench.check(0, Input::Connected { peer: peer(2) }, &["2 < beacon 0"]);
    let ahead = bench.beacon(2, Some(Digest([5; 32])));
    bench.check(10, ahead, &["catch up 0 to 1", "2 < want round"]);
    let gone = Message::Gone { digest: Digest([5; 32]) };
    let asked = Input::Received { from: peer(2), message: gone };
    bench.check(20, asked, &["2 < ready 1 tokens 0"]);
    assert!(bench.session.lacking.contains(&(Digest([5; 32]), true, peer(2))));
}

#[test]
fn a_joiner_whose_donor_is_silent_goes_after_the_others() {
    let mut bench = Bench::new(1);
    bench.check(0, Input::Connected { peer: peer(2) }, &["2 < beacon 0"]);
    let ahead = bench.beacon(2, Some(Digest([5; 32])));
    bench.check(10, ahead, &["catch up 0 to 1", "2 < want round"]);
    let gone_on = bench.beacon_at(2, 2, Digest([6; 32]), vec![Digest([4; 32])]);
    bench.check(1_000, gone_on, &[]);
    let expected = ["catch up 0 to 2", "2 < want manifest"];
    bench.check(2_010, Input::Wake, &expected);
}

#[test]
fn bytes_that_are_no_message_count_against_their_sender() {
    let mut bench = Bench::new(1);
    bench.check(0, Input::Connected { peer: peer(2) }, &["2 < beacon 0"]);
    bench.check(1, decode(peer(2), &[0xff; 9]), &["strike 2"]);
    let last = ["strike 2", "2 < refusal", "refuse 2"];
    bench.check(2, decode(peer(2), &[0xff; 9]), &last);
    let later = bench.ready(2);
    bench.check(3, later, &[]);
}

#[test]
fn a_chunk_of_a_wrong_size_is_refused_in_words() {
    for (index, told) in [
        (0, "sent a chunk of 5 bytes where 8192 are due"),
        (99, "sent a chunk of 5 bytes where none is due"),
    ] {
        let mut bench = Bench::new(1);
        let (of, kind) = (Digest([3; 32]), ChunkKind::Contribution);
        let chunk = ChunkId { of, kind, index, included: 0 };
        let digest = Digest::default();
        let out = bench.raw(1, Input::Arrived { from: peer(2), chunk, bytes: 5, digest });
        let is = |output: &Output| matches!(output, Output::Note(Note::Strike { reason, .. }) if reason == told);
        assert!(out.iter().any(is), "{out:?}");
    }
}

#[test]
fn whoever_is_ready_for_a_round_that_is_over_is_told_where_this_peer_stands() {
    let mut bench = Bench::new(1);
    bench.raw(5_000, Input::Wake);
    bench.raw(5_000, Input::Wake);
    bench.raw(5_001, applied(1));
    bench.check(5_002, Input::Connected { peer: peer(2) }, &["2 < beacon 1"]);
    let stale = bench.ready(2);
    bench.check(5_010, stale, &["2 < beacon 1"]);
}
