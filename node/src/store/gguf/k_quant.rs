//! `q4_k`: 256 elements in eight parts of 32; a part's scale and minimum are 6-bit multiples of two halves.
//!
//! Source: ggml's `quantize_row_q4_K_ref` and `make_qkx2_quants` (`ggml-quants.c`): scale and minimum of a part are searched for,
//! 21 starting points, by weighted least squares, where large elements weigh more.

use half::f16;

/// Elements in a block.
pub(super) const BLOCK: usize = 256;
/// Bytes of a block: two halves, eight scales and minima of six bits, the levels.
pub(super) const BYTES: usize = 4 + 12 + BLOCK / 2;
/// Elements in a part.
const PART: usize = 32;
const PARTS: usize = BLOCK / PART;
/// Largest level of an element.
const LEVELS: f32 = 15.0;
/// Largest scale or minimum of a part.
const STEPS: f32 = 63.0;

/// `x` is about `scale * level - min`.
#[derive(Clone, Copy, Default)]
struct Line {
    scale: f32,
    min: f32,
}

pub(super) fn q4_k(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let parts = block.as_chunks::<PART>().0;
    let lines: [Line; PARTS] = std::array::from_fn(|part| fit(&parts[part]));
    let most = |of: fn(&Line) -> f32| lines.iter().map(of).fold(0.0, f32::max);
    let (scale, min) = (most(|line| line.scale), most(|line| line.min));
    let (d, dmin) = (f16::from_f32(scale / STEPS), f16::from_f32(min / STEPS));
    out.extend([d.to_le_bytes(), dmin.to_le_bytes()].concat());
    let steps: [(u8, u8); PARTS] = lines.map(|line| (step(line.scale, scale), step(line.min, min)));
    out.extend(pack(&steps));
    let levels: Vec<[u8; PART]> = parts
        .iter()
        .zip(steps)
        .map(|(part, (s, m))| {
            let line = Line { scale: d.to_f32() * f32::from(s), min: dmin.to_f32() * f32::from(m) };
            part.map(|x| line.level(x))
        })
        .collect();
    for pair in levels.chunks(2) {
        out.extend(pair[0].iter().zip(&pair[1]).map(|(low, high)| low | high << 4));
    }
}

pub(super) fn from_q4_k(block: &[u8; BYTES]) -> [f32; BLOCK] {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let (d, dmin) = (half(0), half(2));
    std::array::from_fn(|i| {
        let part = i / PART;
        let (scale, min) = unpack(&block[4..16], part);
        let pair = block[16 + part / 2 * PART + i % PART];
        let level = if part.is_multiple_of(2) { pair & 15 } else { pair >> 4 };
        d * f32::from(scale) * f32::from(level) - dmin * f32::from(min)
    })
}

/// Which of 64 steps up to `most` a scale or minimum is.
fn step(x: f32, most: f32) -> u8 {
    let per = if most > 0.0 { STEPS / most } else { 0.0 };
    (per * x).round_ties_even().min(STEPS) as u8
}

/// Six bits each: the first four parts' in a byte each, the others' lower four bits in a byte, their upper two above the first four's.
fn pack(steps: &[(u8, u8); PARTS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (part, (scale, min)) in steps.iter().enumerate() {
        if part < 4 {
            packed[part] = *scale;
            packed[part + 4] = *min;
        } else {
            packed[part + 4] = scale & 15 | (min & 15) << 4;
            packed[part - 4] |= scale >> 4 << 6;
            packed[part] |= min >> 4 << 6;
        }
    }
    packed
}

fn unpack(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (packed[part] & 63, packed[part + 4] & 63);
    }
    let both = packed[part + 4];
    (both & 15 | packed[part - 4] >> 6 << 4, both >> 4 | packed[part] >> 6 << 4)
}

impl Line {
    fn level(self, x: f32) -> u8 {
        if self.scale == 0.0 { 0 } else { nearest((x + self.min) / self.scale) as u8 }
    }

    /// The weighted sum of squares by which it misses.
    fn error(self, part: &[f32; PART], weights: &[f32; PART], levels: &[f32; PART]) -> f32 {
        let misses = part.iter().zip(levels).map(|(x, l)| self.scale * l - self.min - x);
        misses.zip(weights).map(|(miss, w)| w * miss * miss).sum()
    }
}

/// The nearest level.
fn nearest(x: f32) -> f32 {
    x.round_ties_even().clamp(0.0, LEVELS)
}

/// The line that fits a part best, of those that were tried.
fn fit(part: &[f32; PART]) -> Line {
    let mean_square = part.iter().map(|x| x * x).sum::<f32>() / PART as f32;
    let weights = part.map(|x| mean_square.sqrt() + x.abs());
    let low = part.iter().copied().fold(0.0, f32::min);
    let high = part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if high == low {
        return Line { scale: 0.0, min: -low };
    }
    let levels = |per: f32, low: f32| part.map(|x| nearest(per * (x - low)));
    let mut best = Line { scale: (high - low) / LEVELS, min: -low };
    let mut least = best.error(part, &weights, &levels(LEVELS / (high - low), low));
    for trial in 0..=20 {
        // From the best minimum so far, as ggml does.
        let low = -best.min;
        let levels = levels((-1.0 + 0.1 * trial as f32 + LEVELS) / (high - low), low);
        let Some(line) = least_squares(part, &weights, &levels) else { continue };
        let error = line.error(part, &weights, &levels);
        if error < least {
            (best, least) = (line, error);
        }
    }
    best
}

/// The line that fits these levels best, its minimum not above zero.
fn least_squares(part: &[f32; PART], weights: &[f32; PART], levels: &[f32; PART]) -> Option<Line> {
    let sum = |of: &dyn Fn(usize) -> f32| (0..PART).map(|i| weights[i] * of(i)).sum::<f32>();
    let (sum_w, sum_x) = (sum(&|_| 1.0), sum(&|i| part[i]));
    let (sum_l, sum_l2) = (sum(&|i| levels[i]), sum(&|i| levels[i] * levels[i]));
    let sum_xl = sum(&|i| levels[i] * part[i]);
    let determinant = sum_w * sum_l2 - sum_l * sum_l;
    if determinant <= 0.0 {
        return None;
    }
    let scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    let min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    Some(if min > 0.0 {
        Line { scale: sum_xl / sum_l2, min: 0.0 }
    } else {
        Line { scale, min: -min }
    })
}
