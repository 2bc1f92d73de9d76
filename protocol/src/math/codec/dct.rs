//! `dct`: the four largest cosines of each block of 4096 elements, with one magnitude.
//!
//! The block is laid out as 64 x 64, row by row, and transformed by the two-dimensional orthonormal DCT-II. Of its
//! coefficients the four largest by magnitude are kept, the first ones among equals. A block is 9 bytes (0.01758 bits an
//! element), as one number of 72 bits, low bits first:
//!
//! | bits | hold |
//! |---|---|
//! | 4 x 12 | places `64 u + v` of the coefficients, ascending; `u` counts cosines down the rows, `v` along them |
//! | 4 | their signs, in the same order |
//! | 20 | the scale: an f32 without its sign and its last 11 bits |
//!
//! The scale is the mean of the four magnitudes, rounded to nearest, at most the limit. A short last block is not
//! transformed: its elements stand for the coefficients, so that every element is reached whatever the length; below four
//! elements the places and signs left over are 0.
//!
//! DeMo (Peng et al., arXiv 2411.19870) sends the largest coefficients of tiles, DisTrO their signs. DeMo tiles matrices; we
//! tile the flat vector, whose rows of 64 are neighbours in a matrix's row and whose columns are often not neighbours at all.
//!
//! Transforming is two products with a constant matrix, halved by its symmetry: cosine `u` is even about the middle for
//! even `u`, odd for odd `u`. Each sum runs in the order of its index, without FMA. The matrix comes from a Taylor series in
//! a constant expression, whose f64 arithmetic is the same on every machine.

use super::{BLOCK_MAX, Blocks, Fault, LIMIT, LIMIT_BITS, TINY, blocks, limited, select};

const SIDE: usize = 64;
const HALF: usize = SIDE / 2;
const KEPT: usize = 4;
const BYTES: usize = 9;
const PLACE_BITS: u32 = 12;
const SIGNS_AT: u32 = PLACE_BITS * KEPT as u32;
const SCALE_AT: u32 = SIGNS_AT + KEPT as u32;
/// Bits of an f32 that the scale does without.
const SCALE_SHIFT: u32 = 11;

type Row = [f32; SIDE];
type Square = [Row; SIDE];

/// `COSINES[u][i]`: cosine `u` at `i`, orthonormal.
static COSINES: Square = cosines();
/// `BY_HALF[i][j]`, for `i` in the first half: cosine `2 j` at `i`, then cosine `2 (j - 32) + 1`.
static BY_HALF: [Row; HALF] = by_half();

pub(super) const SCHEME: Blocks = Blocks {
    name: "dct",
    block: BLOCK_MAX,
    block_bytes: |n| if n == 0 { 0 } else { BYTES },
    encode,
    sound,
    fault,
    decode,
    accumulate,
};

// ---- the matrix -----------------------------------------------------------------------------------------------

const fn cosines() -> Square {
    let mut table = [[0.0; SIDE]; SIDE];
    let mut u = 0;
    while u < SIDE {
        let mut i = 0;
        while i < SIDE {
            // sqrt(1 / 64) and sqrt(2 / 64).
            let norm = if u == 0 { 0.125 } else { 0.176_776_695_296_636_9 };
            table[u][i] = (norm * cosine((2 * i + 1) * u)) as f32;
            i += 1;
        }
        u += 1;
    }
    table
}

/// `cos(pi * m / 128)`, by its symmetries from the first quarter.
const fn cosine(m: usize) -> f64 {
    let m = m % 256;
    let m = if m > 128 { 256 - m } else { m };
    if m > 64 { -taylor(128 - m) } else { taylor(m) }
}

/// The series for angles up to a right one; the first term left out is below 2^-70.
const fn taylor(m: usize) -> f64 {
    if m == 64 {
        return 0.0;
    }
    let x = std::f64::consts::PI * m as f64 / 128.0;
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while n < 24.0 {
        term = -term * x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

const fn by_half() -> [Row; HALF] {
    let (cosines, mut table) = (cosines(), [[0.0; SIDE]; HALF]);
    let mut i = 0;
    while i < HALF {
        let mut j = 0;
        while j < HALF {
            table[i][j] = cosines[2 * j][i];
            table[i][HALF + j] = cosines[2 * j + 1][i];
            j += 1;
        }
        i += 1;
    }
    table
}

// ---- the transform --------------------------------------------------------------------------------------------

wide! {
    /// The coefficients of a whole block. `by_rows` is for what lies between.
    fn transform(block: &[f32], by_rows: &mut Square, out: &mut [f32; BLOCK_MAX]) {
        let (rows, _) = block.as_chunks::<SIDE>();
        for row in by_rows.iter_mut() {
            *row = [0.0; SIDE];
        }
        // Down the columns: `by_rows[u] = sum over i of COSINES[u][i] * rows[i]`.
        let (mut even, mut odd) = ([[0.0; SIDE]; HALF], [[0.0; SIDE]; HALF]);
        for i in 0..HALF {
            let opposite = &rows[SIDE - 1 - i];
            for (c, (x, y)) in rows[i].iter().zip(opposite).enumerate() {
                even[i][c] = x + y;
                odd[i][c] = x - y;
            }
        }
        for (u, sums) in by_rows.iter_mut().enumerate() {
            let folded = if u.is_multiple_of(2) { &even } else { &odd };
            let mut total = [0.0; SIDE];
            for (row, factor) in folded.iter().zip(&COSINES[u]) {
                for (sum, x) in total.iter_mut().zip(row) {
                    *sum += factor * x;
                }
            }
            *sums = total;
        }
        // Along the rows, even cosines first.
        let (out, _) = out.as_chunks_mut::<SIDE>();
        for (row, out) in by_rows.iter().zip(out) {
            let mut total = [0.0; SIDE];
            for (i, factors) in BY_HALF.iter().enumerate() {
                let (x, y) = (row[i], row[SIDE - 1 - i]);
                let (sum, difference) = (x + y, x - y);
                for j in 0..HALF {
                    total[j] += sum * factors[j];
                    total[HALF + j] += difference * factors[HALF + j];
                }
            }
            for j in 0..HALF {
                out[2 * j] = total[j];
                out[2 * j + 1] = total[HALF + j];
            }
        }
    }
}

wide! {
    /// The four cosines, scaled, added up in the order of their places; `then` gets element and sum.
    fn restore(kept: &Kept, weight: Option<f32>, out: &mut [f32]) {
        let (rows, _) = out.as_chunks_mut::<SIDE>();
        for (r, row) in rows.iter_mut().enumerate() {
            let mut total = [0.0; SIDE];
            for (place, scale) in kept.places.iter().zip(kept.scales) {
                let (u, v) = (usize::from(*place) / SIDE, usize::from(*place) % SIDE);
                let factor = scale * COSINES[u % SIDE][r];
                for (sum, x) in total.iter_mut().zip(&COSINES[v]) {
                    *sum += factor * x;
                }
            }
            match weight {
                None => *row = total,
                Some(weight) => row.iter_mut().zip(total).for_each(|(x, sum)| *x += weight * sum),
            }
        }
    }
}

// ---- blocks ---------------------------------------------------------------------------------------------------

/// What is kept of a block: places, and magnitudes with their signs.
struct Kept {
    places: [u16; KEPT],
    scales: [f32; KEPT],
}

fn encode(input: &[f32], out: &mut Vec<u8>) {
    let (mut copy, mut by_rows, mut coefficients) =
        ([0.0; BLOCK_MAX], [[0.0; SIDE]; SIDE], [0.0; BLOCK_MAX]);
    for block in input.chunks(BLOCK_MAX) {
        let block = limited(block, &mut copy);
        let number = if block.len() == BLOCK_MAX {
            transform(block, &mut by_rows, &mut coefficients);
            write(&coefficients)
        } else {
            write(block)
        };
        out.extend_from_slice(&number.to_le_bytes()[..BYTES]);
    }
}

/// The block's number, from its coefficients.
fn write(coefficients: &[f32]) -> u128 {
    let (mut bits, mut places) = ([0; BLOCK_MAX], [0; KEPT]);
    let places = &mut places[..KEPT.min(coefficients.len())];
    select::largest(coefficients, &mut bits, places);
    let magnitude = |place: &u16| f64::from(coefficients[usize::from(*place)].abs());
    let mean = places.iter().map(magnitude).sum::<f64>() / places.len() as f64;
    let rounded = (mean.min(f64::from(LIMIT)) as f32).to_bits() + (1 << (SCALE_SHIFT - 1));
    let scale = rounded >> SCALE_SHIFT;
    let scale = if scale < TINY.to_bits() >> SCALE_SHIFT { 0 } else { scale };
    let mut number = u128::from(scale) << SCALE_AT;
    for (i, place) in places.iter().enumerate() {
        let negative = coefficients[usize::from(*place)].is_sign_negative();
        number |= u128::from(*place) << (PLACE_BITS * i as u32);
        number |= u128::from(negative) << (SIGNS_AT + i as u32);
    }
    number
}

fn read(block: &[u8]) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    bytes[..BYTES].copy_from_slice(block);
    u128::from_le_bytes(bytes)
}

fn scale_of(number: u128) -> f32 {
    f32::from_bits(((number >> SCALE_AT) as u32) << SCALE_SHIFT)
}

fn kept(block: &[u8]) -> Kept {
    let number = read(block);
    let scale = scale_of(number);
    let place = |i: usize| (number >> (PLACE_BITS * i as u32)) as u16 & (BLOCK_MAX - 1) as u16;
    let negative = |i: usize| number >> (SIGNS_AT + i as u32) & 1 == 1;
    Kept {
        places: [0, 1, 2, 3].map(place),
        scales: [0, 1, 2, 3].map(|i| if negative(i) { -scale } else { scale }),
    }
}

fn sound(bytes: &[u8], elems: usize) -> bool {
    blocks(&SCHEME, bytes, elems).all(|(block, n)| fault(block, n).is_none())
}

fn fault(block: &[u8], n: usize) -> Option<Fault> {
    let Kept { places, scales } = kept(block);
    let scale = scales[0].abs();
    if scale.to_bits() > LIMIT_BITS || (scale != 0.0 && scale < TINY) {
        return Some(Fault::Scale);
    }
    let (used, unused) = places.split_at(KEPT.min(n));
    let ascending = used.is_sorted_by(|a, b| a < b) && used.iter().all(|p| usize::from(*p) < n);
    let signs = (read(block) >> SIGNS_AT) as usize & ((1 << KEPT) - 1);
    let padded = unused.iter().all(|p| *p == 0) && signs >> used.len() == 0;
    (!(ascending && padded)).then_some(Fault::Places)
}

fn decode(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks(BYTES).zip(out.chunks_mut(BLOCK_MAX)) {
        let kept = kept(block);
        if out.len() == BLOCK_MAX {
            restore(&kept, None, out);
        } else {
            out.fill(0.0);
            let k = KEPT.min(out.len());
            for (place, scale) in kept.places.iter().zip(kept.scales).take(k) {
                out[usize::from(*place)] = scale;
            }
        }
    }
}

fn accumulate(bytes: &[u8], weight: f32, acc: &mut [f32]) {
    for (block, acc) in bytes.chunks(BYTES).zip(acc.chunks_mut(BLOCK_MAX)) {
        let kept = kept(block);
        if acc.len() == BLOCK_MAX {
            restore(&kept, Some(weight), acc);
        } else {
            let k = KEPT.min(acc.len());
            for (place, scale) in kept.places.iter().zip(kept.scales).take(k) {
                acc[usize::from(*place)] += weight * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused};
    use super::super::{Codec, CodecError};
    use super::*;

    #[test]
    fn the_matrix_is_the_rounded_cosines() {
        for (u, row) in COSINES.iter().enumerate() {
            for (i, x) in row.iter().enumerate() {
                let angle = std::f64::consts::PI * ((2 * i + 1) * u) as f64 / 128.0;
                let norm = if u == 0 { 0.125 } else { 0.03125_f64.sqrt() };
                assert!((f64::from(*x) - norm * angle.cos()).abs() < 1.5e-8, "{u} {i}");
                let mirrored = if u % 2 == 0 { row[63 - i] } else { -row[63 - i] };
                assert_eq!(*x, mirrored, "{u} {i}");
            }
        }
        let bytes: Vec<u8> = COSINES.as_flattened().iter().flat_map(|x| x.to_le_bytes()).collect();
        let digest = crate::id::Digest::of(&bytes).to_string();
        assert!(digest.starts_with("eaabc696d6eb69f9"), "{digest}");
    }

    /// A block that is one cosine.
    fn cosine_block(u: usize, v: usize, factor: f32) -> Vec<f32> {
        let element = |i: usize| factor * COSINES[u][i / SIDE] * COSINES[v][i % SIDE];
        (0..BLOCK_MAX).map(element).collect()
    }

    #[test]
    fn a_cosine_is_its_own_coefficient() {
        for (u, v) in [(0, 0), (1, 0), (0, 1), (63, 62), (31, 63)] {
            let (mut by_rows, mut out) = ([[0.0; SIDE]; SIDE], [0.0; BLOCK_MAX]);
            transform(&cosine_block(u, v, 8.0), &mut by_rows, &mut out);
            for (at, x) in out.iter().enumerate() {
                let want = if at == u * SIDE + v { 8.0 } else { 0.0 };
                assert!((x - want).abs() < 1e-5, "{u} {v}: {x} at {at}");
            }
        }
    }

    #[test]
    fn four_cosines_come_back() {
        let cosines = [(0, 5, 2.0), (3, 3, -2.0), (40, 0, -2.0), (63, 63, 2.0)];
        let mut block = vec![0.0; BLOCK_MAX];
        for (u, v, factor) in cosines {
            block.iter_mut().zip(cosine_block(u, v, factor)).for_each(|(x, y)| *x += y);
        }
        let (mut bytes, mut back) = (Vec::new(), vec![0.0; BLOCK_MAX]);
        Codec::Dct.encode(&block, &mut bytes);
        // Places 5, 195, 2560 and 4095; the second and third are negative; the scale is 2.0 >> 11.
        assert_eq!(bytes, [0x05, 0x30, 0x0c, 0x00, 0xfa, 0xff, 0x06, 0x00, 0x80]);
        Codec::Dct.decode(&bytes, &mut back).unwrap();
        assert!(block.iter().zip(&back).all(|(x, y)| (x - y).abs() < 1e-6));
    }

    #[test]
    fn a_short_block_is_its_largest_elements() {
        let bytes = [1, 0x20, 0, 3, 0x40, 0, 0b0010, 0, 0x80];
        let back = [0.0, 2.0, -2.0, 2.0, 2.0];
        check(Codec::Dct, &[0.5, 1.0, -2.0, 3.0, 2.0], &bytes, &back);
        check(Codec::Dct, &[-2.0], &[0, 0, 0, 0, 0, 0, 1, 0, 0x80], &[-2.0]);
        check(Codec::Dct, &[], &[], &[]);
        check(Codec::Dct, &[f32::NAN; 2], &[0, 0x10, 0, 0, 0, 0, 0, 0, 0], &[0.0; 2]);
    }

    #[test]
    fn a_liars_block_is_refused() {
        let scale = CodecError::Scale { codec: Codec::Dct, block: 0 };
        let places = CodecError::Places { codec: Codec::Dct, block: 0 };
        let good = [1, 0x20, 0, 3, 0x40, 0, 0b0010, 0, 0x80];
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            bytes
        };
        check_refused(Codec::Dct, &with(8, 0xff), 5, scale);
        check_refused(Codec::Dct, &with(0, 2), 5, places);
        check_refused(Codec::Dct, &with(4, 0x50), 5, places);
        check_refused(Codec::Dct, &good, 3, places);
        check_refused(Codec::Dct, &[0, 0x10, 0, 0, 0, 0, 0b0100, 0, 0x80], 2, places);
        check_refused(Codec::Dct, &[0, 0, 0, 0, 0, 0, 0, 0, 0x80], BLOCK_MAX, places);
    }
}
