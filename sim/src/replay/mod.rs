//! `shoal-sim replay`: what a node was told goes through the same machine again, and must lead to the same outputs.

mod difference;
mod file;

use crate::cli::Failure;
use file::{Bad, Entries, Next};
use shoal_protocol::id::Digest;
use shoal_protocol::recording::{Came, Entry, Opening, Player};
use shoal_protocol::time::Time;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Replays the recording in `file`: what it comes to, in a line or two.
///
/// # Errors
/// Code 1: the first output that differs. Code 2: the file cannot be read, or is damaged, and where.
pub fn replay(file: &Path) -> Result<String, Failure> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let from = File::open(file).map_err(|why| Failure { why: named(&why), code: 2 })?;
    repeat(BufReader::new(from)).map(|same| same.to_string()).map_err(|stopped| match stopped {
        Stopped::Differs(what) => Failure { why: named(&what), code: 1 },
        Stopped::Bad(bad, inputs) => {
            let until = match inputs {
                0 => String::new(),
                _ => format!("\nthe {inputs} inputs before it are the same byte for byte"),
            };
            Failure { why: named(&bad) + &until, code: 2 }
        }
    })
}

/// A life that was repeated to its end.
#[derive(Debug)]
pub struct Same {
    opening: Opening,
    pub inputs: u64,
    pub outputs: u64,
    /// BLAKE3 over what came of all inputs.
    pub digest: Digest,
    /// Of the last input.
    last: Time,
    pub panics: bool,
    /// Where the last entry begins, if it is not whole.
    pub torn: Option<u64>,
}

/// Why a life was not repeated to its end.
#[derive(Debug)]
pub enum Stopped {
    /// The first difference, in words.
    Differs(String),
    /// The file cannot be read on after so many inputs.
    Bad(Bad, u64),
}

impl std::fmt::Display for Same {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Same { inputs, outputs, digest, .. } = self;
        write!(
            f,
            "{inputs} inputs, {outputs} outputs, same byte for byte; digest {digest}\n{}",
            self.whose()
        )?;
        if self.panics {
            write!(f, "\nthe last input makes the machine panic, as it did when it was recorded")?;
        }
        match self.torn {
            Some(at) => write!(
                f,
                "\nthe file ends within the entry at byte {at}, as that of a killed node does: replayed up to there"
            ),
            None => Ok(()),
        }
    }
}

impl Same {
    fn whose(&self) -> String {
        let Opening { program, now, me, spec, standing, .. } = &self.opening;
        let seconds = self.last.since(*now).as_secs_f64();
        let (name, round) = (&spec.name, standing.record.round);
        format!(
            "{seconds:.3} s of peer {} in run {name}, from round {round}; recorded by {program}",
            me.short()
        )
    }
}

/// Replays a recording.
///
/// # Errors
/// The first difference, or why the recording cannot be read.
pub fn repeat(from: impl Read) -> Result<Same, Stopped> {
    let (opening, mut entries) = Entries::open(from).map_err(|bad| Stopped::Bad(bad, 0))?;
    let mut player = Player::begin(&opening);
    let (digest, last) = (Digest::default(), opening.now);
    let mut same = Same { opening, inputs: 0, outputs: 0, digest, last, panics: false, torn: None };
    let mut hasher = blake3::Hasher::new();
    while !same.panics {
        let at = entries.at();
        match entries.next().map_err(|bad| Stopped::Bad(bad, same.inputs))? {
            Next::Whole(entry) => {
                same.take(&mut player, &entry, at)?;
                hasher.update(&shoal_protocol::wire::to_cbor(&entry.came));
            }
            Next::End => break,
            Next::Torn(at) => {
                same.torn = Some(at);
                break;
            }
        }
    }
    same.digest = Digest(*hasher.finalize().as_bytes());
    Ok(same)
}

impl Same {
    /// One input more.
    fn take(&mut self, player: &mut Player, entry: &Entry, at: u64) -> Result<(), Stopped> {
        let unknown = |why: String| Bad { at, why: file::no_entry(&why) };
        let played = player.play(entry).map_err(|why| Stopped::Bad(unknown(why), self.inputs))?;
        if let Some(what) = difference::between(&entry.came, &played) {
            let seconds = entry.now.since(self.opening.now).as_secs_f64();
            let input = entry.input().map_or_else(|why| why, |input| difference::brief(&input));
            return Err(Stopped::Differs(format!(
                "input {} differs, {seconds:.6} s after the beginning:\n  {input}\n{what}",
                self.inputs + 1
            )));
        }
        self.inputs += 1;
        self.outputs += played.outputs.len() as u64;
        self.last = entry.now;
        self.panics = entry.came == Came::Panic;
        Ok(())
    }
}
