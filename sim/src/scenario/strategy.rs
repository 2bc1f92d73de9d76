//! What a run's strategy sets, and what the file says instead.

use super::Run;
use shoal_protocol::math::{Codec, Context};
use shoal_protocol::run::{ExchangeSpec, OuterKind, OuterSpec, StrategySpec};
use toml::Spanned;

impl Run {
    /// Codec from member to owner.
    pub fn up(&self) -> Codec {
        self.up.unwrap_or(self.strategy.usual().codec)
    }

    /// Codec from owner to member.
    pub fn down(&self) -> Codec {
        self.down.unwrap_or(self.strategy.usual().codec)
    }

    /// How numbers travel; the size of chunks follows from the model's.
    pub(super) fn exchange(&self) -> ExchangeSpec {
        let usual = self.strategy.usual();
        let decay = self.residual_decay.as_ref().map(|decay| *decay.get_ref());
        ExchangeSpec {
            residual_decay: decay.unwrap_or(usual.residual_decay),
            clip_to_median: self.clip_to_median.unwrap_or(usual.clip_to_median),
            ahead: self.ahead.as_ref().map_or(0.0, |share| *share.get_ref()),
            last: self.last,
            owners_stay: self.owners_stay.unwrap_or(true),
            mask_one_of: self.mask_one_of.as_ref().map_or(Context::ONE_OF, |n| *n.get_ref()),
            rank: self.rank.as_ref().map_or(Context::RANK, |n| *n.get_ref()),
            columns: self.columns.as_ref().map_or(0, |n| *n.get_ref()),
            ..ExchangeSpec::new(self.up(), self.down(), 0)
        }
    }

    pub(super) fn outer(&self) -> OuterSpec {
        let mut outer = self.strategy.usual().outer;
        if let Some(kind) = self.outer.filter(|kind| *kind != outer.kind) {
            let nesterov = kind == OuterKind::Nesterov;
            outer = OuterSpec { kind, lr: 0.7, momentum: if nesterov { 0.9 } else { 0.0 } };
        }
        let or = |key: &Option<Spanned<f32>>, usual| key.as_ref().map_or(usual, |x| *x.get_ref());
        let OuterSpec { kind, lr, momentum } = outer;
        OuterSpec { kind, lr: or(&self.outer_lr, lr), momentum: or(&self.outer_momentum, momentum) }
    }

    pub(super) fn pieces(&self) -> StrategySpec {
        let usual = self.strategy.usual().pieces;
        StrategySpec {
            fragments: self.fragments.as_ref().map_or(usual.fragments, |n| *n.get_ref()),
            overlap: self.overlap.as_ref().map_or(usual.overlap, |overlap| *overlap.get_ref()),
            ..usual
        }
    }
}
