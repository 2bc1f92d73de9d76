//! A node of a gossip run from its beginning: its own checkpoint or the run's initial parameters, the threads, the actors.

use super::mesh::Mesh;
use super::{Contacts, GossipActor, Happened, HasStepped};
use crate::actor::archive::{self, ArchiveActor, Kept};
use crate::actor::devices::{self, DeviceFaces, Devices};
use crate::actor::session::Clock;
use crate::actor::supervise::{Stopper, tell_beginning};
use crate::actor::trainer::TrainerActor;
use crate::blob::Library;
use crate::gossip::{Beginning, Feedback, GossipThread, Job, Stepped};
use crate::message::Train;
use crate::model::initial_params;
use crate::net::{NetEvent, NetHandle};
use crate::settings::Settings;
use crate::status::SharedStatus;
use crate::store::floats::floats_of;
use crate::store::{self, Checkpoint, StateBytes};
use crate::teach::TeachingThread;
use actix::{Actor, Addr, AsyncContext, Context};
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use shoal_protocol::gossip::{GossipSession, Numbers, grid};
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::ledger::state_root;
use shoal_protocol::run::GossipSpec;
use shoal_protocol::time::Span;
use shoal_protocol::wire::{from_cbor, to_cbor};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc::Receiver;

/// Name among a checkpoint's extras of what only runs by gossip have.
const PEER: &str = "peer";

/// That.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    position: u64,
    tokens: u64,
}

/// What was started.
pub(in crate::actor) struct Running {
    pub(in crate::actor) session: Addr<GossipActor>,
    pub(in crate::actor) numbers: GossipThread,
    pub(in crate::actor) trainer: Addr<TrainerActor>,
    pub(in crate::actor) archive: Addr<ArchiveActor>,
    pub(in crate::actor) archive_thread: JoinHandle<()>,
    pub(in crate::actor) teaching: Option<TeachingThread>,
}

/// Starts everything.
///
/// # Errors
/// What could not be started, and why.
pub(in crate::actor) fn start(
    settings: &Settings,
    gossip: GossipSpec,
    net: &NetHandle,
    events: Receiver<NetEvent>,
    status: SharedStatus,
    stopper: &Addr<Stopper>,
) -> anyhow::Result<Running> {
    check(settings)?;
    let spec = &settings.spec;
    let mut checkpoint = newest(settings)?;
    let committed = checkpoint.as_ref().map_or(0, |found| found.round);
    let begins = beginning(settings, gossip, &net.me(), checkpoint.as_mut())?;
    let digest = checkpoint.as_ref().map_or(Digest::default(), |found| found.digest);
    tell_beginning(settings, (committed, digest, begins.tokens), checkpoint.is_some(), &status);
    let (losses, inner) = checkpoint.map_or_else(Default::default, |c| (c.losses, c.local));
    let clock = Clock::new();
    let alone_after = Span(settings.alone_after.as_micros() as u64);
    let machine = GossipSession::patient(clock.now(), spec, net.me(), committed, alone_after)
        .context("the run's spec has no gossip")?;

    // As in a run by rounds of all: the session's address is needed by those that it needs.
    let context = Context::<GossipActor>::new();
    let session = context.address();
    let faces = DeviceFaces::default();
    let numbers = start_numbers(settings, begins, net, &session, &faces)?;
    let Devices { threads, lessons, teaching } =
        devices::start(settings, &library(settings)?, &inner, &faces, (net, &status))?;
    let (archive, archive_thread) =
        ArchiveActor::new(settings.clone(), losses, inner, session.clone().recipient())?;
    let archive = archive.start();
    let jobs = numbers.jobs();
    // The thread is gone only when the node stops.
    let learned = move |_, tokens, delta, _| drop(jobs.send(Job::Learned(tokens, delta)));
    let trainer = TrainerActor::new(
        threads,
        session.clone().recipient(),
        session.clone().recipient(),
        archive.clone().recipient(),
        Box::new(learned),
        [settings.eval_sequences, 0],
    )
    .start();
    faces.set(trainer.clone());
    let contacts = Contacts {
        net: net.clone(),
        jobs: numbers.jobs(),
        evaluate: trainer.clone().recipient(),
        archive: archive.clone().recipient(),
        stop: stopper.clone().recipient(),
    };
    context.run(GossipActor::new(machine, clock, settings.clone(), contacts, status));
    let mesh = Mesh {
        spec: spec.clone(),
        net: net.clone(),
        session: session.clone().recipient::<Happened>(),
        jobs: numbers.jobs(),
        lessons,
    };
    // Not waited for: it ends with the last handle of the network, and who stops this holds one.
    drop(mesh.spawn(events)?);
    Ok(Running { session, numbers, trainer, archive, archive_thread, teaching })
}

fn check(settings: &Settings) -> anyhow::Result<()> {
    anyhow::ensure!(
        !settings.devices.is_empty(),
        "a run by gossip has nothing to do for a node that does not train: give it a --device"
    );
    anyhow::ensure!(
        settings.record.is_none(),
        "a run by gossip cannot be recorded: leave out --record"
    );
    Ok(())
}

fn start_numbers(
    settings: &Settings,
    beginning: Beginning,
    net: &NetHandle,
    session: &Addr<GossipActor>,
    devices: &DeviceFaces,
) -> anyhow::Result<GossipThread> {
    let (inputs, steps) =
        (session.clone().recipient::<Happened>(), session.clone().recipient::<HasStepped>());
    let devices = devices.clone();
    let tell = move |feedback| match feedback {
        Feedback::Input(input) => inputs.do_send(Happened(input, None)),
        Feedback::Stepped(stepped) => steps.do_send(HasStepped(stepped)),
        Feedback::Train(round, here, from) => {
            let lease = vec![here];
            devices.with(|trainer| trainer.do_send(Train { round, lease, from }))
        }
    };
    GossipThread::spawn(settings.spec.clone(), beginning, net.clone(), Box::new(tell))
        .context("starting the thread with the numbers")
}

/// The newest intact checkpoint of the run.
fn newest(settings: &Settings) -> anyhow::Result<Option<Checkpoint>> {
    let Some(found) = store::newest_intact(&settings.checkpoints())? else { return Ok(None) };
    anyhow::ensure!(
        found.checkpoint.spec == settings.spec,
        "the checkpoint {} is of another run: choose another --home",
        found.path.display()
    );
    Ok(Some(found.checkpoint))
}

fn beginning(
    settings: &Settings,
    gossip: GossipSpec,
    me: &PeerId,
    checkpoint: Option<&mut Checkpoint>,
) -> anyhow::Result<Beginning> {
    let spec = &settings.spec;
    let codecs = (spec.exchange.up, spec.exchange.down);
    let Some(checkpoint) = checkpoint else {
        let numbers = Numbers::new(gossip, codecs, initial_params(&spec.model, spec.seed));
        return Ok(Beginning {
            numbers,
            position: grid::first_position(&spec.id(), me),
            tokens: 0,
        });
    };
    let damaged = "the checkpoint's state of this peer is damaged: remove its folder, the one before is used then";
    let peer = checkpoint.extras.get(PEER).context(damaged)?;
    let peer: Peer = from_cbor(peer).map_err(anyhow::Error::msg).context(damaged)?;
    let (params, momentum) =
        (std::mem::take(&mut checkpoint.params), std::mem::take(&mut checkpoint.momentum));
    let residual = checkpoint.extras.get(archive::RESIDUAL_UP).context(damaged)?;
    let residual = floats_of(residual);
    let root = state_root(&StateBytes::new(&params, &momentum).chunk_digests());
    let whole = [momentum.len(), residual.len()] == [params.len(); 2];
    anyhow::ensure!(whole && root == checkpoint.digest, damaged);
    let numbers = Numbers::new(gossip, codecs, params).resumed(momentum, residual);
    Ok(Beginning { numbers, position: peer.position, tokens: peer.tokens })
}

/// What is kept of a step.
pub(super) fn kept(stepped: Stepped, group: &[PeerId]) -> Kept {
    let Stepped { round, digest, state, residual, position, tokens, trained, distance } = stepped;
    let others: Vec<String> = group.iter().map(PeerId::to_string).collect();
    let line = serde_json::json!({
        "round": round,
        "digest": digest.to_string(),
        "group": others,
        "consensus_distance": distance,
        "tokens": trained,
    });
    Kept {
        round,
        digest,
        state,
        vectors: vec![(archive::RESIDUAL_UP, residual)],
        extras: vec![(PEER, to_cbor(&Peer { position, tokens }))],
        local: Vec::new(),
        plateau: None,
        line: line.to_string(),
    }
}

/// The run's files, all of which this machine has to have.
fn library(settings: &Settings) -> anyhow::Result<Arc<Library>> {
    let (text, tokenizer) = (settings.data.as_deref(), settings.tokenizer.as_deref());
    let library = Library::open(&settings.spec, text, tokenizer, &settings.fetched())?;
    ensure!(
        library.is_own(),
        "in a run by gossip no data are fetched from peers: bring the run's text with --data, and its tokenizer with --tokenizer if it has one"
    );
    Ok(Arc::new(library))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::State;
    use std::sync::Arc;

    #[test]
    fn what_is_kept_names_the_group_and_its_distance() {
        let (params, momentum) = (Arc::new(vec![1.0]), Arc::new(vec![0.5]));
        let stepped = Stepped {
            round: 7,
            digest: Digest([1; 32]),
            state: State { params, momentum },
            residual: vec![0.25],
            position: 30,
            tokens: 200,
            trained: 100,
            distance: Some(0.5),
        };
        let kept = kept(stepped, &[PeerId([2; 32])]);
        let line: serde_json::Value = serde_json::from_str(&kept.line).unwrap();
        assert_eq!((&line["consensus_distance"], &line["tokens"]), (&0.5.into(), &100.into()));
        assert_eq!(line["group"][0], PeerId([2; 32]).to_string());
        let peer: Peer = from_cbor(&kept.extras[0].1).unwrap();
        assert_eq!((peer.position, peer.tokens), (30, 200));
    }
}
