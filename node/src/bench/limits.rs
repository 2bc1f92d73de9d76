//! What the machine can do at best.

use anyhow::{Context, Result, anyhow};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

/// Bytes that each limit is measured with.
const BYTES: usize = 256 << 20;
/// Bytes of one write, and of one sealed message: a Noise message is at most 64 KiB.
const PIECE: usize = 64 << 10;
const TIMES: usize = 3;

/// Rates in 10^9 bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Copying memory, one thread.
    pub memcpy_gb_per_s: f64,
    /// Plain TCP over loopback, one connection.
    pub loopback_tcp_gb_per_s: f64,
    /// Sealing with ChaCha20-Poly1305, one thread.
    pub chacha20_poly1305_gb_per_s: f64,
    /// BLAKE3, one thread.
    pub blake3_gb_per_s: f64,
}

impl Limits {
    /// Measures them; takes a second or two.
    pub(super) fn measure() -> Result<Limits> {
        let from = vec![1.0; BYTES / size_of::<f32>()];
        let mut to = vec![0.0; from.len()];
        let copies: Vec<f64> = (0..=TIMES).map(|_| memcpy(&from, &mut to)).collect();
        let mut bytes = vec![7; BYTES];
        let sealed: Result<Vec<f64>> = (0..TIMES).map(|_| chacha20(&mut bytes)).collect();
        let hashed: Vec<f64> = (0..TIMES).map(|_| blake3(&bytes)).collect();
        let sent: Result<Vec<f64>> = (0..TIMES).map(|_| loopback()).collect();
        Ok(Limits {
            memcpy_gb_per_s: median(&copies[1..]) / 1e9,
            loopback_tcp_gb_per_s: median(&sent?) / 1e9,
            chacha20_poly1305_gb_per_s: median(&sealed?) / 1e9,
            blake3_gb_per_s: median(&hashed) / 1e9,
        })
    }
}

/// Bytes per second of copying `from` over `to`, which are equally long.
pub(super) fn memcpy(from: &[f32], to: &mut [f32]) -> f64 {
    let begun = Instant::now();
    to.copy_from_slice(black_box(from));
    black_box(&to);
    rate(size_of_val(from), begun)
}

fn chacha20(bytes: &mut [u8]) -> Result<f64> {
    let key =
        UnboundKey::new(&CHACHA20_POLY1305, &[3; 32]).map_err(|_| anyhow!("a key of 32 bytes"))?;
    let key = LessSafeKey::new(key);
    let begun = Instant::now();
    for piece in bytes.chunks_mut(PIECE) {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), piece);
        let _ = black_box(tag.map_err(|_| anyhow!("sealing"))?);
    }
    Ok(rate(bytes.len(), begun))
}

fn blake3(bytes: &[u8]) -> f64 {
    let begun = Instant::now();
    for piece in bytes.chunks(PIECE * 2) {
        black_box(blake3::hash(piece));
    }
    rate(bytes.len(), begun)
}

fn loopback() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![5; PIECE];
        (0..BYTES / PIECE).try_for_each(|_| stream.write_all(&piece))
    });
    let (mut stream, _) = listener.accept().context("loopback")?;
    let (mut piece, begun) = (vec![0; PIECE], Instant::now());
    while stream.read(&mut piece)? > 0 {}
    let rate = rate(BYTES, begun);
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    Ok(rate)
}

fn rate(bytes: usize, begun: Instant) -> f64 {
    bytes as f64 / begun.elapsed().as_secs_f64()
}

/// The middle of some measurements; NaN for none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
