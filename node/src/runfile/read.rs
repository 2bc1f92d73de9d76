//! From a run file's text to a [`RunFile`]: every key with its type, its bounds and what it is when absent.

use super::document::{Document, Section};
use super::inner::read_inner;
use super::smaller::{read_distill, read_prune};
use super::stop::read_stop;
use super::strategy::{self, read_strategy};
use super::{RunFile, RunFileError, Source};
use crate::data::WINDOW_PIECES;
use crate::model::init::small_init;
use crate::model::preset::{PRESETS, preset};
use crate::store::teacher::Teacher;
use shoal_protocol::id::{Digest, PeerId};
use shoal_protocol::math::codec::{BLOCK_MAX, Codec, Context, RANK_MAX};
use shoal_protocol::run::strategy::Usual;
use shoal_protocol::run::{
    DataSpec, DropoutSpec, ExchangeSpec, GroupSpec, ModelSpec, OuterKind, OuterSpec,
    RegularisationSpec, Strategy, TokenizerSpec,
};
use shoal_protocol::wire::PIECES_MAX;
use std::path::{Path, PathBuf};

/// The names of the tables.
const TABLES: [&str; 12] = [
    "model",
    "tokenizer",
    "data",
    "strategy",
    "inner",
    "regularisation",
    "outer",
    "exchange",
    "group",
    "stop",
    "prune",
    "distill",
];
/// TOML knows no larger whole number.
pub(super) const WHOLE_MAX: u64 = i64::MAX as u64;
pub(super) const U32_MAX: u64 = u32::MAX as u64;
/// The largest text that the generator is asked for: it is held in memory.
const STORIES_BYTES_MAX: u64 = 1 << 34;

/// Reads the text of the run file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<RunFile, RunFileError> {
    read(&Document::parse(text, path)?, path)
}

/// Reads the run file at `path`.
pub(super) fn read(document: &Document, path: &Path) -> Result<RunFile, RunFileError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut root = document.root();
    root.know(&TABLES);
    let name = root
        .text("name")?
        .ok_or_else(|| document.fault_of("name", "is missing: give the run a short name"))?;
    let creator = root.parsed("creator", PeerId::from_hex, "the 64 hex digits of a node's id")?;
    let seed = root.whole("seed", 0..=WHOLE_MAX, 1)?;
    let rounds = root.whole("rounds", 1..=1_000_000_000, 100)?;
    root.finish()?;
    let (model, start, vocab) = read_model(document.section("model")?, folder)?;
    let (source, heldout_permille, window) = read_data(document.section("data")?, folder)?;
    let strategy::Told { pieces, gossip, usual } = read_strategy(document.section("strategy")?)?;
    let file = RunFile {
        name,
        creator: creator.unwrap_or_default(),
        seed,
        rounds,
        model,
        start,
        vocab,
        tokenizer: read_tokenizer(document.section("tokenizer")?, folder)?,
        source,
        heldout_permille,
        window,
        inner: read_inner(document.section("inner")?, usual.steps)?,
        regularisation: read_regularisation(document.section("regularisation")?)?,
        outer: read_outer(document.section("outer")?, usual.outer.clone(), gossip.is_some())?,
        exchange: read_exchange(document.section("exchange")?, &usual)?,
        group: read_group(document.section("group")?)?,
        strategy: pieces,
        gossip,
        stop: read_stop(document.section("stop")?)?,
        prune: read_prune(document.section("prune")?, rounds)?,
        lesson: read_distill(document.section("distill")?, folder)?,
    };
    check(&file, document)?;
    Ok(file)
}

/// Holds the file against the spec's own bounds, with stand-ins for what only the text and the tokenizer can tell.
fn check(file: &RunFile, document: &Document) -> Result<(), RunFileError> {
    let data = DataSpec::Stories {
        seed: 0,
        bytes: 1,
        samples: 1,
        heldout_permille: file.heldout_permille,
    };
    let tokenizer = match file.tokenizer {
        Some(_) => TokenizerSpec::File { digest: Digest::default(), pieces: None },
        None => TokenizerSpec::Bytes,
    };
    let spec = file.spec(file.vocab.unwrap_or(file.model.vocab), tokenizer, data);
    // A run file has one table for both ways of training.
    let key = |key: &str| key.replace("gossip.", "strategy.");
    spec.validate().map_err(|fault| document.fault_of(&key(fault.key), fault.reason))
}

/// Shape, what to begin with, and vocabulary.
type Told = (ModelSpec, Option<Teacher>, Option<u32>);

fn read_model(mut model: Section, folder: &Path) -> Result<Told, RunFileError> {
    let right = format!("one of {}", PRESETS.join(", "));
    let start = model.text("start")?.map(|path| Teacher::read(&folder.join(path))).transpose();
    let start = start.map_err(|why| model.fault("start", why.to_string()))?;
    if start.is_some() && model.has("preset") {
        return Err(model.fault("preset", "does not go with `start`, which has a shape: drop one"));
    }
    let given = match &start {
        Some(found) => Some(found.model.clone()),
        None => model.parsed("preset", preset, &right)?,
    };
    let needed = ["dim", "layers", "heads", "hidden", "context"];
    let missing = needed.into_iter().find(|key| !model.has(key));
    let base = match (given, missing) {
        (Some(base), _) => base,
        // Every number of it is replaced below.
        (None, None) => {
            preset(PRESETS[0]).unwrap_or_else(|| unreachable!("the first preset exists"))
        }
        (None, Some(key)) => {
            return Err(model.fault(
                key,
                "is missing: give a `preset`, or dim, layers, heads, hidden and context",
            ));
        }
    };
    if start.is_some() && model.has("init_std") {
        return Err(model.fault("init_std", "has no part in a model that there is already"));
    }
    let heads = model.whole("heads", 1..=U32_MAX, base.heads)?;
    let dim = model.whole("dim", 1..=U32_MAX, base.dim)?;
    let init_std = model.number("init_std", small_init(dim))?;
    let kv_heads = if model.has("heads") { heads } else { base.kv_heads };
    let vocab = model.whole("vocab", 1..=U32_MAX, 0)?;
    let spec = ModelSpec {
        vocab: base.vocab,
        dim,
        layers: model.whole("layers", 1..=U32_MAX, base.layers)?,
        heads,
        kv_heads: model.whole("kv_heads", 1..=U32_MAX, kv_heads)?,
        hidden: model.whole("hidden", 1..=U32_MAX, base.hidden)?,
        context: model.whole("context", 1..=U32_MAX, base.context)?,
        head_width: match model.whole("head_width", 0..=U32_MAX, base.head_width.unwrap_or(0))? {
            0 => None,
            width => Some(width),
        },
        tied: model.switch("tied", base.tied)?,
        rope_theta: model.number("rope_theta", base.rope_theta)?,
        norm_eps: model.number("norm_eps", base.norm_eps)?,
        init_std: start.is_none().then_some(init_std),
    };
    model.finish()?;
    // A model that there is already brings its vocabulary.
    let vocab = Some(vocab).filter(|vocab| *vocab > 0).or(start.as_ref().map(|_| base.vocab));
    Ok((spec, start, vocab))
}

fn read_tokenizer(mut table: Section, folder: &Path) -> Result<Option<PathBuf>, RunFileError> {
    let known = |kind: &str| ["bytes", "file"].contains(&kind).then(|| kind.to_owned());
    let kind = table.parsed("kind", known, "\"bytes\" or \"file\"")?;
    let file = table.text("file")?.map(|path| folder.join(path));
    match (kind.as_deref(), &file) {
        (Some("file"), None) => {
            Err(table.fault("kind", "needs `file`, the path of a tokenizer.json"))?
        }
        (Some("bytes"), Some(_)) => {
            Err(table.fault("kind", "does not go with `file`: take \"file\", or drop it"))?
        }
        _ => {}
    }
    table.finish()?;
    Ok(file)
}

fn read_data(mut table: Section, folder: &Path) -> Result<(Source, u16, u32), RunFileError> {
    let text = table.text("text")?.map(|path| folder.join(path));
    let bytes = table.whole("stories_bytes", 1..=STORIES_BYTES_MAX, 0)?;
    let seed = table.whole("stories_seed", 0..=WHOLE_MAX, 1)?;
    let source = match (text, bytes) {
        (Some(text), 0) => Source::Text(text),
        (None, bytes) if bytes > 0 => Source::Stories { bytes, seed },
        (None, _) => {
            return Err(table.fault(
                "text",
                "is missing: give the path of a text, or `stories_bytes` for made stories",
            ));
        }
        (Some(_), _) => {
            return Err(
                table.fault("text", "does not go with `stories_bytes`: keep one of the two")
            );
        }
    };
    let heldout = table.whole("heldout_permille", 0..=999, 20)?;
    if matches!(source, Source::Stories { .. }) && table.has("window") {
        return Err(table.fault("window", "has no part in stories, which are shuffled whole"));
    }
    let window = table.whole("window", 1..=PIECES_MAX as u64, WINDOW_PIECES)?;
    table.finish()?;
    Ok((source, heldout, window))
}

/// The names of the outer optimisers.
const OUTER: [(&str, OuterKind); 4] = [
    ("nesterov", OuterKind::Nesterov),
    ("sgd", OuterKind::Sgd),
    ("sign", OuterKind::Sign),
    ("inner", OuterKind::Inner),
];

fn read_outer(
    mut outer: Section,
    usual: OuterSpec,
    gossip: bool,
) -> Result<OuterSpec, RunFileError> {
    if gossip {
        return match ["kind", "lr", "momentum"].into_iter().find(|key| outer.has(key)) {
            Some(key) => Err(outer.fault(
                key,
                "has no part in a run by gossip: its outer step is `alpha`, `beta` and `gamma` of [strategy]",
            )),
            None => outer.finish().map(|()| usual),
        };
    }
    let kind = |name: &str| OUTER.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    let names = OUTER.map(|(name, _)| format!("{name:?}")).join(", ");
    let given = outer.parsed("kind", kind, &format!("one of {names}"))?;
    let usual = match given {
        Some(OuterKind::Nesterov) if usual.kind != OuterKind::Nesterov => {
            Strategy::Diloco.usual().outer
        }
        Some(kind) => OuterSpec { kind, ..usual },
        None => usual,
    };
    let spec = OuterSpec {
        kind: usual.kind,
        lr: outer.number("lr", usual.lr)?,
        momentum: outer.number("momentum", usual.momentum)?,
    };
    outer.finish()?;
    Ok(spec)
}

fn read_exchange(mut exchange: Section, usual: &Usual) -> Result<ExchangeSpec, RunFileError> {
    let known = Codec::ALL.map(|codec| format!("{:?}", codec.to_string())).join(", ");
    let codec = |exchange: &mut Section, key| {
        exchange.parsed(key, |name| name.parse::<Codec>().ok(), &format!("one of {known}"))
    };
    let both = codec(&mut exchange, "codec")?.unwrap_or(usual.codec);
    let spec = ExchangeSpec {
        up: codec(&mut exchange, "up")?.unwrap_or(both),
        down: codec(&mut exchange, "down")?.unwrap_or(both),
        chunk_elems: exchange.whole("chunk_elems", 1..=U32_MAX, 131_072)?,
        residual_decay: exchange.number("residual_decay", usual.residual_decay)?,
        ahead: exchange.number("ahead", 0.0)?,
        last: codec(&mut exchange, "last")?,
        owners_stay: exchange.switch("owners_stay", true)?,
        clip_to_median: exchange.switch("clip_to_median", usual.clip_to_median)?,
        mask_one_of: exchange.whole("mask_one_of", 1..=BLOCK_MAX as u64, Context::ONE_OF)?,
        rank: exchange.whole("rank", 1..=RANK_MAX.into(), Context::RANK)?,
        columns: exchange.whole("columns", 0..=U32_MAX, 0)?,
    };
    exchange.finish()?;
    Ok(spec)
}

fn read_regularisation(mut table: Section) -> Result<RegularisationSpec, RunFileError> {
    let all = table.number("dropout", 0.0)?;
    let dropout = DropoutSpec {
        embedding: table.number("dropout_embedding", all)?,
        attention: table.number("dropout_attention", all)?,
        residual: table.number("dropout_residual", all)?,
    };
    let label_smoothing = table.number("label_smoothing", 0.0)?;
    table.finish()?;
    Ok(RegularisationSpec { dropout, label_smoothing })
}

fn read_group(mut group: Section) -> Result<GroupSpec, RunFileError> {
    let spec = GroupSpec {
        members_max: group.whole("members_max", 1..=64, 64)?,
        quorum_percent: group.whole("quorum_percent", 1..=100, 50)?,
        grace_percent: group.whole("grace_percent", 0..=1000, 50)?,
    };
    group.finish()?;
    Ok(spec)
}
