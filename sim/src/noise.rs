//! A run that is small enough to check by arithmetic: a few thousand numbers, and a "gradient" that is a pure function
//! of the samples, so that what was trained can be told from what was counted.

use crate::rng::{Rng, mix};
use shoal_protocol::id::Digest;
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::math::Codec;
use shoal_protocol::run::*;
use shoal_protocol::session::Standing;
use shoal_protocol::wire::STATE_CHUNK_BYTES;
use std::ops::Range;

/// Tokens in a sample.
pub const CONTEXT: u32 = 16;

/// A spec drawn from a seed: codecs, chunk sizes and outer optimiser vary.
pub fn spec(rng: &mut Rng) -> RunSpec {
    let layers = 2 + rng.below(4) as u32;
    RunSpec {
        protocol: PROTOCOL_VERSION,
        name: "mesh".into(),
        creator: crate::keys::peer_id(0),
        seed: rng.next() >> 1,
        rounds: 1_000_000,
        model: model(8, layers),
        tokenizer: TokenizerSpec::Bytes,
        data: DataSpec::Stories { seed: 1, bytes: 1 << 20, samples: 1000, heldout_permille: 10 },
        inner: inner(),
        outer: outer(rng),
        exchange: ExchangeSpec {
            up: rng.pick(&Codec::ALL),
            down: rng.pick(&Codec::ALL),
            chunk_elems: rng.pick(&[512, 1024]),
        },
        group: GroupSpec { members_max: 64, quorum_percent: 60, grace_percent: 50 },
    }
}

/// A spec whose state takes several chunks of [`STATE_CHUNK_BYTES`]: for joiners.
pub fn large_spec(rng: &mut Rng) -> RunSpec {
    let mut spec = spec(rng);
    spec.model = model(160, 1);
    spec.exchange.chunk_elems = 1 << 15;
    spec
}

fn model(dim: u32, layers: u32) -> ModelSpec {
    ModelSpec {
        vocab: 256,
        dim,
        layers,
        heads: 2,
        kv_heads: 2,
        hidden: 2 * dim,
        context: CONTEXT,
        tied: true,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
    }
}

fn inner() -> InnerSpec {
    InnerSpec {
        steps: 4,
        batch: 2,
        round_ms: 0,
        lr: 1e-3,
        lr_floor: 0.1,
        warmup_rounds: 0,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        clip: 1.0,
    }
}

fn outer(rng: &mut Rng) -> OuterSpec {
    let kind = rng.pick(&[OuterKind::Sgd, OuterKind::Nesterov]);
    let momentum = if kind == OuterKind::Sgd { 0.0 } else { 0.9 };
    OuterSpec { kind, lr: 0.7, momentum }
}

/// Parameters and outer momentum.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub params: Vec<f32>,
    pub momentum: Vec<f32>,
}

impl Numbers {
    /// Those of round 0.
    pub fn initial(spec: &RunSpec) -> Numbers {
        let n = spec.elems();
        let params = (0..n).map(|i| noise(spec.seed ^ mix(i))).collect();
        Numbers { params, momentum: vec![0.0; n as usize] }
    }

    /// The state's bytes, which its chunks are cut from.
    pub fn bytes(&self) -> Vec<u8> {
        self.params.iter().chain(&self.momentum).flat_map(|x| x.to_le_bytes()).collect()
    }

    /// The numbers of a state's bytes, if there are `n` of each.
    pub fn read(bytes: &[u8], n: usize) -> Option<Numbers> {
        let mut all: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (bytes.len() == 8 * n).then(|| {
            let momentum = all.split_off(n);
            Numbers { params: all, momentum }
        })
    }

    /// BLAKE3 of each chunk of the state.
    pub fn chunks(&self) -> Vec<Digest> {
        self.bytes().chunks(STATE_CHUNK_BYTES).map(Digest::of).collect()
    }
}

/// Round 0 of a run, as every peer computes it.
pub fn genesis(spec: &RunSpec) -> Standing {
    let chunks = Numbers::initial(spec).chunks();
    Standing { record: Record::genesis(spec.id(), state_root(&chunks)), chunks }
}

/// The pseudo-gradient of training on `lease`: the mean over its positions of one random vector each.
pub fn pseudo_gradient(n: usize, lease: &[Range<u64>]) -> Vec<f32> {
    let mut sum = vec![0.0; n];
    for position in lease.iter().cloned().flatten() {
        add_sample(&mut sum, position);
    }
    let scale = 1.0 / samples(lease).max(1) as f32;
    sum.iter_mut().for_each(|x| *x *= scale);
    sum
}

fn add_sample(sum: &mut [f32], position: u64) {
    let seed = mix(position + 1);
    sum.iter_mut().enumerate().for_each(|(i, x)| *x += noise(seed.wrapping_add(i as u64 * 0x9e37)));
}

/// Samples in a lease.
pub fn samples(lease: &[Range<u64>]) -> u64 {
    lease.iter().map(|range| range.end - range.start).sum()
}

/// A number in -1..1 from a seed.
fn noise(seed: u64) -> f32 {
    let z = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ seed >> 29;
    (z.wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

#[test]
fn specs_are_valid_and_numbers_survive_their_bytes() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        for spec in [spec(&mut rng), large_spec(&mut rng)] {
            assert_eq!(spec.validate(), Ok(()));
            assert!((4..=20).contains(&spec.chunks()), "{}", spec.chunks());
            let numbers = Numbers::initial(&spec);
            assert_eq!(Numbers::read(&numbers.bytes(), spec.elems() as usize), Some(numbers));
        }
    }
    assert!(genesis(&large_spec(&mut Rng::new(0))).chunks.len() >= 3);
}
