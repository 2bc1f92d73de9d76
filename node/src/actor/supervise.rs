//! Starts the actors in order, and stops them: signal, or the run's end, or a failure.

use crate::actor::archive::{self, ArchiveActor, Endorsement};
use crate::actor::devices::{self, DeviceFaces, Devices};
use crate::actor::gossip::{self, GossipActor};
use crate::actor::mesh::Mesh;
use crate::actor::session::{Clock, Contacts, SessionActor};
use crate::actor::trainer::TrainerActor;
use crate::blob::{Library, PieceThread, first};
use crate::exchange::average::AVERAGE;
use crate::exchange::{Arithmetic, ExchangeThread, Feedback, Job, State};
use crate::gossip::GossipThread;
use crate::message::{Delivered, Evaluate, Happened, Merged, StateCommitted, Stop, Subject, Train};
use crate::model::initial_params;
use crate::net::identity::NodeKeyring;
use crate::net::{NetEvent, NetHandle};
use crate::recording;
use crate::settings::Settings;
use crate::status::SharedStatus;
use crate::store::best::BEST;
use crate::store::floats::{bytes_of_mut, floats_of};
use crate::store::{self, Checkpoint, StateBytes};
use crate::teach::TeachingThread;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};
use anyhow::Context as _;
use shoal_protocol::id::{Digest, Keyring, Round};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::recording::Opening;
use shoal_protocol::session::{self, Standing};
use shoal_protocol::time::Span;
use shoal_protocol::wire::from_cbor;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// How often it is looked whether the actors live.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a node starts from: a checkpoint, or the run's beginning.
struct Beginning {
    standing: Standing,
    state: State,
    residuals: [Vec<f32>; 2],
    checkpoint: Option<Checkpoint>,
}

/// What drives the protocol's machine, and the thread that owns the data.
enum Root {
    Exact(Addr<SessionActor>, ExchangeThread, PieceThread),
    Gossip(Addr<GossipActor>, GossipThread),
}

impl Root {
    fn lives(&self) -> bool {
        match self {
            Root::Exact(session, ..) => session.connected(),
            Root::Gossip(session, _) => session.connected(),
        }
    }

    fn stop(&self) {
        match self {
            Root::Exact(session, ..) => session.do_send(Stop(None)),
            Root::Gossip(session, _) => session.do_send(Stop(None)),
        }
    }

    /// What is left to do once the network is down; the session's address is dropped now.
    fn into_join(self) -> Box<dyn FnOnce() + Send> {
        match self {
            Root::Exact(_, exchange, pieces) => Box::new(move || {
                exchange.join();
                pieces.join();
            }),
            Root::Gossip(_, numbers) => Box::new(move || numbers.join()),
        }
    }
}

/// The node's actors and threads, from start to stop.
pub struct Supervisor {
    root: Root,
    trainer: Addr<TrainerActor>,
    archive: Addr<ArchiveActor>,
    threads: Vec<JoinHandle<()>>,
    teaching: Option<TeachingThread>,
    net: NetHandle,
    stopped: oneshot::Receiver<Option<String>>,
}

/// Hears that the node has to stop, and tells the supervisor.
pub(super) struct Stopper(Option<oneshot::Sender<Option<String>>>);

impl Actor for Stopper {
    type Context = Context<Self>;
}

impl Handler<Stop> for Stopper {
    type Result = ();
    fn handle(&mut self, Stop(reason): Stop, _: &mut Context<Self>) {
        if let Some(stopped) = self.0.take() {
            // Nobody listens only when the node is stopping already.
            let _ = stopped.send(reason);
        }
    }
}

impl Supervisor {
    /// Starts everything: data, devices, exchange, archive, session, and the thread that carries the network's events.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn start(
        settings: &Settings,
        net: NetHandle,
        events: Receiver<NetEvent>,
        keyring: NodeKeyring,
        status: SharedStatus,
    ) -> anyhow::Result<Supervisor> {
        let (data, tokenizer) = (settings.data.as_deref(), settings.tokenizer.as_deref());
        let library = Library::open(&settings.spec, data, tokenizer, &settings.fetched())?;
        let library = Arc::new(library);
        let (sender, stopped) = oneshot::channel();
        let stopper = Stopper(Some(sender)).start();
        if let Some(spec) = settings.spec.gossip {
            let running = gossip::start(settings, spec, &net, events, status, &stopper)?;
            let (root, threads) =
                (Root::Gossip(running.session, running.numbers), vec![running.archive_thread]);
            let (trainer, archive) = (running.trainer, running.archive);
            let teaching = running.teaching;
            return Ok(Supervisor { root, trainer, archive, threads, teaching, net, stopped });
        }
        let spec = &settings.spec;
        let beginning = beginning(settings)?;
        let record = &beginning.standing.record;
        let known = (record.round, record.digest(), record.tokens);
        tell_beginning(settings, known, beginning.checkpoint.is_some(), &status);
        let best = settings.checkpoints().join(BEST);
        status.update(|status| {
            status.stopping.follow(spec, &beginning.standing.record);
            status.stopping.best_checkpoint = best.exists().then_some(best);
        });
        let me = keyring.id();
        let clock = Clock::new();
        let residuals = [beginning.residuals[0].as_slice(), beginning.residuals[1].as_slice()];
        let arithmetic = Arithmetic::new(
            spec.clone(),
            me,
            &beginning.standing.record,
            beginning.state,
            residuals,
        );
        let mut checkpoint = beginning.checkpoint;
        let average = checkpoint.as_mut().and_then(|c| c.local.remove(AVERAGE));
        let arithmetic = arithmetic.with_average(average.as_ref().map(|kept| kept.as_slice()));
        let (losses, inner) = checkpoint.map_or_else(Default::default, |c| (c.losses, c.local));
        let opening = Opening {
            program: concat!("shoal ", env!("CARGO_PKG_VERSION")).into(),
            now: clock.now(),
            me,
            spec: spec.clone(),
            settings: machine_settings(settings, &me.0),
            standing: beginning.standing,
        };
        let machine = recording::begin(&opening, Box::new(keyring), settings.record.as_deref())?;

        // The session's address is needed by those that it needs: its context is made first.
        let context = Context::<SessionActor>::new();
        let session = context.address();
        let faces = DeviceFaces::default();
        let exchange = start_exchange(arithmetic, &net, &session, &faces, &stopper)?;
        let around = (&net, &status);
        let Devices { threads, lessons, teaching } =
            devices::start(settings, &library, &inner, &faces, around)?;
        let inputs: Recipient<Happened> = session.clone().recipient();
        let tell = move |input| inputs.do_send(Happened(input, None));
        let pieces = PieceThread::spawn(library.clone(), net.clone(), Box::new(tell))
            .context("starting the thread of the run's data")?;
        let (archive, archive_thread) =
            ArchiveActor::new(settings.clone(), losses, inner, session.clone().recipient())?;
        let archive = archive.start();
        let jobs = exchange.jobs();
        // The exchange is gone only when the node stops.
        let learned = move |round, tokens, delta, merged| {
            drop(jobs.send(Job::AddDelta(round, tokens, delta, merged)));
        };
        let trainer = TrainerActor::new(
            threads,
            session.clone().recipient(),
            session.clone().recipient(),
            archive.clone().recipient(),
            Box::new(learned),
            [settings.eval_sequences, spec.stop.map_or(0, |stop| stop.sequences)],
        )
        .start();
        faces.set(trainer.clone());
        let contacts = Contacts {
            net: net.clone(),
            jobs: exchange.jobs(),
            library,
            pieces: pieces.jobs(),
            train: trainer.clone().recipient(),
            evaluate: trainer.clone().recipient(),
            archive: archive.clone().recipient(),
            endorse: archive.clone().recipient::<Endorsement>(),
            stop: stopper.recipient(),
        };
        context.run(SessionActor::new(machine, clock, settings.clone(), contacts, status));
        let mesh = Mesh {
            spec: spec.clone(),
            session: session.clone().recipient::<Happened>(),
            deliveries: session.clone().recipient::<Delivered>(),
            lessons,
        };
        // Not waited for: it ends with the last handle of the network, and who stops this holds one.
        drop(mesh.spawn(events)?);
        let (root, threads) = (Root::Exact(session, exchange, pieces), vec![archive_thread]);
        Ok(Supervisor { root, trainer, archive, threads, teaching, net, stopped })
    }

    /// Waits until an actor says that the node cannot go on, or is dead; why.
    pub async fn stopped(&mut self) -> Option<String> {
        loop {
            if let Ok(told) = tokio::time::timeout(LOOK_EVERY, &mut self.stopped).await {
                return told.ok().flatten();
            }
            if let Some(name) = self.dead() {
                return Some(format!(
                    "the {name} has panicked, as told above; the node goes on from its last checkpoint when it is started again"
                ));
            }
        }
    }

    /// An actor that is gone though nobody stopped it. The runtime catches the panic of one, and the others would live on.
    fn dead(&self) -> Option<&'static str> {
        let lives = [
            ("session", self.root.lives()),
            ("trainer", self.trainer.connected()),
            ("archive", self.archive.connected()),
        ];
        lives.into_iter().find(|(_, lives)| !lives).map(|(name, _)| name)
    }

    /// Stops the actors and joins the threads: the session first, so that nothing new begins; the archive writes what it has.
    pub async fn stop(self) {
        self.root.stop();
        let join = self.root.into_join();
        self.trainer.do_send(crate::message::Stop(None));
        self.archive.do_send(crate::message::Stop(None));
        drop((self.trainer, self.archive));
        let (net, threads, teaching) = (self.net, self.threads, self.teaching);
        let joined = tokio::task::spawn_blocking(move || {
            net.shutdown();
            join();
            threads.into_iter().for_each(|thread| drop(thread.join()));
            teaching.into_iter().for_each(TeachingThread::join);
        });
        // A panic in there has been reported by the panic hook already.
        let _ = joined.await;
    }
}

fn start_exchange(
    arithmetic: Arithmetic,
    net: &NetHandle,
    session: &Addr<SessionActor>,
    devices: &DeviceFaces,
    stopper: &Addr<Stopper>,
) -> anyhow::Result<ExchangeThread> {
    let inputs: Recipient<Happened> = session.clone().recipient();
    let states: Recipient<StateCommitted> = session.clone().recipient();
    let (devices, stopper) = (devices.clone(), stopper.clone());
    let tell = move |feedback| match feedback {
        Feedback::Input(input) => inputs.do_send(Happened(*input, None)),
        Feedback::Committed(committed) => states.do_send(StateCommitted(committed)),
        Feedback::Merged(merge) => devices.with(|trainer| trainer.do_send(Merged(merge))),
        Feedback::Evaluate(round, of, params, average) => devices.with(|trainer| {
            let told = (Subject::Told(of), params);
            let average = average.map(|params| (Subject::Average, params));
            for (subject, params) in std::iter::once(told).chain(average) {
                trainer.do_send(Evaluate { round, subject, params });
            }
        }),
        Feedback::Train(round, lease, from) => {
            devices.with(|trainer| trainer.do_send(Train { round, lease, from }))
        }
        Feedback::Broken(reason) => stopper.do_send(Stop(Some(reason))),
    };
    ExchangeThread::spawn(arithmetic, net.clone(), Box::new(tell))
        .context("starting the exchange thread")
}

fn machine_settings(settings: &Settings, me: &[u8; 32]) -> session::Settings {
    let seed = u64::from_le_bytes(std::array::from_fn(|place| me[place]));
    session::Settings {
        trains: !settings.devices.is_empty(),
        alone_after: Span(settings.alone_after.as_micros() as u64),
        seed,
        data_cap: settings.data_cap.filter(|_| settings.data.is_none()),
        ..session::Settings::default()
    }
}

/// The newest intact checkpoint of the run, or its initial state.
fn beginning(settings: &Settings) -> anyhow::Result<Beginning> {
    match store::newest_intact(&settings.checkpoints())? {
        Some(found) => {
            let path = found.path.display().to_string();
            resume(settings, found.checkpoint).with_context(|| format!("resuming from {path}"))
        }
        None => round_zero(settings),
    }
}

fn round_zero(settings: &Settings) -> anyhow::Result<Beginning> {
    let spec = &settings.spec;
    let mut params = match spec.start {
        None => initial_params(&spec.model, spec.seed),
        Some(blob) => {
            let mut params = vec![0.0; spec.model.params() as usize];
            first::read(&settings.fetched(), blob, bytes_of_mut(&mut params))
                .context("the parameters that the run begins with are not here")?;
            params
        }
    };
    // Nothing has been measured yet.
    params.resize(spec.elems() as usize, 0.0);
    let momentum = vec![0.0; params.len() * spec.outer_states()];
    let state = State { momentum: Arc::new(momentum), params: Arc::new(params) };
    let chunks = StateBytes::new(&state.params, &state.momentum).chunk_digests();
    let record = Record::genesis(spec.id(), state_root(&chunks));
    Ok(Beginning {
        standing: Standing { record, chunks },
        state,
        residuals: [vec![], vec![]],
        checkpoint: None,
    })
}

fn resume(settings: &Settings, mut checkpoint: Checkpoint) -> anyhow::Result<Beginning> {
    anyhow::ensure!(
        checkpoint.spec == settings.spec,
        "the checkpoint is of another run: choose another --home"
    );
    let record =
        checkpoint.extras.get(archive::RECORD).context("the checkpoint has no ledger record")?;
    let record: Record =
        from_cbor(record).map_err(anyhow::Error::msg).context("the ledger record is damaged")?;
    let (params, momentum) = store::committed::take(&mut checkpoint);
    let chunks: Vec<Digest> = StateBytes::new(&params, &momentum).chunk_digests();
    anyhow::ensure!(
        record.state == state_root(&chunks) && record.digest() == checkpoint.digest,
        "the checkpoint's state is not what its record commits to: remove its folder, the one before is used then"
    );
    let floats = |name: &str| floats_of(checkpoint.extras.get(name).map_or(&[][..], Vec::as_slice));
    let residuals = [floats(archive::RESIDUAL_UP), floats(archive::RESIDUAL_DOWN)];
    let state = State { params: Arc::new(params), momentum: Arc::new(momentum) };
    Ok(Beginning {
        standing: Standing { record, chunks },
        state,
        residuals,
        checkpoint: Some(checkpoint),
    })
}

/// What the status knows at the start: round, digest and tokens that the node goes on from.
pub(super) fn tell_beginning(
    settings: &Settings,
    (round, digest, tokens): (Round, Digest, u64),
    resumed: bool,
    status: &SharedStatus,
) {
    if round > 0 {
        tracing::info!(round, digest = %digest.short(), "resuming from a checkpoint");
    }
    status.update(|status| {
        status.run_id = settings.spec.id().to_string();
        status.run_name = settings.spec.name.clone();
        status.pid = std::process::id();
        status.round = round;
        status.rounds_total = settings.spec.rounds;
        status.digest = digest.to_string();
        status.tokens_committed = tokens;
        status.devices =
            settings.devices.iter().map(|device| format!("{device:?}").to_lowercase()).collect();
        status.checkpoint =
            resumed.then(|| store::checkpoint::folder(&settings.checkpoints(), round));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{self, NetConfig, identity};
    use crate::store::floats::bytes_of;
    use crate::train::trainer::test_spec;

    /// Longer than any machine takes, so that a death that nobody sees fails the test.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// What makes an actor panic.
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Handler<Panic> for SessionActor {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("the test wants the session to");
        }
    }

    impl Handler<Panic> for TrainerActor {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("the test wants the trainer to");
        }
    }

    impl Handler<Panic> for ArchiveActor {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("the test wants the archive to");
        }
    }

    fn settings(home: &std::path::Path) -> Settings {
        Settings {
            spec: test_spec(),
            home: home.to_owned(),
            devices: Vec::new(),
            threads: 1,
            thrift: Default::default(),
            data: None,
            tokenizer: None,
            teacher: None,
            without_teacher: false,
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("it is an address")],
            peers: Vec::new(),
            mdns: false,
            local_dir: None,
            up_bytes_per_s: None,
            api: ([127, 0, 0, 1], 0).into(),
            alone_after: Duration::from_secs(3600),
            eval_sequences: 0,
            keep: 1,
            data_cap: None,
            record: None,
        }
    }

    #[test]
    fn round_zero_is_the_model_that_the_spec_names() {
        let home = tempfile::tempdir().expect("the folder can be made");
        let mut settings = settings(home.path());
        let usual = beginning(&settings).expect("it follows from the seed");
        let params: Vec<f32> = usual.state.params.iter().map(|weight| weight + 1.0).collect();
        settings.spec.start = first::blob(bytes_of(&params));
        let blob = settings.spec.start.expect("it is small");
        assert!(beginning(&settings).is_err());
        first::keep(&settings.fetched(), blob, bytes_of(&params)).expect("it is written");
        let begun = beginning(&settings).expect("it is here");
        assert_eq!(*begun.state.params, params);
        assert_ne!(begun.standing.record.state, usual.standing.record.state);
    }

    fn start(home: &std::path::Path) -> Supervisor {
        let settings = settings(home);
        let key = identity::load_or_create(&home.join("node.key")).expect("a key is made");
        let keyring = NodeKeyring::new(key.clone()).expect("it is an ed25519 key");
        let config = NetConfig {
            listen: settings.listen.clone(),
            mdns: false,
            local_discovery_dir: None,
            ..NetConfig::new(key, settings.spec.id())
        };
        let (net, events) = net::start(config).expect("it listens");
        Supervisor::start(&settings, net, events, keyring, SharedStatus::default())
            .expect("it starts")
    }

    /// Why a node stops one of whose actors panics; it does stop.
    fn told(panics: impl FnOnce(&Supervisor)) -> Option<String> {
        let home = tempfile::tempdir().expect("the folder can be made");
        actix::System::new().block_on(async {
            let mut supervisor = start(home.path());
            panics(&supervisor);
            let told = tokio::time::timeout(PATIENCE, supervisor.stopped()).await;
            supervisor.stop().await;
            told.expect("the death is seen")
        })
    }

    #[test]
    fn an_actor_that_panics_ends_the_node() {
        let session = told(|node| match &node.root {
            Root::Exact(session, ..) => session.do_send(Panic),
            Root::Gossip(..) => unreachable!("the test's run is none by gossip"),
        })
        .expect("it is no request");
        assert!(session.starts_with("the session has panicked"), "{session}");
        let trainer = told(|node| node.trainer.do_send(Panic)).expect("it is no request");
        assert!(trainer.starts_with("the trainer has panicked"), "{trainer}");
        let archive = told(|node| node.archive.do_send(Panic)).expect("it is no request");
        assert!(archive.starts_with("the archive has panicked"), "{archive}");
    }
}
