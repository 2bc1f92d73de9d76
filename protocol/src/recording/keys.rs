//! Keys in a recording. The secret never gets into it: what the session asked of its keys is kept, and what they answered.

use crate::id::{Digest, Keyring, PeerId, Signature};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a session asked of its keys, by its digest, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It had something signed.
    Signed(Digest, Signature),
    /// It had a signature checked; whether that was good.
    Verified(Digest, bool),
}

fn to_sign(message: &[u8]) -> Digest {
    Digest::of(message)
}

fn to_verify(peer: &PeerId, message: &[u8], signature: &Signature) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&peer.0).update(&Digest::of(message).0).update(&signature.0);
    Digest(*hasher.finalize().as_bytes())
}

/// Answers that a keyring and whoever holds the session share. One thread at a time uses them.
#[derive(Debug, Default)]
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T: Default> Shared<T> {
    pub fn open(&self) -> MutexGuard<'_, T> {
        // A session that panicked in between leaves nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> T {
        std::mem::take(&mut self.open())
    }
}

/// Passes all questions on, and keeps them with their answers.
pub(super) struct Witness {
    pub keyring: Box<dyn Keyring>,
    pub answers: Shared<Vec<Answer>>,
}

impl Keyring for Witness {
    fn id(&self) -> PeerId {
        self.keyring.id()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.keyring.sign(message);
        self.answers.open().push(Answer::Signed(to_sign(message), signature.clone()));
        signature
    }

    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool {
        let good = self.keyring.verify(peer, message, signature);
        self.answers.open().push(Answer::Verified(to_verify(peer, message, signature), good));
        good
    }
}

/// The answers that are still to be given, and whether something else was asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub answers: VecDeque<Answer>,
    pub astray: bool,
}

/// Answers as was recorded, as long as the same is asked.
pub(super) struct Prompter {
    pub me: PeerId,
    pub script: Shared<Script>,
}

impl Prompter {
    fn answer<T: Default>(&self, find: impl FnOnce(Answer) -> Option<T>) -> T {
        let mut script = self.script.open();
        let answer = script.answers.pop_front().and_then(find);
        script.astray |= answer.is_none();
        answer.unwrap_or_default()
    }
}

impl Keyring for Prompter {
    fn id(&self) -> PeerId {
        self.me
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let asked = to_sign(message);
        self.answer(|answer| match answer {
            Answer::Signed(question, signature) if question == asked => Some(signature),
            _ => None,
        })
    }

    fn verify(&self, peer: &PeerId, message: &[u8], signature: &Signature) -> bool {
        let asked = to_verify(peer, message, signature);
        self.answer(|answer| match answer {
            Answer::Verified(question, good) if question == asked => Some(good),
            _ => None,
        })
    }
}
