//! Checkpoints and the ledger on disk. A plain thread writes; when a newer state comes before the last is begun, the newer is
//! written.

use crate::exchange::{Committed, average};
use crate::message::{Archive, Archived, InnerState, Stop};
use crate::settings::Settings;
use crate::store::{self, Checkpoint};
use actix::{Actor, ActorContext, Context, Handler, Recipient};
use shoal_protocol::id::{PeerId, Round, Signature};
use shoal_protocol::ledger::Record;
use shoal_protocol::plateau::Plateau;
use shoal_protocol::run::StopSpec;
use shoal_protocol::wire::to_cbor;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Name of the ledger's record among a checkpoint's extras.
pub const RECORD: &str = "record";
/// Name of the upward residual among them.
pub const RESIDUAL_UP: &str = "residual-up";
/// Name of the downward residual among them.
pub const RESIDUAL_DOWN: &str = "residual-down";

/// Evaluated rounds whose checkpoints wait for the others' word of their loss.
const OPEN_MAX: u64 = 4;

/// Name of a device's inner optimiser among what a checkpoint can do without.
pub fn inner_name(device: usize) -> String {
    format!("inner-{device}")
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
    state: Option<(Box<Committed>, Option<f64>)>,
    /// One that may turn out to be the best: it is written though a newer one waits.
    evaluated: Option<(Box<Committed>, Option<f64>)>,
    lines: Vec<String>,
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
    fn handle(&mut self, Archive(committed, loss): Archive, _: &mut Context<Self>) {
        let may_be_best = self.stop.is_some_and(|stop| stop.evaluates(committed.record.round));
        self.desk.change(|waiting| {
            waiting.lines.push(record_line(&committed.record));
            let state = Some((committed, loss));
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

    /// Waits for something to write; `None` when closed and nothing is left.
    fn next(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let closed = waiting.closed;
        Some(std::mem::replace(&mut waiting, Waiting { closed, ..Waiting::default() }))
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.state.is_none() && self.evaluated.is_none() && self.lines.is_empty()
    }
}

impl Writer {
    fn run(mut self) {
        while let Some(waiting) = self.desk.next() {
            self.inner.extend(waiting.inner);
            for (committed, loss) in waiting.evaluated.into_iter().chain(waiting.state) {
                self.save(*committed, loss);
            }
            if let Err(error) = self.append(&waiting.lines) {
                tracing::error!(%error, "the ledger cannot be written: free some disk space, or mend the folder's permissions");
            }
        }
    }

    fn save(&mut self, committed: Committed, loss: Option<f64>) {
        let round = committed.record.round;
        if let Some(loss) = loss {
            // The loss that is known by now is that of the round before.
            self.losses.push((round.saturating_sub(1), loss));
        }
        let (folder, plateau) = (self.settings.checkpoints(), committed.record.plateau);
        let open = self.open(round, plateau);
        match store::save(&folder, &self.checkpoint(committed), self.settings.keep, open) {
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

    fn checkpoint(&self, committed: Committed) -> Checkpoint {
        let bytes = |values: &[f32]| {
            values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        };
        let extras = BTreeMap::from([
            (RECORD.to_string(), to_cbor(&committed.record)),
            (RESIDUAL_UP.to_string(), bytes(&committed.residual_up)),
            (RESIDUAL_DOWN.to_string(), bytes(&committed.residual_down)),
        ]);
        let mut local = self.inner.clone();
        let average = committed.average.as_ref().map(|average| Arc::new(average::bytes(average)));
        local.extend(average.map(|bytes| (average::AVERAGE.to_string(), bytes)));
        Checkpoint {
            round: committed.record.round,
            digest: committed.record.digest(),
            spec: self.settings.spec.clone(),
            params: Arc::unwrap_or_clone(committed.state.params),
            momentum: Arc::unwrap_or_clone(committed.state.momentum),
            extras,
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
