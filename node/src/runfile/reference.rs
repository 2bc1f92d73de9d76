//! The reference of run files: every key that reading one asks for, as the reader itself tells it, with what a person wants to know beside that.

use super::document::{Asked, Document};
use super::read;
use shoal_protocol::run::Strategy;
use std::fmt::Write;
use std::path::Path;

/// What the reader does not know of a key.
struct Told {
    /// Its name, with its table's.
    key: &'static str,
    /// Its unit; empty where it has none.
    unit: &'static str,
    /// What it is when absent, where the reader does not tell.
    default: &'static str,
    what: &'static str,
    /// Where the default comes from; empty where there is none.
    from: &'static str,
}

const fn told(
    key: &'static str,
    unit: &'static str,
    default: &'static str,
    what: &'static str,
    from: &'static str,
) -> Told {
    Told { key, unit, default, what, from }
}

const STRATEGY: &str = "the strategy";
const PRESET: &str = "the preset";
const GUESS: &str = "guess";
const ADAMW: &str = "usual for language models (arXiv 2005.14165, appendix B)";

const TOLD: &[Told] = &[
    told("name", "", "", "The run's name for people, 1 to 64 bytes.", ""),
    told(
        "creator",
        "",
        "64 zeros",
        "Id of the node that made the run; part of the run's id.",
        "nobody",
    ),
    told(
        "seed",
        "",
        "",
        "Initial parameters and the order of the data follow from it.",
        "any would do",
    ),
    told("rounds", "rounds", "", "The run is over after so many exchanges.", GUESS),
    told(
        "model.start",
        "",
        "none",
        "Folder of a checkpoint, or of Hugging Face, from the run file's folder: the run begins with its parameters and has its shape. \
         Who joins fetches them from peers.",
        "",
    ),
    told("model.preset", "", "", "A size by its name, which sets the keys below.", ""),
    told("model.heads", "", "", "Attention heads.", PRESET),
    told("model.vocab", "tokens", "the tokenizer's", "Size of the vocabulary.", "the tokenizer"),
    told("model.dim", "", "", "Width of the residual stream.", PRESET),
    told("model.layers", "", "", "Decoder layers.", PRESET),
    told("model.kv_heads", "", "", "Heads of keys and values; `heads`, if that is given.", PRESET),
    told(
        "model.head_width",
        "",
        "",
        "Width of a head; 0 for `dim / heads`. For models that have lost heads.",
        "the shape",
    ),
    told("model.hidden", "", "", "Width of the feed-forward layers.", PRESET),
    told("model.context", "tokens", "", "Length of a sequence.", PRESET),
    told("model.tied", "", "", "Whether input and output embeddings are one.", PRESET),
    told("model.rope_theta", "", "", "Base of the rotary embedding (arXiv 2104.09864).", PRESET),
    told("model.norm_eps", "", "", "Added to the mean square in RMSNorm.", PRESET),
    told(
        "tokenizer.kind",
        "",
        "\"bytes\", or \"file\" if `file` is given",
        "One token a byte, or a tokenizer of Hugging Face.",
        "nothing has to be fetched",
    ),
    told("tokenizer.file", "", "", "Path of a tokenizer.json, from the run file's folder.", ""),
    told(
        "data.text",
        "",
        "",
        "Path of a text, a folder of texts or a prepared folder (docs/DATA.md), from the run file's folder. This or `stories_bytes`.",
        "",
    ),
    told(
        "data.stories_bytes",
        "bytes",
        "none",
        "Length of stories that every node makes by itself.",
        "",
    ),
    told("data.stories_seed", "", "", "Other numbers give other stories.", "any would do"),
    told(
        "data.heldout_permille",
        "thousandths",
        "",
        "Share at the text's end that is never trained on.",
        GUESS,
    ),
    told(
        "strategy.name",
        "",
        "\"diloco\"",
        "Sets the usual values of the keys below, of [outer], of the codec and of `inner.steps`.",
        "the best known of them",
    ),
    told(
        "strategy.work",
        "",
        "the strategy's",
        "What local work gives: steps of the inner optimiser, or the mean gradient.",
        STRATEGY,
    ),
    told(
        "strategy.fragments",
        "",
        "",
        "Parts of the model that are exchanged in turns, one a round.",
        STRATEGY,
    ),
    told(
        "strategy.overlap",
        "",
        "the strategy's",
        "What the trainer does while an exchange is under way.",
        STRATEGY,
    ),
    told(
        "strategy.keep",
        "share",
        "",
        "What local parameters keep of themselves when committed ones arrive.",
        "arXiv 2501.18512, section 2.3",
    ),
    told(
        "strategy.axes",
        "axes",
        "",
        "By gossip: axes of the grid that peers have their places in. In a round groups form along one of them, in turns.",
        "with one all meet; arXiv 2103.03239 has two and more",
    ),
    told(
        "strategy.places",
        "places",
        "",
        "By gossip: places along an axis. `places` to the power of `axes` is best about the number of peers; with one axis it says nothing.",
        GUESS,
    ),
    told(
        "strategy.seats",
        "",
        "\"claimed\"",
        "By gossip: whether peers claim their places, for which all have to know each other (up to 65 of them), or each has the one that is drawn from its id.",
        "a draw leaves some of few peers alone",
    ),
    told(
        "strategy.alpha",
        "share",
        "",
        "By gossip: what the outer step keeps of the one before.",
        "arXiv 2506.10911, section 3, for \"noloco\"; 0 is the plain mean",
    ),
    told(
        "strategy.beta",
        "",
        "",
        "By gossip: what the outer step takes of the group's mean progress.",
        "arXiv 2506.10911, section 3, for \"noloco\"; 1 is the plain mean",
    ),
    told(
        "strategy.gamma",
        "",
        "",
        "By gossip: what the outer step takes of the way to the group's mean parameters.",
        "measured: consensus distance is least near 1",
    ),
    told("inner.optimizer", "", "\"adamw\"", "The inner optimiser.", "usual"),
    told(
        "inner.schedule",
        "",
        "\"cosine\"",
        "How the learning rate goes from its peak to its floor.",
        "usual",
    ),
    told(
        "inner.steps",
        "steps",
        "",
        "Local steps in a round.",
        "DiLoCo: 30 to 100 for small models",
    ),
    told("inner.batch", "sequences", "", "Sequences in a step.", GUESS),
    told(
        "inner.round_ms",
        "ms",
        "",
        "If not 0: as many steps as a peer expects to finish in so long, instead of `steps`.",
        "off",
    ),
    told("inner.lr", "", "", "Peak learning rate.", GUESS),
    told(
        "inner.lr_floor",
        "share of the peak",
        "",
        "Learning rate at the run's end.",
        "usual (arXiv 2203.15556)",
    ),
    told("inner.warmup_rounds", "rounds", "", "Rounds until the peak.", GUESS),
    told(
        "inner.decay_share",
        "share of the rounds",
        "",
        "In which the rate falls, with \"wsd\".",
        "arXiv 2405.18392 finds 0.1 to 0.2",
    ),
    told("inner.beta1", "", "", "Decay of the first moment.", ADAMW),
    told("inner.beta2", "", "", "Decay of the second moment.", ADAMW),
    told("inner.eps", "", "", "Added to the root of the second moment.", "PyTorch"),
    told(
        "inner.momentum",
        "",
        "",
        "Momentum of the inner optimiser.",
        "PyTorch; Muon's first release",
    ),
    told(
        "inner.nesterov",
        "",
        "",
        "Whether it looks ahead along the momentum.",
        "PyTorch; Muon's first release",
    ),
    told("inner.rms_alpha", "", "", "Decay of RMSprop's second moment.", "PyTorch"),
    told(
        "inner.muon_lr",
        "",
        "",
        "Peak learning rate of the layers' matrices.",
        "Muon's first release",
    ),
    told(
        "inner.weight_decay",
        "",
        "",
        "Decay of matrices: beside the step with \"adamw\" and \"muon\", else L2.",
        ADAMW,
    ),
    told(
        "inner.l2",
        "",
        "",
        "L2 beside a decoupled weight decay: the gradient grows by so much of the parameters, after clipping.",
        "off",
    ),
    told(
        "inner.decay_embeddings",
        "",
        "",
        "Whether embedding and head decay, by both; the layers' matrices always do.",
        "nanoGPT",
    ),
    told(
        "inner.decay_norms",
        "",
        "",
        "Whether the norms' gains decay; there are no biases.",
        "usual for language models",
    ),
    told("inner.clip", "norm", "", "Largest norm of a step's gradient; 0 for no limit.", ADAMW),
    told(
        "regularisation.dropout",
        "share",
        "",
        "Numbers put to 0 in training, at all three places below.",
        "off",
    ),
    told(
        "regularisation.dropout_embedding",
        "share",
        "`dropout`",
        "Of the tokens' embeddings.",
        "GPT-2's place",
    ),
    told(
        "regularisation.dropout_attention",
        "share",
        "`dropout`",
        "Of attention's weights; takes memory for them, context squared a head.",
        "GPT-2's place",
    ),
    told(
        "regularisation.dropout_residual",
        "share",
        "`dropout`",
        "Of what attention and feed-forward add to the residual stream.",
        "GPT-2's place",
    ),
    told(
        "regularisation.label_smoothing",
        "share",
        "",
        "Share of the target spread evenly over the vocabulary (arXiv 1512.00567); losses are told without it.",
        "off",
    ),
    told(
        "outer.kind",
        "",
        "the strategy's",
        "What is done with the mean pseudo-gradient.",
        STRATEGY,
    ),
    told("outer.lr", "", "", "Outer learning rate.", STRATEGY),
    told("outer.momentum", "", "", "Outer momentum.", STRATEGY),
    told("exchange.codec", "", "the strategy's", "How numbers travel, both ways.", STRATEGY),
    told("exchange.up", "", "`codec`", "From member to owner.", STRATEGY),
    told("exchange.down", "", "`codec`", "From owner to member.", STRATEGY),
    told(
        "exchange.chunk_elems",
        "numbers",
        "",
        "Numbers in a chunk, the unit of sending, adding and repair.",
        "measured: half a mebibyte keeps a link of 100 Mbit/s and 50 ms full",
    ),
    told(
        "exchange.residual_decay",
        "share",
        "",
        "What error feedback keeps of itself from one exchange to the next.",
        "arXiv 2508.15706 for \"sparse\", 2411.19870 for \"demo\"",
    ),
    told(
        "exchange.clip_to_median",
        "",
        "",
        "Whether contributions are clipped to the median of their norms, chunk by chunk.",
        "arXiv 2508.15706 for \"sparse\"",
    ),
    told(
        "exchange.mask_one_of",
        "numbers",
        "",
        "Of so many numbers \"mask\" and \"mask-bf16\" send one: a power of two.",
        "SPARTA sends one of 200 to 2000",
    ),
    told(
        "exchange.rank",
        "pairs",
        "",
        "Most pairs of a column and a row that \"powersgd\" sends for a chunk.",
        "arXiv 1905.13727, tables 3 to 5",
    ),
    told(
        "exchange.columns",
        "numbers",
        "",
        "Length of a row of the matrix that \"powersgd\" takes a chunk for; 0 for the model's width.",
        "weights are cut there",
    ),
    told("group.members_max", "peers", "", "Most members of one exchange.", "the protocol's bound"),
    told(
        "group.quorum_percent",
        "hundredths",
        "",
        "Share of the live peers that must be ready before the others are waited for.",
        GUESS,
    ),
    told(
        "group.grace_percent",
        "hundredths of the training time",
        "",
        "Longest wait for the others after that.",
        GUESS,
    ),
    told(
        "stop.every",
        "rounds",
        "",
        "Rounds from one evaluation of the committed parameters to the next. Without the table [stop] a run ends with its last round.",
        GUESS,
    ),
    told(
        "stop.patience",
        "evaluations",
        "",
        "So many in a row without a gain end the run for all peers at once; 0: none do, only the best checkpoint is kept.",
        GUESS,
    ),
    told(
        "stop.min_gain",
        "nats per token",
        "",
        "Fall of the held-out loss that counts as a gain: absolute, measured from where the last gain led.",
        GUESS,
    ),
    told(
        "stop.sequences",
        "sequences",
        "",
        "Held-out sequences in an evaluation, spread evenly: the same ones on every peer.",
        GUESS,
    ),
    told(
        "stop.ema",
        "share",
        "",
        "What the average of the committed parameters keeps of itself in a round; 0 for no average.",
        "off",
    ),
    told(
        "prune.sparsity",
        "share",
        "none",
        "Share of each layer's matrices that becomes zero and stays so. This or `pattern`.",
        "",
    ),
    told("prune.pattern", "", "none", "Of M neighbours in a row N stay.", ""),
    told(
        "prune.from",
        "round",
        "half of `rounds`",
        "The first round after which weights become zero.",
        GUESS,
    ),
    told(
        "prune.until",
        "round",
        "`from`: all at once",
        "The round at which `sparsity` is reached, by a cubic schedule.",
        "arXiv 1710.01878",
    ),
    told(
        "prune.method",
        "",
        "\"magnitude\"",
        "By what a weight is judged: with \"wanda\" by what goes into it as well, against the others of its row; members measure that on 64 sequences of a lease in the \
         rounds before and exchange it. That wants `from` 2 at least, local steps, the outer optimiser \"sgd\" or \"nesterov\", and a codec that sends all numbers.",
        "arXiv 2306.11695 for \"wanda\"",
    ),
    told(
        "distill.teacher",
        "",
        "none",
        "Folder of a checkpoint, or of Hugging Face, from the run file's folder. Who joins fetches it from peers (by gossip each brings it).",
        "",
    ),
    told(
        "distill.temperature",
        "",
        "",
        "What both distributions are softened by.",
        "measured: with 2 a small student learned less than alone (arXiv 1503.02531 finds 2 to 5 for classes)",
    ),
    told(
        "distill.weight",
        "share",
        "",
        "Weight of the teacher's distribution; the rest is the text's.",
        GUESS,
    ),
    told(
        "distill.direction",
        "",
        "\"forward\"",
        "KL(teacher, student), or the other way.",
        "arXiv 1503.02531",
    ),
    told(
        "distill.hidden",
        "",
        "",
        "Weight of the squared distance of the last hidden states.",
        "off",
    ),
];

/// The least that a run file holds.
const LEAST: &str = "name = \"x\"\n[model]\npreset = \"1m\"\n[data]\nstories_bytes = 1000000\n";

/// What else has to stand in a file so that all keys are asked for or their defaults told: by what, and the lines.
fn variants() -> Vec<(String, String)> {
    let named = |table: &str, key: &str, value: &str| {
        let (by, lines) = (format!("`{value}`"), format!("[{table}]\n{key} = \"{value}\"\n"));
        (by, lines)
    };
    let strategies =
        Strategy::ALL.iter().map(|strategy| named("strategy", "name", strategy.name()));
    let optimizers = super::inner::OPTIMIZERS.iter().map(|name| named("inner", "optimizer", name));
    let schedules = super::inner::SCHEDULES.iter().map(|name| named("inner", "schedule", name));
    let overlaps = std::iter::once(named("strategy", "overlap", "delayed"));
    let gossip = super::strategy::GOSSIP.iter().map(|name| named("strategy", "name", name));
    strategies.chain(gossip).chain(optimizers).chain(schedules).chain(overlaps).collect()
}

/// The keys that reading a file of these lines asks for.
fn asked(lines: &str) -> Vec<Asked> {
    // Codecs of large blocks want larger chunks than the smallest model needs.
    let text = format!("{LEAST}{lines}");
    let path = Path::new("run.toml");
    let document = Document::parse(&text, path);
    let document = document.unwrap_or_else(|error| unreachable!("it is TOML: {error}"));
    if let Err(error) = read::read(&document, path) {
        unreachable!("it is a run file: {error}");
    }
    document.into_asked()
}

/// A key as all files tell it: what it takes, and its default where nothing else is said, or with what.
struct Key {
    asked: Asked,
    /// By what it is another.
    others: Vec<(String, String)>,
}

fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> =
        asked("").into_iter().map(|asked| Key { asked, others: Vec::new() }).collect();
    for (by, lines) in variants() {
        let mut last = 0;
        for asked in asked(&lines) {
            match keys.iter().position(|key| key.asked.key == asked.key) {
                Some(at) => {
                    last = at;
                    keys[at].differs(&by, asked.default);
                }
                None => {
                    let mut key =
                        Key { asked: Asked { default: None, ..asked.clone() }, others: Vec::new() };
                    key.differs(&by, asked.default);
                    last += 1;
                    keys.insert(last, key);
                }
            }
        }
    }
    keys
}

impl Key {
    fn differs(&mut self, by: &str, default: Option<String>) {
        match default {
            Some(value) if Some(&value) != self.asked.default.as_ref() => {
                self.others.push((by.to_owned(), value));
            }
            _ => {}
        }
    }

    fn default(&self, told: &Told) -> String {
        let usual = Some(told.default).filter(|default| !default.is_empty());
        let usual = usual.map(str::to_owned).or(self.asked.default.clone());
        let others = self.others.iter().map(|(by, value)| format!("{value} with {by}"));
        usual.into_iter().chain(others).collect::<Vec<_>>().join("; ")
    }
}

/// The whole reference, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Run files, key by key\n\n\
         Printed by `shoal new --reference` from what the reader of run files asks for. `name`, a model and a text are needed; every other\n\
         key may be left out. \"The strategy\": the value follows from `strategy.name`; those of \"diloco\" stand first. Model sizes are those of \"1m\".\n",
    );
    let mut table = None;
    for key in keys() {
        let (section, name) = key.asked.key.split_once('.').unwrap_or(("", &key.asked.key));
        if table.as_deref() != Some(section) {
            let title = if section.is_empty() {
                "Outside of all tables".into()
            } else {
                format!("[{section}]")
            };
            let _ = write!(
                text,
                "\n## {title}\n\n| key | takes | unit | default | what it is | where the default comes from |\n|---|---|---|---|---|---|\n"
            );
            table = Some(section.to_owned());
        }
        let told = TOLD.iter().find(|told| told.key == key.asked.key);
        let told = told.unwrap_or_else(|| unreachable!("a test sees to it: {}", key.asked.key));
        let (takes, default) = (&key.asked.takes, key.default(told));
        let (unit, what, from) = (told.unit, told.what, told.from);
        let _ = writeln!(text, "| `{name}` | {takes} | {unit} | {default} | {what} | {from} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told_of_once_and_none_that_is_not() {
        let mut asked: Vec<String> = keys().into_iter().map(|key| key.asked.key).collect();
        let mut told: Vec<String> = TOLD.iter().map(|told| told.key.to_owned()).collect();
        asked.sort();
        told.sort();
        assert_eq!(asked, told);
    }

    #[test]
    fn the_file_in_the_docs_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RUNFILE.md");
        let kept = std::fs::read_to_string(path).expect("docs/RUNFILE.md is there");
        assert_eq!(kept, reference(), "write it anew: shoal new --reference > docs/RUNFILE.md");
    }
}
