//! The thread that has the teacher and tells others what it says, one question at a time. The teacher stands on a device from the first
//! question on, beside that of the node's own training.

use super::{Header, Says};
use crate::data::{Telling, Told};
use crate::model::Llama;
use crate::net::{Credit, NetHandle, Priority};
use crate::status::SharedStatus;
use crate::store::teacher::Teacher;
use bytes::Bytes;
use shoal_protocol::id::PeerId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// Questions that wait.
const WAITING: usize = 16;
/// Those of one peer, so that one leaves room for others.
const WAITING_OF_ONE: usize = 4;
/// Logits that are computed at once: they take four bytes each, several times.
const LOGITS: usize = 4 << 20;

/// A question on its way, and its room in the network's memory.
struct Question {
    from: PeerId,
    name: u64,
    tokens: Bytes,
    _credit: Credit,
}

enum Job {
    Answer(Question),
    Stop,
}

/// The thread and the way to it.
pub struct TeachingThread {
    door: Door,
    thread: JoinHandle<()>,
}

/// The way to the thread.
#[derive(Clone)]
pub struct Door {
    jobs: SyncSender<Job>,
    waiting: Arc<Mutex<BTreeMap<PeerId, usize>>>,
    /// Set when the node stops: what waits is not answered any more.
    closed: Arc<AtomicBool>,
}

impl TeachingThread {
    /// Starts it; the teacher will stand on `device`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        teacher: Arc<Teacher>,
        device: Device,
        telling: Telling,
        (net, status): (NetHandle, SharedStatus),
    ) -> std::io::Result<TeachingThread> {
        let (jobs, inbox) = sync_channel(WAITING);
        let door = Door { jobs, waiting: Arc::default(), closed: Arc::default() };
        let worker = Worker { teacher, device, telling, net, status, door: door.clone() };
        let body = move || worker.run(&inbox);
        let thread = std::thread::Builder::new().name("teaching".into()).spawn(body)?;
        Ok(TeachingThread { door, thread })
    }

    /// The way to it.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Ends the thread after the question at hand.
    pub fn join(self) {
        self.door.closed.store(true, Ordering::Relaxed);
        // An error means that the thread has ended already.
        let _ = self.door.jobs.send(Job::Stop);
        let _ = self.thread.join();
    }
}

impl Door {
    /// A question; false if there is no room for it now.
    pub(super) fn ask(&self, from: PeerId, name: u64, tokens: Bytes, credit: Credit) -> bool {
        if !self.enter(from) {
            return false;
        }
        let job = Job::Answer(Question { from, name, tokens, _credit: credit });
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.leave(&from);
                false
            }
        }
    }

    fn enter(&self, from: PeerId) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.entry(from).or_default();
        let room = *own < WAITING_OF_ONE;
        *own += usize::from(room);
        room
    }

    fn leave(&self, from: &PeerId) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(from) {
            *own -= 1;
        }
        waiting.retain(|_, own| *own > 0);
    }
}

struct Worker {
    teacher: Arc<Teacher>,
    device: Device,
    telling: Telling,
    net: NetHandle,
    status: SharedStatus,
    door: Door,
}

impl Worker {
    fn run(self, inbox: &Receiver<Job>) {
        let mut model = None;
        while let Ok(Job::Answer(question)) = inbox.recv() {
            if self.door.closed.load(Ordering::Relaxed) {
                return;
            }
            self.answer(&mut model, &question);
            self.door.leave(&question.from);
        }
    }

    fn answer(&self, model: &mut Option<Llama>, Question { from, name, tokens, .. }: &Question) {
        let tokens = match read(&self.telling, tokens) {
            Ok(tokens) => tokens,
            Err(reason) => {
                return tracing::warn!(peer = %from.short(), reason, "a question to the teacher is refused");
            }
        };
        let (says, bytes) = match self.tell(model, &tokens) {
            Ok(told) => (Says::Told, told.encode(&self.telling)),
            Err(error) => {
                tracing::error!(%error, "the teacher could not be asked");
                (Says::Busy, Vec::new())
            }
        };
        let header = Header { question: *name, says }.bytes();
        match self.net.send_bulk(*from, header, bytes.into(), Priority::Background) {
            Ok(()) => self.status.update(|status| status.lessons_given += 1),
            Err(error) => tracing::debug!(peer = %from.short(), %error, "an answer does not leave"),
        }
    }

    fn tell(&self, model: &mut Option<Llama>, tokens: &[i64]) -> Result<Told, TchError> {
        let model = match model {
            Some(model) => model,
            None => {
                let mut new = Llama::new(&self.teacher.model, self.device)?;
                new.load_flat(&self.teacher.params)?;
                tracing::info!("tells peers what the teacher says");
                model.insert(new)
            }
        };
        tell(model, &self.telling, tokens)
    }
}

/// Tokens of a question, `[rows, context]`.
fn read(telling: &Telling, bytes: &[u8]) -> Result<Vec<i64>, String> {
    let row = 4 * telling.context;
    if bytes.is_empty()
        || !bytes.len().is_multiple_of(row)
        || bytes.len() > telling.rows_max() * row
    {
        let most = telling.rows_max();
        return Err(format!("{} bytes are not 1 to {most} sequences of {row}", bytes.len()));
    }
    let tokens = bytes.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token));
    match tokens.clone().find(|token| *token >= telling.vocab) {
        Some(token) => Err(format!("token {token} of {}", telling.vocab)),
        None => Ok(tokens.map(i64::from).collect()),
    }
}

/// What a model says of sequences, `[rows, context]`.
fn tell(model: &Llama, telling: &Telling, tokens: &[i64]) -> Result<Told, TchError> {
    let Telling { context, vocab, top, temperature } = *telling;
    let at_once = (LOGITS / (context * vocab as usize)).max(1) * context;
    let mut all = Told { tokens: Vec::new(), codes: Vec::new() };
    for rows in tokens.chunks(at_once) {
        let inputs = Tensor::f_from_slice(rows)?.f_view([-1, context as i64])?;
        let inputs = inputs.f_to(model.device())?;
        let (_, logits) = no_grad(|| model.hidden_and_logits(&inputs))?;
        let soft = logits.f_to_kind(Kind::Float)?.f_div_scalar(f64::from(temperature))?;
        let soft = soft.f_log_softmax(-1, Kind::Float)?.f_view([-1, i64::from(vocab)])?;
        let (logs, likeliest) = soft.f_topk(top as i64, -1, true, true)?;
        let nats: Vec<f32> = Vec::try_from(&logs.f_neg()?.f_reshape([-1])?)?;
        let tokens: Vec<i64> = Vec::try_from(&likeliest.f_reshape([-1])?)?;
        all.append(Told::new(tokens, &nats));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_params;
    use crate::train::distill::Lesson;
    use crate::train::trainer::test_spec;
    use shoal_protocol::run::{Direction, DistillSpec, RunSpec};

    fn distill(top: u32) -> DistillSpec {
        DistillSpec {
            teacher: Default::default(),
            pieces: None,
            temperature: 2.0,
            weight: 0.75,
            direction: Direction::Forward,
            hidden: 0.0,
            top: Some(top),
        }
    }

    /// What a student loses against a teacher of its shape that is here, and against what is told of it.
    #[test]
    fn a_student_learns_from_what_is_told_as_from_the_teacher() {
        let spec = test_spec();
        let (vocab, context) = (spec.model.vocab, spec.model.context as usize);
        let sharp = |seed| initial_params(&spec.model, seed).iter().map(|w| w * 4.0).collect();
        let teacher = Teacher { model: spec.model.clone(), params: sharp(5) };
        let mut model = Llama::new(&teacher.model, Device::Cpu).unwrap();
        model.load_flat(&teacher.params).unwrap();
        let mut student = Llama::new(&spec.model, Device::Cpu).unwrap();
        student.load_flat(&initial_params(&spec.model, 1)).unwrap();
        let tokens: Vec<i64> = (0..2 * context as i64).map(|n| n * 7 % 11).collect();
        let inputs = Tensor::from_slice(&tokens).view([2, -1]);
        let of = |top: u32| {
            let run = RunSpec { distill: Some(distill(top)), ..spec.clone() };
            let telling = Telling::of(&run).unwrap();
            let told = tell(&model, &telling, &tokens).unwrap();
            let places = 2 * context;
            assert_eq!(Told::decode(&telling, places, &told.encode(&telling)), Ok(told.clone()));
            let lesson = Lesson::told(&distill(top));
            lesson.loss(&student, &inputs, &inputs, Some(&told)).unwrap().double_value(&[])
        };
        let here = Lesson::new(&teacher, &distill(1), Device::Cpu).unwrap();
        let here = here.loss(&student, &inputs, &inputs, None).unwrap().double_value(&[]);
        assert!((of(vocab) - here).abs() < 2e-3 * here, "{} {here}", of(vocab));
        assert!(of(4) < here && of(4) > 0.3 * here, "{} {here}", of(4));
        assert!(Lesson::told(&distill(4)).loss(&student, &inputs, &inputs, None).is_err());
    }

    #[test]
    fn questions_have_their_form() {
        let telling = Telling { context: 2, vocab: 9, top: 2, temperature: 1.0 };
        let question = |tokens: &[u32]| -> Vec<u8> {
            tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
        };
        assert_eq!(read(&telling, &question(&[1, 8, 0, 3])), Ok(vec![1, 8, 0, 3]));
        for (bytes, reason) in [
            (question(&[]), "0 bytes"),
            (question(&[1]), "4 bytes"),
            (question(&[1, 9]), "token 9 of 9"),
            (question(&vec![0; 2 * telling.rows_max() + 2]), "bytes are not 1 to"),
        ] {
            let refused = read(&telling, &bytes).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn one_asker_leaves_room_for_others() {
        let (jobs, inbox) = sync_channel(WAITING);
        let door = Door { jobs, waiting: Arc::default(), closed: Arc::default() };
        let ask = |n| door.ask(PeerId([n; 32]), 1, Bytes::new(), Credit::none());
        assert!((0..WAITING_OF_ONE).all(|_| ask(1)) && !ask(1) && ask(2));
        let Ok(Job::Answer(question)) = inbox.recv() else { panic!("a question waits") };
        door.leave(&question.from);
        assert!(ask(1) && !ask(1));
        drop(inbox);
        assert!(!ask(3), "the thread is gone");
        assert!(!door.waiting.lock().unwrap().contains_key(&PeerId([3; 32])));
    }
}
