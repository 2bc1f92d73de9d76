//! Checkpoints and the ledger on disk. A plain thread writes; when a newer state comes before the last is begun, the newer is
//! written, and who has written rests a while: of short rounds not each costs a checkpoint.

use crate::exchange::average::{self, AVERAGE};
use crate::exchange::{Committed, State};
use crate::message::{Archive, Archived, InnerState, Stop};
use crate::settings::Settings;
use crate::store::floats::bytes_of;
use crate::store::{self, Checkpoint, committed};
use actix::{Actor, ActorContext, Context, Handler, Recipient};
use shoal_protocol::id::{Digest, PeerId, Round, Signature};
use shoal_protocol::ledger::Record;
use shoal_protocol::plateau::Plateau;
use shoal_protocol::run::StopSpec;
use shoal_protocol::wire::to_cbor;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the ledger's record among a checkpoint's extras.
pub const RECORD: &str = "record";
/// Name of the upward residual among them.
pub const RESIDUAL_UP: &str = "residual-up";
/// Name of the downward residual among them.
pub const RESIDUAL_DOWN: &str = "residual-down";

/// Evaluated rounds whose checkpoints wait for the others' word of their loss.
const OPEN_MAX: u64 = 4;

/// How many times as long as a checkpoint took none is written: a twentieth of the time at the most goes into them. Measured: with rounds of
/// a second and a half on a busy machine they took a third.
const REST: u32 = 19;
/// The longest rest: what all nodes together may lose if none can be asked for newer rounds.
const REST_MAX: Duration = Duration::from_secs(60);

/// Name of a device's inner optimiser among what a checkpoint can do without.
pub fn inner_name(device: usize) -> String {
    format!("inner-{device}")
}

/// What a checkpoint is made of, and the ledger's line about its round.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The round.
    pub round: Round,
    /// The state's name: what peers agreed on, or in a run by gossip the root over its chunks.
    pub digest: Digest,
    /// The state.
    pub state: State,
    /// Extras of numbers, by name.
    pub vectors: Vec<(&'static str, Vec<f32>)>,
    /// Extras of bytes, by name.
    pub extras: Vec<(&'static str, Vec<u8>)>,
    /// What can be done without, by name.
    pub local: Vec<(&'static str, Arc<Vec<u8>>)>,
    /// What the ledger says of the held-out loss, if the run may end early.
    pub plateau: Option<Plateau>,
    /// The ledger's line.
    pub line: String,
}

impl From<Committed> for Kept {
    fn from(committed: Committed) -> Kept {
        let Committed { record, state, residual_up, residual_down, average } = committed;
        let average = average.map(|average| (AVERAGE, Arc::new(average::bytes(&average))));
        Kept {
            round: record.round,
            digest: record.digest(),
            state,
            vectors: vec![(RESIDUAL_UP, residual_up), (RESIDUAL_DOWN, residual_down)],
            extras: vec![(RECORD, to_cbor(&record))],
            local: average.into_iter().collect(),
            plateau: record.plateau,
            line: record_line(&record),
        }
    }
}

/// The face of the thread that writes.
pub struct ArchiveActor {
    desk: Arc<Desk>,
    stop: Option<StopSpec>,
}

/// What waits to be written.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    state: Option<Box<Kept>>,
    /// One that may turn out to be the best: it is written though a newer one waits.
    evaluated: Option<Box<Kept>>,
    lines: Vec<String>,
    losses: Vec<(Round, f64)>,
    /// By the name in a checkpoint.
    inner: BTreeMap<String, Arc<Vec<u8>>>,
    closed: bool,
}

/// What the thread owns.
struct Writer {
    settings: Settings,
    desk: Arc<Desk>,
    losses: Vec<(Round, f64)>,
    /// The devices' inner optimisers as last heard of.
    inner: BTreeMap<String, Arc<Vec<u8>>>,
    told: Recipient<Archived>,
}

impl ArchiveActor {
    /// Starts the thread; `told` hears of every checkpoint, `losses` are those of the rounds so far, `inner` what the last
    /// checkpoint kept of inner optimisers.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(
        settings: Settings,
        losses: Vec<(Round, f64)>,
        inner: BTreeMap<String, Arc<Vec<u8>>>,
        told: Recipient<Archived>,
    ) -> std::io::Result<(ArchiveActor, JoinHandle<()>)> {
        let desk = Arc::new(Desk::default());
        let stop = settings.spec.stop;
        let writer = Writer { settings, desk: desk.clone(), losses, inner, told };
        let thread =
            std::thread::Builder::new().name("archive".into()).spawn(move || writer.run())?;
        Ok((ArchiveActor { desk, stop }, thread))
    }
}

impl Actor for ArchiveActor {
    type Context = Context<Self>;
}

/// A panic ends the thread as well, after what it has: nobody is told that the actor has stopped then.
impl Drop for ArchiveActor {
    fn drop(&mut self) {
        self.desk.change(|waiting| waiting.closed = true);
    }
}

impl Handler<Archive> for ArchiveActor {
    type Result = ();
    fn handle(&mut self, Archive(mut kept, loss): Archive, _: &mut Context<Self>) {
        let may_be_best = self.stop.is_some_and(|stop| stop.evaluates(kept.round));
        self.desk.change(|waiting| {
            waiting.lines.push(std::mem::take(&mut kept.line));
            // The loss that is known by now is that of the round before.
            waiting.losses.extend(loss.map(|loss| (kept.round.saturating_sub(1), loss)));
            let state = Some(kept);
            if may_be_best {
                (waiting.evaluated, waiting.state) = (state, None);
            } else {
                waiting.state = state;
            }
        });
    }
}

impl Handler<InnerState> for ArchiveActor {
    type Result = ();
    fn handle(&mut self, InnerState { device, bytes }: InnerState, _: &mut Context<Self>) {
        self.desk.change(|waiting| {
            waiting.inner.insert(inner_name(device), Arc::new(bytes));
        });
    }
}

impl Handler<Stop> for ArchiveActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// An endorsement for the ledger.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Endorsement(pub Round, pub PeerId, pub Signature);

impl Handler<Endorsement> for ArchiveActor {
    type Result = ();
    fn handle(&mut self, Endorsement(round, peer, signature): Endorsement, _: &mut Context<Self>) {
        let signature: String = signature.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let line =
            serde_json::json!({ "round": round, "peer": peer.to_string(), "signature": signature });
        self.desk.change(|waiting| waiting.lines.push(line.to_string()));
    }
}

impl Desk {
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    /// Waits for something to write; `None` when closed and nothing is left. A state that could be told again by others waits until
    /// `rested`, and may give way to a newer one until then.
    fn next(&self, rested: Instant) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = rested.saturating_duration_since(Instant::now());
            if rest.is_zero() || waiting.closed || waiting.is_urgent() {
                if !waiting.is_empty() {
                    let with_state = rest.is_zero() || waiting.closed;
                    return Some(waiting.take(with_state));
                }
                if waiting.closed {
                    return None;
                }
            }
            let rest = if waiting.state.is_some() { rest } else { Duration::MAX };
            let woken = self.news.wait_timeout(waiting, rest);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Waiting {
    fn is_urgent(&self) -> bool {
        self.evaluated.is_some() || !self.lines.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && !self.is_urgent()
    }

    /// All of it, or all but the newest state.
    fn take(&mut self, with_state: bool) -> Waiting {
        let state = if with_state { None } else { self.state.take() };
        std::mem::replace(self, Waiting { closed: self.closed, state, ..Waiting::default() })
    }
}

impl Writer {
    fn run(mut self) {
        let mut rested = Instant::now();
        while let Some(waiting) = self.desk.next(rested) {
            self.inner.extend(waiting.inner);
            self.losses.extend(waiting.losses);
            for kept in waiting.evaluated.into_iter().chain(waiting.state) {
                let begun = Instant::now();
                self.save(*kept);
                rested = Instant::now() + REST_MAX.min(REST * begun.elapsed());
            }
            if let Err(error) = self.append(&waiting.lines) {
                tracing::error!(%error, "the ledger cannot be written: free some disk space, or mend the folder's permissions");
            }
        }
    }

    fn save(&self, kept: Kept) {
        let round = kept.round;
        let (folder, plateau) = (self.settings.checkpoints(), kept.plateau);
        let open = self.open(round, plateau);
        match store::save(&folder, &self.checkpoint(kept), self.settings.keep, open) {
            Ok(folder) => {
                let best = self.keep_best(plateau);
                self.told.do_send(Archived { round, folder, best });
            }
            Err(error) => {
                tracing::error!(round, %error, "no checkpoint was written; training goes on")
            }
        }
    }

    /// Rounds whose loss is not decided yet in `now`: any may be the best. A few at the most: what is older will not be decided.
    fn open(&self, now: Round, plateau: Option<Plateau>) -> impl Fn(Round) -> bool + use<> {
        let stop = self.settings.spec.stop;
        let known = plateau.map_or(0, |plateau| plateau.last.round);
        let recent = move |stop: StopSpec, round| round + OPEN_MAX * stop.every > now;
        move |round| {
            let waits = |stop: StopSpec| stop.evaluates(round) && recent(stop, round);
            round > known && stop.is_some_and(waits)
        }
    }

    /// Lets the link of the best checkpoint follow the ledger.
    fn keep_best(&self, plateau: Option<Plateau>) -> Option<PathBuf> {
        let best = plateau?.best;
        let pointed = store::best::point_at(&self.settings.checkpoints(), best.round, &best.of);
        pointed.unwrap_or_else(|error| {
            tracing::warn!(round = best.round, %error, "the best checkpoint has no link");
            None
        })
    }

    fn checkpoint(&self, kept: Kept) -> Checkpoint {
        let vectors =
            kept.vectors.into_iter().map(|(name, values)| (name, bytes_of(&values).to_vec()));
        let extras = vectors.chain(kept.extras).map(|(name, bytes)| (name.to_owned(), bytes));
        let [params, momentum] = [kept.state.params, kept.state.momentum].map(Arc::unwrap_or_clone);
        let (params, momentum, measured) = committed::split(&self.settings.spec, params, momentum);
        let extras = extras.chain(measured.map(|bytes| (committed::MEASURED.to_owned(), bytes)));
        let mut local = self.inner.clone();
        local.extend(kept.local.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
        Checkpoint {
            round: kept.round,
            digest: kept.digest,
            spec: self.settings.spec.clone(),
            params,
            momentum,
            extras: extras.collect(),
            local,
            losses: self.losses.clone(),
        }
    }

    fn append(&self, lines: &[String]) -> std::io::Result<()> {
        let path: PathBuf = self.settings.run_dir().join("ledger.jsonl");
        std::fs::create_dir_all(self.settings.run_dir())?;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        lines.iter().try_for_each(|line| writeln!(file, "{line}"))
    }
}

fn record_line(record: &Record) -> String {
    let contributions: Vec<_> = record
        .contributions
        .iter()
        .map(|share| serde_json::json!({ "peer": share.peer.to_string(), "tokens": share.tokens }))
        .collect();
    serde_json::json!({
        "round": record.round,
        "digest": record.digest().to_string(),
        "parent": record.parent.to_string(),
        "plan": record.plan.to_string(),
        "result": record.result.to_string(),
        "state": record.state.to_string(),
        "tokens": record.tokens,
        "contributions": contributions,
    })
    .to_string()
}
