//! One peer of a test: its session, its numbers, and what survives its death.

use crate::check::s6_leases::Trained;
use crate::clock::Clock;
use crate::cpu::{Cpu, Task};
use crate::holdings::Holdings;
use crate::keys::Keys;
use crate::learn::Worker;
use crate::shelf::Shelf;
use crate::store::Disk;
use crate::training::Training;
use shoal_protocol::event::{Input, Output};
use shoal_protocol::id::{Digest, PeerId, Round};
use shoal_protocol::plateau::Loss;
use shoal_protocol::run::RunSpec;
use shoal_protocol::session::{Session, Settings, Standing};
use shoal_protocol::time::{Span, Time};
use std::rc::Rc;

/// What is told to a session, when, and what it answered.
pub type Tape = Vec<(Time, Input, Vec<Output>)>;

/// A peer, alive or dead.
pub struct Peer {
    pub id: PeerId,
    pub spec: Rc<RunSpec>,
    pub settings: Settings,
    /// Tokens per second.
    pub speed: u64,
    /// Its processor, if what exchanges cost it is counted.
    pub cpu: Option<Cpu>,
    /// What it takes for the time.
    pub clock: Clock,
    /// Share of its bulk frames that leave with a bit flipped.
    pub corrupts: f64,
    /// Whether it ever spoilt what it sent: its account does not balance then.
    pub spoilt: bool,
    /// What it says of every held-out loss instead of what it measured.
    pub says: Option<Loss>,
    /// Tokens that it has trained on, in all its lives.
    pub tokens: u64,
    /// Grows with every start: what one life began does not reach the next.
    pub life: u32,
    pub disk: Disk,
    /// Its pieces of the run's text, if peers fetch that from each other.
    pub shelf: Option<Shelf>,
    pub running: Option<Running>,
    /// Its next wake that is under way.
    pub wake_at: Option<Time>,
    /// Nothing reaches it before this.
    pub stalled_until: Time,
    /// Kept when it is to be replayed.
    pub tape: Option<Tape>,
    pub start: Option<(Time, Standing)>,
}

/// A peer that is alive.
pub struct Running {
    pub session: Session,
    pub store: Holdings,
    pub training: Option<Training>,
    /// Its trainer, if what it learns is real; its optimiser's history is of this life.
    pub worker: Option<Box<dyn Worker>>,
    /// What was trained in this life.
    pub trained: Trained,
    /// Started again from its disk, and has reached no new round since.
    pub just_woken: bool,
    /// How often in a row it was woken at one instant.
    pub wakes: (Time, u32),
}

impl Peer {
    pub fn new(id: PeerId, spec: Rc<RunSpec>, speed: u64, disk: Disk) -> Peer {
        let seed = u64::from_le_bytes(id.0[8..16].try_into().expect("eight bytes"));
        Peer {
            id,
            shelf: Shelf::of(&spec, true),
            spec,
            settings: Settings { seed, ..Settings::default() },
            speed,
            cpu: None,
            clock: Clock::default(),
            corrupts: 0.0,
            spoilt: false,
            says: None,
            tokens: 0,
            life: 0,
            disk,
            running: None,
            wake_at: None,
            stalled_until: Time::ZERO,
            tape: None,
            start: None,
        }
    }

    /// Starts from what the disk holds.
    pub fn start(&mut self, now: Time) {
        self.life += 1;
        self.wake_at = None;
        let store = Holdings::open(&self.spec, self.id, &self.disk);
        let standing = store.standing();
        let reads = self.clock.reads(now);
        self.start = Some((reads, standing.clone()));
        let session = self.session(reads, standing);
        self.running = Some(Running {
            session,
            store,
            training: None,
            worker: None,
            trained: Trained::new(),
            just_woken: self.life > 1,
            wakes: (Time::ZERO, 0),
        });
    }

    /// A session as this peer starts it.
    pub fn session(&self, now: Time, standing: Standing) -> Session {
        let spec = RunSpec::clone(&self.spec);
        Session::new(now, spec, self.settings.clone(), Box::new(Keys(self.id)), standing)
    }

    pub fn is_alive(&self) -> bool {
        self.running.is_some()
    }

    /// The next deadline of its session.
    pub fn wake(&self) -> Option<Time> {
        let at = self.running.as_ref()?.session.next_wake()?;
        Some(self.clock.world_time(at).max(self.stalled_until))
    }

    /// How long training on so many tokens takes.
    pub fn training_takes(&self, tokens: u64) -> Span {
        Span(tokens * 1_000_000 / self.speed.max(1))
    }

    /// How long it takes from now until this is done, if that is counted.
    pub fn busy(&mut self, task: Task, now: Time) -> Option<Span> {
        self.cpu.as_mut().map(|cpu| cpu.takes(task, now))
    }

    /// Round and digest of the last committed record, if it is alive.
    pub fn stands(&self) -> Option<(Round, Digest)> {
        self.running.as_ref().map(|r| (r.store.record().round, r.store.head()))
    }
}
