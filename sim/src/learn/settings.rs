//! The `learner` of a scenario file: a name, or a table of a kind and its options; and what is made of it.

use super::convex::Convex;
use super::optimizer::Kind;
use super::text::{HELDOUT_PERMILLE, Text};
use super::{Course, Local, Task, Worker};
use crate::noise::Numbers;
use crate::scenario::Learner;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use shoal_protocol::data::stories::stories;
use shoal_protocol::id::Round;
use shoal_protocol::run::{DataSpec, InnerOptimizer, ModelSpec, RunSpec, TokenizerSpec};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;

/// Most parameters: what a stand-in for the model can say.
const PARAMS_MAX: usize = 2_000_000;
/// Parameters of the stand-in that are not its embeddings.
const STAND_IN_REST: u64 = 28;

/// What is wrong, and where.
type Wrong = (Range<usize>, String);

/// The entry as the file says it. All options may be left out.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What peers train on.
    pub kind: Learner,
    options: Options,
}

impl Entry {
    /// Sizes and speeds only.
    pub fn phantom() -> Entry {
        Entry { kind: Learner::Phantom, options: Options::default() }
    }
}

/// A table's keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    kind: Option<Learner>,
    /// Convex: parameters.
    dimension: Option<Spanned<usize>>,
    /// Convex: the largest curvature over the least.
    condition: Option<Spanned<f64>>,
    /// Convex: standard deviation of what labels cannot tell.
    noise: Option<Spanned<f64>>,
    /// Text: a file, seen from the working directory; stories that the simulator makes if absent.
    text: Option<Spanned<PathBuf>>,
    /// Text: how much of it; of stories, how many are made.
    bytes: Option<Spanned<usize>>,
    /// Text: bytes that the model sees.
    window: Option<Spanned<usize>>,
    /// Text: width of a byte's embedding.
    embedding: Option<Spanned<usize>>,
    /// Text: hidden units.
    hidden: Option<Spanned<usize>>,
    /// The inner optimiser.
    optimizer: Option<Spanned<Kind>>,
    /// Its momentum, if it has one; 0 if absent.
    momentum: Option<Spanned<f32>>,
    /// Its learning rate.
    lr: Option<Spanned<f32>>,
    /// Largest norm of a step's gradient; 0 switches clipping off.
    clip: Option<Spanned<f32>>,
}

/// A learner that is ready.
#[derive(Clone, Debug)]
pub struct Setup {
    pub task: Arc<dyn Task>,
    pub optimizer: InnerOptimizer,
    pub lr: f32,
    pub clip: f32,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
        from.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Entry;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a learner's name, or a table of its `kind` and options")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Entry, E> {
        let kind = Learner::deserialize(StrDeserializer::new(name))?;
        Ok(Entry { kind, options: Options::default() })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Entry, M::Error> {
        let options = Options::deserialize(MapAccessDeserializer::new(map))?;
        let kind = options.kind.ok_or_else(|| M::Error::missing_field("kind"))?;
        Ok(Entry { kind, options })
    }
}

impl Entry {
    /// Makes the task, on samples of `context` tokens. None if nothing real is learned.
    ///
    /// # Errors
    /// An option that the learner does not have or that is out of its bounds, or a text that cannot be read.
    pub fn set_up(&self, context: usize) -> Result<Option<Setup>, Wrong> {
        self.options.belong(self.kind)?;
        let (task, optimizer, lr, clip): (Arc<dyn Task>, _, _, _) = match self.kind {
            Learner::Phantom | Learner::Noise => return Ok(None),
            Learner::Convex => (Arc::new(self.options.convex(context)?), Kind::Sgd, 0.1, 0.0),
            Learner::Text => (Arc::new(self.options.text(context)?), Kind::AdamW, 3e-3, 1.0),
        };
        let o = &self.options;
        Ok(Some(Setup {
            task,
            optimizer: o.optimizer(optimizer)?,
            lr: value(&o.lr, lr),
            clip: value(&o.clip, clip),
        }))
    }

    /// Where a key of the run's spec was set, if it was here.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        match key {
            "inner.lr" => span(&self.options.lr),
            "inner.momentum" => span(&self.options.momentum),
            "inner.clip" => span(&self.options.clip),
            _ => None,
        }
    }
}

fn value<T: Copy>(option: &Option<Spanned<T>>, default: T) -> T {
    option.as_ref().map_or(default, |given| *given.get_ref())
}

fn span<T>(option: &Option<Spanned<T>>) -> Option<Range<usize>> {
    option.as_ref().map(Spanned::span)
}

/// A number within its bounds, or the default.
fn within<T: Copy + PartialOrd + std::fmt::Display>(
    name: &str,
    option: &Option<Spanned<T>>,
    default: T,
    least: T,
    most: T,
) -> Result<T, Wrong> {
    let value = value(option, default);
    let what = || format!("`{name}` must be {least} to {most}");
    if value >= least && value <= most {
        Ok(value)
    } else {
        Err((span(option).unwrap_or(0..0), what()))
    }
}

impl Options {
    /// All options that are set belong to this learner.
    fn belong(&self, kind: Learner) -> Result<(), Wrong> {
        let convex = [
            ("dimension", span(&self.dimension)),
            ("condition", span(&self.condition)),
            ("noise", span(&self.noise)),
        ];
        let text = [
            ("text", span(&self.text)),
            ("bytes", span(&self.bytes)),
            ("window", span(&self.window)),
            ("embedding", span(&self.embedding)),
            ("hidden", span(&self.hidden)),
        ];
        let any = [
            ("optimizer", span(&self.optimizer)),
            ("momentum", span(&self.momentum)),
            ("lr", span(&self.lr)),
            ("clip", span(&self.clip)),
        ];
        let (own, foreign) = match kind {
            Learner::Convex => ([&convex[..], &any].concat(), text.to_vec()),
            Learner::Text => ([&text[..], &any].concat(), convex.to_vec()),
            Learner::Phantom | Learner::Noise => (Vec::new(), [&convex[..], &text, &any].concat()),
        };
        match foreign.into_iter().find_map(|(name, span)| Some((name, span?))) {
            Some((name, span)) => Err((span, not_an_option(name, kind, &own))),
            None => Ok(()),
        }
    }

    /// The inner optimiser, by default `usual`.
    fn optimizer(&self, usual: Kind) -> Result<InnerOptimizer, Wrong> {
        let momentum = self.momentum.as_ref().map(|given| *given.get_ref());
        value(&self.optimizer, usual).with(momentum).ok_or_else(|| {
            let what = "`momentum` goes with the optimizer \"sgd\" or \"rmsprop\"";
            (span(&self.momentum).unwrap_or(0..0), what.to_owned())
        })
    }

    fn convex(&self, context: usize) -> Result<Convex, Wrong> {
        let dimension = within("dimension", &self.dimension, 1024, 1, PARAMS_MAX)?;
        let condition = within("condition", &self.condition, 10.0, 1.0, 1e6)?;
        let noise = within("noise", &self.noise, 0.1, 0.0, 1e3)?;
        Ok(Convex::new(dimension, condition, noise, context))
    }

    fn text(&self, context: usize) -> Result<Text, Wrong> {
        let window = within("window", &self.window, 6, 1, 256)?;
        let embedding = within("embedding", &self.embedding, 8, 1, 256)?;
        let hidden = within("hidden", &self.hidden, 48, 1, 4096)?;
        let sizes = (window, embedding, hidden);
        let task = Text::new(&self.read()?, sizes, context);
        let at = span(&self.bytes).or(span(&self.text)).unwrap_or(0..0);
        let task = task.map_err(|why| (at, why))?;
        if task.params() > PARAMS_MAX {
            let at = span(&self.hidden).or(span(&self.embedding)).or(span(&self.window));
            let what = format!(
                "{} parameters are too many: choose `window`, `embedding` and `hidden` for at most {PARAMS_MAX}",
                task.params()
            );
            return Err((at.unwrap_or(0..0), what));
        }
        Ok(task)
    }

    /// The text: of a file, or made.
    fn read(&self) -> Result<Vec<u8>, Wrong> {
        let bytes = within("bytes", &self.bytes, 300_000, 1, 1 << 30)?;
        let Some(path) = &self.text else { return Ok(stories(1, bytes as u64)) };
        let mut text = std::fs::read(path.get_ref()).map_err(|why| {
            let name = path.get_ref().display();
            (path.span(), format!("`text` {name}: {why}: give the path of a text file"))
        })?;
        if self.bytes.is_some() {
            text.truncate(bytes);
        }
        Ok(text)
    }
}

fn not_an_option(name: &str, kind: Learner, own: &[(&str, Option<Range<usize>>)]) -> String {
    let kind = format!("{kind:?}").to_lowercase();
    let own: Vec<String> = own.iter().map(|(name, _)| format!("`{name}`")).collect();
    let own = if own.is_empty() { "none".into() } else { own.join(", ") };
    format!("`{name}` is no option of the learner \"{kind}\", which has {own}")
}

impl Setup {
    /// Writes the learner into a run's spec. The model is a decoder that stands for it, with as many parameters, or one more.
    pub fn describe(&self, spec: &mut RunSpec) {
        let digest = self.task.digest();
        spec.model = stand_in(self.task.params() as u64, spec.model.context);
        spec.tokenizer = TokenizerSpec::File { digest, pieces: None };
        let samples = self.task.samples();
        let bytes = samples * u64::from(spec.model.context);
        let heldout_permille = HELDOUT_PERMILLE;
        spec.data = DataSpec::Text {
            digest,
            bytes,
            samples,
            heldout_permille,
            pieces: None,
            id_bytes: None,
            window: None,
        };
        spec.inner.optimizer = self.optimizer;
        (spec.inner.lr, spec.inner.clip) = (self.lr, self.clip);
    }

    /// Numbers of round 0.
    pub fn initial(&self, spec: &RunSpec) -> Numbers {
        let elems = spec.elems() as usize;
        let mut params = self.task.initial(spec.seed);
        params.resize(elems, 0.0);
        Numbers { params, momentum: vec![0.0; elems * spec.outer_states()] }
    }
}

impl Course for Setup {
    fn worker(&self, spec: &RunSpec) -> Box<dyn Worker> {
        Box::new(Local::new(self.task.clone(), spec))
    }

    fn loss(&self, _: Round, params: &[f32]) -> Option<f64> {
        Some(self.task.loss(&params[..self.task.params()]))
    }

    fn optimum(&self) -> Option<f64> {
        self.task.optimum()
    }
}

/// The smallest decoder with at least `params` parameters: its vocabulary, two numbers wide, makes up all but a few.
pub fn stand_in(params: u64, context: u32) -> ModelSpec {
    ModelSpec {
        vocab: params.saturating_sub(STAND_IN_REST).div_ceil(2).max(1) as u32,
        dim: 2,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        hidden: 1,
        context,
        head_width: None,
        tied: true,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: None,
    }
}

#[test]
fn a_stand_in_has_the_size_of_the_learner() {
    for (params, got) in [(1, 30), (30, 30), (31, 32), (4096, 4096), (2_000_000, 2_000_000)] {
        assert_eq!(stand_in(params, 16).params(), got);
    }
}
