//! How a row of weights is written: floats of 32 or 16 bits, or blocks of small whole numbers with a scale.
//!
//! | encoding | block | bytes | an element is |
//! |---|---|---|---|
//! | `q8_0` | 32 | 34 | `d * q`, q in -127..=127 |
//! | `q4_0` | 32 | 18 | `d * (q - 8)`, q in 0..=15 |
//! | `q4_k` | 256 | 144 | `d * scale * q - dmin * min`, with scale and min in 6 bits for each 32 elements |
//!
//! Source: ggml's reference quantisers (`ggml-quants.c`); `q8_0` and `q4_0` give the bytes of Python's `gguf` package.

use super::k_quant;
use half::{bf16, f16};

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Floats of 32 bits: nothing is lost.
    F32,
    /// IEEE halves.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 8.5 bits an element.
    Q8_0,
    /// 4.5 bits an element.
    Q4_0,
    /// 4.5 bits an element, with two levels of scales and minima.
    Q4K,
}

/// Elements in a block of `q8_0` and `q4_0`.
const BLOCK: usize = 32;

impl Encoding {
    /// All of them, by falling size.
    pub const ALL: [Encoding; 6] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::Bf16,
        Encoding::Q8_0,
        Encoding::Q4_0,
        Encoding::Q4K,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::Q8_0 => "q8_0",
            Encoding::Q4_0 => "q4_0",
            Encoding::Q4K => "q4_k",
        }
    }

    /// `ggml_type`.
    pub(super) fn tensor_type(self) -> u32 {
        match self {
            Encoding::F32 => 0,
            Encoding::F16 => 1,
            Encoding::Q4_0 => 2,
            Encoding::Q8_0 => 8,
            Encoding::Q4K => 12,
            Encoding::Bf16 => 30,
        }
    }

    /// `llama_ftype`: what a file is mostly written in.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Encoding::F32 => 0,
            Encoding::F16 => 1,
            Encoding::Q4_0 => 2,
            Encoding::Q8_0 => 7,
            Encoding::Q4K => 14,
            Encoding::Bf16 => 32,
        }
    }

    /// Elements that are encoded together; a row must be a multiple.
    pub fn block(self) -> usize {
        match self {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 1,
            Encoding::Q8_0 | Encoding::Q4_0 => BLOCK,
            Encoding::Q4K => k_quant::BLOCK,
        }
    }

    /// Bytes of `elements`, which are whole blocks.
    pub fn bytes(self, elements: usize) -> usize {
        let block = match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::Q8_0 => 2 + BLOCK,
            Encoding::Q4_0 => 2 + BLOCK / 2,
            Encoding::Q4K => k_quant::BYTES,
        };
        elements / self.block() * block
    }

    /// Appends `row` to `out`; what is left over after whole blocks is not written.
    pub fn encode(self, row: &[f32], out: &mut Vec<u8>) {
        let halves = |out: &mut Vec<u8>, bits: fn(f32) -> u16| {
            row.iter().for_each(|x| out.extend(bits(*x).to_le_bytes()));
        };
        match self {
            Encoding::F32 => row.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Encoding::F16 => halves(out, |x| f16::from_f32(x).to_bits()),
            Encoding::Bf16 => halves(out, |x| bf16::from_f32(x).to_bits()),
            Encoding::Q8_0 => row.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
            Encoding::Q4_0 => row.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
            Encoding::Q4K => row.as_chunks().0.iter().for_each(|block| k_quant::q4_k(block, out)),
        }
    }

    /// What a reader makes of bytes that [`Encoding::encode`] wrote.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let halves = |of: fn(u16) -> f32| {
            bytes.as_chunks().0.iter().map(|two| of(u16::from_le_bytes(*two))).collect()
        };
        match self {
            Encoding::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Encoding::F16 => halves(|bits| f16::from_bits(bits).to_f32()),
            Encoding::Bf16 => halves(|bits| bf16::from_bits(bits).to_f32()),
            Encoding::Q8_0 => bytes.as_chunks().0.iter().flat_map(from_q8_0).collect(),
            Encoding::Q4_0 => bytes.as_chunks().0.iter().flat_map(from_q4_0).collect(),
            Encoding::Q4K => bytes.as_chunks().0.iter().flat_map(k_quant::from_q4_k).collect(),
        }
    }
}

/// `1 / x`, or 0 for a block of zeros.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let d = block.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    // Halves are rounded away from zero.
    out.extend(block.iter().map(|x| (x * id).round() as i8 as u8));
}

fn from_q8_0(block: &[u8; 2 + BLOCK]) -> [f32; BLOCK] {
    let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
    std::array::from_fn(|i| d * f32::from(block[2 + i] as i8))
}

/// The element that is largest by magnitude becomes -8 exactly; the lower half of the block lies in the lower four bits.
fn q4_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest =
        block.iter().fold(0.0, |most: f32, x| if x.abs() > most.abs() { *x } else { most });
    let d = largest / -8.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    let level = |x: f32| (x * id + 8.5).clamp(0.0, 15.0) as u8;
    let (low, high) = block.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| level(*low) | level(*high) << 4));
}

fn from_q4_0(block: &[u8; 2 + BLOCK / 2]) -> [f32; BLOCK] {
    let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
    std::array::from_fn(|i| {
        let pair = block[2 + i % (BLOCK / 2)];
        let level = if i < BLOCK / 2 { pair & 15 } else { pair >> 4 };
        d * (f32::from(level) - 8.0)
    })
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
