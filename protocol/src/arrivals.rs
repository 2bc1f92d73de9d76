//! Bulk frames that arrive: who takes them, and the few that come before their plan.

use crate::event::{ChunkId, ChunkKind, Output};
use crate::id::{Digest, PeerId, Round};
use crate::run::RunSpec;
use crate::session::{Session, Stage};
use crate::time::Time;
use crate::wire::{EARLY_MAX, STATE_CHUNK_BYTES};

impl Session {
    /// A bulk frame has arrived whole: whoever waits for it takes it, the others' bytes are let go.
    pub(crate) fn arrived(
        &mut self,
        from: PeerId,
        chunk: ChunkId,
        bytes: u32,
        digest: Digest,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let discard = Output::Discard { from, chunk, digest };
        if self.members.heard(from, now).is_none() {
            return out.push(discard);
        }
        if let Err(reason) = self.check_size(&chunk, bytes) {
            out.push(discard);
            return self.strike(from, 2, reason, now, out);
        }
        if chunk.kind == ChunkKind::Piece {
            return self.piece_arrived((from, chunk, digest), now, out);
        }
        let verdict = match &mut self.stage {
            Stage::Exchanging(exchange, _) if exchange.id == chunk.of => {
                exchange.arrived(from, &chunk, digest, now, out)
            }
            Stage::CatchingUp(catchup) => {
                catchup.arrived(from, &chunk, digest, &mut self.pace.fetch, now)
            }
            _ if chunk.kind != ChunkKind::State => {
                return self.keep_early(from, (chunk, bytes, digest), out);
            }
            _ => Ok(false),
        };
        if verdict != Ok(true) {
            out.push(discard);
        }
        if let Err(reason) = verdict {
            self.drop_donor(&from);
            self.strike(from, 2, reason.into(), now, out);
        }
    }

    /// A chunk's size follows from its name; anything else is a lie.
    fn check_size(&self, chunk: &ChunkId, bytes: u32) -> Result<(), String> {
        let due = match chunk.kind {
            ChunkKind::Piece => {
                Vec::from_iter(Some(self.blobs.piece_bytes(chunk)).filter(|n| *n > 0))
            }
            _ => chunk_bytes(&self.spec, self.round_of(chunk), chunk),
        };
        if due.contains(&(bytes as usize)) {
            return Ok(());
        }
        Err(match due.first() {
            Some(due) => format!("sent a chunk of {bytes} bytes where {due} are due"),
            None => format!("sent a chunk of {bytes} bytes where none is due"),
        })
    }

    /// The round of the plan that a chunk is of, if that is known.
    fn round_of(&self, chunk: &ChunkId) -> Option<Round> {
        let known = match &self.stage {
            Stage::Exchanging(exchange, _) => exchange.id == chunk.of,
            Stage::CatchingUp(catchup) => catchup.wants(&chunk.of),
            _ => false,
        };
        (known || self.spec.strategy.fragments == 1).then_some(self.standing.record.round + 1)
    }

    /// A chunk that came before its plan waits for it, within bounds.
    fn keep_early(
        &mut self,
        from: PeerId,
        (chunk, bytes, digest): (ChunkId, u32, Digest),
        out: &mut Vec<Output>,
    ) {
        let known = self.donor.by_plan(&chunk.of).is_some();
        if known || matches!(self.stage, Stage::Finished) {
            return out.push(Output::Discard { from, chunk, digest });
        }
        let kept = self.early.entry(from).or_default();
        if kept.iter().any(|(other, ..)| *other == chunk) {
            return out.push(Output::Discard { from, chunk, digest });
        }
        if kept.len() == EARLY_MAX {
            let oldest = kept.pop_front();
            out.extend(oldest.map(|(chunk, _, digest)| Output::Discard { from, chunk, digest }));
        }
        kept.push_back((chunk, bytes, digest));
    }

    /// Early chunks of a plan that has come; all others are discarded.
    pub(crate) fn take_early(&mut self, now: Time, out: &mut Vec<Output>) {
        for (from, kept) in std::mem::take(&mut self.early) {
            for (chunk, bytes, digest) in kept {
                let sound = self.check_size(&chunk, bytes).is_ok();
                let taken = match self.exchange_of(&chunk.of) {
                    Some(exchange) if sound => {
                        exchange.arrived(from, &chunk, digest, now, out) == Ok(true)
                    }
                    _ => false,
                };
                if !taken {
                    out.push(Output::Discard { from, chunk, digest });
                }
            }
        }
    }
}

/// Bytes that a chunk has, by its name and the round; without that what it may have, whichever fragment the round is of. Empty
/// beyond the end of what it is a part of.
fn chunk_bytes(spec: &RunSpec, round: Option<Round>, chunk: &ChunkId) -> Vec<usize> {
    let usual = match chunk.kind {
        ChunkKind::State => {
            let start = u64::from(chunk.index) * STATE_CHUNK_BYTES as u64;
            let left = spec.state_bytes().saturating_sub(start).min(STATE_CHUNK_BYTES as u64);
            return if left > 0 { vec![left as usize] } else { Vec::new() };
        }
        ChunkKind::Piece => return Vec::new(),
        ChunkKind::Contribution => spec.exchange.up,
        ChunkKind::Result => spec.exchange.down,
    };
    let (elems, codecs) = match round {
        Some(round) => {
            let codec = spec.codec_in(round, usual);
            (vec![spec.chunk_len(spec.chunk_at(round, chunk.index))], vec![codec])
        }
        None => (
            vec![spec.exchange.chunk_elems as usize, spec.chunk_len(spec.chunks() - 1)],
            std::iter::once(usual).chain(spec.exchange.last).collect(),
        ),
    };
    let elems = elems.into_iter().filter(|len| *len > 0);
    elems.flat_map(|len| codecs.iter().map(move |codec| spec.encoded_len(*codec, len))).collect()
}
