//! The run that the demo trains: a model of about a million parameters on bytes, from stories or from a given text.

use super::Plan;
use super::folder::Folder;
use crate::data::{Corpus, Dataset, Tokenizer};
use crate::model::preset::preset;
use anyhow::Context;
use libp2p::identity::Keypair;
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::math::Codec;
use shoal_protocol::run::{
    DataSpec, ExchangeSpec, GroupSpec, InnerOptimizer, InnerSchedule, InnerSpec, ModelSpec,
    OuterKind, OuterSpec, PROTOCOL_VERSION, RunSpec, TokenizerSpec,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of stories: more than the default rounds read, so that nothing is read twice.
const STORY_BYTES: u64 = 4 << 20;
/// Held-out share of the text, in thousandths.
const HELDOUT_PERMILLE: u16 = 50;
/// Local steps in a round: about 12 s for four nodes on two cores.
const STEPS: u32 = 30;
/// Sequences in a step.
const BATCH: u32 = 8;
/// Elements in a chunk: small, so that a million parameters are enough chunks for a kill to fall between them.
const CHUNK_ELEMS: u32 = 16_384;

/// A run and the text it needs.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What all nodes agree on.
    pub spec: RunSpec,
    /// The text's path, made absolute, if it is not stories.
    pub data: Option<PathBuf>,
    /// What a sample of the model's text begins with.
    pub prompt: String,
    /// The text in a few words.
    pub text: String,
}

impl Recipe {
    pub(super) fn new(plan: &Plan, folder: &Folder) -> anyhow::Result<Recipe> {
        let model = preset("1m").context("a preset of that name")?;
        let recipe = match &plan.data {
            None => stories(plan, model)?,
            Some(path) => text(plan, model, path, folder)?,
        };
        recipe.spec.validate()?;
        Ok(recipe)
    }

    /// The demo in one line.
    pub(super) fn headline(&self, nodes: usize) -> String {
        let (params, run) = (self.spec.elems() as f64 / 1e6, self.spec.id().short());
        format!("{nodes} nodes, {params:.2} M parameters, {}, run {run}", self.text)
    }
}

fn stories(plan: &Plan, model: ModelSpec) -> anyhow::Result<Recipe> {
    let data = Dataset::describe_stories(plan.seed, STORY_BYTES, model.context, HELDOUT_PERMILLE)?;
    let spec = spec(plan, model, data)?;
    let (prompt, text) = ("Once upon a time".into(), "made-up stories".into());
    Ok(Recipe { spec, data: None, prompt, text })
}

fn text(plan: &Plan, model: ModelSpec, path: &Path, folder: &Folder) -> anyhow::Result<Recipe> {
    let path = path.canonicalize().with_context(|| format!("opening {}", path.display()))?;
    let corpus = Arc::new(Corpus::open(&path)?);
    let cache = folder.cache();
    let tokens = Tokenizer::Bytes;
    let data = Dataset::describe_text(&corpus, &tokens, model.context, HELDOUT_PERMILLE, &cache)?;
    let spec = spec(plan, model, data)?;
    let text = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Recipe { spec, prompt: opening(&corpus), data: Some(path), text })
}

/// The first words of a text, for want of a better prompt.
fn opening(corpus: &Corpus) -> String {
    let mut head = [0; 256];
    let count = corpus.read(0, &mut head);
    let head = String::from_utf8_lossy(&head[..count.min(head.len())]).into_owned();
    let line = head.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("The");
    format!("{}\n", line.chars().take(40).collect::<String>())
}

fn spec(plan: &Plan, model: ModelSpec, data: DataSpec) -> anyhow::Result<RunSpec> {
    Ok(RunSpec {
        protocol: PROTOCOL_VERSION,
        name: "demo".into(),
        creator: creator(plan.seed)?,
        seed: plan.seed,
        rounds: plan.rounds,
        model,
        start: None,
        tokenizer: TokenizerSpec::Bytes,
        data,
        inner: inner(plan.rounds),
        outer: OuterSpec { kind: OuterKind::Nesterov, lr: 0.7, momentum: 0.5 },
        exchange: ExchangeSpec::new(Codec::Int8, Codec::Int8, CHUNK_ELEMS),
        group: GroupSpec { members_max: 32, quorum_percent: 60, grace_percent: 50 },
        strategy: Default::default(),
        gossip: None,
        stop: None,
        regularisation: Default::default(),
        prune: None,
        distill: None,
    })
}

fn inner(rounds: u64) -> InnerSpec {
    InnerSpec {
        steps: STEPS,
        batch: BATCH,
        round_ms: 0,
        lr: 3e-3,
        lr_floor: 0.1,
        warmup_rounds: rounds.min(2),
        schedule: InnerSchedule::Cosine,
        optimizer: InnerOptimizer::AdamW,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        l2: 0.0,
        decays: Default::default(),
        clip: 1.0,
    }
}

/// Nobody in particular: a key that follows from the seed, so that the same flags name the same run.
fn creator(seed: u64) -> anyhow::Result<PeerId> {
    let secret = Digest::of(format!("shoal demo {seed}").as_bytes());
    let key = Keypair::ed25519_from_bytes(secret.0)?;
    crate::net::identity::from_libp2p(&key.public().to_peer_id()).context("an ed25519 key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(home: &tempfile::TempDir, data: Option<PathBuf>) -> Plan {
        let (kills, joins) = (vec![4], vec![6]);
        let home = Some(home.path().to_owned());
        Plan { nodes: 4, rounds: 12, data, seed: 1, kills, joins, report: None, home, threads: 1 }
    }

    #[test]
    fn stories_are_a_valid_run_that_a_seed_names() {
        let home = tempfile::tempdir().unwrap();
        let plan = plan(&home, None);
        let folder = Folder::prepare(&plan).unwrap();
        let recipe = Recipe::new(&plan, &folder).unwrap();
        assert_eq!(recipe.spec.id(), Recipe::new(&plan, &folder).unwrap().spec.id());
        let other = Plan { seed: 2, ..plan };
        assert_ne!(recipe.spec.id(), Recipe::new(&other, &folder).unwrap().spec.id());
    }

    #[test]
    fn a_text_is_described_and_opens_the_sample() {
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&text, "\n  First Citizen:\nBefore we proceed ".repeat(200)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let plan = plan(&home, Some(text.path().to_owned()));
        let recipe = Recipe::new(&plan, &Folder::prepare(&plan).unwrap()).unwrap();
        assert_eq!(recipe.prompt, "First Citizen:\n");
        assert!(matches!(recipe.spec.data, DataSpec::Text { .. }));
        let absent = Plan { data: Some("/no/such/text".into()), ..plan };
        let error = Recipe::new(&absent, &Folder::prepare(&absent).unwrap()).unwrap_err();
        assert!(error.to_string().contains("/no/such/text"), "{error:#}");
    }
}
