//! A new run file, with every key and what it does.

use crate::model::preset::{PRESETS, preset};
use shoal_protocol::id::PeerId;

/// What a new run file is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<'a> {
    /// The run's name.
    pub name: &'a str,
    /// Who makes the run.
    pub creator: PeerId,
    /// The size, one of [`PRESETS`].
    pub preset: &'a str,
}

/// What suits a size: guesses in the range that small Llama-style models are trained with, not tuned ones.
struct Suits {
    /// Local steps in a round. DiLoCo: 30 to 100 for small models, 500 for large ones.
    steps: u32,
    batch: u32,
    lr: &'static str,
    stories_bytes: &'static str,
}

/// The text of a new run file; `None` if there is no such preset.
pub fn template(new: &Template) -> Option<String> {
    let model = preset(new.preset)?;
    let suits = suits(new.preset);
    let filled = [
        ("{name}", new.name.escape_default().to_string()),
        ("{creator}", new.creator.to_string()),
        ("{preset}", new.preset.to_owned()),
        ("{presets}", PRESETS.join(", ")),
        ("{params}", format!("{:.1}", model.params() as f64 / 1e6)),
        ("{context}", model.context.to_string()),
        ("{steps}", suits.steps.to_string()),
        ("{batch}", suits.batch.to_string()),
        ("{lr}", suits.lr.to_owned()),
        ("{stories_bytes}", suits.stories_bytes.to_owned()),
        (
            "{tokens}",
            (u64::from(suits.steps) * u64::from(suits.batch) * u64::from(model.context))
                .to_string(),
        ),
    ];
    Some(TEXT.lines().map(|line| fill(line, &filled) + "\n").collect())
}

/// Puts values in their places, and the remark behind them where those of other lines are.
fn fill(line: &str, values: &[(&str, String)]) -> String {
    let put = |text: &str| {
        values.iter().fold(text.to_owned(), |text, (place, value)| text.replace(place, value))
    };
    match line.split_once(" # ") {
        Some((setting, remark)) if !setting.is_empty() => {
            format!("{:<REMARK$} # {}", put(setting.trim_end()), put(remark))
        }
        _ => put(line),
    }
}

fn suits(preset: &str) -> Suits {
    let (steps, batch, lr, stories_bytes) = match preset {
        "1m" => (50, 16, "0.003", "8_000_000"),
        "5m" => (50, 16, "0.002", "16_000_000"),
        "10m" => (50, 12, "0.001", "32_000_000"),
        "25m" => (100, 8, "0.001", "64_000_000"),
        "60m" => (100, 8, "0.0006", "128_000_000"),
        "125m" => (100, 8, "0.0006", "128_000_000"),
        "350m" => (200, 4, "0.0003", "128_000_000"),
        _ => (500, 4, "0.0002", "128_000_000"),
    };
    Suits { steps, batch, lr, stories_bytes }
}

/// The column that remarks begin in.
const REMARK: usize = 25;

const TEXT: &str = r#"# A run of Shoal: what all its peers agree on. Start it with `shoal up FILE`; others join with the ticket that this prints,
# or with this same file. Change one value and it is another run.
# The name, a model and a text are needed; what else is left out takes a usual value.

name = "{name}" # for people; 1 to 64 bytes
# The id of the node that made the run. It is part of the run's id, so keep it as it is: whoever starts this file with the
# same text is in the same run.
creator = "{creator}"
seed = 1                  # initial parameters and the order of the data follow from it
rounds = 100              # the run is over after so many exchanges

[model]
# A Llama-style decoder. Sizes: {presets}.
# Any of vocab, dim, layers, heads, kv_heads, head_width, hidden, context, tied, rope_theta, norm_eps, init_std may stand here as
# well and replaces the preset's.
preset = "{preset}" # {params} million parameters, sequences of {context} tokens
# start = "checkpoint"    # instead of a preset: begins with the parameters of a checkpoint's folder, or of one of Hugging Face, and has its shape

[tokenizer]
kind = "bytes"            # one token per byte; "file" takes a Hugging Face tokenizer.json, which others get with the run:
# file = "tokenizer.json" # path, from this file's folder

[data]
# Simple stories that every node makes by itself, so that there is nothing to download ...
stories_bytes = {stories_bytes} # length of their text, bytes
stories_seed = 1          # other numbers give other stories
# ... or a text (then drop the two lines above). Its content counts, not its place; whoever joins gets it from the others:
# text = "corpus"         # a text file, or a folder of them; path, from this file's folder
# window = 32             # MiB of it that are shuffled together, an eighth at a time from all over the text
heldout_permille = 20     # thousandths at the text's end that are never trained on, for measuring

[strategy]
# How peers train together. The name sets the usual values of [outer] and of the codec:
#   diloco     local steps, then one exchange and an outer step with momentum (arXiv 2311.08105)
#   streaming  a fragment of the model at a time, in 4 bits, while training goes on (arXiv 2501.18512)
#   eager      training goes on from an estimate while the whole model is exchanged (arXiv 2502.12996)
#   sparse     0.15 bits a parameter every 30 steps (arXiv 2508.15706)
#   local-sgd  local steps, then the mean of the parameters (arXiv 1805.09767)
#   sync       every step the inner optimiser takes the mean gradient: data parallel training
#   demo       every step the sign of the largest components of momentum (arXiv 2411.19870)
# or, by gossip, without one state that all agree on: each peer keeps parameters of its own, and averages in small groups that change
#   noloco     local steps, then pairs, with momentum of their own (arXiv 2506.10911)
#   moshpit    local steps, then the mean over a row or a column of a grid of peers (arXiv 2103.03239)
name = "diloco"
# Or piece by piece:
# work = "steps"          # what local work gives: "steps", or the mean "gradient" at the committed parameters
# fragments = 1           # exchanged in turns, one a round
# overlap = "none"        # or "delayed", "eager": training goes on while an exchange is under way
# keep = 0.5              # with "delayed": what local parameters keep of themselves when the committed ones arrive
# Of these only "noloco" and "moshpit" have any; they have none of the pieces above, and [outer] has no part in them:
# axes = 1                # axes of the grid of peers; in a round groups form along one of them, in turns
# places = 8              # places along an axis; with several axes about as many as give each peer a place of its own
# seats = "claimed"       # who sits where: "claimed", by peers that all know each other, or "drawn" from their ids
# alpha = 0.5             # what the outer step keeps of the one before; 0 with "moshpit"
# beta = 0.7              # what it takes of the group's mean progress; 1 with "moshpit"
# gamma = 0.9             # what it takes of the way to the group's mean parameters; 1 with "moshpit"

[inner]
# What each peer does between two exchanges: {steps} steps are {tokens} tokens.
steps = {steps} # local steps in a round; "sparse" is made for 30, "sync" and "demo" for 1
batch = {batch} # sequences in a step
round_ms = 0              # if not 0: as many steps as a peer expects to finish in so many milliseconds, instead of `steps`
lr = {lr} # peak learning rate
schedule = "cosine"       # from the peak to the floor; or "linear", or "wsd": the peak until the last rounds; "constant": no way down
lr_floor = 0.1            # learning rate at the run's end, as a share of the peak; drop it with "constant"
# decay_share = 0.2       # with "wsd" alone: share of the rounds in which it falls
warmup_rounds = 4         # rounds until the peak
optimizer = "adamw"       # or "adam", "sgd", "rmsprop", "muon"; of the keys below drop those that it does not have
beta1 = 0.9               # decay of the first moment: adamw, adam, muon
beta2 = 0.95              # decay of the second moment: adamw, adam, muon
eps = 1e-8                # added to the root of the second moment: all but sgd
weight_decay = 0.1        # for matrices; beside the step with adamw and muon, with the others L2, for which 0.1 is far too much
# momentum = 0.9          # sgd, rmsprop (0 if left out), muon (0.95)
# nesterov = true         # look ahead along the momentum: sgd (false if left out), muon (true)
# rms_alpha = 0.99        # decay of the second moment: rmsprop
# muon_lr = 0.02          # peak learning rate of the layers' matrices; muon leaves all else to AdamW, at `lr`
# l2 = 0.0                # adamw, muon: L2 beside the weight decay, as part of the gradient
# decay_embeddings = true # whether embedding and head decay too
# decay_norms = false     # whether the norms' gains do
clip = 1.0                # largest norm of a step's gradient; 0 for no limit

[regularisation]
# Against learning a small text by heart, in training alone. Masks follow from seed, sequence, layer and element.
dropout = 0.0             # share of numbers put to 0: of embeddings, of attention's weights, of what layers add; or one by one:
# dropout_embedding = 0.0
# dropout_attention = 0.0 # takes memory: context squared, for each head
# dropout_residual = 0.0
label_smoothing = 0.0     # share of the target that is spread evenly over the vocabulary

[outer]
# What is done with the peers' mean pseudo-gradient.
# The strategy's own values hold unless they are set here; these are those of "diloco":
# kind = "nesterov"       # or "sgd", "sign", "inner": the inner optimiser's own step, on the mean
# lr = 0.7                # outer learning rate
# momentum = 0.9          # outer momentum; 0 with "sgd"

[exchange]
# The strategy's own codec holds unless one is set here; that of "diloco" is
# codec = "int8"          # how numbers travel: "int8" (1 byte each), "bf16" (2), "f32" (4); `up` and `down` set the ways apart
# Fewer bits, which cost loss and want an outer rate of their own: "fp4" (4 bits), "sign" (1), "topk" (0.22), "topk-tight" (0.15,
# the same numbers as "topk"), "mask" (0.125, the same one of 256 at all peers), "mask-bf16" (0.063), "powersgd" (a low-rank matrix), "dct" (0.018).
# residual_decay = 1.0    # what error feedback keeps of itself; 0.95 with "sparse", 0.999 with "demo"
# ahead = 0.0             # share of what was not sent that local work takes for granted instead of learning it again
# last = "int8"           # codec of the last round, which averages what still waits to be sent
# owners_stay = true      # whether chunks are added up by the same members round after round
# clip_to_median = false  # whether a contribution's norm is held to the median of all, chunk by chunk; true with "sparse"
# mask_one_of = 256       # with "mask" and "mask-bf16": of so many numbers one is sent; a power of two
# rank = 4                # with "powersgd": pairs of a column and a row that are sent for a chunk
# columns = 0             # with "powersgd": numbers in a row of its matrix; 0 for the model's width, of which chunk_elems is to be a multiple
chunk_elems = 131072      # numbers in a chunk, the unit of sending; a multiple of 512, of 4096 with "topk" and its sisters and "dct"

[group]
members_max = 64          # most members of one exchange, up to 64
quorum_percent = 50       # hundredths of the live peers that must be ready before the others are waited for
grace_percent = 50        # longest wait for them, in hundredths of the round's training time

# With this table the run is over before its last round when the held-out loss that all agree on has not fallen for a while:
# [stop]
# every = 1               # rounds from one evaluation to the next
# patience = 5            # evaluations without gain that end the run; 0: none do, only the best checkpoint is kept
# min_gain = 0.001        # nats per token by which the loss must fall for a gain
# sequences = 64          # held-out sequences in an evaluation
# ema = 0.0               # what the average of the committed parameters keeps of itself in a round, like 0.9; 0 for no average

# [prune]
# Weights of the layers' matrices become zero after some round and stay so:
# sparsity = 0.5          # share of each matrix; or pattern = "2:4": of four neighbours two stay
# from = 50               # the first round after which weights become zero; half of all if left out
# until = 80              # by then all are (arXiv 1710.01878); all at once if left out
# method = "magnitude"    # or "wanda": what goes into a weight counts as well, of all members' data (arXiv 2306.11695)

# [distill]
# A larger model, which others get with the run, is learned from as well (arXiv 1503.02531):
# teacher = "teacher"     # a checkpoint's folder, or one of Hugging Face; path, from this file's folder
# temperature = 1.0       # what both distributions are softened by
# weight = 0.5            # of the teacher's distribution; the rest is the text's
# direction = "forward"   # or "reverse"
# hidden = 0.0            # weight of the distance of the last hidden states
# top = 0                 # likeliest tokens that are told, at each place, to those who join --without-teacher; 0: each has it
"#;
