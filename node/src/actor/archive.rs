//! Checkpoints and the ledger on disk. A plain thread writes; when a newer state comes before the last is begun, the newer is
//! written.

use crate::exchange::{Committed, State};
use crate::message::{Archive, Archived, InnerState, Stop};
use crate::settings::Settings;
use crate::store::{self, Checkpoint};
use actix::{Actor, ActorContext, Context, Handler, Recipient};
use shoal_protocol::id::{Digest, PeerId, Round, Signature};
use shoal_protocol::ledger::Record;
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
    /// The ledger's line.
    pub line: String,
}

impl From<Committed> for Kept {
    fn from(committed: Committed) -> Kept {
        let Committed { record, state, residual_up, residual_down } = committed;
        Kept {
            round: record.round,
            digest: record.digest(),
            state,
            vectors: vec![(RESIDUAL_UP, residual_up), (RESIDUAL_DOWN, residual_down)],
            extras: vec![(RECORD, to_cbor(&record))],
            line: record_line(&record),
        }
    }
}

/// The face of the thread that writes.
pub struct ArchiveActor {
    desk: Arc<Desk>,
}

/// What waits to be written.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    state: Option<(Box<Kept>, Option<f64>)>,
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
        let writer = Writer { settings, desk: desk.clone(), losses, inner, told };
        let thread =
            std::thread::Builder::new().name("archive".into()).spawn(move || writer.run())?;
        Ok((ArchiveActor { desk }, thread))
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
        self.desk.change(|waiting| {
            waiting.lines.push(std::mem::take(&mut kept.line));
            waiting.state = Some((kept, loss));
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
        while waiting.state.is_none() && waiting.lines.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let closed = waiting.closed;
        Some(std::mem::replace(&mut waiting, Waiting { closed, ..Waiting::default() }))
    }
}

impl Writer {
    fn run(mut self) {
        while let Some(waiting) = self.desk.next() {
            self.inner.extend(waiting.inner);
            if let Some((kept, loss)) = waiting.state {
                self.save(*kept, loss);
            }
            if let Err(error) = self.append(&waiting.lines) {
                tracing::error!(%error, "the ledger cannot be written: free some disk space, or mend the folder's permissions");
            }
        }
    }

    fn save(&mut self, kept: Kept, loss: Option<f64>) {
        let round = kept.round;
        if let Some(loss) = loss {
            // The loss that is known by now is that of the round before.
            self.losses.push((round.saturating_sub(1), loss));
        }
        match store::save(&self.settings.checkpoints(), &self.checkpoint(kept), self.settings.keep)
        {
            Ok(folder) => self.told.do_send(Archived { round, folder }),
            Err(error) => {
                tracing::error!(round, %error, "no checkpoint was written; training goes on")
            }
        }
    }

    fn checkpoint(&self, kept: Kept) -> Checkpoint {
        let bytes = |values: Vec<f32>| {
            values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        };
        let vectors = kept.vectors.into_iter().map(|(name, values)| (name, bytes(values)));
        let extras = vectors.chain(kept.extras).map(|(name, bytes)| (name.to_owned(), bytes));
        Checkpoint {
            round: kept.round,
            digest: kept.digest,
            spec: self.settings.spec.clone(),
            params: Arc::unwrap_or_clone(kept.state.params),
            momentum: Arc::unwrap_or_clone(kept.state.momentum),
            extras: extras.collect(),
            local: self.inner.clone(),
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
