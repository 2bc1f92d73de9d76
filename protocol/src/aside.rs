//! What a peer gave to rounds that were committed apart from most others: it is kept, and offered again to the branch of the
//! others if that one is taken over (L4).

use crate::event::{Aside, Output};
use crate::id::{Digest, Round};
use crate::ledger::Record;
use crate::session::Session;
use crate::wire::{Manifest, WAY_MAX};

/// The rounds since this peer was cut off from most others.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    /// Tokens of the last round that most took part in.
    whole: u64,
    /// The first round that they did not.
    first: Option<(Round, Digest)>,
    /// What this peer gave since.
    tokens: u64,
}

impl Session {
    /// A round is about to be committed: what this peer gave to it is set aside, if fewer tokens than half of the usual went into
    /// it.
    pub(crate) fn set_aside(&mut self, record: &Record, given: u64, out: &mut Vec<Output>) {
        let tokens = record.contributions.iter().map(|c| c.tokens).fold(0, u64::saturating_add);
        let apart = &mut self.apart;
        let too_long = apart.first.is_some_and(|(first, _)| record.round >= first + WAY_MAX as Round);
        if tokens == 0 {
            return;
        }
        if tokens > apart.whole / 2 || too_long {
            let had = std::mem::replace(apart, Apart { whole: tokens, ..Apart::default() });
            out.extend((had.tokens > 0).then_some(Output::Aside(Aside::Drop)));
            return;
        }
        apart.first.get_or_insert((record.round, record.digest()));
        if given > 0 {
            apart.tokens = apart.tokens.saturating_add(given);
            out.push(Output::Aside(Aside::Keep { tokens: given }));
        }
    }

    /// Whether a state that is about to be taken over is of a branch without the rounds that this peer has made apart.
    pub(crate) fn leaves_branch(&self, manifest: &Manifest) -> bool {
        let first = self.apart.first.filter(|_| self.apart.tokens > 0);
        first.is_some_and(|(round, digest)| match manifest.record.round.checked_sub(round) {
            None => true,
            Some(0) => manifest.record.digest() != digest,
            Some(back) => {
                manifest.way.get(back as usize - 1).is_some_and(|there| *there != digest)
            }
        })
    }

    /// The branch has been left: what was set aside joins what this peer is about to contribute.
    pub(crate) fn take_up(&mut self, record: &Record, out: &mut Vec<Output>) {
        out.push(Output::Aside(Aside::TakeUp { tokens: self.work.tokens }));
        self.work.tokens = self.work.tokens.saturating_add(self.apart.tokens);
        let whole = record.contributions.iter().map(|c| c.tokens).fold(0, u64::saturating_add);
        self.apart = Apart { whole, ..Apart::default() };
    }
}
