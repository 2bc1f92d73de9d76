//! The numbers beside the machine, for one peer and one fragment: its pseudo-gradient of the round and its error
//! feedback, and what is sent, added up and kept of them.
//!
//! A lossy codec drops a little of everything it writes. Error feedback keeps what was dropped and adds it to what is
//! written next, so that nothing is lost in the long run (Seide et al., Interspeech 2014; Karimireddy et al., arXiv
//! 1901.09847). Both ways are lossy here, so there are two residuals (as in DoubleSqueeze, arXiv 1905.05957):
//!
//! | residual | in units of | holds |
//! |---|---|---|
//! | `up` | this peer's pseudo-gradient | what its contributions did not carry, missed rounds included |
//! | `down` | the committed mean | what the results that it encoded as an owner did not carry |
//!
//! For one chunk, with `w` the peer's weight and `W` the sum of the weights that are added:
//!
//! - a contribution to another owner is `x = delta + up + fold * down`, with `fold = W / w`: if ownership moved away,
//!   what this peer once rounded off as an owner comes back into the mean through its share `w / W`;
//! - an owner's result is `target = sum(w_i / W * x_i) + down`, its own `x = delta + up` taken exactly, or through the codec like
//!   everybody's where work begins [`ahead`](ExchangeSpec::ahead): what is taken exactly and not sent would wait in `down`, from
//!   where no local work begins, and be learned again;
//! - once the result is committed, [`Workspace::settle`] makes `x - decoded` the new `up`, or `target - decoded`
//!   the new `down`, of which a run may let a share fade ([`ExchangeSpec::residual_decay`]). Until then no residual changes, so a round that is abandoned needs no call here, and a new plan
//!   encodes again from the same numbers.
//!
//! Everything in here must be finite; whoever sets the pseudo-gradient checks it with
//! [`all_finite`](super::all_finite).

use super::codec::{BLOCK_MAX, CodecError, Coder};
use super::vector;
use crate::run::ExchangeSpec;
use crate::sabotage::{Bug, planted};
use std::fmt;
use std::ops::Range;

/// Elements that are worked on at a time, so that they stay in the first two caches (32 KiB; guess): whole blocks of every
/// codec that has blocks.
const STRIP: usize = 2 * BLOCK_MAX;
/// Below this, what is left of a folded residual is rounding of the fold itself.
const FOLD_EPS: f32 = 1e-5;

/// One peer's numbers for one fragment of `n` elements. All vectors have length `n`.
#[derive(Clone, Debug, PartialEq)]
pub struct Workspace {
    delta: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
    chunk_elems: usize,
    decay: f32,
    clips: bool,
    codes_own: bool,
}

/// One member's contribution to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The member's place in the plan.
    pub member: usize,
    /// Its weight: tokens trained.
    pub weight: u64,
    /// What it brings.
    pub bytes: Source<'a>,
}

/// Where a contribution comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The owner's own numbers.
    Own,
    /// What came over the network.
    Encoded(&'a [u8]),
}

/// An owner's result for one chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reduced {
    /// The encoded result: the same bytes for everybody.
    pub bytes: Vec<u8>,
    /// What was encoded, before rounding: the owner keeps it for [`Outcome::Owned`].
    pub target: Vec<f32>,
}

/// A contribution that cannot be read. Nothing of the chunk was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceError {
    /// The member whose bytes they are.
    pub member: usize,
    /// What is wrong with them.
    pub cause: CodecError,
}

impl fmt::Display for ReduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "contribution of member {}: {}", self.member, self.cause)
    }
}

impl std::error::Error for ReduceError {}

/// What became of this peer's numbers in one chunk of a committed round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// Another member owned the chunk and counted this peer's contribution.
    Counted {
        /// The codec of the contribution.
        codec: Coder,
        /// The fold it was encoded with.
        fold: f32,
        /// This peer's weight over the sum of the weights that the owner added: `1 / fold`, unless a straggler was
        /// dropped from the chunk after this peer had encoded.
        share: f32,
        /// The contribution as it was sent.
        bytes: &'a [u8],
    },
    /// This peer owned the chunk.
    Owned {
        /// [`Reduced::target`] of the committed result.
        target: &'a [f32],
        /// The codec of the result.
        codec: Coder,
        /// The committed result. If it was spoilt on its way, the next round takes back what is wrong with it.
        result: &'a [u8],
        /// The codec of contributions, if the peer's own was among the parts.
        own: Option<Coder>,
    },
    /// The committed result does not hold this peer's contribution: all of it is kept for the next round.
    Missed,
}

impl Workspace {
    /// An empty workspace for `n` elements in chunks of `chunk_elems`, the last of which may be shorter.
    ///
    /// # Panics
    /// If `chunk_elems` is 0.
    pub fn new(n: usize, chunk_elems: usize) -> Self {
        assert!(chunk_elems > 0, "a chunk has at least one element");
        let zeros = || vec![0.0; n];
        let (delta, up, down) = (zeros(), zeros(), zeros());
        Workspace { delta, up, down, chunk_elems, decay: 1.0, clips: false, codes_own: false }
    }

    /// An empty workspace for a run's exchanges.
    ///
    /// # Panics
    /// As [`Workspace::new`]; a valid spec has chunks.
    pub fn of_run(n: usize, spec: &ExchangeSpec) -> Self {
        let (decay, clips, codes_own) =
            (spec.residual_decay, spec.clip_to_median, spec.ahead != 0.0);
        Workspace { decay, clips, codes_own, ..Workspace::new(n, spec.chunk_elems as usize) }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.delta.len().div_ceil(self.chunk_elems)
    }

    /// The elements of chunk `c`; empty past the last chunk.
    pub fn range(&self, c: usize) -> Range<usize> {
        let n = self.delta.len();
        let start = c.saturating_mul(self.chunk_elems).min(n);
        start..start.saturating_add(self.chunk_elems).min(n)
    }

    /// This round's pseudo-gradient, `[n]`.
    pub fn delta(&self) -> &[f32] {
        &self.delta
    }

    /// This round's pseudo-gradient, `[n]`, to be written in place. Every element must be finite.
    pub fn delta_mut(&mut self) -> &mut [f32] {
        &mut self.delta
    }

    /// Sets this round's pseudo-gradient, `[n]`. Every element must be finite.
    ///
    /// # Panics
    /// If `delta` has another length than the fragment.
    pub fn set_delta(&mut self, delta: &[f32]) {
        self.delta.copy_from_slice(delta);
    }

    /// What contributions have not carried yet, `[n]`, in units of this peer's pseudo-gradient.
    pub fn residual_up(&self) -> &[f32] {
        &self.up
    }

    /// What results encoded here have not carried yet, `[n]`, in units of the committed mean.
    pub fn residual_down(&self) -> &[f32] {
        &self.down
    }

    /// Where local work begins that takes a share of what was not sent for granted, `[n]`: see [`ExchangeSpec::ahead`].
    ///
    /// # Panics
    /// If `params` has another length than the fragment.
    pub fn ahead(&self, share: f32, params: &[f32]) -> Vec<f32> {
        assert_eq!(params.len(), self.up.len(), "parameters and residual differ in length");
        let mut start = params.to_vec();
        vector::add_scaled(&mut start, -share, &self.up);
        start
    }

    /// Both residuals, up and down, `[n]` each, to be restored from a checkpoint.
    pub fn residuals_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.up, &mut self.down)
    }

    /// Forgets this round's pseudo-gradient of chunk `c` and keeps the residuals.
    pub fn clear(&mut self, c: usize) {
        let range = self.range(c);
        self.delta[range].fill(0.0);
    }

    /// Forgets all residuals from an element on, if there are so many: of what is measured anew in each round.
    pub fn forget_residuals(&mut self, from: usize) {
        for residual in [&mut self.up, &mut self.down] {
            residual.iter_mut().skip(from).for_each(|x| *x = 0.0);
        }
    }

    /// The parameters of a branch that is left, `from`, become a pseudo-gradient on those of another, `to` (`[n]` each): their
    /// difference, scaled by `share`. With the one that is here, which was trained on `tokens`, it makes a mean by tokens;
    /// the difference counts for `given`.
    pub fn take_along(
        &mut self,
        from: &[f32],
        to: &[f32],
        share: f32,
        (given, tokens): (u64, u64),
    ) {
        let part = given as f64 / (given as f64 + tokens as f64).max(1.0);
        for (delta, (from, to)) in self.delta.iter_mut().zip(from.iter().zip(to)) {
            let difference = f64::from(share) * (f64::from(*to) - f64::from(*from));
            *delta = (f64::from(*delta) * (1.0 - part) + difference * part) as f32;
        }
    }

    /// Chunk `c` of this peer's contribution to another owner, `delta + up + fold * down`, encoded. `fold` is the
    /// plan's total weight over this peer's own, or 0 for a peer without weight.
    pub fn encode(&self, codec: impl Into<Coder>, c: usize, fold: f32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(codec.into(), c, fold, &mut bytes);
        bytes
    }

    /// [`Workspace::encode`], appended to a buffer that is used again.
    pub fn encode_into(&self, codec: Coder, c: usize, fold: f32, bytes: &mut Vec<u8>) {
        let range = self.range(c);
        bytes.reserve(codec.encoded_len(range.len()));
        let strip = strip(&[codec], range.len());
        let mut scratch = vec![0.0; strip];
        for at in strips(range.clone(), strip) {
            let x = &mut scratch[..at.len()];
            let codec = codec.after(at.start - range.start);
            vector::sum(&self.delta[at.clone()], &self.up[at.clone()], x);
            if fold != 0.0 {
                vector::add_scaled(x, fold, &self.down[at]);
            }
            codec.encode(x, bytes);
        }
    }

    /// Adds up chunk `c`, which this peer owns: the weighted mean of `parts` in their order, plus what earlier results
    /// left over. Members that contribute nothing are not among the parts. If no part has weight the mean is 0.
    ///
    /// # Errors
    /// The first member whose bytes `up` cannot read.
    pub fn reduce(
        &self,
        up: impl Into<Coder>,
        down: impl Into<Coder>,
        c: usize,
        parts: &[Part<'_>],
    ) -> Result<Reduced, ReduceError> {
        let mut out = Reduced::default();
        self.reduce_into(up.into(), down.into(), c, parts, &mut out)?;
        Ok(out)
    }

    /// [`Workspace::reduce`] into buffers that are used again; what they held is overwritten.
    ///
    /// # Errors
    /// As [`Workspace::reduce`]; `out` is then of no use.
    pub fn reduce_into(
        &self,
        up: Coder,
        down: Coder,
        c: usize,
        parts: &[Part<'_>],
        out: &mut Reduced,
    ) -> Result<(), ReduceError> {
        let range = self.range(c);
        check_lengths(up, range.len(), parts)?;
        let own = self.codes_own.then(|| self.encode(up, c, 0.0));
        let parts = &with_own(parts, own.as_deref());
        let shares = self.shares(up, &range, parts)?;
        out.bytes.clear();
        out.bytes.reserve(down.encoded_len(range.len()));
        out.target.resize(range.len(), 0.0);
        for at in strips(0..range.len(), strip(&[up, down], range.len())) {
            let acc = &mut out.target[at.clone()];
            acc.fill(0.0);
            for (part, share) in parts.iter().zip(&shares) {
                self.add_part(up, part, *share, &range, at.clone(), acc)?;
            }
            vector::add(acc, &self.down[range.start + at.start..range.start + at.end]);
            down.after(at.start).encode(acc, &mut out.bytes);
        }
        Ok(())
    }

    /// What each part counts in the mean of the chunk `range`: its weight over all weights, and less for one that is clipped.
    fn shares(
        &self,
        codec: Coder,
        range: &Range<usize>,
        parts: &[Part<'_>],
    ) -> Result<Vec<f32>, ReduceError> {
        let total = parts.iter().map(|part| u128::from(part.weight)).sum();
        let mut shares: Vec<f32> = parts.iter().map(|part| share(part.weight, total)).collect();
        if self.clips {
            let norms = parts.iter().map(|part| self.norm(codec, range, part));
            let norms = norms.collect::<Result<Vec<f64>, _>>()?;
            let most = median(&norms);
            let factors = norms.iter().map(|norm| if *norm > most { most / norm } else { 1.0 });
            shares.iter_mut().zip(factors).for_each(|(share, factor)| *share *= factor as f32);
        }
        Ok(shares)
    }

    /// The norm of a part as it comes out of the codec. The owner's own is sent nowhere, but is measured as if it were: what a sparse
    /// codec leaves out would make it the longest.
    fn norm(
        &self,
        codec: Coder,
        range: &Range<usize>,
        part: &Part<'_>,
    ) -> Result<f64, ReduceError> {
        let mut squares = 0.0;
        let strip = strip(&[codec], range.len());
        let mut scratch = vec![0.0; strip];
        let mut own = Vec::new();
        for at in strips(0..range.len(), strip) {
            let codec_here = codec.after(at.start);
            let decoded = &mut scratch[..at.len()];
            decoded.fill(0.0);
            let absolute = range.start + at.start..range.start + at.end;
            let strip = match part.bytes {
                Source::Encoded(bytes) => &bytes[codec.byte_range(at)],
                Source::Own => {
                    vector::sum(&self.delta[absolute.clone()], &self.up[absolute], decoded);
                    own.clear();
                    codec_here.encode(decoded, &mut own);
                    &own
                }
            };
            let read = codec_here.decode(strip, decoded);
            read.map_err(|cause| ReduceError { member: part.member, cause })?;
            decoded.iter().for_each(|x| squares += f64::from(*x) * f64::from(*x));
        }
        Ok(squares.sqrt())
    }

    /// Adds `share` of the elements `at` of the chunk `range` to `acc`.
    fn add_part(
        &self,
        codec: Coder,
        part: &Part<'_>,
        share: f32,
        range: &Range<usize>,
        at: Range<usize>,
        acc: &mut [f32],
    ) -> Result<(), ReduceError> {
        match part.bytes {
            Source::Own => {
                let own = range.start + at.start..range.start + at.end;
                vector::add_scaled_sum(acc, share, &self.delta[own.clone()], &self.up[own]);
                Ok(())
            }
            Source::Encoded(bytes) => {
                let here = codec.after(at.start);
                let strip = &bytes[codec.byte_range(at)];
                here.accumulate(strip, share, acc).map_err(|cause| {
                    // Counted from the chunk's start, not from the strip's.
                    let cause = codec.check(bytes, range.len()).err().unwrap_or(cause);
                    ReduceError { member: part.member, cause }
                })
            }
        }
    }

    /// Takes note of what became of chunk `c`: once for every chunk of a committed round.
    ///
    /// # Errors
    /// The bytes at fault, which are this peer's own or have been verified, so that this is a fault of storage or of
    /// the caller; residuals are then as they were.
    ///
    /// # Panics
    /// If `target` has another length than the chunk.
    pub fn settle(&mut self, c: usize, outcome: Outcome<'_>) -> Result<(), CodecError> {
        let range = self.range(c);
        match outcome {
            Outcome::Missed if planted(Bug::MissedDropped) => {}
            Outcome::Missed => self.keep_delta(range),
            Outcome::Counted { codec, fold, share, bytes } => {
                codec.check(bytes, range.len())?;
                self.keep_rest_of_contribution(codec, range.clone(), fold, bytes)?;
                if planted(Bug::RestDropped) {
                    self.up[range.clone()].fill(0.0);
                }
                self.unfold(range.clone(), if planted(Bug::FoldKept) { 0.0 } else { fold * share });
                fade(&mut self.up[range], self.decay);
            }
            Outcome::Owned { target, codec, result, own } => {
                codec.check(result, range.len())?;
                self.keep_rest_of_own(c, own)?;
                self.down[range.clone()].copy_from_slice(target);
                codec.accumulate(result, -1.0, &mut self.down[range.clone()])?;
                fade(&mut self.down[range], self.decay);
            }
        }
        Ok(())
    }

    /// What a chunk's owner keeps of its own numbers: all, nothing, or what the codec left out.
    fn keep_rest_of_own(&mut self, c: usize, counted: Option<Coder>) -> Result<(), CodecError> {
        let range = self.range(c);
        match counted {
            None => self.keep_delta(range),
            Some(codec) if self.codes_own => {
                let bytes = self.encode(codec, c, 0.0);
                self.keep_rest_of_contribution(codec, range.clone(), 0.0, &bytes)?;
                fade(&mut self.up[range], self.decay);
            }
            Some(_) => self.up[range].fill(0.0),
        }
        Ok(())
    }

    fn keep_delta(&mut self, range: Range<usize>) {
        vector::add(&mut self.up[range.clone()], &self.delta[range]);
    }

    /// `up = delta + up + fold * down - decoded(bytes)`, in the order of [`Workspace::encode`].
    fn keep_rest_of_contribution(
        &mut self,
        codec: Coder,
        range: Range<usize>,
        fold: f32,
        bytes: &[u8],
    ) -> Result<(), CodecError> {
        for at in strips(range.clone(), strip(&[codec], range.len())) {
            let up = &mut self.up[at.clone()];
            vector::add(up, &self.delta[at.clone()]);
            if fold != 0.0 {
                vector::add_scaled(up, fold, &self.down[at.clone()]);
            }
            let first = at.start - range.start;
            let sent = codec.byte_range(first..at.end - range.start);
            codec.after(first).accumulate(&bytes[sent], -1.0, up)?;
        }
        Ok(())
    }

    /// Takes from `down` the part that has gone into the mean; all of it, unless a straggler was dropped.
    fn unfold(&mut self, range: Range<usize>, delivered: f32) {
        let down = &mut self.down[range];
        if (1.0 - delivered).abs() < FOLD_EPS {
            down.fill(0.0);
        } else if delivered != 0.0 {
            vector::scale(down, 1.0 - delivered);
        }
    }
}

/// What is left of a residual until the next exchange.
fn fade(residual: &mut [f32], decay: f32) {
    if decay != 1.0 {
        vector::scale(residual, decay);
    }
}

/// The lower median, as `torch.median` takes it; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// `weight / total`, rounded once; 0 if nobody has weight. Dividing first keeps sums of large weights from overflowing.
fn share(weight: u64, total: u128) -> f32 {
    if total == 0 { 0.0 } else { (weight as f64 / total as f64) as f32 }
}

/// `parts` with the owner's own as it would have been sent, if it is coded.
fn with_own<'a>(parts: &[Part<'a>], own: Option<&'a [u8]>) -> Vec<Part<'a>> {
    let coded = |part: &Part<'a>| match (part.bytes, own) {
        (Source::Own, Some(own)) => Part { bytes: Source::Encoded(own), ..*part },
        _ => *part,
    };
    parts.iter().map(coded).collect()
}

fn check_lengths(codec: Coder, elems: usize, parts: &[Part<'_>]) -> Result<(), ReduceError> {
    let expected = codec.encoded_len(elems);
    parts.iter().try_for_each(|part| match part.bytes {
        Source::Encoded(bytes) if bytes.len() != expected => {
            let codec = codec.codec;
            let cause = CodecError::Length { codec, expected, got: bytes.len() };
            Err(ReduceError { member: part.member, cause })
        }
        _ => Ok(()),
    })
}

/// Elements that are worked on at a time: all of a chunk of so many, if a codec takes it as one.
fn strip(codecs: &[Coder], chunk: usize) -> usize {
    let whole = codecs.iter().any(|codec| codec.block().is_none());
    if whole { chunk.max(1) } else { STRIP.min(chunk.max(1)) }
}

/// `range` in pieces of `size` elements.
fn strips(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..(start + size).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Codec;

    /// A workspace of one chunk.
    fn workspace(delta: &[f32], up: &[f32], down: &[f32]) -> Workspace {
        let mut w = Workspace::new(delta.len(), delta.len());
        w.set_delta(delta);
        let residuals = w.residuals_mut();
        residuals.0.copy_from_slice(up);
        residuals.1.copy_from_slice(down);
        w
    }

    #[test]
    fn what_is_left_of_a_settled_chunk_fades_and_what_was_missed_does_not() {
        let spec =
            ExchangeSpec { residual_decay: 0.5, ..ExchangeSpec::new(Codec::F32, Codec::F32, 2) };
        let mut w = Workspace::of_run(2, &spec);
        w.set_delta(&[3.0, 5.0]);
        w.settle(0, Outcome::Missed).unwrap();
        assert_eq!(w.residual_up(), [3.0, 5.0]);
        w.clear(0);
        let bytes = f32s(&[1.0, 5.0]);
        let sent =
            Outcome::Counted { codec: Codec::F32.into(), fold: 0.0, share: 1.0, bytes: &bytes };
        w.settle(0, sent).unwrap();
        assert_eq!(w.residual_up(), [1.0, 0.0]);
        let result = f32s(&[2.0, 2.0]);
        let target = &[2.0, 6.0];
        let owned = Outcome::Owned {
            target,
            codec: Codec::F32.into(),
            result: &result,
            own: Some(Codec::F32.into()),
        };
        w.settle(0, owned).unwrap();
        assert_eq!(w.residual_down(), [0.0, 2.0]);
    }

    #[test]
    fn the_longer_ones_are_clipped_to_the_median_norm() {
        let spec =
            ExchangeSpec { clip_to_median: true, ..ExchangeSpec::new(Codec::F32, Codec::F32, 2) };
        let mut w = Workspace::of_run(2, &spec);
        // Norms 5, 10 and 1: the second counts half.
        w.set_delta(&[3.0, 4.0]);
        let (long, short) = (f32s(&[6.0, 8.0]), f32s(&[0.0, 1.0]));
        let part = |member, bytes| Part { member, weight: 2, bytes };
        let parts = [
            part(0, Source::Own),
            part(1, Source::Encoded(&long)),
            part(2, Source::Encoded(&short)),
        ];
        let reduced = w.reduce(Codec::F32, Codec::F32, 0, &parts).unwrap();
        let third = 1.0_f32 / 3.0;
        let want = [third * 3.0 + 0.5 * third * 6.0, third * 4.0 + 0.5 * third * 8.0 + third];
        assert_eq!(reduced.target, want);
        // Of two the lower norm is the median.
        let two = w.reduce(Codec::F32, Codec::F32, 0, &parts[..2]).unwrap();
        assert_eq!(two.target, [0.5 * 3.0 + 0.25 * 6.0, 0.5 * 4.0 + 0.25 * 8.0]);
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// Settles one chunk and compares what is left.
    fn check(w: &Workspace, outcome: Outcome<'_>, up: &[f32], down: &[f32]) {
        let mut w = w.clone();
        assert_eq!(w.settle(0, outcome), Ok(()));
        assert_eq!((w.residual_up(), w.residual_down()), (up, down), "{outcome:?}");
    }

    #[test]
    fn chunks_cover_the_fragment() {
        let w = Workspace::new(10, 4);
        let ranges: Vec<_> = (0..w.chunks()).map(|c| w.range(c)).collect();
        assert_eq!(ranges, [0..4, 4..8, 8..10]);
        assert_eq!((w.range(3), w.range(usize::MAX)), (10..10, 10..10));
        assert_eq!(Workspace::new(0, 4).chunks(), 0);
    }

    #[test]
    fn a_contribution_is_delta_and_both_residuals() {
        let w = workspace(&[1.0, 2.0], &[0.5, -0.5], &[0.25, 1.0]);
        assert_eq!(w.encode(Codec::F32, 0, 0.0), f32s(&[1.5, 1.5]));
        assert_eq!(w.encode(Codec::F32, 0, 4.0), f32s(&[2.5, 5.5]));
    }

    #[test]
    fn work_ahead_begins_where_what_waits_would_lead() {
        let w = workspace(&[1.0, 2.0], &[0.5, -0.5], &[0.25, 1.0]);
        assert_eq!(w.ahead(1.0, &[3.0, 4.0]), [2.5, 4.5]);
        assert_eq!(w.ahead(0.5, &[3.0, 4.0]), [2.75, 4.25]);
    }

    #[test]
    fn a_result_is_the_weighted_mean_and_what_was_left_over() {
        let w = workspace(&[1.0, 2.0], &[1.0, 0.0], &[0.0, 0.5]);
        let other = f32s(&[6.0, -2.0]);
        let part = |member, weight, bytes| Part { member, weight, bytes };
        let own = part(0, 3, Source::Own);
        let rows: [(&[Part<'_>], [f32; 2]); 4] = [
            (&[own, part(1, 1, Source::Encoded(&other))], [3.0, 1.5]),
            (&[part(1, 1, Source::Encoded(&other))], [6.0, -1.5]),
            (&[part(0, 0, Source::Own), part(1, 0, Source::Encoded(&other))], [0.0, 0.5]),
            (&[], [0.0, 0.5]),
        ];
        for (parts, want) in rows {
            let got = w.reduce(Codec::F32, Codec::F32, 0, parts).unwrap();
            assert_eq!(got, Reduced { bytes: f32s(&want), target: want.to_vec() });
        }
    }

    /// 0.9 of what the codec leaves out waits for the next round, with the sender and with the owner alike.
    #[test]
    fn work_ahead_has_the_owner_code_its_own_numbers() {
        let codec = Coder::from(Codec::Sign);
        let spec = ExchangeSpec {
            ahead: 1.0,
            residual_decay: 0.9,
            ..ExchangeSpec::new(Codec::Sign, Codec::F32, 2)
        };
        let mut w = Workspace::of_run(2, &spec);
        w.set_delta(&[1.0, -3.0]);
        let own = [Part { member: 0, weight: 1, bytes: Source::Own }];
        let Reduced { bytes, target } = w.reduce(codec, Codec::F32, 0, &own).unwrap();
        assert_eq!(target, [2.0, -2.0]);
        let outcome =
            |own| Outcome::Owned { target: &target, codec: Codec::F32.into(), result: &bytes, own };
        check(&w, outcome(Some(codec)), &[-0.9, -0.9], &[0.0, 0.0]);
        check(&w, outcome(None), &[1.0, -3.0], &[0.0, 0.0]);
    }

    #[test]
    fn a_bad_part_names_its_member() {
        let n = 2 * STRIP;
        let w = Workspace::new(n, n);
        let mut lie = vec![0; 4 * n];
        lie[4 * (n - 1)..].copy_from_slice(&f32::NAN.to_le_bytes());
        let reduce = |bytes| {
            let parts = [
                Part { member: 2, weight: 1, bytes: Source::Own },
                Part { member: 5, weight: 0, bytes: Source::Encoded(bytes) },
            ];
            w.reduce(Codec::F32, Codec::Int8, 0, &parts)
        };
        let cause = CodecError::Value { codec: Codec::F32, index: n - 1 };
        assert_eq!(reduce(&lie), Err(ReduceError { member: 5, cause }));
        let cause = CodecError::Length { codec: Codec::F32, expected: 4 * n, got: 3 };
        assert_eq!(reduce(&lie[..3]), Err(ReduceError { member: 5, cause }));
    }

    #[test]
    fn what_is_left_after_each_outcome() {
        let w = workspace(&[1.0, 2.0], &[0.5, -0.5], &[0.25, 1.0]);
        let (bytes, codec) = (&f32s(&[2.0, 5.0])[..], Codec::F32.into());
        check(&w, Outcome::Missed, &[1.5, 1.5], &[0.25, 1.0]);
        let counted = |fold, share| Outcome::Counted { codec, fold, share, bytes };
        check(&w, counted(0.0, 0.5), &[-0.5, -3.5], &[0.25, 1.0]);
        check(&w, counted(4.0, 0.25), &[0.5, 0.5], &[0.0, 0.0]);
        // Half of the weight was dropped, so the fold reached the mean twice.
        check(&w, counted(4.0, 0.5), &[0.5, 0.5], &[-0.25, -1.0]);
        let owned = |own| Outcome::Owned { target: &[2.5, 4.0], codec, result: bytes, own };
        check(&w, owned(Some(codec)), &[0.0, 0.0], &[0.5, -1.0]);
        check(&w, owned(None), &[1.5, 1.5], &[0.5, -1.0]);
    }

    #[test]
    fn a_refused_settlement_changes_nothing() {
        let w = workspace(&[1.0], &[0.5], &[0.25]);
        let codec = Codec::F32.into();
        for bytes in [&f32s(&[f32::NAN])[..], &[0; 3]] {
            for outcome in [
                Outcome::Counted { codec, fold: 2.0, share: 0.5, bytes },
                Outcome::Owned { target: &[1.0], codec, result: bytes, own: None },
            ] {
                let mut after = w.clone();
                assert!(after.settle(0, outcome).is_err());
                assert_eq!(after, w);
            }
        }
    }

    #[test]
    fn a_left_branch_pulls_the_other_towards_it() {
        let mut w = workspace(&[4.0, 0.0], &[9.0, 9.0], &[9.0, 9.0]);
        w.take_along(&[1.0, 2.0], &[5.0, -2.0], 0.5, (3, 1));
        assert_eq!(w, workspace(&[2.5, -1.5], &[9.0, 9.0], &[9.0, 9.0]));
    }

    #[test]
    fn clearing_keeps_residuals() {
        let mut w = workspace(&[1.0], &[0.5], &[0.25]);
        w.clear(0);
        assert_eq!(w, workspace(&[0.0], &[0.5], &[0.25]));
    }
}
