//! A document of any length cleaned piece by piece, in windows of one size: where the pieces end changes nothing.

use super::numbers::floor;
use super::scan::{Skip, scan};
use super::{Action, Anonymiser, Cleaned, Counts, Finding};

/// So much text is looked at together.
const WINDOW_BYTES: usize = 256 << 10;
/// What begins in a window's last part waits for the next window. No item is longer (a private key may have 16 KiB).
const TAIL_BYTES: usize = 20 << 10;
/// What stays of a window for the next to look back at.
const BACK_BYTES: usize = 256;

/// A document on its way through an [`Anonymiser`]. Holds at most 276 KiB of text beside the findings of one window.
pub struct Stream<'a> {
    anonymiser: &'a Anonymiser,
    /// Text that was given out already but is looked back at, then text that waits.
    held: String,
    /// Bytes of `held` that were given out.
    given: usize,
    /// Where `held` begins in the document.
    offset: usize,
    counts: Counts,
    drop: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(anonymiser: &'a Anonymiser) -> Stream<'a> {
        Stream {
            anonymiser,
            held: String::new(),
            given: 0,
            offset: 0,
            counts: Counts::default(),
            drop: false,
        }
    }

    /// Takes the next piece, and hands out what is clean by now: text, the findings in it (places as in the whole document).
    /// Its `counts` are those of this part; its `drop` is that of all the document so far.
    pub fn push(&mut self, piece: &str) -> Cleaned {
        let mut out = Cleaned { drop: self.drop, ..Cleaned::default() };
        let mut rest = piece;
        while self.held.len() - self.given + rest.len() > WINDOW_BYTES {
            let room = WINDOW_BYTES - (self.held.len() - self.given);
            let end = floor(rest, room);
            self.held.push_str(&rest[..end]);
            rest = &rest[end..];
            self.window(false, &mut out);
        }
        self.held.push_str(rest);
        out
    }

    /// Hands out the rest.
    pub fn finish(mut self) -> Cleaned {
        let mut out = Cleaned { drop: self.drop, ..Cleaned::default() };
        self.window(true, &mut out);
        out
    }

    /// What was counted in all parts so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn window(&mut self, last: bool, out: &mut Cleaned) {
        let found = scan(&self.held, &self.anonymiser.rules, self.anonymiser.skip);
        let mut until = match last {
            true => self.held.len(),
            false => floor(&self.held, self.held.len() - TAIL_BYTES),
        };
        for one in found {
            if one.span.start >= self.given && one.span.start < until {
                until = until.max(one.span.end);
                self.take(one, out);
            }
        }
        out.text.push_str(&self.held[self.given..until]);
        let keep = floor(&self.held, until.saturating_sub(BACK_BYTES));
        self.held.drain(..keep);
        self.offset += keep;
        self.given = until - keep;
    }

    /// Writes what stands before a finding, and what it becomes.
    fn take(&mut self, one: Finding, out: &mut Cleaned) {
        let action = self.anonymiser.action(one.kind);
        if action == Action::Off {
            return;
        }
        let item = &self.held[one.span.clone()];
        out.text.push_str(&self.held[self.given..one.span.start]);
        out.text.push_str(&self.anonymiser.replacement(one.kind, item));
        self.given = one.span.end;
        self.drop |= action == Action::Drop;
        out.drop = self.drop;
        self.counts.add(one.kind);
        out.counts.add(one.kind);
        let span = self.offset + one.span.start..self.offset + one.span.end;
        out.findings.push(Finding { kind: one.kind, span });
    }
}

/// What [`Skip`] is for these actions: kinds that no other could be taken for need not be found to be left alone.
pub(super) fn skip(action: impl Fn(super::Kind) -> Action) -> Skip {
    let off = |kind| action(kind) == Action::Off;
    Skip { addresses: off(super::Kind::Address), names: off(super::Kind::Name) }
}
