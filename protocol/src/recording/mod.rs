//! What one session was told, when, and what it asked for, as bytes: enough to repeat its life elsewhere, byte for byte.
//!
//! A recording is [`MAGIC`], then [`frame`]s: an [`Opening`], then one [`Entry`] after the other. Whoever writes takes a
//! [`Scribe`], whoever repeats a [`Player`]; files are theirs. No secret is in it (see `keys`), and no tensor: a session never
//! sees bulk data, only its names.

pub mod frame;
mod keys;

pub use keys::Answer;

use crate::event::{Input, Output};
use crate::id::{Digest, Keyring, PeerId};
use crate::run::RunSpec;
use crate::session::{Session, Settings, Standing};
use crate::time::Time;
use crate::wire::{self, from_cbor, to_cbor};
use frame::{BODY_BYTES_MAX, Chain};
use keys::{Prompter, Script, Shared, Witness};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What every recording begins with; [`VERSION_BYTE`] follows.
pub const MAGIC: [u8; 15] = *b"shoal recording";
/// The format's version, as it stands behind [`MAGIC`].
pub const VERSION_BYTE: u8 = 1;
/// Outputs of one input that are kept in full; of more the digest. No session asks for so much at once (16 MiB are all chunks
/// of the largest plan eight times over).
pub const OUTPUTS_BYTES_MAX: usize = 16 << 20;

// An input is hardly more than a control frame, its questions are few, and the outputs are bounded.
const _: () = assert!(OUTPUTS_BYTES_MAX + 8 * wire::FRAME_BYTES_MAX < BODY_BYTES_MAX);

/// All that a session begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Which program recorded, with its version; for people.
    pub program: String,
    /// When the session began, by its driver's clock.
    pub now: Time,
    /// Whose session it is.
    pub me: PeerId,
    /// The run.
    pub spec: RunSpec,
    /// What the peer chose for itself, its seed included.
    pub settings: Settings,
    /// The state that it began from.
    pub standing: Standing,
}

impl Opening {
    /// Reads a frame's body, and sees to it that a session can be made of it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(body: &[u8]) -> Result<Opening, String> {
        let opening: Opening = from_cbor(body)?;
        opening.spec.validate().map_err(|why| format!("the run's spec: {why}"))?;
        match opening.standing.chunks.len() {
            n if n > wire::STATE_CHUNKS_MAX => Err(format!("a state of {n} chunks")),
            _ => Ok(opening),
        }
    }

    /// A session that begins so.
    pub fn session(&self, keyring: Box<dyn Keyring>) -> Session {
        let Opening { now, spec, settings, standing, .. } = self.clone();
        Session::new(now, spec, settings, keyring, standing)
    }
}

/// One input and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, by the driver's clock.
    pub now: Time,
    /// Canonical CBOR of the [`Input`].
    input: ByteBuf,
    /// What was asked of the keys meanwhile.
    answers: Vec<Answer>,
    /// What came of it.
    pub came: Came,
}

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// Canonical CBOR of all [`Output`]s, in order.
    Outputs(ByteBuf),
    /// BLAKE3 of what [`Came::Outputs`] would hold, if that is more than [`OUTPUTS_BYTES_MAX`].
    Digest(Digest),
    /// The session panicked: a bug, and the recording's end.
    Panic,
}

impl Came {
    /// Of these outputs.
    pub fn of(outputs: &[Output]) -> Came {
        let bytes = to_cbor(&outputs);
        if bytes.len() > OUTPUTS_BYTES_MAX {
            return Came::Digest(Digest::of(&bytes));
        }
        Came::Outputs(ByteBuf::from(bytes))
    }

    /// The outputs, if they were kept and are outputs of this build's protocol.
    pub fn outputs(&self) -> Option<Vec<Output>> {
        match self {
            Came::Outputs(bytes) => from_cbor(bytes).ok(),
            Came::Digest(_) | Came::Panic => None,
        }
    }
}

impl Entry {
    /// Reads a frame's body.
    ///
    /// # Errors
    /// The decoder's words.
    pub fn read(body: &[u8]) -> Result<Entry, String> {
        from_cbor(body)
    }

    /// The input.
    ///
    /// # Errors
    /// It is none of this build's protocol, or a message that exceeds what a peer may send.
    pub fn input(&self) -> Result<Input, String> {
        let input = from_cbor(&self.input)?;
        if let Input::Received { message, .. } = &input {
            wire::bounded(message)?;
        }
        Ok(input)
    }
}

/// Writes down a session's life.
pub struct Scribe {
    chain: Chain,
    answers: Shared<Vec<Answer>>,
    write: Box<dyn FnMut(Vec<u8>) + Send>,
}

impl Scribe {
    /// A session of this opening, and who writes down what happens to it. `write` is given whole frames, in order.
    pub fn begin(
        opening: &Opening,
        keyring: Box<dyn Keyring>,
        mut write: Box<dyn FnMut(Vec<u8>) + Send>,
    ) -> (Session, Scribe) {
        let start = magic();
        let mut chain = Chain::after(&start);
        write([&start[..], &chain.seal(&to_cbor(opening))].concat());
        let answers = Shared::default();
        let witness = Witness { keyring, answers: answers.clone() };
        (opening.session(Box::new(witness)), Scribe { chain, answers, write })
    }

    /// As [`Session::handle`], and written down. An input that makes the session panic is written down as well.
    pub fn handle(
        &mut self,
        session: &mut Session,
        now: Time,
        input: Input,
        out: &mut Vec<Output>,
    ) {
        let (told, before) = (ByteBuf::from(to_cbor(&input)), out.len());
        let handled = catch_unwind(AssertUnwindSafe(|| session.handle(now, input, out)));
        let came = if handled.is_ok() { Came::of(&out[before..]) } else { Came::Panic };
        let entry = Entry { now, input: told, answers: self.answers.take(), came };
        (self.write)(self.chain.seal(&to_cbor(&entry)));
        if let Err(panic) = handled {
            resume_unwind(panic);
        }
    }
}

/// What stands at a recording's beginning: [`MAGIC`] and version.
pub fn magic() -> [u8; 16] {
    std::array::from_fn(|place| MAGIC.get(place).copied().unwrap_or(VERSION_BYTE))
}

/// Repeats a session's life.
pub struct Player {
    session: Session,
    script: Shared<Script>,
}

/// What a repeated session does with an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// What came of it.
    pub came: Came,
    /// What it asks for; empty if it panicked.
    pub outputs: Vec<Output>,
    /// Whether it asked of its keys what was recorded, and no more or less.
    pub asked_alike: bool,
}

impl Player {
    /// A session as the recorded one began.
    pub fn begin(opening: &Opening) -> Player {
        let script = Shared::default();
        let prompter = Prompter { me: opening.me, script: script.clone() };
        Player { session: opening.session(Box::new(prompter)), script }
    }

    /// Gives it an entry's input. After a panic the session must not be used any more.
    ///
    /// # Errors
    /// As [`Entry::input`].
    pub fn play(&mut self, entry: &Entry) -> Result<Played, String> {
        let (input, mut outputs) = (entry.input()?, Vec::new());
        self.script.open().answers.extend(entry.answers.iter().cloned());
        let handle = || self.session.handle(entry.now, input, &mut outputs);
        let handled = catch_unwind(AssertUnwindSafe(handle)).is_ok();
        if !handled {
            outputs.clear();
        }
        let came = if handled { Came::of(&outputs) } else { Came::Panic };
        let script = self.script.take();
        Ok(Played { came, outputs, asked_alike: !script.astray && script.answers.is_empty() })
    }
}

#[cfg(test)]
mod tests;
