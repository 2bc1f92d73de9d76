//! What was asked of whom, and what came of it. Device threads ask and wait, the network's thread brings answers.

use super::{Header, Says};
use crate::data::{Batch, Telling, Told};
use crate::net::{NetHandle, Priority};
use crate::train::TrainError;
use bytes::Bytes;
use shoal_protocol::id::{PeerId, Round};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After so long without an answer another is asked as well. Guess: an answer of 1 MiB over a thin link, behind three more.
const ANSWER: Duration = Duration::from_secs(30);
/// Who does not say whether it has the teacher is asked again after so long: it may not have begun yet.
const WHO: Duration = Duration::from_secs(2);
/// How long it is asked for one batch before the work is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a waiter looks whether the node stops, and whether somebody can be asked that could not.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who is busy is let alone for so long.
const BUSY: Duration = Duration::from_millis(500);
/// Who does not answer is let alone for so long.
const SILENT: Duration = Duration::from_secs(60);

/// A way to send a question; false if it does not leave.
type SendOut = Box<dyn Fn(PeerId, Header, Bytes) -> bool + Send + Sync>;
/// Who is connected.
type Peers = Box<dyn Fn() -> Vec<PeerId> + Send + Sync>;

/// A node's questions.
pub struct Asking {
    telling: Telling,
    peers: Peers,
    send: SendOut,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    last: u64,
    questions: BTreeMap<u64, Question>,
    others: BTreeMap<PeerId, Other>,
    /// Whose turn it is among equals.
    turn: usize,
}

/// What is known of a peer.
#[derive(Clone, Copy)]
enum Other {
    /// Whether it has the teacher was asked then.
    Unknown(Instant),
    /// It has the teacher. It is let alone until then.
    Teacher(Instant),
    NoTeacher,
    /// It has told nonsense.
    Refused,
}

/// Some sequences of a batch.
struct Question {
    /// Tokens, `[rows, context]`.
    bytes: Bytes,
    /// What comes next in truth, `[rows * context]`.
    next: Vec<i64>,
    /// Whose turn it is to answer, and since when.
    whom: Option<(PeerId, Instant)>,
    /// Who did not in time, and may still.
    late: Vec<PeerId>,
    answer: Option<(PeerId, Bytes)>,
}

impl Asking {
    /// Questions that leave through `net`.
    pub fn new(telling: Telling, net: NetHandle) -> Asking {
        let known = net.clone();
        let send = move |to, header: Header, bytes| {
            net.send_bulk(to, header.bytes(), bytes, Priority::Background).is_ok()
        };
        Asking::with(telling, Box::new(move || known.peers()), Box::new(send))
    }

    fn with(telling: Telling, peers: Peers, send: SendOut) -> Asking {
        Asking { telling, peers, send, state: Mutex::default(), news: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what the teacher says of a batch; the names of the questions.
    pub fn ask(&self, batch: &Batch) -> Vec<u64> {
        let mut state = self.state();
        let width = self.telling.context + 1;
        let parts = batch.tokens.chunks(self.telling.rows_max() * width);
        let names = parts.map(|rows| state.put(Question::about(rows, width)));
        let names: Vec<u64> = names.collect();
        for name in &names {
            self.send_out(&mut state, *name);
        }
        names
    }

    /// Waits for what is told of a batch that was asked about for the work that leads to `round`.
    ///
    /// # Errors
    /// The work was cancelled, or nobody has told it in time. Nothing more is waited for then.
    pub fn wait(
        &self,
        names: &[u64],
        round: Round,
        cancel: &AtomicBool,
    ) -> Result<Told, TrainError> {
        let until = Instant::now() + PATIENCE;
        let mut all = Told { tokens: Vec::new(), codes: Vec::new() };
        for name in names {
            loop {
                if cancel.load(Ordering::Relaxed) {
                    return Err(TrainError::Cancelled { round, steps: 0 });
                }
                if Instant::now() > until {
                    return Err(TrainError::Untaught { waited_s: PATIENCE.as_secs() });
                }
                if let Some(told) = self.look(*name) {
                    break all.append(told);
                }
            }
        }
        Ok(all)
    }

    /// What these questions were about is not needed any more.
    pub fn forget(&self, names: &[u64]) {
        let mut state = self.state();
        names.iter().for_each(|name| drop(state.questions.remove(name)));
    }

    /// The answer to a question if it is there, or comes within a moment; who does not answer is passed over.
    fn look(&self, name: u64) -> Option<Told> {
        let mut state = self.state();
        if state.questions.get(&name)?.waits() {
            state = self.listen(state);
        }
        let told = self.judge(&mut state, name);
        if told.is_some() {
            state.questions.remove(&name);
            return told;
        }
        state.pass_over(name);
        if state.questions.get(&name)?.whom.is_none() && !self.send_out(&mut state, name) {
            drop(self.listen(state));
        }
        None
    }

    /// Waits a moment for what peers say.
    fn listen<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.news.wait_timeout(state, LOOK_EVERY);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// What was answered, if it is any good. Whose answer is not is asked no more.
    fn judge(&self, state: &mut State, name: u64) -> Option<Told> {
        let question = state.questions.get_mut(&name)?;
        let (from, bytes) = question.answer.take()?;
        let read = self.read(question, &bytes);
        if let Err(reason) = &read {
            tracing::warn!(peer = %from.short(), reason, "what a peer told of the teacher is refused, and it is asked no more");
            question.whom = None;
            state.others.insert(from, Other::Refused);
        }
        read.ok()
    }

    fn read(&self, question: &Question, bytes: &[u8]) -> Result<Told, String> {
        let told = Told::decode(&self.telling, question.next.len(), bytes)?;
        told.check_against(&self.telling, &question.next)?;
        Ok(told)
    }

    /// A peer says something.
    pub fn heard(&self, from: PeerId, Header { question, says }: Header, bytes: Bytes) {
        let mut state = self.state();
        match says {
            Says::Teacher => state.tells_of_itself(from, Other::Teacher(Instant::now())),
            Says::NoTeacher => state.tells_of_itself(from, Other::NoTeacher),
            Says::Busy => {
                let asked = state.questions.get_mut(&question);
                if asked.and_then(|q| q.whom.take_if(|(whom, _)| *whom == from)).is_some() {
                    state.rest(from, BUSY);
                }
            }
            Says::Told => {
                let asked = state.questions.get_mut(&question).filter(|q| q.was_put_to(from));
                if let Some(asked) = asked {
                    asked.answer.get_or_insert((from, bytes));
                }
            }
            Says::Who | Says::Asked => {}
        }
        self.news.notify_all();
    }

    /// A peer is there.
    pub fn met(&self, peer: PeerId) {
        self.inquire(&mut self.state(), &[peer]);
    }

    /// A peer is gone.
    pub fn lost(&self, peer: PeerId) {
        let mut state = self.state();
        for question in state.questions.values_mut() {
            question.whom.take_if(|(whom, _)| *whom == peer);
        }
        if !matches!(state.others.get(&peer), Some(Other::Refused)) {
            state.others.remove(&peer);
        }
        self.news.notify_all();
    }

    /// Asks those of whom it is not known whether they have the teacher.
    fn inquire(&self, state: &mut State, peers: &[PeerId]) {
        for peer in peers {
            let known = state.others.get(peer);
            let open = match known {
                None => true,
                Some(Other::Unknown(at)) => at.elapsed() >= WHO,
                Some(_) => false,
            };
            if open {
                // What does not leave is asked again.
                let _ = (self.send)(*peer, Header { question: 0, says: Says::Who }, Bytes::new());
                state.others.insert(*peer, Other::Unknown(Instant::now()));
            }
        }
    }

    /// Asks somebody; whether there was anybody.
    fn send_out(&self, state: &mut State, name: u64) -> bool {
        let peers = (self.peers)();
        self.inquire(state, &peers);
        let Some(whom) = state.choose(&peers) else { return false };
        let Some(question) = state.questions.get_mut(&name) else { return true };
        let header = Header { question: name, says: Says::Asked };
        let left = (self.send)(whom, header, question.bytes.clone());
        if left {
            question.whom = Some((whom, Instant::now()));
        } else {
            state.rest(whom, BUSY);
        }
        left
    }
}

impl State {
    fn put(&mut self, question: Question) -> u64 {
        self.last += 1;
        self.questions.insert(self.last, question);
        self.last
    }

    /// Whoever has had a question for too long may still answer it, but another is asked as well.
    fn pass_over(&mut self, name: u64) {
        let Some(question) = self.questions.get_mut(&name) else { return };
        if let Some((whom, _)) = question.whom.take_if(|(_, at)| at.elapsed() >= ANSWER) {
            tracing::info!(peer = %whom.short(), "a peer does not answer what the teacher says: another is asked");
            question.late.push(whom);
            self.rest(whom, SILENT);
        }
    }

    fn tells_of_itself(&mut self, peer: PeerId, what: Other) {
        if let Some(Other::Unknown(_)) = self.others.get(&peer) {
            self.others.insert(peer, what);
        }
    }

    fn rest(&mut self, peer: PeerId, how_long: Duration) {
        if let Some(Other::Teacher(until)) = self.others.get_mut(&peer) {
            *until = Instant::now() + how_long;
        }
    }

    /// Who has the fewest questions before it, in turns.
    fn choose(&mut self, peers: &[PeerId]) -> Option<PeerId> {
        let now = Instant::now();
        let able = |peer: &&PeerId| match self.others.get(peer) {
            Some(Other::Teacher(until)) => *until <= now,
            _ => false,
        };
        let able: Vec<PeerId> = peers.iter().filter(able).copied().collect();
        let asked = |peer: &&PeerId| {
            let waiting = self.questions.values().filter(|q| q.answer.is_none());
            waiting.filter(|q| q.whom.is_some_and(|(whom, _)| whom == **peer)).count()
        };
        let (before, from) = able.split_at(self.turn % able.len().max(1));
        let chosen = from.iter().chain(before).min_by_key(asked).copied();
        self.turn = self.turn.wrapping_add(1);
        chosen
    }
}

impl Question {
    /// About rows of a batch, `width` tokens each, the last of which is no place but a next token.
    fn about(rows: &[i64], width: usize) -> Question {
        let inputs = rows.chunks_exact(width).flat_map(|row| &row[..width - 1]);
        let bytes: Vec<u8> = inputs.flat_map(|token| (*token as u32).to_le_bytes()).collect();
        let next = rows.chunks_exact(width).flat_map(|row| &row[1..]).copied().collect();
        Question { bytes: bytes.into(), next, whom: None, late: Vec::new(), answer: None }
    }

    /// Whether somebody is about to answer it.
    fn waits(&self) -> bool {
        self.answer.is_none() && self.whom.is_some_and(|(_, at)| at.elapsed() < ANSWER)
    }

    fn was_put_to(&self, peer: PeerId) -> bool {
        self.whom.is_some_and(|(whom, _)| whom == peer) || self.late.contains(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const TELLING: Telling = Telling { context: 2, vocab: 4, top: 1, temperature: 1.0 };
    const ROUND: Round = 3;

    type Sent = Arc<Mutex<Vec<(PeerId, Header, Bytes)>>>;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    /// Of a node with peers 1 to `peers`, who have the teacher and have said so; and the questions that have left.
    fn asking(peers: u8) -> (Asking, Sent) {
        let sent = Sent::default();
        let out = sent.clone();
        let send = move |to, header, bytes| {
            out.lock().unwrap().push((to, header, bytes));
            true
        };
        let all = move || (1..=peers).map(peer).collect();
        let asking = Asking::with(TELLING, Box::new(all), Box::new(send));
        for peer in (1..=peers).map(peer) {
            asking.met(peer);
            assert_eq!(last(&sent), (peer, WHO_HAS_IT));
            says(&asking, (peer, WHO_HAS_IT), Says::Teacher, vec![]);
        }
        sent.lock().unwrap().clear();
        (asking, sent)
    }

    const WHO_HAS_IT: Header = Header { question: 0, says: Says::Who };

    fn batch() -> Batch {
        Batch { tokens: vec![0, 1, 2, 3, 2, 1], rows: 2, ..Batch::default() }
    }

    fn last(sent: &Sent) -> (PeerId, Header) {
        let (to, header, _) = sent.lock().unwrap().last().cloned().unwrap();
        (to, header)
    }

    fn says(asking: &Asking, (from, header): (PeerId, Header), says: Says, bytes: Vec<u8>) {
        asking.heard(from, Header { says, ..header }, bytes.into());
    }

    /// An answer that gives these tokens 0.9 each.
    fn answer(tokens: [i64; 4]) -> Vec<u8> {
        Told::new(tokens.to_vec(), &[-0.9f32.ln(); 4]).encode(&TELLING)
    }

    fn wait(asking: &Asking, names: &[u64]) -> Result<Told, TrainError> {
        asking.wait(names, ROUND, &AtomicBool::new(false))
    }

    #[test]
    fn a_question_is_what_goes_in_and_an_answer_comes_back() {
        let (asking, sent) = asking(1);
        let names = asking.ask(&batch());
        let tokens: Vec<u8> = [0u32, 1, 3, 2].iter().flat_map(|t| t.to_le_bytes()).collect();
        let header = Header { question: 1, says: Says::Asked };
        assert_eq!(*sent.lock().unwrap(), [(peer(1), header, tokens.into())]);
        says(&asking, (peer(1), header), Says::Told, answer([1, 2, 2, 1]));
        assert_eq!(wait(&asking, &names).unwrap().tokens, [1, 2, 2, 1]);
        assert!(asking.state().questions.is_empty());
    }

    #[test]
    fn questions_go_round_and_past_those_who_cannot_answer() {
        let (asking, sent) = asking(3);
        let names: Vec<u64> = (0..3).flat_map(|_| asking.ask(&batch())).collect();
        let asked: Vec<PeerId> = sent.lock().unwrap().iter().map(|(to, ..)| *to).collect();
        assert_eq!(asked, [peer(1), peer(2), peer(3)]);
        let first = sent.lock().unwrap()[0].1;
        says(&asking, (peer(1), first), Says::Busy, vec![]);
        assert!(asking.look(names[0]).is_none());
        let (again, header) = last(&sent);
        assert!(again != peer(1) && header.question == names[0]);
        asking.lost(again);
        assert!(asking.look(names[0]).is_none());
        assert!(last(&sent).1.question == names[0] && last(&sent).0 != peer(1));
    }

    #[test]
    fn who_tells_nonsense_is_asked_no_more() {
        let (asking, sent) = asking(2);
        let names = asking.ask(&batch());
        let (liar, header) = last(&sent);
        // Sure of what does not come.
        says(&asking, (liar, header), Says::Told, answer([0, 0, 0, 0]));
        assert!(asking.look(names[0]).is_none());
        let (other, again) = last(&sent);
        assert!(other != liar && again.question == names[0]);
        // What others say of a question that they were not asked counts for nothing.
        says(&asking, (liar, again), Says::Told, answer([1, 2, 2, 1]));
        says(&asking, (liar, again), Says::Busy, vec![]);
        says(&asking, (other, again), Says::Told, answer([1, 2, 2, 1]));
        assert!(wait(&asking, &names).is_ok());
        (0..4).for_each(|_| drop(asking.ask(&batch())));
        assert!(sent.lock().unwrap()[2..].iter().all(|(to, ..)| *to == other));
    }

    #[test]
    fn only_who_has_the_teacher_is_asked() {
        let (asking, sent) = asking(1);
        asking.lost(peer(1));
        let names = asking.ask(&batch());
        // It is back, but has not said anything yet.
        assert_eq!(*sent.lock().unwrap(), [(peer(1), WHO_HAS_IT, Bytes::new())]);
        assert!(asking.look(names[0]).is_none());
        says(&asking, (peer(1), WHO_HAS_IT), Says::NoTeacher, vec![]);
        assert!(asking.look(names[0]).is_none());
        assert_eq!(sent.lock().unwrap().len(), 1);
        asking.lost(peer(1));
        asking.met(peer(1));
        says(&asking, (peer(1), WHO_HAS_IT), Says::Teacher, vec![]);
        assert!(asking.look(names[0]).is_none());
        assert_eq!(last(&sent), (peer(1), Header { question: names[0], says: Says::Asked }));
    }

    #[test]
    fn who_was_passed_over_may_still_answer() {
        let (asking, sent) = asking(2);
        let names = asking.ask(&batch());
        let (slow, header) = last(&sent);
        let long_ago = Instant::now().checked_sub(ANSWER).unwrap();
        asking.state().questions.get_mut(&names[0]).unwrap().whom = Some((slow, long_ago));
        assert!(asking.look(names[0]).is_none());
        assert!(last(&sent).0 != slow);
        says(&asking, (slow, header), Says::Told, answer([1, 2, 2, 1]));
        assert!(wait(&asking, &names).is_ok());
    }

    #[test]
    fn nobody_to_ask_is_waited_for_until_the_work_is_cancelled() {
        let (asking, sent) = asking(0);
        let names = asking.ask(&batch());
        assert!(sent.lock().unwrap().is_empty());
        assert!(asking.look(names[0]).is_none());
        let cancelled = asking.wait(&names, ROUND, &AtomicBool::new(true));
        assert!(matches!(cancelled, Err(TrainError::Cancelled { round: ROUND, .. })));
        asking.forget(&names);
        assert!(asking.state().questions.is_empty());
    }
}
