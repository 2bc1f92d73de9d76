//! The devices' threads and what they learn from: the run's text, and its teacher or what others tell of it.

use crate::actor::archive;
use crate::actor::trainer::TrainerActor;
use crate::blob::{Library, first};
use crate::data::{Dataset, Late, Telling};
use crate::message::Answered;
use crate::model::Thrift;
use crate::net::NetHandle;
use crate::settings::Settings;
use crate::status::SharedStatus;
use crate::store::teacher::Teacher;
use crate::teach::{Asking, Lessons, TeachingThread};
use crate::train::DeviceThread;
use crate::train::device::Source;
use actix::Addr;
use anyhow::{Context as _, ensure};
use shoal_protocol::run::DistillSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was started.
pub(super) struct Devices {
    /// One a device.
    pub(super) threads: Vec<DeviceThread>,
    /// Where what is asked and told of the run's teacher goes.
    pub(super) lessons: Lessons,
    /// Answers others, if the teacher is here and the run has it told.
    pub(super) teaching: Option<TeachingThread>,
}

/// The trainer's address, once it is there: device threads answer to it, and it needs them to start.
#[derive(Clone, Default)]
pub(super) struct DeviceFaces(Arc<std::sync::OnceLock<Addr<TrainerActor>>>);

impl DeviceFaces {
    pub(super) fn set(&self, trainer: Addr<TrainerActor>) {
        // Set once, by `start`.
        let _ = self.0.set(trainer);
    }

    pub(super) fn with(&self, act: impl FnOnce(&Addr<TrainerActor>)) {
        if let Some(trainer) = self.0.get() {
            act(trainer);
        }
    }
}

/// `inner`: what the last life kept of the devices' inner optimisers.
pub(super) fn start(
    settings: &Settings,
    library: &Arc<Library>,
    inner: &BTreeMap<String, Arc<Vec<u8>>>,
    faces: &DeviceFaces,
    (net, status): (&NetHandle, &SharedStatus),
) -> anyhow::Result<Devices> {
    let source = source(settings, net)?;
    let (lessons, teaching) = lessons(settings, &source, net, status)?;
    let threads = match settings.devices.as_slice() {
        [] => Vec::new(),
        _ => start_threads(settings, library, inner, faces, &source)?,
    };
    Ok(Devices { threads, lessons, teaching })
}

fn start_threads(
    settings: &Settings,
    library: &Arc<Library>,
    inner: &BTreeMap<String, Arc<Vec<u8>>>,
    faces: &DeviceFaces,
    source: &Source,
) -> anyhow::Result<Vec<DeviceThread>> {
    let data = Arc::new(dataset(settings, library.clone())?);
    let start = |(index, device): (usize, &tch::Device)| {
        let faces = faces.clone();
        let answer = move |answer| {
            faces.with(|trainer| trainer.do_send(Answered { device: index, answer }));
        };
        let thread = DeviceThread::spawn(
            *device,
            &settings.spec,
            data.clone(),
            (settings.threads, settings.thrift),
            inner.get(&archive::inner_name(index)).cloned(),
            source.clone(),
            Box::new(answer),
        );
        thread.with_context(|| format!("starting device {device:?}"))
    };
    settings.devices.iter().enumerate().map(start).collect()
}

/// The run's data. What peers give is opened when it is needed first, unless it can be at once.
fn dataset(settings: &Settings, library: Arc<Library>) -> anyhow::Result<Late> {
    let Settings { spec, data, tokenizer, .. } = settings.clone();
    let cache = settings.cache();
    if library.is_own() {
        return Ok(Dataset::open(&spec, data.as_deref(), tokenizer.as_deref(), &cache)?.into());
    }
    let at_once = spec.token_bytes().is_some();
    let open = move || {
        let brought = (data.as_deref(), tokenizer.as_deref());
        Dataset::fetched(&spec, &library, brought, &cache)
    };
    Ok(if at_once { open()?.into() } else { Late::new(Box::new(open)) })
}

/// Where this node learns what the run's teacher says.
fn source(settings: &Settings, net: &NetHandle) -> anyhow::Result<Source> {
    let Some(distill) = settings.spec.distill.as_ref().filter(|_| !settings.devices.is_empty())
    else {
        return Ok(Source::None);
    };
    ensure!(
        settings.thrift == Thrift::default(),
        "--micro-batch and --recompute do not go with a teacher: leave them out"
    );
    match Telling::of(&settings.spec) {
        Some(telling) if settings.without_teacher => {
            Ok(Source::Asked(Arc::new(Asking::new(telling, net.clone()))))
        }
        _ => Ok(Source::Here(Arc::new(teacher(settings, distill)?))),
    }
}

/// What this node tells others of the teacher, and hears of it.
fn lessons(
    settings: &Settings,
    source: &Source,
    net: &NetHandle,
    status: &SharedStatus,
) -> anyhow::Result<(Lessons, Option<TeachingThread>)> {
    let Some(telling) = Telling::of(&settings.spec) else { return Ok((Lessons::none(), None)) };
    let around = || (net.clone(), status.clone());
    let (asking, teaching) = match (source, settings.devices.first()) {
        (Source::Asked(asking), _) => (Some(asking.clone()), None),
        (Source::Here(teacher), Some(device)) => {
            let thread = TeachingThread::spawn(teacher.clone(), *device, telling, around());
            (None, Some(thread.context("starting the thread with the teacher")?))
        }
        _ => (None, None),
    };
    let door = teaching.as_ref().map(TeachingThread::door);
    Ok((Lessons::new(asking, door, around()), teaching))
}

/// The teacher that the run's spec names, as it lies on this machine.
fn teacher(settings: &Settings, distill: &DistillSpec) -> anyhow::Result<Teacher> {
    let (teacher, from) = match &settings.teacher {
        Some(path) => (Teacher::read(path)?, path.display().to_string()),
        None => (fetched_teacher(settings, distill)?, "what peers gave".into()),
    };
    let got = teacher.digest();
    ensure!(
        got == distill.teacher,
        "{from} is not the run's teacher: its digest is {got}, the run's {}; bring the same one with --teacher",
        distill.teacher
    );
    teacher.check(&settings.spec.model).map_err(anyhow::Error::msg)?;
    Ok(teacher)
}

/// The teacher as peers gave it.
fn fetched_teacher(settings: &Settings, distill: &DistillSpec) -> anyhow::Result<Teacher> {
    let blob = distill.pieces.context(
        "the run learns from a teacher that each peer brings: name its folder with --teacher",
    )?;
    let mut bytes = vec![0; blob.bytes as usize];
    first::read(&settings.fetched(), blob, &mut bytes).context("the teacher is not here")?;
    Teacher::of_bytes(&bytes).map_err(anyhow::Error::msg)
}
