//! How fast numbers become bytes and bytes numbers, on one core, beside copying them.

use super::limits::{median, memcpy};
use crate::data::rng::Rng;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use shoal_protocol::math::Codec;
use std::hint::black_box;
use std::time::Instant;

/// Elements of a chunk, as the exchange's.
const CHUNK: usize = 131_072;
/// Times that everything is measured; the median counts.
const TIMES: usize = 9;

/// What to measure codecs on.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  shoal bench codec --mib 64")]
pub struct BenchCodec {
    /// Mebibytes of f32: more than the caches hold.
    #[arg(long, default_value_t = 64)]
    pub mib: usize,
}

/// Seconds of one pass, by operation.
const OPERATIONS: [&str; 3] = ["encode", "decode", "accumulate"];

impl BenchCodec {
    /// One line for each codec and operation. Rates are of f32 numbers in or out (10^9 bytes a second), whatever their encoding
    /// takes; `accumulate` of f32 is the sum that an owner adds up.
    ///
    /// # Errors
    /// Nothing to measure, or an encoding that does not decode.
    pub fn measure(&self) -> Result<Vec<Value>> {
        ensure!((1..=16_384).contains(&self.mib), "--mib {}: take 1 to 16384", self.mib);
        let mut bench = Buffers::new(self.mib << 18);
        let mut lines = Vec::new();
        for codec in Codec::ALL {
            let (rates, copying) = bench.rates(codec)?;
            lines.extend(OPERATIONS.iter().zip(rates).map(|(operation, rate)| {
                json!({
                    "bench": "codec",
                    "codec": codec.to_string(),
                    "operation": operation,
                    "mib": self.mib,
                    "gb_per_s": rate / 1e9,
                    "memcpy_gb_per_s": copying / 1e9,
                    "share_of_memcpy": rate / copying,
                })
            }));
        }
        Ok(lines)
    }
}

/// Memory that is used again for every pass, so that no page is touched for the first time while the clock runs.
struct Buffers {
    numbers: Vec<f32>,
    out: Vec<f32>,
    encoded: Vec<Vec<u8>>,
}

impl Buffers {
    fn new(elems: usize) -> Buffers {
        let mut rng = Rng::new(1);
        let numbers = (0..elems).map(|_| rng.unit() as f32 - 0.5).collect();
        let encoded = vec![Vec::new(); elems.div_ceil(CHUNK)];
        Buffers { numbers, out: vec![0.0; elems], encoded }
    }

    /// Bytes of f32 per second by operation, and of memcpy between them.
    fn rates(&mut self, codec: Codec) -> Result<([f64; 3], f64)> {
        let mut seen = [const { Vec::new() }; 4];
        for pass in 0..=TIMES {
            let rates =
                [self.encode(codec), self.decode(codec)?, self.accumulate(codec)?, self.copy()];
            // The first pass warms the caches up and the buffers.
            if pass > 0 {
                seen.iter_mut().zip(rates).for_each(|(seen, rate)| seen.push(rate));
            }
        }
        let [encode, decode, accumulate, copy] = seen.map(|rates| median(&rates));
        Ok(([encode, decode, accumulate], copy))
    }

    fn rate(&self, begun: Instant) -> f64 {
        size_of_val(self.numbers.as_slice()) as f64 / begun.elapsed().as_secs_f64()
    }

    fn encode(&mut self, codec: Codec) -> f64 {
        let begun = Instant::now();
        for (numbers, bytes) in self.numbers.chunks(CHUNK).zip(&mut self.encoded) {
            bytes.clear();
            codec.encode(black_box(numbers), bytes);
        }
        self.rate(begun)
    }

    fn decode(&mut self, codec: Codec) -> Result<f64> {
        let begun = Instant::now();
        for (bytes, out) in self.encoded.iter().zip(self.out.chunks_mut(CHUNK)) {
            codec.decode(black_box(bytes), out)?;
        }
        Ok(self.rate(begun))
    }

    fn accumulate(&mut self, codec: Codec) -> Result<f64> {
        let begun = Instant::now();
        for (bytes, out) in self.encoded.iter().zip(self.out.chunks_mut(CHUNK)) {
            codec.accumulate(black_box(bytes), 0.25, out)?;
        }
        Ok(self.rate(begun))
    }

    fn copy(&mut self) -> f64 {
        memcpy(&self.numbers, &mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_codec_and_operation() {
        let lines = BenchCodec { mib: 1 }.measure().unwrap();
        assert_eq!(lines.len(), 3 * Codec::ALL.len());
        for line in &lines {
            assert!(line["share_of_memcpy"].as_f64().unwrap() > 0.0, "{line}");
        }
        assert!(BenchCodec { mib: 0 }.measure().is_err());
    }
}
