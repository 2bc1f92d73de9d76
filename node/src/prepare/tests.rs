//! Whole preparations: the same bytes whatever happened on the way, and what a run makes of them.

use super::near::Search;
use super::read::{Amount, Files, How, Source};
use super::report::REPORT_JSON;
use super::*;
use crate::data::{Corpus, Tokenizer, Tokens, rng::Rng, stories::story};
use filter::Rules;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Stops after so many questions.
struct Impatient(Cell<u32>);

impl Watch for Impatient {
    fn begin(&mut self, _: &'static str, _: Unit) {}
    fn at(&mut self, _: Amount, _: u64) {}
    fn stop(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() == 0
    }
}

/// Masks digits, and drops what has "secret" in it.
struct Digits;

impl Anonymise for Digits {
    fn identity(&self) -> String {
        "digits".into()
    }
    fn clean(&self, text: &str) -> Masked {
        let count = text.chars().filter(char::is_ascii_digit).count() as u64;
        let counts =
            if count > 0 { BTreeMap::from([("digit".into(), count)]) } else { BTreeMap::new() };
        let drop = text.contains("secret").then(|| "it is secret".into());
        Masked { text: text.replace(|c: char| c.is_ascii_digit(), "#"), counts, drop }
    }
}

/// What to prepare, with small shards, so that there are several.
fn preparation<'a>(source: &'a dyn Source, output: &Path, tokenizer: Choice) -> Preparation<'a> {
    Preparation {
        source,
        output: output.to_owned(),
        rules: Rules::default(),
        search: Search { exact: true, near: Some(0.8), memory: 1 << 12 },
        anonymise: None,
        tokenizer,
        shard_bytes: 20_000,
        batch_bytes: 10_000,
        against: None,
        passed_over: 0,
    }
}

fn files(inputs: &[&Path]) -> Files {
    let inputs: Vec<PathBuf> = inputs.iter().map(|path| path.to_path_buf()).collect();
    Files::find(&inputs, How { field: "text".into(), document_bytes: 2000 }).unwrap()
}

/// Documents of some stories each, every fifth the one before again and every seventh with one word changed.
fn input(folder: &Path, documents: u64) {
    let mut lines = String::new();
    let mut last = String::new();
    for n in 0..documents {
        let fresh = || (0..4).map(|i| story(n, i)).collect::<Vec<_>>().join("\n\n");
        let text = match n {
            n if n % 5 == 4 => last.clone(),
            n if n % 7 == 6 => last.replacen(" and ", " und ", 1),
            _ => fresh(),
        };
        lines += &format!("{}\n", serde_json::json!({ "text": text }));
        last = text;
    }
    lines += "{\"text\":\"Too short.\"}\nbroken\n";
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("a.jsonl"), lines).unwrap();
}

/// Every file of a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    entries.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn an_interrupted_preparation_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 300);
    let source = files(&[&dir.path().join("in")]);
    for (name, choice) in [("bytes", Choice::Bytes), ("bpe", Choice::Bpe { vocab: 400 })] {
        let whole = dir.path().join(name);
        let prepared = preparation(&source, &whole, choice.clone()).run(&mut Nobody).unwrap();
        assert!(prepared.manifest.shards.len() > 3 && !prepared.before);
        let mut interruptions = 0;
        for patience in 2.. {
            // Each attempt gets a step further than the last; the work goes on where the last one stopped.
            let parts = dir.path().join(format!("{name}-parts"));
            match preparation(&source, &parts, choice.clone())
                .run(&mut Impatient(Cell::new(patience)))
            {
                Ok(again) => {
                    assert_eq!(again.manifest, prepared.manifest);
                    assert_eq!(contents(&parts), contents(&whole));
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, PrepareError::Interrupted(_)), "{error}");
                    interruptions += 1;
                }
            }
        }
        assert!(interruptions > 1, "{interruptions}");
        let again = preparation(&source, &whole, choice).run(&mut Nobody).unwrap();
        assert!(again.before && again.manifest == prepared.manifest);
    }
}

#[test]
fn duplicates_faults_and_rules_are_counted_with_examples() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 70);
    let source = files(&[&dir.path().join("in")]);
    let output = dir.path().join("out");
    let report = preparation(&source, &output, Choice::Bytes).run(&mut Nobody).unwrap().report;
    let counts = |cases: &BTreeMap<String, report::Cases>| {
        cases.iter().map(|(name, cases)| (name.clone(), cases.documents)).collect::<Vec<_>>()
    };
    assert_eq!(report.read.documents, 71);
    assert_eq!(counts(&report.bad), [("broken JSON".to_owned(), 1)]);
    // The same as one that went as a near-duplicate is one as well: what it is the same as is not there.
    let nearly = |n: u64| n % 7 == 6 && n % 5 != 4;
    let near = (0..70).filter(|n| nearly(*n) || (n % 5 == 4 && nearly(n - 1))).count() as u64;
    let same = (0..70).filter(|n| n % 5 == 4 && !nearly(n - 1)).count() as u64;
    let expected = [("duplicate", same), ("length", 1), ("near-duplicate", near)];
    assert_eq!(counts(&report.dropped), expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(report.kept.documents, 70 - same - near);
    assert_eq!(report.lengths.iter().sum::<u64>(), report.kept.documents);
    assert_eq!(report.dropped["near-duplicate"].examples.len(), 3);
    assert!(report.dropped["length"].examples[0].contains("2 words, not 50"));
    let told = std::fs::read_to_string(output.join(report::REPORT_MD)).unwrap();
    for text in ["near-duplicate", "similarity ", "broken JSON", "a.jsonl:72", "| length | 1 |"] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let json: Report =
        serde_json::from_slice(&std::fs::read(output.join(REPORT_JSON)).unwrap()).unwrap();
    assert_eq!(json, report);
}

#[test]
fn a_run_reads_what_was_prepared() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 40);
    let source = files(&[&dir.path().join("in")]);
    let bytes = dir.path().join("bytes");
    preparation(&source, &bytes, Choice::Bytes).run(&mut Nobody).unwrap();
    let corpus = Corpus::open(&bytes).unwrap();
    let text = String::from_utf8(corpus.pieces().collect::<Vec<_>>().concat()).unwrap();
    let first: Vec<String> = (0..4).map(|i| story(0, i)).collect();
    assert!(text.starts_with(&(first.join("\n\n") + "\n\n" + &story(1, 0))));

    let pairs = dir.path().join("pairs");
    let prepared =
        preparation(&source, &pairs, Choice::Bpe { vocab: 500 }).run(&mut Nobody).unwrap();
    let file = Tokenizer::prepared(&pairs).unwrap();
    let tokenizer = Tokenizer::from_file(&file).unwrap();
    let corpus = Arc::new(Corpus::open(&pairs).unwrap());
    assert_eq!(corpus.digest(), prepared.manifest.digest());
    let tokens = Tokens::new(corpus.clone(), &tokenizer, &dir.path().join("cache")).unwrap();
    assert_eq!(tokens.len(), prepared.manifest.tokens);
    let mut ids = Vec::new();
    tokens.extend(0, tokens.len() as usize, &mut ids).unwrap();
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text, "the same documents, tokenised");
    assert!(!dir.path().join("cache").exists(), "nothing has to be tokenised again");
    let error = Tokens::new(corpus, &Tokenizer::Bytes, dir.path()).err().unwrap().to_string();
    assert!(error.contains("byte tokens") && error.contains("own tokenizer"), "{error}");
}

#[test]
fn an_altered_shard_is_named() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 60);
    let output = dir.path().join("out");
    let source = files(&[&dir.path().join("in")]);
    let manifest = preparation(&source, &output, Choice::Bytes).run(&mut Nobody).unwrap().manifest;
    manifest.verify(&output, |_| {}).unwrap();
    let shard = output.join(&manifest.shards[1].file);
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let error = manifest.verify(&output, |_| {}).unwrap_err().to_string();
    assert!(error.contains("shard-000001.txt was altered"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    assert!(manifest.verify(&output, |_| {}).unwrap_err().to_string().contains("shard-000001.txt"));
}

#[test]
fn what_masks_is_asked_and_may_drop() {
    let dir = tempfile::tempdir().unwrap();
    let long = |text: &str| format!("{text} {}", story(5, 1));
    let lines = [long("Call 555-1234."), long("It is secret."), "Call 77".to_owned()];
    let lines = lines.map(|text| serde_json::json!({ "text": text }).to_string());
    std::fs::write(dir.path().join("in.jsonl"), lines.join("\n")).unwrap();
    let source = files(&[&dir.path().join("in.jsonl")]);
    let output = dir.path().join("out");
    let masking =
        Preparation { anonymise: Some(&Digits), ..preparation(&source, &output, Choice::Bytes) };
    let report = masking.run(&mut Nobody).unwrap().report;
    assert_eq!(report.masked, BTreeMap::from([("digit".to_owned(), 7)]));
    assert_eq!(report.dropped["personal-data"].examples, ["it is secret"]);
    assert!(report.dropped["length"].examples[0].ends_with("Call ##"), "examples are masked too");
    let text = std::fs::read_to_string(output.join("shard-000000.txt")).unwrap();
    assert!(text.starts_with("Call ###-####."), "{text}");
}

#[test]
fn folders_that_hold_something_else_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 60);
    let source = files(&[&dir.path().join("in")]);
    let output = dir.path().join("out");
    let told = |preparation: Preparation| preparation.run(&mut Nobody).unwrap_err().to_string();
    std::fs::create_dir_all(&output).unwrap();
    std::fs::write(output.join("letter.txt"), "mine").unwrap();
    assert!(told(preparation(&source, &output, Choice::Bytes)).contains("holds other files"));
    std::fs::remove_file(output.join("letter.txt")).unwrap();
    let stopped = preparation(&source, &output, Choice::Bytes).run(&mut Impatient(Cell::new(1)));
    assert!(matches!(stopped, Err(PrepareError::Interrupted(_))));
    let other =
        Preparation { rules: Rules::none(), ..preparation(&source, &output, Choice::Bytes) };
    assert!(told(other).contains("unfinished preparation"));
    preparation(&source, &output, Choice::Bytes).run(&mut Nobody).unwrap();
    let other = Preparation { shard_bytes: 1, ..preparation(&source, &output, Choice::Bytes) };
    assert!(told(other).contains("prepared otherwise"));
}

#[test]
fn nothing_kept_tells_which_rule_it_was() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "Short.\n\nShorter.").unwrap();
    let output = dir.path().join("out");
    let source = files(&[&dir.path().join("a.txt")]);
    let error = preparation(&source, &output, Choice::Bytes).run(&mut Nobody).unwrap_err();
    assert!(error.to_string().contains("dropped by length"), "{error}");
    let mut rules = Rules::none();
    rules.switch("stop-words", false).unwrap();
    let kept = Preparation { rules, ..preparation(&source, &output, Choice::Bytes) };
    assert_eq!(kept.run(&mut Nobody).unwrap().report.kept.documents, 1);
}

#[test]
fn the_manifest_s_form_is_fixed_and_nonsense_is_refused() {
    let text = "{\n  \"kind\": \"shoal prepared data\",\n  \"version\": 1,\n  \"tokenizer\": {\n    \"kind\": \"bytes\"\n  },\n  \"width\": 1,\n  \"bytes\": 3,\n  \"tokens\": 3,\n  \"documents\": 1,\n  \"shards\": [\n    {\n      \"file\": \"shard-000000.txt\",\n      \"bytes\": 3,\n      \"tokens\": 3,\n      \"documents\": 1,\n      \"blake3\": \"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\"\n    }\n  ]\n}\n";
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(manifest.canonical()).unwrap(), text);
    let squeezed: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(Manifest::parse(squeezed.as_bytes()).unwrap().digest(), manifest.digest());
    let rows = [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"width\": 1", "\"width\": 2", "1 would be right"),
        ("shard-000000.txt", "../../etc/passwd", "no shard's name"),
        ("shard-000000.txt", ".hidden", "no shard's name"),
        ("\"blake3\": \"64", "\"blake3\": \"6", "64 hex digits"),
        ("\"bytes\": 3,\n  \"tokens\"", "\"bytes\": 4,\n  \"tokens\"", "not the shards' sum"),
        (
            "\"documents\": 1,\n  \"shards\"",
            "\"documents\": 2,\n  \"shards\"",
            "not the shards' sum",
        ),
        ("\"tokens\": 3,\n      ", "\"tokens\": 18446744073709551615,\n      ", "not 1 a token"),
        ("\"width\"", "\"breadth\"", "breadth"),
    ];
    for (from, to, reason) in rows {
        assert!(text.contains(from), "{from}");
        let error = Manifest::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn inspection_tells_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    input(&dir.path().join("in"), 60);
    let source = files(&[&dir.path().join("in")]);
    let output = dir.path().join("out");
    let manifest = preparation(&source, &output, Choice::Bpe { vocab: 300 })
        .run(&mut Nobody)
        .unwrap()
        .manifest;
    let inspection = inspect::Inspection::open(&output).unwrap();
    let text = inspection.text();
    for part in [
        manifest.digest().to_string(),
        format!("tokens      {}", manifest.tokens),
        "near-duplicate".into(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert_eq!(
        inspection.lengths().iter().map(|(_, count)| count).sum::<u64>(),
        manifest.documents
    );
    let samples = inspection.samples(5, 80, 3).unwrap();
    assert_eq!(samples, inspection.samples(5, 80, 3).unwrap());
    let whole: String = (0..60).flat_map(|n| (0..4).map(move |i| story(n, i))).collect();
    for sample in &samples {
        assert!(sample.len() > 20 && whole.contains(&sample[..20]), "{sample}");
    }
    let mut rng = Rng::new(1);
    assert_ne!(samples, inspection.samples(5, 80, rng.next()).unwrap());
}
