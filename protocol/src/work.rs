//! Local work: what a peer trained, until a committed round counts it, and which plans it was given to.

use crate::exchange::MemberIndex;
use crate::id::Digest;
use crate::time::{Span, Time};
use crate::wire::Manifest;

/// Local work.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Since when it is under way.
    pub training_since: Option<Time>,
    /// How long it took last time.
    pub took: Span,
    /// What the workspace's delta was trained on, which no committed round has.
    pub pieces: Vec<Piece>,
    /// Since when it is done and nothing has been committed, however often the gather began again.
    pub ready_since: Option<Time>,
    /// Samples asked for with the last word of readiness.
    pub wants: u32,
    /// Whether nothing has been committed since a restart: an earlier life may have sent what the residuals still hold.
    pub first_after_restart: bool,
    /// When what would be contributed last changed: it names the content.
    pub nonce: u64,
}

impl Work {
    /// Tokens that the workspace's delta was trained on.
    pub fn tokens(&self) -> u64 {
        tokens(&self.pieces)
    }
}

/// Most plans that are remembered of one piece of work. Only those of one round are likely to be carried out apart.
const PLANS_MAX: usize = 64;

/// Local work of one lease. Others may carry out a plan that this peer has given up: whoever leaves a branch that counts its
/// work for one that counts it as well has nothing to offer (S1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Tokens that it was trained on.
    pub tokens: u64,
    /// The plans that it was given to, in order, and which of their members this peer was.
    pub plans: Vec<(Digest, MemberIndex)>,
}

impl Piece {
    /// The work is given to one more plan.
    pub fn given_to(&mut self, plan: Digest, me: MemberIndex) {
        if self.plans.len() == PLANS_MAX {
            self.plans.remove(0);
        }
        self.plans.push((plan, me));
    }

    /// Whether the way to a state counts it.
    pub fn is_counted(&self, there: &Manifest) -> bool {
        let tip = (there.record.plan, there.record.included);
        let way = there.way.iter().map(|milestone| (milestone.plan, milestone.included));
        let counts = |(plan, included): (Digest, u64)| {
            self.plans.iter().any(|(given, me)| *given == plan && included & (1 << me) != 0)
        };
        std::iter::once(tip).chain(way).any(counts)
    }
}

/// Tokens of all pieces.
pub(crate) fn tokens(pieces: &[Piece]) -> u64 {
    pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.tokens))
}
