//! A peer that says what no honest peer says: random bytes, real frames with bits flipped, messages that are well formed
//! and wrong. It hears what it is sent, and some liars pass for members.

use crate::frame::Frame;
use crate::keys::{peer_id, sign};
use crate::rng::Rng;
use crate::store::Payload;
use crate::world::{Event, World};
use shoal_protocol::event::Input;
use shoal_protocol::id::{Digest, PeerId, RunId, Signature};
use shoal_protocol::ledger::Record;
use shoal_protocol::plateau::{Heldout, Loss};
use shoal_protocol::wire::*;
use std::collections::VecDeque;

/// Messages that a liar remembers.
const MEMORY: usize = 64;

/// One liar.
pub struct Liar {
    pub id: PeerId,
    pub number: usize,
    /// Passes for a member: sends proper beacons and says that it is ready.
    pub insider: bool,
    /// Tells held-out losses, which are as wrong as they can be: the run may end by them.
    pub tells_losses: bool,
    /// Longest time between two lies, in milliseconds.
    pub pause_ms: u64,
    rng: Rng,
    heard: VecDeque<Message>,
    sequence: u64,
}

/// What a liar knows of the run, from what it heard.
struct Known {
    run: RunId,
    round: u64,
    head: Digest,
    plan: Option<Plan>,
}

impl Liar {
    pub fn new(number: usize, rng: Rng) -> Liar {
        let (heard, sequence) = (VecDeque::new(), 0);
        let (insider, tells_losses, id) = (false, false, peer_id(number));
        Liar { id, number, insider, tells_losses, pause_ms: 200, rng, heard, sequence }
    }

    pub fn overhears(&mut self, frame: &Frame) {
        if let Input::Received { message, .. } = frame.received(self.id) {
            if self.heard.len() == MEMORY {
                self.heard.pop_front();
            }
            self.heard.push_back(message);
        }
    }

    fn known(&self, run: RunId) -> Known {
        let mut known = Known { run, round: 0, head: Digest::default(), plan: None };
        for message in &self.heard {
            match message {
                Message::Beacon(beacon) if beacon.round >= known.round => {
                    (known.round, known.head) = (beacon.round, beacon.digest);
                }
                Message::Plan(signed) => known.plan = Some(signed.plan.clone()),
                _ => {}
            }
        }
        known
    }

    /// The next frame that it sends.
    fn lie(&mut self, run: RunId) -> Vec<u8> {
        match self.rng.below(10) {
            0 => self.noise(),
            1 | 2 => self.flipped(),
            3 => self.giant_header(),
            4 => self.echo(),
            _ => to_cbor(&self.well_formed(run)),
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let n = self.rng.index(300);
        self.rng.bytes(n)
    }

    fn overheard(&mut self) -> Option<Message> {
        let at = self.rng.index(self.heard.len());
        self.heard.get(at).cloned()
    }

    fn flipped(&mut self) -> Vec<u8> {
        let Some(message) = self.overheard() else { return self.noise() };
        let mut bytes = to_cbor(&message);
        for _ in 0..1 + self.rng.below(3) {
            let at = self.rng.index(bytes.len());
            bytes[at] ^= 1 << self.rng.below(8);
        }
        if self.rng.chance(0.3) {
            bytes.truncate(self.rng.index(bytes.len()));
        }
        bytes
    }

    /// A CBOR header that announces more than any frame holds.
    fn giant_header(&mut self) -> Vec<u8> {
        let major = self.rng.pick(&[0x5b, 0x7b, 0x9b, 0xbb]);
        let mut bytes = vec![0xa1, 0x64];
        bytes.extend(self.rng.pick(&[b"Spec", b"Plan", b"Want"]));
        bytes.push(major);
        bytes.extend((1u64 << self.rng.below(63)).to_be_bytes());
        bytes
    }

    /// Somebody else's message as its own.
    fn echo(&mut self) -> Vec<u8> {
        match self.overheard() {
            Some(Message::Ready(ready)) => to_cbor(&Message::Ready(Ready { owns: false, ..ready })),
            Some(message) => to_cbor(&message),
            None => self.noise(),
        }
    }

    fn well_formed(&mut self, run: RunId) -> Message {
        let known = self.known(run);
        match self.rng.below(16) {
            0 => self.beacon(&known, true),
            1 => self.beacon(&known, false),
            2 => self.ready(&known),
            3 => self.plan(&known),
            4..=8 => self.about_plan(&known),
            9 => self.record(&known),
            10 => Message::WantRound { digest: self.digest(&known) },
            11 => Message::WantManifest { digest: self.digest(&known) },
            12 => self.manifest(&known),
            13 => Message::Busy { retry_ms: u32::MAX },
            14 => Message::Gone { digest: self.digest(&known) },
            _ => Message::Signed(Signed {
                round: self.number64(),
                digest: self.digest(&known),
                parent: self.digest(&known),
                signature: Signature(self.rng.bytes(32)),
            }),
        }
    }

    fn number64(&mut self) -> u64 {
        let small = self.rng.below(20);
        self.rng.pick(&[0, 1, small, u64::from(u32::MAX), u64::MAX - 1, u64::MAX])
    }

    fn number32(&mut self) -> u32 {
        let small = self.rng.below(20) as u32;
        self.rng.pick(&[0, 1, small, 70, u32::MAX])
    }

    fn digest(&mut self, known: &Known) -> Digest {
        let plan = known.plan.as_ref().map_or(Digest::default(), Plan::digest);
        self.rng.pick(&[known.head, plan, Digest([7; 32])])
    }

    /// Of another round, or signed by nobody.
    fn beacon(&mut self, known: &Known, signed: bool) -> Message {
        self.sequence += 1;
        let mut beacon = Beacon {
            peer: self.rng.pick(&[self.id, peer_id(0)]),
            sequence: self.rng.pick(&[self.sequence, u64::MAX]),
            round: self.number64(),
            digest: self.digest(known),
            recent: vec![self.digest(known); self.rng.index(RECENT_MAX + 2)],
            tokens: self.number64(),
            tokens_per_s: self.number64(),
            up_bytes_per_s: self.number64(),
            down_bytes_per_s: self.number64(),
            reachable: true,
            signature: Signature(vec![1; 32]),
        };
        if signed {
            beacon.peer = self.id;
            beacon.signature = sign(&self.id, &beacon.signed_bytes(&known.run));
        }
        Message::Beacon(beacon)
    }

    fn ready(&mut self, known: &Known) -> Message {
        Message::Ready(Ready {
            round: self.rng.pick(&[known.round, known.round.wrapping_add(1), u64::MAX]),
            base: self.digest(known),
            attempt: self.number32(),
            tokens: self.number64(),
            wants: self.number32(),
            up_bytes_per_s: self.number64(),
            down_bytes_per_s: self.number64(),
            owns: false,
            nonce: self.number64(),
            leases: self.rng.pick(&[0, 1, 2, u8::MAX]),
            heldout: self.loss(known),
        })
    }

    /// Of the newest state that it heard of, or of one that nobody evaluates.
    fn loss(&mut self, known: &Known) -> Option<Heldout> {
        if !self.tells_losses {
            return None;
        }
        let round = self.rng.pick(&[known.round, known.round, 0, u64::MAX]);
        let loss = Loss(self.rng.pick(&[0, Loss::MAX.0, u32::MAX]));
        Some(Heldout { round, of: known.head, loss })
    }

    fn plan(&mut self, known: &Known) -> Message {
        let mut plan = known.plan.clone().unwrap_or_else(|| self.invented(known));
        plan.attempt = plan.attempt.saturating_add(self.number32());
        plan.convener = self.rng.pick(&[self.id, plan.convener]);
        if let Some(first) = plan.members.first_mut() {
            first.chunks = first.chunks.wrapping_add(self.rng.pick(&[0, 1, u32::MAX]));
            first.tokens = first.tokens.wrapping_add(self.rng.pick(&[0, 1, u64::MAX]));
        }
        let signature = sign(&self.id, &plan.signed_bytes());
        Message::Plan(SignedPlan { plan, signature })
    }

    fn invented(&mut self, known: &Known) -> Plan {
        let member = |peer, chunks| Member {
            peer,
            tokens: 1 << 40,
            wants: 1 << 20,
            chunks,
            nonce: 0,
            leases: 1,
            heldout: None,
        };
        Plan {
            run: known.run,
            round: known.round.wrapping_add(1),
            base: known.head,
            attempt: 0,
            convener: self.id,
            members: vec![member(self.id, 3), member(peer_id(0), u32::MAX)],
            lost: vec![peer_id(1)],
        }
    }

    /// Questions, answers and orders within an exchange.
    fn about_plan(&mut self, known: &Known) -> Message {
        let plan = self.digest(known);
        let (repair, lost) = (self.number32(), self.number64());
        match self.rng.below(5) {
            0 => Message::Survey(Survey { plan, repair, lost }),
            1 => Message::Holding(Holding { plan, repair, results: self.ranges() }),
            2 => {
                let owner = self.number32() as u8;
                let handover = |(start, end)| Handover { start, end, owner, held: lost % 2 == 1 };
                let handovers = self.ranges().into_iter().map(handover).collect();
                Message::Amend(Amendment { plan, repair, lost, handovers })
            }
            3 => {
                let kind = self.kind();
                Message::Want(Want { of: plan, kind, chunks: self.ranges() })
            }
            _ => Message::Confirm(Confirm { plan, result: Digest([9; 32]) }),
        }
    }

    fn kind(&mut self) -> ChunkKind {
        self.rng.pick(&[ChunkKind::Contribution, ChunkKind::Result, ChunkKind::State])
    }

    fn ranges(&mut self) -> Vec<(u32, u32)> {
        (0..self.rng.below(5)).map(|_| (self.number32(), self.number32())).collect()
    }

    fn record(&mut self, known: &Known) -> Message {
        let plan = known.plan.clone().unwrap_or_else(|| self.invented(known));
        let mut record = Record::genesis(known.run, Digest([3; 32]));
        (record.round, record.parent, record.plan) = (self.number64(), known.head, plan.digest());
        let signature = sign(&self.id, &plan.signed_bytes());
        let results = vec![ResultChunk(Digest([4; 32]), u64::MAX); self.rng.index(20)];
        Message::Round(Box::new(Committed {
            record,
            plan: SignedPlan { plan, signature },
            results,
        }))
    }

    fn manifest(&mut self, known: &Known) -> Message {
        let mut record = Record::genesis(known.run, Digest([3; 32]));
        record.round = self.number64();
        let chunks = vec![Digest([5; 32]); self.rng.index(9)];
        Message::Manifest(Box::new(Manifest { record, chunks, way: Vec::new() }))
    }

    /// What an honest peer would say, so that others take it for a member.
    fn pretence(&mut self, run: RunId) -> [Message; 2] {
        let known = self.known(run);
        self.sequence += 1;
        let mut beacon = Beacon {
            peer: self.id,
            sequence: self.sequence,
            round: known.round,
            digest: known.head,
            recent: Vec::new(),
            tokens: 0,
            tokens_per_s: 60,
            up_bytes_per_s: 100_000,
            down_bytes_per_s: 100_000,
            reachable: true,
            signature: Signature::default(),
        };
        beacon.signature = sign(&self.id, &beacon.signed_bytes(&known.run));
        let ready = Ready {
            round: known.round.wrapping_add(1),
            base: known.head,
            attempt: 0,
            tokens: self.rng.pick(&[0, 128]),
            wants: 8,
            up_bytes_per_s: 100_000,
            down_bytes_per_s: 100_000,
            owns: false,
            nonce: 1,
            leases: 1,
            heldout: self.loss(&known),
        };
        [Message::Beacon(beacon), Message::Ready(ready)]
    }
}

impl World {
    /// A liar's turn: something wrong to somebody, now and then what an honest peer would say.
    pub fn lie(&mut self, n: usize) {
        let (run, from) = (self.spec.id(), self.liars[n].number);
        for to in self.net.linked(from) {
            let liar = &mut self.liars[n];
            if liar.insider && liar.rng.chance(0.5) {
                let frames = liar.pretence(run).map(|message| Frame::of(to_cbor(&message)));
                frames.into_iter().for_each(|frame| self.post(from, to, frame));
            } else if liar.rng.chance(0.3) {
                let frame = Frame::of(liar.lie(run));
                self.learn_of(&frame);
                self.post(from, to, frame);
            }
            self.lie_in_bulk(n, to);
        }
        let again = self.now + self.rng.millis(10, 10 + self.liars[n].pause_ms);
        self.schedule(again, Event::Lie { liar: n });
    }

    fn learn_of(&mut self, frame: &Frame) {
        if let Input::Received { message, .. } = frame.received(peer_id(0)) {
            self.observe(usize::MAX, &message);
        }
    }

    fn lie_in_bulk(&mut self, n: usize, to: usize) {
        let run = self.spec.id();
        let liar = &mut self.liars[n];
        if !liar.rng.chance(0.1) {
            return;
        }
        let known = liar.known(run);
        let (of, kind) = (liar.digest(&known), liar.kind());
        let (index, included) = (liar.number32(), liar.number64());
        let size = liar.rng.pick(&[0, 5, 516, 1032, 2048]);
        let bytes = liar.rng.bytes(size);
        self.ship(
            self.liars[n].number,
            to,
            ChunkId { of, kind, index, included },
            Payload::of(&bytes),
        );
    }
}
