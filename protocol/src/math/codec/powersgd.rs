//! `powersgd`: a chunk as a matrix, of which the few products of a column and a row travel that come nearest to it.
//!
//! After PowerSGD (Vogels et al. 2019, arXiv 1905.13727). There all workers multiply by one `Q`, average `P`, make it orthonormal,
//! and average a new `Q`: two all-reduces of one linear map. Here a chunk is added up by one owner and passes once each way, so each member
//! sends factors of its own; the owner adds up what they decode to and factors the mean. What rank is lost thereby is error feedback's to
//! make up for, as what one worker's rank leaves out is in the paper.
//!
//! **The matrix.** A chunk is cut into rows of `columns` elements; a short last row counts as filled up with zeros. With `columns` the
//! model's width this cuts the flat vector where a weight `[out, in]` has its rows, for all of a decoder's weights but the one back
//! from the hidden width, whose rows are cut into pieces. Rows of neighbouring weights are one matrix: q, k and v, or gate and up,
//! which have their inputs in common. Where factors would be as long as int8 (a single row, a short chunk) it is sent as
//! [`int8`](super::int8).
//!
//! | bytes of each of `rank` pairs | hold |
//! |---|---|
//! | `rows` | the column `p`, signed bytes |
//! | 4 | the scale, an f32 |
//! | `columns` | the row `q`, signed bytes |
//!
//! An element decodes as the sum of `p * (scale * q)` in the order of the pairs. -128 is read as what it is, and no encoder writes it.
//!
//! **No warm start.** The paper starts from the last round's `Q`, which saves it all but one of the products with the matrix. That would be
//! state beside the residuals: to be kept in checkpoints, and void after a restart or in another owner's hands. Two more products from a
//! drawn start come as near (docs/LOG.md has the measurement), and encoding stays a function of the numbers alone.
//!
//! Sums across elements run in 16 lanes that are added up in a fixed order. Columns are made orthonormal one after the other
//! (modified Gram-Schmidt). Since bytes are not quite orthonormal, each row is fitted to what the pairs before it have left.

use super::coder::Context;
use super::{Chunks, Fault, LIMIT, SCALE_BYTES, TINY, int8};
use crate::data::rng::mix;
use crate::math::vector;

/// The largest rank.
pub const RANK_MAX: u32 = 256;
/// Times that the matrix and its transpose are multiplied with before the last: see the module's page.
const ITERATIONS: usize = 2;
const LANES: usize = 16;
const BYTE_MAX: f32 = 127.0;
/// Largest scale: with it the largest rank of -128 times -128 is the limit.
const SCALE_MAX: f32 = f32::from_bits((127 + 78) << 23);
/// Least step of a row beside a largest element of 1; below, products with it would leave what an f32 can hold.
const STEP_MIN: f32 = f32::from_bits((127 - 60) << 23);
/// Of a column that had this share of its norm left after the others were taken out, nothing but rounding is left.
const DEPENDENT: f32 = 1e-5;

pub(super) const SCHEME: Chunks = Chunks {
    name: "powersgd",
    block: |_| None,
    bytes,
    encode,
    fault,
    decode: |context, bytes, out| match Shape::of(context, out.len()) {
        None => (int8::SCHEME.decode)(bytes, out),
        Some(shape) => shape.each_row(bytes, |row, sums| {
            let at = row * shape.columns;
            let len = shape.columns.min(out.len() - at);
            out[at..at + len].copy_from_slice(&sums[..len]);
        }),
    },
    accumulate: |context, bytes, weight, acc| match Shape::of(context, acc.len()) {
        None => (int8::SCHEME.accumulate)(bytes, weight, acc),
        Some(shape) => shape.each_row(bytes, |row, sums| {
            let at = row * shape.columns;
            let len = shape.columns.min(acc.len() - at);
            vector::add_scaled(&mut acc[at..at + len], weight, &sums[..len]);
        }),
    },
};

const _: () = assert!(SCALE_MAX * 128.0 * 128.0 * RANK_MAX as f32 == LIMIT, "sums reach the limit");

/// How a chunk is factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rows: usize,
    columns: usize,
    rank: usize,
}

impl Shape {
    /// `None` where factors save nothing.
    fn of(context: &Context, elems: usize) -> Option<Shape> {
        let columns = context.columns as usize;
        let rows = elems.div_ceil(columns);
        let rank = (context.rank as usize).min(rows).min(columns);
        let shape = Shape { rows, columns, rank };
        let saves = shape.bytes() < int8::SCHEME.bytes(elems);
        saves.then_some(shape)
    }

    fn pair_bytes(&self) -> usize {
        self.rows + SCALE_BYTES + self.columns
    }

    fn bytes(&self) -> usize {
        self.rank.saturating_mul(self.pair_bytes())
    }

    /// The parts of each pair: column, scale, row.
    fn pairs<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], f32, &'a [u8])> {
        let rows = self.rows;
        bytes.chunks(self.pair_bytes()).map(move |pair| {
            let (p, rest) = pair.split_at(rows);
            let (scale, q) = rest.split_first_chunk().unwrap_or((&[0; SCALE_BYTES], &[]));
            (p, f32::from_le_bytes(*scale), q)
        })
    }

    /// Calls `then` with each row's number and its elements, `[columns]`.
    fn each_row(&self, bytes: &[u8], mut then: impl FnMut(usize, &[f32])) {
        let byte = |b: &u8| f32::from(*b as i8);
        let pairs: Vec<(&[u8], Vec<f32>)> = self
            .pairs(bytes)
            .map(|(p, scale, q)| (p, q.iter().map(|q| scale * byte(q)).collect()))
            .collect();
        let mut sums = vec![0.0; self.columns];
        for row in 0..self.rows {
            sums.fill(0.0);
            for (p, q) in &pairs {
                vector::add_scaled(&mut sums, byte(&p[row]), q);
            }
            then(row, &sums);
        }
    }
}

fn bytes(context: &Context, elems: usize) -> usize {
    Shape::of(context, elems).map_or(int8::SCHEME.bytes(elems), |shape| shape.bytes())
}

fn fault(context: &Context, bytes: &[u8], elems: usize) -> Option<(usize, Fault)> {
    match Shape::of(context, elems) {
        None => int8::SCHEME.fault(bytes, elems),
        Some(shape) => {
            let usable = |scale: f32| scale.to_bits() <= SCALE_MAX.to_bits();
            let at = shape.pairs(bytes).position(|(_, scale, _)| !usable(scale));
            at.map(|pair| (pair, Fault::Scale))
        }
    }
}

fn encode(context: &Context, input: &[f32], out: &mut Vec<u8>) {
    let Some(shape) = Shape::of(context, input.len()) else {
        return (int8::SCHEME.encode)(input, out);
    };
    let (mut matrix, unit) = normalised(input, shape.rows * shape.columns);
    if unit == 0.0 {
        out.resize(out.len() + shape.bytes(), 0);
        return;
    }
    for mut p in basis(&matrix, &shape) {
        let inverse = BYTE_MAX / largest(&p);
        p.iter_mut().for_each(|p| *p = if inverse.is_finite() { whole(*p * inverse) } else { 0.0 });
        write_pair(&mut matrix, &p, unit, out);
    }
}

/// The input, limited, in units of a power of two that brings the largest to 1..2, with zeros up to `len`; 0 as unit if all would be 0.
fn normalised(input: &[f32], len: usize) -> (Vec<f32>, f32) {
    let limited = |x: &f32| if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) };
    let mut matrix = Vec::with_capacity(len);
    matrix.extend(input.iter().map(limited));
    matrix.resize(len, 0.0);
    let largest = largest(&matrix);
    if largest < TINY {
        return (matrix, 0.0);
    }
    let exponent = largest.to_bits() >> 23;
    vector::scale(&mut matrix, f32::from_bits((2 * 127 - exponent) << 23));
    (matrix, f32::from_bits(exponent << 23))
}

/// Fits a row to the column `p` (`[rows]`, whole numbers), writes both, and takes their product from the matrix.
fn write_pair(matrix: &mut [f32], p: &[f32], unit: f32, out: &mut Vec<u8>) {
    let columns = matrix.len() / p.len();
    let (mut q, norm) = (vec![0.0; columns], dot(p, p));
    for (row, p) in matrix.chunks(columns).zip(p) {
        vector::add_scaled(&mut q, *p, row);
    }
    // What cannot be written is 0 in the matrix's units as well.
    let step = largest(&q) / norm.max(1.0) / BYTE_MAX;
    let scale = if step < STEP_MIN { 0.0 } else { (step * unit).min(SCALE_MAX) };
    let scale = if scale < TINY { 0.0 } else { scale };
    let step = scale / unit;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / (step * norm) };
    q.iter_mut().for_each(|q| *q = whole((*q * inverse).clamp(-BYTE_MAX, BYTE_MAX)));
    out.extend(p.iter().map(|p| *p as i8 as u8));
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend(q.iter().map(|q| *q as i8 as u8));
    vector::scale(&mut q, step);
    for (row, p) in matrix.chunks_mut(columns).zip(p) {
        vector::add_scaled(row, -p, &q);
    }
}

/// `rank` orthonormal columns (`[rows]` each; or 0, where there are fewer) near those that hold most of the matrix: subspace iteration
/// from rows of random signs.
fn basis(matrix: &[f32], shape: &Shape) -> Vec<Vec<f32>> {
    let mut q: Vec<Vec<f32>> = (0..shape.rank as u64)
        .map(|k| (0..shape.columns as u64).map(|i| sign(k << 32 | i)).collect())
        .collect();
    let mut p = vec![vec![0.0; shape.rows]; shape.rank];
    for iteration in 0..=ITERATIONS {
        if iteration > 0 {
            transposed(matrix, &p, &mut q);
        }
        for (i, row) in matrix.chunks(shape.columns).enumerate() {
            p.iter_mut().zip(&q).for_each(|(p, q)| p[i] = dot(row, q));
        }
        orthonormalise(&mut p);
    }
    p
}

/// Each `q = transpose(matrix) * p`.
fn transposed(matrix: &[f32], p: &[Vec<f32>], q: &mut [Vec<f32>]) {
    q.iter_mut().for_each(|q| q.fill(0.0));
    let columns = q.first().map_or(1, Vec::len);
    for (i, row) in matrix.chunks(columns).enumerate() {
        q.iter_mut().zip(p).for_each(|(q, p)| vector::add_scaled(q, p[i], row));
    }
}

fn orthonormalise(columns: &mut [Vec<f32>]) {
    for k in 0..columns.len() {
        let (before, rest) = columns.split_at_mut(k);
        let column = &mut rest[0];
        let whole = dot(column, column).sqrt();
        for other in before {
            let along = dot(column, other);
            vector::add_scaled(column, -along, other);
        }
        let norm = dot(column, column).sqrt();
        if norm > whole * DEPENDENT {
            vector::scale(column, 1.0 / norm);
        } else {
            column.fill(0.0);
        }
    }
}

fn sign(at: u64) -> f32 {
    if mix(at) >> 63 == 0 { 1.0 } else { -1.0 }
}

/// The nearest whole number, ties to even.
fn whole(x: f32) -> f32 {
    x.round_ties_even()
}

fn largest(values: &[f32]) -> f32 {
    f32::from_bits(vector::max_abs_bits(values))
}

wide! {
    /// Of vectors of one length.
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0_f32; LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
                *sum += x * y;
            }
        }
        for ((sum, x), y) in sums.iter_mut().zip(a_rest).zip(b_rest) {
            *sum += x * y;
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                sums[i] += sums[i + width];
            }
            width /= 2;
        }
        sums[0]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, CodecError, Coder};
    use super::*;

    fn coder(columns: u32, rank: u32) -> Coder {
        Codec::Powersgd.on(Context { columns, rank, ..Context::default() })
    }

    fn round_trip(coder: &Coder, input: &[f32]) -> Vec<f32> {
        let (mut bytes, mut back) = (Vec::new(), vec![9.0; input.len()]);
        coder.encode(input, &mut bytes);
        assert_eq!(bytes.len(), coder.encoded_len(input.len()));
        coder.decode(&bytes, &mut back).unwrap();
        back
    }

    /// Products of a column and a row, added up.
    fn product(rows: usize, columns: usize, pairs: &[(f32, f32)]) -> Vec<f32> {
        let wave = |at: usize, rate: f32| (at as f32 * rate).sin();
        let element = |i: usize, j: usize| {
            pairs.iter().map(|(a, b)| wave(i + 1, *a) * wave(j + 1, *b)).sum::<f32>()
        };
        (0..rows * columns).map(|at| element(at / columns, at % columns)).collect()
    }

    fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
        values.into_iter().map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
    }

    /// The norm of what is left out over the whole.
    fn left_out(coder: &Coder, input: &[f32]) -> f64 {
        let back = round_trip(coder, input);
        norm(input.iter().zip(back).map(|(x, y)| x - y)) / norm(input.iter().copied())
    }

    #[test]
    fn a_matrix_of_low_rank_comes_back() {
        let one = product(40, 48, &[(0.3, 0.7)]);
        assert!(left_out(&coder(48, 1), &one) < 0.008, "{}", left_out(&coder(48, 1), &one));
        let two = product(40, 48, &[(0.3, 0.7), (1.1, 0.2)]);
        assert!(left_out(&coder(48, 2), &two) < 0.008, "{}", left_out(&coder(48, 2), &two));
        assert!(left_out(&coder(48, 1), &two) > 0.3);
        // More pairs than it needs do no harm.
        assert!(left_out(&coder(48, 4), &two) < 0.008, "{}", left_out(&coder(48, 4), &two));
        // The order of magnitude does not matter, nor a cut last row.
        for unit in [1e-30, 1e-8, 1e25] {
            let scaled: Vec<f32> = one.iter().map(|x| x * unit).collect();
            assert!(left_out(&coder(48, 1), &scaled) < 0.008, "{unit}");
        }
        // The five zeros of a cut row are no part of the product.
        assert!(left_out(&coder(48, 1), &one[..one.len() - 5]) < 0.05);
    }

    #[test]
    fn bytes_are_known_before() {
        for (columns, rank, elems, want) in [
            (512, 4, 131_072, 4 * (512 + 256 + 4)),
            (64, 1, 4096, 64 + 64 + 4),
            // A short last row is a row.
            (64, 2, 4100, 2 * (65 + 64 + 4)),
            // No rank above the shorter side.
            (4, 200, 4096, 4 * (1024 + 4 + 4)),
            // One row, and what factors would make no shorter: int8.
            (64, 1, 64, 68),
            (64, 4, 200, 204),
            (64, 64, 4096, 4096 + 8 * 4),
            (1, 1, 10, 14),
            (64, 1, 0, 0),
        ] {
            assert_eq!(coder(columns, rank).encoded_len(elems), want, "{columns} {rank} {elems}");
        }
    }

    #[test]
    fn a_small_matrix_by_hand() {
        // Rows 1, 3, 4 and -4 times (127, 0, ..., 0, 1).
        let mut input = vec![0.0; 4 * 32];
        for (row, x) in [1.0, 3.0, 4.0, -4.0].into_iter().enumerate() {
            (input[row * 32], input[row * 32 + 31]) = (127.0 * x, x);
        }
        let (mut bytes, coder) = (Vec::new(), coder(32, 1));
        coder.encode(&input, &mut bytes);
        let signs = bytes[3] as i8 / 127;
        let p: Vec<i8> = bytes[..4].iter().map(|b| *b as i8 * -signs).collect();
        // A quarter and three quarters of 127 are rounded to 32 and 95.
        assert_eq!(p, [32, 95, 127, -127]);
        assert_eq!([bytes[8] as i8 * -signs, bytes[39] as i8 * -signs], [127, 1]);
        assert!(bytes[9..39].iter().all(|b| *b == 0));
    }

    #[test]
    fn zeros_and_what_is_too_small_are_zeros() {
        for x in [0.0, -0.0, TINY / 2.0, f32::NAN] {
            assert_eq!(round_trip(&coder(32, 2), &vec![x; 1024]), vec![0.0; 1024]);
        }
        let back = round_trip(&coder(32, 2), &vec![f32::INFINITY; 1024]);
        assert!(back.iter().all(|x| *x > 0.0 && *x <= LIMIT), "{}", back[0]);
    }

    #[test]
    fn a_liars_scale_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, -1.0, SCALE_MAX * 1.5] {
            let coder = coder(32, 2);
            let mut bytes = vec![0; coder.encoded_len(1024)];
            let at = 32 + 4 + 32 + 32;
            bytes[at..at + 4].copy_from_slice(&f32::to_le_bytes(bad));
            let want = CodecError::Scale { codec: Codec::Powersgd, block: 1 };
            let mut out = vec![7.0; 1024];
            assert_eq!(coder.decode(&bytes, &mut out), Err(want));
            assert_eq!(coder.accumulate(&bytes, 1.0, &mut out), Err(want));
            assert_eq!(out, vec![7.0; 1024]);
        }
    }

    #[test]
    fn columns_become_orthonormal_or_nothing() {
        let mut columns = vec![vec![3.0, 0.0, 4.0], vec![6.0, 0.0, 8.0], vec![1.0, 2.0, 1.0]];
        orthonormalise(&mut columns);
        assert_eq!((&columns[0], &columns[1]), (&vec![0.6, 0.0, 0.8], &vec![0.0; 3]));
        assert!(dot(&columns[0], &columns[2]).abs() < 1e-6);
        assert!((dot(&columns[2], &columns[2]) - 1.0).abs() < 1e-6);
    }
}
