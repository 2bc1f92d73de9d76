//! What all peers of a run must agree on. A run's name is the BLAKE3 of this, so agreeing on the name is agreeing on all of it.

pub mod blob;
pub mod distill;
mod exchange;
pub mod gossip;
mod inner;
pub mod layout;
pub mod prune;
mod regularisation;
mod stop;
pub mod strategy;

pub use blob::Blob;
pub use distill::{Direction, DistillSpec};
pub use exchange::ExchangeSpec;
pub use gossip::GossipSpec;
pub use inner::{DecaySpec, InnerOptimizer, InnerSchedule, InnerSpec};
pub use prune::{PruneKind, PruneMethod, PruneSpec};
pub use regularisation::{DropoutSpec, RegularisationSpec};
pub use stop::StopSpec;
pub use strategy::{LocalWork, Overlap, Strategy, StrategySpec};

use crate::id::{Digest, PeerId, Round, RunId};
use crate::math::codec::{Codec, CodecError, Coder};
use crate::wire;
use serde::{Deserialize, Serialize};

/// The version of the protocol that this crate speaks. Peers of another version are refused with a reason.
pub const PROTOCOL_VERSION: u16 = 1;

/// Everything that the peers of one run must agree on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// The protocol's version, [`PROTOCOL_VERSION`].
    pub protocol: u16,
    /// A short name for people.
    pub name: String,
    /// Who made the run.
    pub creator: PeerId,
    /// Initial parameters and the order of the data follow from it.
    pub seed: u64,
    /// After this round the run is over.
    pub rounds: u64,
    /// The architecture.
    pub model: ModelSpec,
    /// The initial parameters, if they do not follow from `seed`: a file of the model's parameters, f32, little-endian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Blob>,
    /// How text becomes tokens.
    pub tokenizer: TokenizerSpec,
    /// What is learned from.
    pub data: DataSpec,
    /// What each peer does between exchanges.
    pub inner: InnerSpec,
    /// What is done with the mean of the pseudo-gradients.
    pub outer: OuterSpec,
    /// How pseudo-gradients travel.
    pub exchange: ExchangeSpec,
    /// Who takes part in a round, and how long it waits.
    pub group: GroupSpec,
    /// What a round is made of beside that.
    #[serde(default, skip_serializing_if = "StrategySpec::is_usual")]
    pub strategy: StrategySpec,
    /// Without one state for all: how peers average in small groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<GossipSpec>,
    /// When it is over before its last round, and the average of its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopSpec>,
    /// What keeps the model from learning its data by heart.
    #[serde(default, skip_serializing_if = "RegularisationSpec::is_usual")]
    pub regularisation: RegularisationSpec,
    /// Weights that become zero in the middle of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneSpec>,
    /// What is learned from a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillSpec>,
}

/// A Llama-style decoder (RMSNorm, RoPE, SwiGLU, grouped-query attention).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Width of the residual stream.
    pub dim: u32,
    /// Decoder layers.
    pub layers: u32,
    /// Query heads; divides `dim`, if their width is not given.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width inside the SwiGLU block.
    pub hidden: u32,
    /// Tokens in one sequence.
    pub context: u32,
    /// Width of a head, if it is not `dim / heads`: of a model that has lost heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_width: Option<u32>,
    /// Whether the output head shares the embedding's weights.
    pub tied: bool,
    /// RoPE's base.
    pub rope_theta: f32,
    /// RMSNorm's epsilon.
    pub norm_eps: f32,
    /// Standard deviation of the initial weights, of those that add to the residual stream before it is divided by
    /// `sqrt(2 * layers)`. Without, 0.02.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_std: Option<f32>,
}

/// How text becomes tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum TokenizerSpec {
    /// One token per byte; vocabulary of 256.
    Bytes,
    /// A Hugging Face `tokenizer.json`, by the BLAKE3 of the file.
    File {
        /// BLAKE3 of the file.
        digest: Digest,
        /// The same by its pieces: then peers fetch it from each other. Without, each brings it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pieces: Option<Blob>,
    },
}

/// What is learned from. The last `heldout_permille` of the tokens are never trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum DataSpec {
    /// Simple stories made by the node's own generator: every peer makes the same bytes from the seed.
    Stories {
        /// Seed of the generator.
        seed: u64,
        /// Length of the text in bytes.
        bytes: u64,
        /// Sequences in one epoch of the training part.
        samples: u64,
        /// Held-out share at the text's end, in thousandths.
        heldout_permille: u16,
    },
    /// A text, by its digest.
    Text {
        /// BLAKE3 of the text (files of a folder in name order, one after the other).
        digest: Digest,
        /// Length of the text in bytes.
        bytes: u64,
        /// Sequences in one epoch of the training part.
        samples: u64,
        /// Held-out share at the text's end, in thousandths.
        heldout_permille: u16,
        /// The [`Blob`]'s root of the text: then peers fetch it from each other, and an epoch goes through it window by window, see
        /// [`Order`](crate::data::Order). Without, each brings it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pieces: Option<Digest>,
        /// Pieces of a window. Without, one shard is shuffled at a time, as runs did that are older than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u32>,
        /// The text is the tokenizer's ids already, little-endian, of so many bytes each (1, 2 or 4): a prepared folder's shards.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id_bytes: Option<u8>,
    },
}

/// The outer optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterSpec {
    /// Which one.
    pub kind: OuterKind,
    /// Outer learning rate (alpha).
    pub lr: f32,
    /// Momentum (mu).
    pub momentum: f32,
}

/// Which outer optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuterKind {
    /// theta <- theta - alpha * delta.
    Sgd,
    /// m <- mu * m + delta; theta <- theta - alpha * (delta + mu * m).
    Nesterov,
    /// theta <- theta - alpha * s * sign(delta), where s is the inner schedule's height at the round (DeMo, arXiv 2411.19870).
    Sign,
    /// The inner optimiser's step, at its learning rate, weight decay and clipping, on the mean: `alpha` and `mu` have no part in
    /// it. With gradients as local work that is data parallel training.
    Inner,
}

/// Who takes part in a round, and how long it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Most members of one plan; at most 64.
    pub members_max: u32,
    /// Share of the live members that must be ready before grace begins, in hundredths.
    pub quorum_percent: u32,
    /// Longest wait for the others after quorum, in hundredths of the round's training time.
    pub grace_percent: u32,
}

/// A spec that a run cannot be made from: the key, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The key at fault, as written in a run file.
    pub key: &'static str,
    /// Why, and what would be right.
    pub reason: String,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.key, self.reason)
    }
}

impl std::error::Error for SpecError {}

impl RunSpec {
    /// The run's name: BLAKE3 of the canonical CBOR.
    pub fn id(&self) -> RunId {
        RunId(Digest::of(&wire::to_cbor(self)).0)
    }

    /// Elements of the flat vector that is exchanged: the model's parameters, and behind them what pruning measures.
    pub fn elems(&self) -> u64 {
        self.model.params() + self.prune.map_or(0, |prune| prune.measured(&self.model))
    }

    /// Vectors that a state holds beside the parameters: the outer optimiser's, one at least.
    pub fn outer_states(&self) -> usize {
        let own = match self.outer.kind {
            OuterKind::Inner if self.gossip.is_none() => {
                crate::math::inner::states(&self.inner.optimizer)
            }
            _ => 1,
        };
        own.max(1)
    }

    /// Bytes of a state: parameters and outer optimiser.
    pub fn state_bytes(&self) -> u64 {
        4 * self.elems() * (1 + self.outer_states() as u64)
    }

    /// Chunks that the model is cut into.
    pub fn chunks(&self) -> u32 {
        self.elems().div_ceil(u64::from(self.exchange.chunk_elems)) as u32
    }

    /// Chunks that are exchanged in a round: those of its fragment. Of F fragments each has every F-th chunk, so that all are of one
    /// size and each holds some of every layer.
    pub fn chunks_in(&self, round: Round) -> u32 {
        (self.chunks() - self.first_chunk(round)).div_ceil(self.strategy.fragments)
    }

    /// Which of the model's chunks is the `index`-th of those that are exchanged in a round.
    pub fn chunk_at(&self, round: Round, index: u32) -> u32 {
        index.saturating_mul(self.strategy.fragments).saturating_add(self.first_chunk(round))
    }

    /// Where in the flat vector the chunks of a round are.
    pub fn ranges_in(&self, round: Round) -> Vec<std::ops::Range<usize>> {
        let size = self.exchange.chunk_elems as usize;
        let chunks = (0..self.chunks_in(round)).map(|index| self.chunk_at(round, index));
        chunks.map(|c| c as usize * size..c as usize * size + self.chunk_len(c)).collect()
    }

    fn first_chunk(&self, round: Round) -> u32 {
        (round % Round::from(self.strategy.fragments)) as u32
    }

    /// Elements of a chunk of the model; 0 beyond the last.
    pub fn chunk_len(&self, chunk: u32) -> usize {
        let size = u64::from(self.exchange.chunk_elems);
        self.elems().saturating_sub(u64::from(chunk) * size).min(size) as usize
    }

    /// The codec of contributions to a chunk of the model, from member to owner, in a round of which the chunk has its turn.
    pub fn up(&self, round: Round, chunk: u32) -> Coder {
        self.coder(self.codec_in(round, self.exchange.up), round, chunk)
    }

    /// The codec of the chunk's result, from owner to member.
    pub fn down(&self, round: Round, chunk: u32) -> Coder {
        self.coder(self.codec_in(round, self.exchange.down), round, chunk)
    }

    /// Whether this is the run's last round and has a codec of its own.
    pub fn ends_with(&self, round: Round) -> bool {
        self.last_codec(round).is_some()
    }

    /// What a round takes for a codec of other rounds.
    pub(crate) fn codec_in(&self, round: Round, usual: Codec) -> Codec {
        self.last_codec(round).unwrap_or(usual)
    }

    fn last_codec(&self, round: Round) -> Option<Codec> {
        self.exchange.last.filter(|_| round == self.rounds)
    }

    /// A codec on a chunk of the model in a round of which it has its turn.
    fn coder(&self, codec: Codec, round: Round, chunk: u32) -> Coder {
        let turn = round / Round::from(self.strategy.fragments);
        codec.on(self.exchange.context(self.model.dim, self.seed, chunk.into(), turn))
    }

    /// Bytes of so many elements of one chunk in a codec.
    pub fn encoded_len(&self, codec: Codec, elems: usize) -> usize {
        self.coder(codec, 0, 0).encoded_len(elems)
    }

    /// Bytes of the whole model in a codec, chunk by chunk.
    pub fn encoded_model(&self, codec: Codec) -> u64 {
        let (chunks, whole) = (self.chunks(), self.exchange.chunk_elems as usize);
        let last = self.encoded_len(codec, self.chunk_len(chunks.saturating_sub(1)));
        u64::from(chunks.saturating_sub(1)) * self.encoded_len(codec, whole) as u64 + last as u64
    }

    /// The least size of a chunk, from `least` elements on, that both codecs can cut the model into.
    pub fn chunk_from(&self, least: u32) -> u32 {
        let exchange = &self.exchange;
        let grains = exchange.codecs().map(|codec| exchange.grain(codec, self.model.dim));
        // Blocks are powers of two.
        let block = grains.map(|grain| grain.0).into_iter().max().unwrap_or(1);
        let row = grains.map(|grain| grain.1).into_iter().max().unwrap_or(1);
        let both = row << (block.trailing_zeros().saturating_sub(row.trailing_zeros()));
        least.max(1).next_multiple_of(both)
    }

    /// Whether bytes are a result of the `index`-th chunk of a round. It will be confirmed by its digest alone, so a driver looks at
    /// the bytes before it tells the session that they came. Of a model in fragments it is not known here which chunk it is: the last
    /// may be shorter; nor is it known whether the round is the run's last. The session looks at the length.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_result(&self, index: u32, bytes: &[u8]) -> Result<(), CodecError> {
        let usual = self.check_coded(self.exchange.down, index, bytes);
        match self.exchange.last {
            Some(last) if usual.is_err() => self.check_coded(last, index, bytes).or(usual),
            _ => usual,
        }
    }

    fn check_coded(&self, codec: Codec, index: u32, bytes: &[u8]) -> Result<(), CodecError> {
        let down = self.coder(codec, 0, 0);
        let whole = self.exchange.chunk_elems as usize;
        let len = match self.strategy.fragments {
            1 => self.chunk_len(index),
            _ if bytes.len() == down.encoded_len(whole) => whole,
            _ => self.chunk_len(self.chunks() - 1),
        };
        down.check(bytes, len)
    }

    /// Checks every key; the first fault is reported.
    ///
    /// # Errors
    /// The key, the reason and what would be right.
    pub fn validate(&self) -> Result<(), SpecError> {
        check(self.protocol == PROTOCOL_VERSION, "protocol", || {
            format!("this build speaks version {PROTOCOL_VERSION}, the spec says {}", self.protocol)
        })?;
        check(!self.name.is_empty() && self.name.len() <= 64, "name", || {
            "must have 1 to 64 bytes".into()
        })?;
        check((1..=1_000_000_000).contains(&self.rounds), "rounds", || {
            "must be at least 1".into()
        })?;
        self.model.validate()?;
        check(
            self.tokenizer != TokenizerSpec::Bytes || self.model.vocab == 256,
            "model.vocab",
            || "the byte tokenizer needs 256".into(),
        )?;
        self.data.validate()?;
        self.validate_blobs()?;
        self.inner.validate()?;
        self.regularisation.validate()?;
        self.outer.validate()?;
        self.exchange.validate(self.elems(), self.model.dim)?;
        self.validate_strategy()?;
        self.validate_gossip()?;
        self.validate_stop()?;
        self.prune.map_or(Ok(()), |prune| prune.validate(self))?;
        self.distill.as_ref().map_or(Ok(()), |distill| distill.validate(&self.model))?;
        let alone = self.distill.is_none() || self.regularisation.is_usual();
        check(alone, "distill", || {
            "goes without [regularisation]: the teacher's distribution is what regularises".into()
        })?;
        self.group.validate()
    }
}

impl RunSpec {
    fn validate_gossip(&self) -> Result<(), SpecError> {
        let Some(gossip) = self.gossip else { return Ok(()) };
        gossip.validate()?;
        for (codec, key) in
            [(self.exchange.up, "exchange.up"), (self.exchange.down, "exchange.down")]
        {
            check(Codec::NEARLY_EXACT.contains(&codec), key, || {
                format!(
                    "gossip sends parameters, of which {codec} leaves too little: take f32, bf16 or int8"
                )
            })?;
        }
        check(self.strategy == StrategySpec::default(), "strategy", || {
            "gossip has steps of its own: leave out fragments and overlap".into()
        })?;
        check(self.exchange.is_plain(), "exchange.ahead", || {
            "gossip has no residual that waits for a round: leave out `ahead` and `last`".into()
        })?;
        check(self.stop.is_none(), "stop", || {
            "gossip has no one state whose loss could be agreed on: leave it out".into()
        })
    }

    fn validate_stop(&self) -> Result<(), SpecError> {
        let Some(stop) = self.stop else { return Ok(()) };
        stop.validate()?;
        check(self.data.heldout_permille() > 0, "stop", || {
            "needs a held-out part to measure on: `data.heldout_permille` must be above 0".into()
        })
    }

    /// The strategy's pieces, and whether they go together with the rest.
    fn validate_strategy(&self) -> Result<(), SpecError> {
        self.strategy.validate()?;
        let chunks = self.chunks();
        check(self.strategy.fragments <= chunks, "strategy.fragments", || {
            format!(
                "the model has only {chunks} chunks: take fewer fragments or smaller `exchange.chunk_elems`"
            )
        })?;
        check(self.exchange.ahead == 0.0 || !self.strategy.runs_on(), "exchange.ahead", || {
            "goes with one fragment and no overlap: local parameters that outlast rounds are ahead already".into()
        })?;
        check(
            self.exchange.last.is_none() || self.strategy.fragments == 1,
            "exchange.last",
            || "goes with one fragment: of several the last round exchanges one".into(),
        )?;
        let moves = matches!(self.outer.kind, OuterKind::Sgd | OuterKind::Nesterov);
        let steps = self.strategy.work == LocalWork::Steps;
        check(steps && moves || self.exchange.is_plain(), "exchange.ahead", || {
            "`ahead` and `last` go with local steps and outer \"sgd\" or \"nesterov\"".into()
        })?;
        let muon = matches!(self.inner.optimizer, InnerOptimizer::Muon { .. });
        check(self.outer.kind != OuterKind::Inner || !muon, "outer.kind", || {
            "Muon's step is not the same on every machine, to the bit: take another inner optimiser for \"inner\"".into()
        })
    }
}

impl ModelSpec {
    /// Number of parameters.
    pub fn params(&self) -> u64 {
        let [vocab, dim, layers, hidden] =
            [self.vocab, self.dim, self.layers, self.hidden].map(u64::from);
        let head = u64::from(self.head_width.unwrap_or(self.dim / self.heads.max(1)));
        let attention = 2 * dim * head * (u64::from(self.heads) + u64::from(self.kv_heads));
        let layer = attention + 3 * dim * hidden + 2 * dim;
        let heads = if self.tied { 1 } else { 2 };
        heads * vocab * dim + layers * layer + dim
    }

    /// Width of one head.
    pub fn head_dim(&self) -> u32 {
        self.head_width.unwrap_or(self.dim / self.heads)
    }

    fn validate(&self) -> Result<(), SpecError> {
        let within = |key, value: u32, max: u32| {
            check((1..=max).contains(&value), key, || format!("{value} is outside 1..={max}"))
        };
        within("model.vocab", self.vocab, 1 << 20)?;
        within("model.dim", self.dim, 1 << 16)?;
        within("model.layers", self.layers, 1 << 10)?;
        within("model.heads", self.heads, self.dim)?;
        within("model.kv_heads", self.kv_heads, self.heads)?;
        within("model.hidden", self.hidden, 1 << 18)?;
        within("model.context", self.context, 1 << 20)?;
        let divides = self.head_width.is_some() || self.dim.is_multiple_of(self.heads);
        check(divides && self.head_dim().is_multiple_of(2), "model.heads", || {
            format!("must divide dim {} into heads of an even width", self.dim)
        })?;
        within("model.head_width", self.head_dim(), 1 << 12)?;
        check(self.heads.is_multiple_of(self.kv_heads), "model.kv_heads", || {
            format!("must divide heads ({})", self.heads)
        })?;
        check(self.rope_theta > 1.0 && self.rope_theta.is_finite(), "model.rope_theta", || {
            "must be above 1".into()
        })?;
        check(self.norm_eps > 0.0 && self.norm_eps < 1.0, "model.norm_eps", || {
            "must lie between 0 and 1".into()
        })?;
        check(self.init_std.is_none_or(|std| std > 0.0 && std <= 1.0), "model.init_std", || {
            "must be above 0 and at most 1".into()
        })
    }
}

impl DataSpec {
    /// Sequences in one epoch of the training part.
    pub fn samples(&self) -> u64 {
        match self {
            DataSpec::Stories { samples, .. } | DataSpec::Text { samples, .. } => *samples,
        }
    }

    /// Held-out share at the text's end, in thousandths.
    pub fn heldout_permille(&self) -> u16 {
        match self {
            DataSpec::Stories { heldout_permille, .. }
            | DataSpec::Text { heldout_permille, .. } => *heldout_permille,
        }
    }

    /// Pieces of a window, if sequences are shuffled by windows.
    pub fn window(&self) -> Option<u32> {
        match self {
            DataSpec::Stories { .. } => None,
            DataSpec::Text { window, .. } => *window,
        }
    }

    fn validate(&self) -> Result<(), SpecError> {
        check((1..1 << 48).contains(&self.samples()), "data.samples", || {
            "must be at least 1: the text is shorter than one sequence".into()
        })?;
        check(self.heldout_permille() < 1000, "data.heldout_permille", || {
            "must be below 1000".into()
        })
    }
}

impl OuterSpec {
    fn validate(&self) -> Result<(), SpecError> {
        check(self.lr > 0.0 && self.lr.is_finite(), "outer.lr", || "must be above 0".into())?;
        check((0.0..1.0).contains(&self.momentum), "outer.momentum", || {
            "must be at least 0 and below 1".into()
        })
    }
}

impl GroupSpec {
    fn validate(&self) -> Result<(), SpecError> {
        check((1..=64).contains(&self.members_max), "group.members_max", || {
            "must be 1 to 64".into()
        })?;
        check((1..=100).contains(&self.quorum_percent), "group.quorum_percent", || {
            "must be 1 to 100".into()
        })?;
        check(self.grace_percent <= 1000, "group.grace_percent", || "must be at most 1000".into())
    }
}

fn check(holds: bool, key: &'static str, reason: impl FnOnce() -> String) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError { key, reason: reason() }) }
}
