//! Run files: good ones give specs, each fault is told by line and key with what would be right.

use super::*;
use crate::model::preset::PRESETS;
use shoal_protocol::math::codec::Codec;
use shoal_protocol::run::{
    Direction, GossipSpec, InnerOptimizer, InnerSchedule, OuterKind, Overlap, PruneKind,
    PruneMethod, Strategy, StrategySpec,
};

const SMALL: &str = "name = \"small\"\n[model]\npreset = \"1m\"\n[data]\nstories_bytes = 20_000\n";

fn parse(text: &str) -> Result<RunFile, String> {
    RunFile::parse(text, Path::new("some/run.toml")).map_err(|error| error.to_string())
}

fn new(preset: &str) -> String {
    template(&Template { name: "a \"b\"", creator: PeerId([3; 32]), preset }).unwrap()
}

#[test]
fn new_files_of_every_size_are_good_and_complete() {
    for preset in PRESETS {
        let text = new(preset);
        assert!(!text.contains(['{', '}']), "{text}");
        let file = parse(&text).unwrap();
        assert_eq!((file.name.as_str(), file.creator), ("a \"b\"", PeerId([3; 32])));
        assert_eq!(file.model, crate::model::preset(preset).unwrap());
        assert_eq!((file.exchange.up, file.outer.kind), (Codec::Int8, OuterKind::Nesterov));
    }
    assert_eq!(template(&Template { name: "x", creator: PeerId::default(), preset: "2m" }), None);
}

#[test]
fn the_examples_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/runs");
    let files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        RunFile::read(&file).unwrap();
    }
}

#[test]
fn remarks_stand_in_one_column() {
    let text = new("350m");
    let settings = text.lines().filter(|line| !line.starts_with('#') && line.contains(" # "));
    let columns: Vec<usize> = settings.filter_map(|line| line.find(" # ")).collect();
    let common = columns.iter().filter(|column| **column == 25).count();
    assert!(columns.len() > 20 && columns.len() - common <= 2, "{text}");
}

#[test]
fn what_is_left_out_is_as_in_a_new_file() {
    let (short, long) = (parse(SMALL).unwrap(), parse(&new("1m")).unwrap());
    let rate = InnerSpec { lr: short.inner.lr, ..long.inner };
    assert_eq!((short.inner, short.outer, short.exchange), (rate, long.outer, long.exchange));
    assert_eq!((short.group, short.rounds, short.seed), (long.group, long.rounds, long.seed));
    assert_eq!((short.heldout_permille, short.creator), (long.heldout_permille, PeerId::default()));
    assert_eq!(short.window, long.window);
}

#[test]
fn optimisers_and_schedules_go_by_their_names() {
    let inner = |keys: &str| parse(&format!("{SMALL}[inner]\n{keys}")).unwrap().inner;
    let usual = inner("");
    assert_eq!(usual.optimizer, InnerOptimizer::AdamW);
    assert_eq!((usual.schedule, usual.weight_decay), (InnerSchedule::Cosine, 0.1));
    let sgd = |momentum, nesterov| InnerOptimizer::Sgd { momentum, nesterov };
    let rows = [
        ("optimizer = \"adamw\"", InnerOptimizer::AdamW),
        ("optimizer = \"adam\"\nbeta1 = 0.9", InnerOptimizer::Adam),
        ("optimizer = \"sgd\"", sgd(0.0, false)),
        ("optimizer = \"sgd\"\nmomentum = 0.9\nnesterov = true", sgd(0.9, true)),
        ("optimizer = \"rmsprop\"", InnerOptimizer::RmsProp { alpha: 0.99, momentum: 0.0 }),
        (
            "optimizer = \"rmsprop\"\nrms_alpha = 0.9\nmomentum = 0.5\neps = 1e-6",
            InnerOptimizer::RmsProp { alpha: 0.9, momentum: 0.5 },
        ),
        ("optimizer = \"muon\"", InnerOptimizer::Muon { lr: 0.02, momentum: 0.95, nesterov: true }),
        (
            "optimizer = \"muon\"\nmuon_lr = 0.01\nmomentum = 0.9\nnesterov = false\nbeta2 = 0.99",
            InnerOptimizer::Muon { lr: 0.01, momentum: 0.9, nesterov: false },
        ),
    ];
    for (keys, optimizer) in rows {
        let inner = inner(keys);
        assert_eq!((inner.optimizer, inner.schedule), (optimizer, InnerSchedule::Cosine));
        assert_eq!(inner.weight_decay, if optimizer.decouples() { 0.1 } else { 0.0 });
    }
    let rows = [
        ("schedule = \"cosine\"", InnerSchedule::Cosine),
        ("schedule = \"linear\"\nlr_floor = 0.0", InnerSchedule::Linear),
        ("schedule = \"wsd\"", InnerSchedule::Wsd { decay: 0.2 }),
        ("schedule = \"wsd\"\ndecay_share = 0.5", InnerSchedule::Wsd { decay: 0.5 }),
        ("schedule = \"constant\"", InnerSchedule::Constant),
    ];
    for (keys, schedule) in rows {
        assert_eq!(
            inner(keys),
            InnerSpec { schedule, lr_floor: inner(keys).lr_floor, ..usual.clone() }
        );
    }
}

/// A strategy's name sets what is absent elsewhere, and what is there stays.
#[test]
fn strategies_go_by_their_names() {
    let with = |tables: &str| parse(&format!("{SMALL}{tables}")).unwrap();
    for strategy in Strategy::ALL {
        let usual = strategy.usual();
        let name = strategy.name();
        let file = with(&format!("[strategy]\nname = \"{name}\"\n[exchange]\nchunk_elems = 65536"));
        assert_eq!((file.strategy, &file.outer), (usual.pieces, &usual.outer), "{name}");
        assert_eq!((file.exchange.up, file.exchange.down), (usual.codec, usual.codec), "{name}");
        assert_eq!(file.inner.steps, usual.steps.unwrap_or(50), "{name}");
    }
    let file = with(
        "[strategy]\nname = \"streaming\"\nfragments = 2\nkeep = 0.25\n[outer]\nlr = 0.5\n[exchange]\ndown = \"int8\"",
    );
    let overlap = Overlap::Delayed { keep: 0.25 };
    assert_eq!(file.strategy, StrategySpec { fragments: 2, overlap, ..StrategySpec::default() });
    assert_eq!((file.outer.lr, file.outer.momentum), (0.5, 0.9));
    assert_eq!((file.exchange.up, file.exchange.down), (Codec::Fp4, Codec::Int8));
    let file = with("[strategy]\nname = \"sparse\"\n[outer]\nkind = \"nesterov\"");
    assert_eq!((file.outer.lr, file.outer.momentum), (0.7, 0.9));
}

#[test]
fn keys_replace_the_preset_s() {
    let file = parse(
        &SMALL.replace("\"1m\"", "\"1m\"\ncontext = 64\nheads = 2\ntied = false\nnorm_eps = 1e-6"),
    )
    .unwrap();
    let base = crate::model::preset("1m").unwrap();
    assert_eq!(
        file.model,
        ModelSpec { context: 64, heads: 2, kv_heads: 2, tied: false, norm_eps: 1e-6, ..base }
    );
    let explicit = "name = \"x\"\n[model]\ndim = 16\nlayers = 1\nheads = 2\nhidden = 0x18\ncontext = 16\n[data]\ntext = \"t\"";
    assert_eq!(parse(explicit).unwrap().source, Source::Text("some/t".into()));
}

#[test]
fn what_makes_models_smaller_is_read() {
    let with = |lines: &str| parse(&format!("{SMALL}{lines}")).unwrap();
    assert_eq!((with("").prune, with("").lesson), (None, None));
    let (kind, method) = (PruneKind::Share { sparsity: 0.75 }, PruneMethod::Magnitude);
    let file = with("[prune]\nsparsity = 0.75\nfrom = 20\nuntil = 30");
    assert_eq!(file.prune, Some(PruneSpec { kind, from: 20, until: 30, method }));
    let kind = PruneKind::Pattern { keep: 2, of: 4 };
    let method = PruneMethod::Wanda;
    let file = with("[prune]\npattern = \"2:4\"\nmethod = \"wanda\"");
    assert_eq!(file.prune, Some(PruneSpec { kind, from: 50, until: 50, method }));
    let lesson = with("[distill]\nteacher = \"big\"\ndirection = \"reverse\"").lesson.unwrap();
    assert_eq!(lesson.teacher, Path::new("some/big"));
    assert_eq!((lesson.spec.direction, lesson.spec.weight), (Direction::Reverse, 0.5));
    let dir = tempfile::tempdir().unwrap();
    let file = with("[distill]\nteacher = \"none\"");
    assert!(matches!(file.resolve(None, None, dir.path()), Err(ResolveError::Teacher(_))));
}

/// What is usual now is in the spec of a new run; one that lies there as it was begun goes on so.
#[test]
fn a_run_of_an_older_build_goes_on_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text"), vec![b'a'; 5000]).unwrap();
    let text = SMALL.replace("stories_bytes = 20_000", "text = \"text\"");
    let file = RunFile::parse(&text, &dir.path().join("run.toml")).unwrap();
    let made = file.resolve(None, None, dir.path()).unwrap();
    assert_eq!(made.spec.data.window(), Some(crate::data::WINDOW_PIECES));
    assert_eq!(made.spec.model.init_std, Some(0.055_901_7));
    let [by_shards, brought] = made.spec.as_once();
    assert_eq!((by_shards.data.window(), by_shards.model.init_std), (None, None));
    assert!(by_shards.text().is_some() && brought.text().is_none());
    for older in [&brought, &by_shards, &made.spec] {
        assert_eq!(made.clone().as_begun(dir.path()).spec.id(), made.spec.id());
        let folder = dir.path().join(older.id().to_string());
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(made.clone().as_begun(dir.path()).spec, *older);
        std::fs::remove_dir(folder).unwrap();
    }
}

/// The teacher's digest is in the spec, so that a run with another teacher is another run.
#[test]
fn a_teacher_is_part_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let model = ModelSpec { context: 128, layers: 1, ..crate::model::preset("1m").unwrap() };
    let ids: Vec<_> = [1, 2]
        .map(|seed| {
            let params = crate::model::initial_params(&model, seed);
            let folder = dir.path().join(format!("t{seed}"));
            crate::store::hf::export(&model, &params, &TokenizerSpec::Bytes, None, &folder)
                .unwrap();
            let file = parse(&format!("{SMALL}[distill]\nteacher = \"x\"")).unwrap();
            let lesson = Lesson { teacher: folder.clone(), ..file.lesson.clone().unwrap() };
            let made = RunFile { lesson: Some(lesson), ..file }.resolve(None, None, dir.path());
            let made = made.unwrap();
            assert_eq!(made.teacher, Some(folder));
            made.spec.id()
        })
        .into();
    assert_ne!(ids[0], ids[1]);
}

/// A model that there is already has its shape; its parameters are in the run's id.
#[test]
fn a_run_begins_with_a_model_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let model = ModelSpec { context: 128, layers: 1, ..crate::model::preset("1m").unwrap() };
    let params = crate::model::initial_params(&model, 1);
    let begin = dir.path().join("begin");
    crate::store::hf::export(&model, &params, &TokenizerSpec::Bytes, None, &begin).unwrap();
    let with = |keys: &str| {
        let text = format!("name = \"x\"\n[model]\n{keys}\n[data]\nstories_bytes = 20_000\n");
        RunFile::parse(&text, &dir.path().join("run.toml")).map_err(|fault| fault.to_string())
    };
    let file = with("start = \"begin\"\ncontext = 32").unwrap();
    assert_eq!(file.model, ModelSpec { context: 32, init_std: None, ..model.clone() });
    let made = file.resolve(None, None, dir.path()).unwrap();
    let bytes = bytes_of(&params).to_vec();
    let blob = crate::blob::first::blob(&bytes);
    assert_eq!((made.spec.start, made.first), (blob, vec![(blob.unwrap(), bytes)]));
    assert_eq!(made.spec.first_blobs(), made.spec.blobs());
    let fault = |keys: &str, expected: &str| {
        let why = match with(keys) {
            Ok(file) => file.resolve(None, None, dir.path()).unwrap_err().to_string(),
            Err(why) => why,
        };
        assert!(why.contains(expected), "{why}");
    };
    fault("start = \"begin\"\nlayers = 2", "`model.start`: ");
    fault("start = \"begin\"\nlayers = 2", "of another shape");
    fault("start = \"begin\"\ninit_std = 0.1", "`model.init_std`: has no part");
    fault("start = \"none\"", ":3: `model.start`: ");
    fault("start = \"begin\"\npreset = \"1m\"", "`model.preset`: does not go with `start`");
}

#[test]
fn each_fault_names_line_and_key_and_what_would_be_right() {
    let rows = [
        ("name = \"small\"", "name = 7", ":1: `name`: 7 is wrong here", "quotation marks"),
        ("name = \"small\"", "nam = \"small\"", ":1: `name`: is missing", "short name"),
        ("name = \"small\"", "name = \"\"", ":1: `name`: must have", "1 to 64"),
        (
            "name = \"small\"",
            "name = \"small\"\nround = 5",
            ":2: `round`: there is no such key",
            "did you mean `rounds`",
        ),
        (
            "name = \"small\"",
            "name = \"small\"\nrounds = 0",
            ":2: `rounds`: 0 is wrong here",
            "from 1 to 1000000000",
        ),
        (
            "name = \"small\"",
            "name = \"small\"\nrounds = -3",
            ":2: `rounds`: -3 is wrong here",
            "from 1",
        ),
        (
            "name = \"small\"",
            "name = \"small\"\ncreator = \"me\"",
            ":2: `creator`: \"me\"",
            "64 hex digits",
        ),
        (
            "name = \"small\"",
            "name = \"small\"\ninner = 5",
            ":2: `inner`: must be a table",
            "[inner]",
        ),
        ("\"1m\"", "\"2m\"", ":3: `model.preset`: \"2m\" is wrong here", "one of 1m, 5m"),
        ("preset = \"1m\"", "layers = 2", ":2: `model.dim`: is missing", "`preset`"),
        ("\"1m\"", "\"1m\"\nheads = 3", ":4: `model.heads`: must divide dim 128", ""),
        ("\"1m\"", "\"1m\"\nvocab = 300", ":4: `model.vocab`", "byte tokenizer needs 256"),
        ("20_000", "20_000\ntext = \"x\"", ":6: `data.text`: does not go", "keep one"),
        ("stories_bytes = 20_000", "", ":4: `data.text`: is missing", "stories_bytes"),
        (
            "20_000",
            "20_000\nheldout_permille = 1000",
            ":6: `data.heldout_permille`: 1000",
            "to 999",
        ),
        (
            "20_000",
            "20_000\n[inner]\nstepz = 5",
            ":7: `inner.stepz`: there is no such key",
            "`inner.steps`",
        ),
        (
            "20_000",
            "20_000\n[inner]\nwhatever = 5",
            ":7: `inner.whatever`",
            "steps, batch, round_ms",
        ),
        (
            "20_000",
            "20_000\n[inner]\nsteps = 1.5",
            ":7: `inner.steps`: 1.5 is wrong here",
            "whole number",
        ),
        (
            "20_000",
            "20_000\n[inner]\nlr = \"fast\"",
            ":7: `inner.lr`: \"fast\" is wrong here",
            "a number",
        ),
        ("20_000", "20_000\n[inner]\nlr = nan", ":7: `inner.lr`: must be above 0", ""),
        ("20_000", "20_000\n[inner]\nbeta2 = 1", ":7: `inner.beta2`", "below 1"),
        (
            "20_000",
            "20_000\n[inner]\noptimizer = \"lion\"",
            ":7: `inner.optimizer`: \"lion\" is wrong here",
            "one of \"adamw\", \"adam\", \"sgd\", \"rmsprop\", \"muon\"",
        ),
        (
            "20_000",
            "20_000\n[inner]\nmomentum = 0.9",
            ":7: `inner.momentum`: \"adamw\" has no such setting",
            "goes with \"sgd\", \"rmsprop\", \"muon\"",
        ),
        (
            "20_000",
            "20_000\n[inner]\noptimizer = \"sgd\"\neps = 1e-8\nbeta1 = 0.9",
            ":9: `inner.beta1`: \"sgd\" has no such setting",
            "drop `beta1`, `eps`",
        ),
        (
            "20_000",
            "20_000\n[inner]\noptimizer = \"sgd\"\nnesterov = true",
            ":8: `inner.nesterov`: needs a momentum",
            "0.9",
        ),
        (
            "20_000",
            "20_000\n[inner]\noptimizer = \"rmsprop\"\nrms_alpha = 1.0",
            ":8: `inner.rms_alpha`: 1",
            "below 1",
        ),
        (
            "20_000",
            "20_000\n[inner]\nschedule = \"wsd\"\ndecay_share = 0",
            ":8: `inner.decay_share`: 0",
            "a fifth",
        ),
        (
            "20_000",
            "20_000\n[inner]\nschedule = \"constant\"\nlr_floor = 0.1",
            ":8: `inner.lr_floor`: \"constant\" has no such setting",
            "drop `lr_floor`",
        ),
        (
            "20_000",
            "20_000\n[inner]\nmomentun = 0.9",
            ":7: `inner.momentun`: there is no such key",
            "`inner.momentum`",
        ),
        (
            "20_000",
            "20_000\n[outer]\nkind = \"adam\"",
            ":7: `outer.kind`: \"adam\"",
            "\"nesterov\", \"sgd\"",
        ),
        ("20_000", "20_000\n[exchange]\nup = \"int4\"", ":7: `exchange.up`: \"int4\"", "\"int8\""),
        (
            "20_000",
            "20_000\n[exchange]\nchunk_elems = 1000",
            ":7: `exchange.chunk_elems`",
            "multiple of 512",
        ),
        ("20_000", "20_000\n[group]\nmembers_max = 65", ":7: `group.members_max`: 65", "to 64"),
        (
            "20_000",
            "20_000\n[tokenizer]\nkind = \"file\"",
            ":7: `tokenizer.kind`: needs `file`",
            "",
        ),
        (
            "20_000",
            "20_000\n[strategy]\nname = \"dilco\"",
            ":7: `strategy.name`: \"dilco\"",
            "\"diloco\"",
        ),
        (
            "20_000",
            "20_000\n[strategy]\nname = \"eager\"\nkeep = 0.5",
            ":8: `strategy.keep`",
            "\"delayed\"",
        ),
        (
            "20_000",
            "20_000\n[strategy]\nfragments = 200",
            ":7: `strategy.fragments`",
            "fewer fragments",
        ),
        (
            "20_000",
            "20_000\n[strategy]\nname = \"demo\"\noverlap = \"delayed\"",
            ":6: `strategy.work`",
            "no overlap",
        ),
        (
            "20_000",
            "20_000\n[prune]\nsparsity = 1.0",
            ":7: `prune.sparsity`: 1",
            "half of the weights",
        ),
        ("20_000", "20_000\n[prune]\npattern = \"2\"", ":7: `prune.pattern`: \"2\"", "\"2:4\""),
        (
            "20_000",
            "20_000\n[prune]\npattern = \"2:7\"",
            ":7: `prune.pattern`: 7 does not divide",
            "128 long",
        ),
        (
            "20_000",
            "20_000\n[prune]\nsparsity = 0.5\nmethod = \"wanda\"\n[exchange]\ncodec = \"topk\"",
            ":8: `prune.method`: \"wanda\" wants all",
            "\"bf16\"",
        ),
        (
            "20_000",
            "20_000\n[prune]\nsparsity = 0.5\nmethod = \"obs\"",
            ":8: `prune.method`",
            "\"magnitude\" or \"wanda\"",
        ),
        ("20_000", "20_000\n[prune]\nfrom = 3", ":7: `prune.from`: needs", "`pattern`"),
        (
            "20_000",
            "20_000\n[prune]\nsparsity = 0.5\nfrom = 9\nuntil = 8",
            ":9: `prune.until`: 8",
            "`from`",
        ),
        (
            "20_000",
            "20_000\n[prune]\nsparsity = 0.5\n[strategy]\nname = \"eager\"",
            ":6: `prune`: local parameters",
            "no overlap",
        ),
        ("20_000", "20_000\n[distill]\nweight = 0.5", ":7: `distill.weight`: needs `teacher`", ""),
        (
            "20_000",
            "20_000\n[distill]\nteacher = \"t\"\ntemperature = 0",
            ":8: `distill.temperature`",
            "0.05",
        ),
        ("20_000", "20_000\n[grup]\nx = 1", ":6: `grup`", "`group`"),
        ("20_000", "20_000\n[inner", ":6: ", ""),
    ];
    for (old, new, start, rest) in rows {
        let error = parse(&SMALL.replace(old, new)).unwrap_err();
        assert!(
            error.starts_with(&format!("some/run.toml{start}")) && error.contains(rest),
            "{new}: {error}"
        );
    }
}

#[test]
fn the_same_file_and_text_give_the_same_run_wherever_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<_> = ["a", "b"]
        .map(|place| {
            let place = dir.path().join(place);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("text.txt"), "the fish swim\n".repeat(99)).unwrap();
            let text = SMALL.replace("stories_bytes = 20_000", "text = \"text.txt\"");
            std::fs::write(place.join("run.toml"), text).unwrap();
            let file = RunFile::read(&place.join("run.toml")).unwrap();
            let resolved = file.resolve(None, None, dir.path()).unwrap();
            assert_eq!(resolved.data, Some(place.join("text.txt")));
            resolved.spec.id()
        })
        .into();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn the_text_given_replaces_the_file_s() {
    let dir = tempfile::tempdir().unwrap();
    let file = parse(SMALL).unwrap();
    let made = file.resolve(None, None, dir.path()).unwrap();
    let described = Dataset::describe_stories(1, 20_000, 128, 20).unwrap();
    assert_eq!((made.spec.data, made.data), (described, None));
    let path = dir.path().join("text");
    std::fs::write(&path, vec![b'x'; 500]).unwrap();
    let given = file.resolve(Some(&path), None, dir.path()).unwrap();
    assert!(matches!(given.spec.data, DataSpec::Text { bytes: 500, samples: 3, .. }));
    std::fs::write(&path, "short").unwrap();
    let error = file.resolve(Some(&path), None, dir.path()).unwrap_err().to_string();
    assert!(error.contains("bring more text"), "{error}");
}

#[test]
fn the_vocabulary_is_the_tokenizer_s() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"<unk>":0,"the":1,"fish":2},"unk_token":"<unk>"}}"#;
    std::fs::write(&path, words).unwrap();
    let file = parse(SMALL).unwrap();
    let made = file.resolve(None, Some(&path), &dir.path().join("cache")).unwrap();
    assert_eq!((made.spec.model.vocab, made.tokenizer), (3, Some(path.clone())));
    assert!(made.spec.data.samples() < 156, "stories are counted in the tokenizer's tokens");
    let small = RunFile { vocab: Some(2), ..file };
    let error =
        small.resolve(None, Some(&path), &dir.path().join("cache")).unwrap_err().to_string();
    assert!(error.contains("model.vocab") && error.contains("3 tokens"), "{error}");
}

#[test]
fn a_run_by_gossip_has_keys_of_its_own() {
    let with = |lines: &str| parse(&format!("{SMALL}{lines}"));
    let pairs = with("[strategy]\nname = \"noloco\"\ngamma = 1.0\n").unwrap();
    let usual = GossipSpec { claimed: true, gamma: 1.0, ..GossipSpec::noloco(1, 8) };
    assert_eq!((pairs.gossip, pairs.strategy), (Some(usual), StrategySpec::default()));
    assert_eq!((pairs.exchange.up, pairs.exchange.down), (Codec::Bf16, Codec::Bf16));
    let lines = "[strategy]\nname = \"moshpit\"\nplaces = 2\nseats = \"drawn\"\n";
    assert_eq!(with(lines).unwrap().gossip, Some(GossipSpec::moshpit(2, 2)));
    for (lines, reason) in [
        ("[strategy]\nname = \"noloco\"\nfragments = 2\n", "`strategy.fragments`: there is no"),
        ("[strategy]\nname = \"diloco\"\naxes = 2\n", "`strategy.axes`: there is no"),
        (
            "[strategy]\nname = \"noloco\"\nalpha = 1.5\n",
            "run.toml:8: `strategy.alpha`: must be at least 0",
        ),
        ("[strategy]\nname = \"noloco\"\nseats = \"mine\"\n", "\"claimed\" or \"drawn\""),
        ("[strategy]\nname = \"noloco\"\n[outer]\nlr = 0.5\n", "`outer.lr`: has no part"),
        ("[strategy]\nname = \"noloco\"\n[exchange]\ncodec = \"sign\"\n", "`exchange.up`: gossip"),
    ] {
        let error = with(lines).unwrap_err();
        assert!(error.contains(reason), "{lines}: {error}");
    }
}
