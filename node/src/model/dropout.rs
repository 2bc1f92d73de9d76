//! Dropout whose masks are a pure function of the run's seed, a sequence's place in the run's data, the layer and the element: who
//! repeats a lease drops the same numbers, whatever machine, micro-batch or moment, and nothing is kept for the backward pass but
//! what can be made again.
//!
//! A position names a sequence over all epochs, so it stands for lease and step as well. Two rounds of a 32-bit finaliser (Wellons
//! 2018, <https://nullprogram.com/blog/2018/07/31/>, bias 0.17) keyed by both halves of a SplitMix64 key make a word of each
//! element; the element is kept if the word is not below `share * 2^32`. On a CPU that is done slice by slice, elsewhere by
//! operations on whole vectors: the same bits.

use rayon::prelude::*;
use shoal_protocol::data::rng::mix;
use shoal_protocol::run::DropoutSpec;
use tch::{Device, Kind, TchError, Tensor, no_grad};

/// Sets these keys apart from those of initial parameters and of the data's order.
const PURPOSE: u64 = 0x6472_6f70_6f75_7473;
/// The finaliser's constants.
const SHIFTS: [u32; 3] = [16, 15, 16];
const FACTORS: [u32; 2] = [0x7feb_352d, 0x846c_a68b];

/// Where numbers are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The tokens' embeddings.
    Embedding,
    /// The weights of a layer's attention.
    Weights(usize),
    /// What a layer's attention adds to the residual stream.
    Attention(usize),
    /// What a layer's feed-forward adds to it.
    Mlp(usize),
}

impl Site {
    fn number(self) -> u64 {
        match self {
            Site::Embedding => 0,
            Site::Weights(layer) => 1 + 3 * layer as u64,
            Site::Attention(layer) => 2 + 3 * layer as u64,
            Site::Mlp(layer) => 3 + 3 * layer as u64,
        }
    }
}

/// What is dropped of a batch.
#[derive(Clone, Debug)]
pub struct Dropout {
    shares: DropoutSpec,
    /// By sequence.
    keys: Vec<u64>,
}

impl Dropout {
    /// Of the sequences at these positions of a run of this seed.
    pub fn new(shares: DropoutSpec, seed: u64, positions: &[u64]) -> Dropout {
        let run = mix(seed ^ PURPOSE);
        let keys = positions.iter().map(|position| mix(run ^ mix(*position))).collect();
        Dropout { shares, keys }
    }

    /// Of `count` of the sequences, from the `first`-th.
    pub fn rows(&self, first: usize, count: usize) -> Dropout {
        let keys = self.keys.iter().skip(first).take(count).copied().collect();
        Dropout { shares: self.shares, keys }
    }

    /// Whether weights of attention are dropped.
    pub fn thins_attention(&self) -> bool {
        self.shares.attention > 0.0
    }

    /// `x` with its share of zeros, the rest scaled up; `[B, ..]` of any kind, f32 where something is dropped.
    ///
    /// # Errors
    /// Another number of sequences than positions, or the device failed.
    pub fn apply(&self, site: Site, x: Tensor) -> Result<Tensor, TchError> {
        let share = match site {
            Site::Embedding => self.shares.embedding,
            Site::Weights(_) => self.shares.attention,
            Site::Attention(_) | Site::Mlp(_) => self.shares.residual,
        };
        if share == 0.0 {
            return Ok(x);
        }
        let (size, rows) = (x.size(), self.keys.len());
        if size[0] != rows as i64 {
            return Err(TchError::Shape(format!("{} sequences, {rows} positions", size[0])));
        }
        let keys: Vec<u64> = self.keys.iter().map(|key| mix(key ^ site.number())).collect();
        let mask = no_grad(|| mask(share, &keys, x.numel() / rows.max(1), x.device()))?;
        x.f_mul(&mask.f_view(&size[..])?)
    }
}

/// What each element is multiplied with, `[keys * elems]` f32: 0, or `1 / (1 - share)`.
fn mask(share: f32, keys: &[u64], elems: usize, device: Device) -> Result<Tensor, TchError> {
    if device != Device::Cpu {
        return whole(share, keys, elems, device);
    }
    let mask = Tensor::f_zeros([(keys.len() * elems) as i64], (Kind::Float, device))?;
    // SAFETY: a new contiguous f32 tensor of that many elements, which nothing else uses.
    let values: &mut [f32] =
        unsafe { std::slice::from_raw_parts_mut(mask.data_ptr().cast(), keys.len() * elems) };
    if tch::get_num_threads() <= 1 {
        let rows = values.chunks_mut(elems.max(1)).zip(keys);
        rows.for_each(|(row, key)| fill(row, share, *key));
    } else {
        let rows = values.par_chunks_mut(elems.max(1)).zip(keys);
        rows.for_each(|(row, key)| fill(row, share, *key));
    }
    Ok(mask)
}

fn fill(row: &mut [f32], share: f32, key: u64) {
    let (least, kept) = (least(share), kept(share));
    for (element, value) in row.iter_mut().enumerate() {
        *value = if word(key, element as u32) >= least { kept } else { 0.0 };
    }
}

/// The word of an element. Beyond 2^32 elements of one sequence words repeat.
fn word(key: u64, element: u32) -> u32 {
    finalise(finalise(element ^ key as u32) ^ (key >> 32) as u32)
}

fn finalise(mut x: u32) -> u32 {
    x = (x ^ (x >> SHIFTS[0])).wrapping_mul(FACTORS[0]);
    x = (x ^ (x >> SHIFTS[1])).wrapping_mul(FACTORS[1]);
    x ^ (x >> SHIFTS[2])
}

/// The least word that is kept.
fn least(share: f32) -> u32 {
    (f64::from(share) * 4_294_967_296.0) as u32
}

fn kept(share: f32) -> f32 {
    1.0 / (1.0 - share)
}

/// The same on a device that is no CPU.
fn whole(share: f32, keys: &[u64], elems: usize, device: Device) -> Result<Tensor, TchError> {
    let halves = |shift: u32| {
        let half: Vec<i64> = keys.iter().map(|key| i64::from((key >> shift) as u32)).collect();
        Tensor::f_from_slice(&half)?.f_to(device)?.f_unsqueeze(1)
    };
    let elements = Tensor::f_arange(elems as i64, (Kind::Int64, device))?.f_unsqueeze(0)?;
    let words = elements.f_bitwise_and(i64::from(u32::MAX))?.f_bitwise_xor_tensor(&halves(0)?)?;
    let words = finalise_all(&words)?.f_bitwise_xor_tensor(&halves(32)?)?;
    let keeps = finalise_all(&words)?.f_ge(i64::from(least(share)))?;
    keeps.f_to_kind(Kind::Float)?.f_mul_scalar(f64::from(kept(share)))?.f_view([-1])
}

/// [`finalise`] of each element of an i64 tensor whose elements are below 2^32.
fn finalise_all(x: &Tensor) -> Result<Tensor, TchError> {
    let folded = |x: &Tensor, by: u32| {
        x.f_bitwise_xor_tensor(&x.f_bitwise_right_shift_tensor_scalar(i64::from(by))?)
    };
    let times = |x: Tensor, factor: u32| {
        // As a signed number, so that no product leaves 64 bits; the lower 32 are the same.
        x.f_mul_scalar(i64::from(factor as i32))?.f_bitwise_and(i64::from(u32::MAX))
    };
    let x = times(folded(x, SHIFTS[0])?, FACTORS[0])?;
    let x = times(folded(&x, SHIFTS[1])?, FACTORS[1])?;
    folded(&x, SHIFTS[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn the_bits_are_these_on_every_machine() {
        assert_eq!((finalise(0), finalise(1)), (0, 0x6889_90c0));
        let words = [word(7, 0), word(7, 1), word(mix(7), 0)];
        assert_eq!(words, [0x54ac_ea80, 0x0661_e458, 0xb5ff_ce34]);
    }

    #[test]
    fn both_paths_give_the_same_bits() {
        let keys: Vec<u64> = (0..5).map(mix).collect();
        for share in [0.1, 0.5, 0.93] {
            let one = mask(share, &keys, 1000, Device::Cpu).unwrap();
            assert_eq!(values(&one), values(&whole(share, &keys, 1000, Device::Cpu).unwrap()));
        }
    }

    #[test]
    fn so_large_a_share_is_dropped_and_the_rest_makes_up_for_it() {
        let spec = DropoutSpec { residual: 0.2, embedding: 0.5, attention: 0.0 };
        let ones = || Tensor::ones([3, 200, 100], (Kind::Float, Device::Cpu));
        let dropout = Dropout::new(spec, 1, &[0, 1, 500]);
        for (site, share) in
            [(Site::Embedding, 0.5), (Site::Attention(0), 0.2), (Site::Mlp(7), 0.2)]
        {
            let dropped = values(&dropout.apply(site, ones()).unwrap());
            let zeros = dropped.iter().filter(|x| **x == 0.0).count() as f32 / 60_000.0;
            // Five standard deviations of a share of 60,000.
            assert!((zeros - share).abs() < 5.0 * (share * (1.0 - share) / 60_000.0).sqrt());
            assert!(dropped.iter().all(|x| *x == 0.0 || *x == 1.0 / (1.0 - share)));
        }
        let all = values(&dropout.apply(Site::Weights(0), ones()).unwrap());
        assert!(all.iter().all(|x| *x == 1.0), "a share of 0 drops nothing");
        assert!(dropout.apply(Site::Embedding, ones().narrow(0, 0, 2)).is_err());
    }

    #[test]
    fn masks_follow_from_seed_position_and_site_and_from_nothing_else() {
        let spec = DropoutSpec { residual: 0.5, ..DropoutSpec::default() };
        let of = |seed, positions: &[u64], site| {
            let ones = Tensor::ones([positions.len() as i64, 64], (Kind::Float, Device::Cpu));
            values(&Dropout::new(spec, seed, positions).apply(site, ones).unwrap())
        };
        let both = of(1, &[4, 9], Site::Mlp(0));
        assert_eq!(both, of(1, &[4, 9], Site::Mlp(0)));
        assert_eq!(both[64..], of(1, &[9], Site::Mlp(0)), "whatever batch it is in");
        assert_ne!(both[..64], both[64..]);
        for other in [
            of(2, &[9], Site::Mlp(0)),
            of(1, &[10], Site::Mlp(0)),
            of(1, &[9], Site::Mlp(1)),
            of(1, &[9], Site::Attention(0)),
        ] {
            let alike = other.iter().zip(&both[64..]).filter(|(a, b)| a == b).count();
            assert!((12..52).contains(&alike), "{alike} of 64");
        }
    }
}
