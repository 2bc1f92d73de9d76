//! How pseudo-gradients travel: codecs, chunks, error feedback.

use super::{SpecError, check};
use crate::math::codec::{BLOCK_MAX, Codec, Context, RANK_MAX};
use crate::wire;
use serde::{Deserialize, Serialize};

/// How pseudo-gradients travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeSpec {
    /// Codec from member to owner.
    pub up: Codec,
    /// Codec from owner to member.
    pub down: Codec,
    /// Elements in a chunk, the unit of sending, adding and repair; a multiple of the block of both
    /// codecs ([`Codec::block`]).
    pub chunk_elems: u32,
    /// What residuals keep of themselves from one exchange to the next: error feedback that fades (SparseLoCo, arXiv 2508.15706,
    /// algorithm 1: 0.95). 1 loses nothing.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub residual_decay: f32,
    /// Whether an owner scales a contribution down whose norm is above the median of those to the same chunk (SparseLoCo).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clip_to_median: bool,
    /// What of its residual a peer's local work takes for granted: it begins at the committed parameters minus this share of what was
    /// not sent yet, and so does not learn again what waits to be sent (error reset: Xie et al. 2020, arXiv 2007.13221).
    /// 0 begins at the committed parameters.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub ahead: f32,
    /// Codec of the run's last round, both ways. That round averages what came (outer rate 1, no momentum), so that what still waits to be
    /// sent reaches the parameters. Without, the last round is as all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Codec>,
    /// Whether a chunk keeps its owner from round to round, as far as members and their bandwidths stay the same. Otherwise owners change
    /// with each round's hash order, and what results have not carried yet goes on its way again in a contribution to the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owners_stay: bool,
    /// Of so many elements [`Codec::Mask`] sends one: a power of two up to [`BLOCK_MAX`].
    #[serde(default = "usual_one_of", skip_serializing_if = "is_usual_one_of")]
    pub mask_one_of: u32,
    /// Most pairs of factors that [`Codec::Powersgd`] sends for a chunk.
    #[serde(default = "usual_rank", skip_serializing_if = "is_usual_rank")]
    pub rank: u32,
    /// Elements in a row of the matrix that [`Codec::Powersgd`] takes a chunk for; 0 for the model's width.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns: u32,
}

fn all() -> f32 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_all(share: &f32) -> bool {
    *share == all()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_nothing(share: &f32) -> bool {
    *share == 0.0
}

fn usual_one_of() -> u32 {
    Context::ONE_OF
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_usual_one_of(one_of: &u32) -> bool {
    *one_of == usual_one_of()
}

fn usual_rank() -> u32 {
    Context::RANK
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_usual_rank(rank: &u32) -> bool {
    *rank == usual_rank()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(columns: &u32) -> bool {
    *columns == 0
}

impl ExchangeSpec {
    /// With these codecs and chunks; residuals last, nothing is clipped, and owners change.
    pub fn new(up: Codec, down: Codec, chunk_elems: u32) -> ExchangeSpec {
        ExchangeSpec {
            up,
            down,
            chunk_elems,
            residual_decay: all(),
            clip_to_median: false,
            ahead: 0.0,
            last: None,
            owners_stay: false,
            mask_one_of: usual_one_of(),
            rank: usual_rank(),
            columns: 0,
        }
    }

    pub(super) fn validate(&self, elems: u64, width: u32) -> Result<(), SpecError> {
        let chunk = self.chunk_elems as usize;
        let one_of = self.mask_one_of;
        check(
            one_of.is_power_of_two() && one_of as usize <= BLOCK_MAX,
            "exchange.mask_one_of",
            || format!("{one_of} must be a power of two, at most {BLOCK_MAX}"),
        )?;
        check((1..=RANK_MAX).contains(&self.rank), "exchange.rank", || {
            format!("{} must be 1 to {RANK_MAX}", self.rank)
        })?;
        let grain = |codec: Codec| self.grain(codec, width);
        let codecs = self.codecs();
        let larger = codecs.into_iter().rev().max_by_key(|codec| grain(*codec).0);
        let larger = larger.unwrap_or(self.up);
        let block = grain(larger).0 as usize;
        check(chunk > 0 && chunk.is_multiple_of(block), "exchange.chunk_elems", || {
            format!("{chunk} must be a multiple of {block}, the block of {larger}")
        })?;
        check(chunk * 4 <= wire::BULK_BYTES_MAX, "exchange.chunk_elems", || {
            format!("{chunk} elements exceed {} bytes", wire::BULK_BYTES_MAX)
        })?;
        let decay = self.residual_decay;
        check(decay > 0.0 && decay <= 1.0, "exchange.residual_decay", || {
            format!(
                "{decay} must be above 0 and at most 1: 0.95 keeps so much of what was not sent"
            )
        })?;
        check((0.0..=1.0).contains(&self.ahead), "exchange.ahead", || {
            format!("{} must lie between 0 and 1", self.ahead)
        })?;
        let row = codecs.map(|codec| grain(codec).1).into_iter().max().unwrap_or(1) as usize;
        check(chunk.is_multiple_of(row), "exchange.chunk_elems", || {
            let near = chunk.div_ceil(row) * row;
            format!(
                "{chunk} are no whole rows of {row} for powersgd: take {near}, or other `exchange.columns`"
            )
        })?;
        let chunks = elems.div_ceil(chunk as u64);
        check(chunks <= u64::from(wire::CHUNKS_MAX), "exchange.chunk_elems", || {
            format!("{chunks} chunks exceed {}: take larger chunks", wire::CHUNKS_MAX)
        })
    }

    /// All codecs of a run: up, down, and of the last round.
    pub fn codecs(&self) -> [Codec; 3] {
        [self.up, self.down, self.last.unwrap_or(self.up)]
    }

    /// Whether nothing of what waits to be sent is taken for granted, and the last round is as all are.
    pub(super) fn is_plain(&self) -> bool {
        self.ahead == 0.0 && self.last.is_none()
    }

    /// What chunks are multiples of in a codec: elements of a block, and of a row.
    pub(super) fn grain(&self, codec: Codec, width: u32) -> (u32, u32) {
        let context = self.context(width, 0, 0, 0);
        let row = if codec == Codec::Powersgd { context.columns.max(1) } else { 1 };
        (codec.on(context).block().map_or(1, |block| block as u32), row)
    }

    /// What is known of a chunk of a model of this width.
    pub(super) fn context(&self, width: u32, seed: u64, chunk: u64, turn: u64) -> Context {
        let columns = if self.columns == 0 { width } else { self.columns };
        let (one_of, rank) = (self.mask_one_of, self.rank);
        Context { seed, chunk, turn, first: 0, one_of, columns, rank }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{OuterKind, RunSpec};
    use crate::session::tests::spec;
    use crate::wire::to_cbor;

    fn with(up: Codec, change: impl FnOnce(&mut ExchangeSpec)) -> RunSpec {
        let mut run = spec();
        (run.exchange.up, run.exchange.chunk_elems, run.model.dim) = (up, 4096, 64);
        change(&mut run.exchange);
        run
    }

    #[test]
    fn what_is_usual_adds_no_bytes() {
        let bytes = to_cbor(&spec().exchange);
        let keys = ["mask_one_of", "rank", "columns", "residual_decay", "clip_to_median"];
        for key in keys.into_iter().chain(["ahead", "last", "owners_stay"]) {
            assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_by_its_key() {
        let key = |run: RunSpec| run.validate().err().map(|why| why.key);
        assert_eq!(key(with(Codec::Powersgd, |_| {})), None);
        assert_eq!(key(with(Codec::Mask, |e| e.mask_one_of = 4096)), None);
        for one_of in [0, 3, 8192] {
            let run = with(Codec::Mask, |e| e.mask_one_of = one_of);
            assert_eq!(key(run), Some("exchange.mask_one_of"), "{one_of}");
        }
        for rank in [0, RANK_MAX + 1] {
            assert_eq!(key(with(Codec::Powersgd, |e| e.rank = rank)), Some("exchange.rank"));
        }
        // Rows that a chunk would cut in two.
        let cut = with(Codec::Powersgd, |e| e.columns = 96);
        let why = cut.validate().expect_err("4096 is no multiple of 96");
        assert_eq!(why.key, "exchange.chunk_elems");
        assert!(why.reason.contains("take 4128"), "{}", why.reason);
        assert_eq!(key(with(Codec::F32, |e| e.columns = 96)), None);
        for ahead in [-0.1, 1.1, f32::NAN] {
            assert_eq!(key(with(Codec::Topk, |e| e.ahead = ahead)), Some("exchange.ahead"));
        }
        for kind in [OuterKind::Sign, OuterKind::Inner] {
            let mut run = with(Codec::Topk, |e| e.last = Some(Codec::Int8));
            run.outer.kind = kind;
            assert_eq!(key(run), Some("exchange.ahead"), "{kind:?}");
        }
        let last = with(Codec::F32, |e| (e.last, e.chunk_elems) = (Some(Codec::Topk), 512));
        assert_eq!(key(last), Some("exchange.chunk_elems"));
        let blocks = with(Codec::Mask, |e| (e.mask_one_of, e.chunk_elems) = (4096, 512));
        assert_eq!(key(blocks), Some("exchange.chunk_elems"));
    }

    #[test]
    fn the_last_round_has_its_codec_and_others_have_theirs() {
        let mut run = with(Codec::Topk, |e| (e.down, e.last) = (Codec::Sign, Some(Codec::Int8)));
        run.validate().unwrap();
        let last = run.rounds;
        let of_round = [(last, [Codec::Int8; 2]), (last - 1, [Codec::Topk, Codec::Sign])];
        for (round, codecs) in of_round {
            let context = run.exchange.context(run.model.dim, run.seed, 1, round);
            assert_eq!(
                [run.up(round, 1), run.down(round, 1)],
                codecs.map(|codec| codec.on(context))
            );
        }
        for codec in [Codec::Sign, Codec::Int8] {
            let bytes = vec![0; run.encoded_len(codec, run.chunk_len(0))];
            assert_eq!(run.check_result(0, &bytes), Ok(()), "{codec}");
        }
        assert!(run.check_result(0, &[0; 5]).is_err());
        run.strategy.fragments = 2;
        assert_eq!(run.validate().unwrap_err().key, "exchange.last");
    }

    #[test]
    fn a_chunk_is_of_whole_blocks_and_rows() {
        let least = |up, columns, least| {
            let run = with(up, |e| (e.columns, e.down) = (columns, Codec::Int8));
            run.chunk_from(least)
        };
        assert_eq!(least(Codec::F32, 0, 1), 512);
        assert_eq!(least(Codec::Topk, 0, 5000), 8192);
        assert_eq!(least(Codec::Powersgd, 0, 600), 1024);
        assert_eq!(least(Codec::Powersgd, 96, 1), 1536);
        assert_eq!(least(Codec::Powersgd, 1024, 1), 1024);
    }

    /// All members of a round, and none of another round or chunk, select the same.
    #[test]
    fn a_round_and_a_chunk_have_a_mask_of_their_own() {
        let mut run = with(Codec::Mask, |_| {});
        let written = |run: &RunSpec, round, chunk| {
            let (mut bytes, numbers) = (Vec::new(), (0..4096).map(|i| i as f32));
            run.up(round, chunk).encode(&numbers.collect::<Vec<_>>(), &mut bytes);
            bytes
        };
        let usual = written(&run, 5, 1);
        assert_eq!(usual, written(&run, 5, 1));
        assert_ne!(usual, written(&run, 6, 1));
        assert_ne!(usual, written(&run, 5, 2));
        // In fragments a chunk's next turn is some rounds later.
        run.strategy.fragments = 4;
        assert_eq!(written(&run, 4, 0), written(&run, 7, 0));
        assert_ne!(written(&run, 4, 0), written(&run, 8, 0));
        run.seed += 1;
        assert_ne!(usual, written(&run, 20, 1));
    }
}
