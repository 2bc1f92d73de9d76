//! The last pass: documents that stay become tokens in shards.

use super::compare::Struck;
use super::error::PrepareError;
use super::passes::Preparation;
use super::read::Amount;
use super::shards::Shards;
use super::spool::{InOrder, Texts};
use super::state::State;
use super::tokenise::{LEARN_BYTES_MAX, encode, token_width};
use super::watch::{Unit, Watch};
use crate::data::Tokenizer;
use rayon::prelude::*;
use std::path::Path;

/// A document that stays: its text, and the document and place after it.
struct Stays {
    text: String,
    document: u64,
    after_at: u64,
}

/// The documents that stay, from one on.
struct Staying {
    texts: InOrder,
    struck: Struck,
    document: u64,
    all: u64,
}

impl Staying {
    fn open(work: &Path, all: u64, (document, at): (u64, u64)) -> Result<Staying, PrepareError> {
        let (texts, struck) = (Texts::open(work)?.from(at)?, Struck::open(work, document)?);
        Ok(Staying { texts, struck, document, all })
    }

    fn next_staying(&mut self) -> Result<Option<Stays>, PrepareError> {
        while self.document < self.all {
            let text = self.texts.next_text()?;
            self.document += 1;
            if !self.struck.next_is()? {
                let (document, after_at) = (self.document - 1, self.texts.at);
                return Ok(Some(Stays { text, document, after_at }));
            }
        }
        Ok(None)
    }

    fn batch(&mut self, bytes_max: usize) -> Result<Vec<Stays>, PrepareError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(stays) = self.next_staying()? else { break };
            bytes += stays.text.len() + 64;
            batch.push(stays);
        }
        Ok(batch)
    }
}

impl Iterator for Staying {
    type Item = String;

    /// Texts to learn from. What cannot be read ends them: the pass that writes will tell.
    fn next(&mut self) -> Option<String> {
        self.next_staying().ok().flatten().map(|stays| stays.text)
    }
}

/// The tokenizer, in the output folder if it is a file.
pub(super) fn tokenizer(
    preparation: &Preparation,
    work: &Path,
    state: &State,
) -> Result<Tokenizer, PrepareError> {
    let texts = || {
        let every = state.report.kept.bytes.div_ceil(LEARN_BYTES_MAX).max(1);
        Ok(Staying::open(work, state.documents, (0, 0))?.step_by(every as usize))
    };
    preparation.tokenizer.place(&preparation.output, texts)
}

/// Writes the shards that are not yet there.
pub(super) fn write(
    preparation: &Preparation,
    work: &Path,
    tokenizer: &Tokenizer,
    state: &mut State,
    watch: &mut dyn Watch,
) -> Result<(), PrepareError> {
    watch.begin("writing", Unit::Documents);
    let (width, finished) = (token_width(tokenizer), std::mem::take(&mut state.shards));
    let (output, bytes_max) = (&preparation.output, preparation.shard_bytes);
    let mut shards = Shards::new(output, work, bytes_max, width, finished);
    let mut staying = Staying::open(work, state.documents, (state.next, state.next_at))?;
    // Where the document begins that comes next.
    let mut at = state.next_at;
    loop {
        let batch = staying.batch(preparation.batch_bytes)?;
        if batch.is_empty() {
            break;
        }
        let ends: Vec<(u64, u64)> = batch.iter().map(|s| (s.document, s.after_at)).collect();
        let encoded: Vec<Vec<u8>> = batch
            .into_par_iter()
            .map(|stays| encode(tokenizer, stays.text))
            .collect::<Result<_, _>>()?;
        for (bytes, (document, after_at)) in encoded.iter().zip(ends) {
            if shards.is_full(bytes.len()) {
                shards.finish()?;
                // The last document that is in: those after it, struck out or not, come next.
                state.next_at = at;
                state.shards.clone_from(&shards.finished);
                state.save(work)?;
            }
            shards.push(bytes)?;
            state.report.count_tokens(bytes.len() as u64 / u64::from(width));
            (state.next, at) = (document + 1, after_at);
        }
        watch.at(Amount { done: state.next, all: state.documents }, state.next);
        if watch.stop() {
            return Err(PrepareError::Interrupted(work.to_owned()));
        }
    }
    shards.finish()?;
    state.shards = shards.finished;
    Ok(())
}
