//! Specs drawn from a seed, small enough to check by arithmetic.

use crate::noise::{Numbers, genesis};
use crate::rng::Rng;
use shoal_protocol::math::Codec;
use shoal_protocol::run::*;

/// Tokens in a sample.
pub const CONTEXT: u32 = 16;

/// A spec drawn from a seed: codecs, chunk sizes and outer optimiser vary.
pub fn small(rng: &mut Rng) -> RunSpec {
    let layers = 2 + rng.below(4) as u32;
    RunSpec {
        protocol: PROTOCOL_VERSION,
        name: "mesh".into(),
        creator: crate::keys::peer_id(0),
        seed: rng.next() >> 1,
        rounds: 1_000_000,
        model: model(8, layers),
        start: None,
        tokenizer: TokenizerSpec::Bytes,
        data: DataSpec::Stories { seed: 1, bytes: 1 << 20, samples: 1000, heldout_permille: 10 },
        inner: inner(),
        outer: outer(rng),
        exchange: ExchangeSpec::new(
            rng.pick(&Codec::NEARLY_EXACT),
            rng.pick(&Codec::NEARLY_EXACT),
            rng.pick(&[512, 1024]),
        ),
        group: GroupSpec { members_max: 64, quorum_percent: 60, grace_percent: 50 },
        strategy: Default::default(),
        gossip: None,
        stop: None,
        regularisation: Default::default(),
        prune: None,
        distill: None,
    }
}

/// A spec whose state takes several chunks of [`STATE_CHUNK_BYTES`]: for joiners.
pub fn large(rng: &mut Rng) -> RunSpec {
    let mut spec = small(rng);
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
        head_width: None,
        tied: true,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: None,
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
        schedule: InnerSchedule::Cosine,
        optimizer: InnerOptimizer::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        l2: 0.0,
        decays: Default::default(),
        clip: 1.0,
    }
}

fn outer(rng: &mut Rng) -> OuterSpec {
    let kind = rng.pick(&[OuterKind::Sgd, OuterKind::Nesterov]);
    let momentum = if kind == OuterKind::Sgd { 0.0 } else { 0.9 };
    OuterSpec { kind, lr: 0.7, momentum }
}

#[test]
fn specs_are_valid_and_numbers_survive_their_bytes() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        for spec in [small(&mut rng), large(&mut rng)] {
            assert_eq!(spec.validate(), Ok(()));
            assert!((4..=20).contains(&spec.chunks()), "{}", spec.chunks());
            let numbers = Numbers::initial(&spec);
            assert_eq!(Numbers::read(&numbers.bytes(), &spec), Some(numbers));
        }
    }
    assert!(genesis(&large(&mut Rng::new(0))).chunks.len() >= 3);
}
