//! Made text, and copies planted in it.

use super::*;
use crate::data::stories::story;
use crate::prepare::filter::Rules;
use crate::prepare::near::Search;
use crate::prepare::read::Source;
use crate::prepare::{Choice, Nobody, Preparation, PrepareError, Report};
use std::path::Path;

fn make(
    source: &dyn Source,
    output: &Path,
    tokenizer: Choice,
    against: Option<Against>,
) -> Result<Report, PrepareError> {
    let preparation = Preparation {
        source,
        output: output.to_owned(),
        rules: Rules::none(),
        search: Search { exact: true, near: None, memory: 1 << 16 },
        anonymise: None,
        tokenizer,
        shard_bytes: 1 << 20,
        batch_bytes: 1 << 20,
        against,
        passed_over: 0,
    };
    preparation.run(&mut Nobody).map(|prepared| prepared.report)
}

#[test]
fn stories_of_the_grammar_become_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let report = make(&stories(7, 30), &dir.path().join("a"), Choice::Bytes, None).unwrap();
    assert_eq!(report.kept.documents, 30);
    let text = std::fs::read_to_string(dir.path().join("a/shard-000000.txt")).unwrap();
    let expected: String = (0..30).map(|n| story(7, n) + "\n\n").collect();
    assert_eq!(text, expected);
}

#[test]
fn copies_are_measured_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for (name, tokenizer) in [("bytes", Choice::Bytes), ("pairs", Choice::Bpe { vocab: 350 })] {
        let learned = dir.path().join(name);
        let books = Made::new("books".into(), 2000, |n| Ok((0..8).map(|i| story(n, i)).collect()));
        make(&books, &learned, tokenizer, None).unwrap();
        // Documents 0 to 9 of words that occur nowhere, of which document n copies a part of n tenths, from far apart.
        let part = |n: u64| {
            let fresh = (0..100 - 10 * n).map(|i| format!("new{n}x{i}"));
            let copied = story(40 * n, 3);
            let copied: Vec<&str> = copied.split(' ').cycle().take(10 * n as usize).collect();
            fresh.chain(copied.into_iter().map(str::to_owned)).collect::<Vec<_>>().join(" ")
        };
        let made = Made::new("made".into(), 10, |n| Ok(part(n)));
        let against = Some(Against { folder: learned, overlap_max: 0.35 });
        let report =
            make(&made, &dir.path().join(format!("{name}-made")), Choice::Bytes, against).unwrap();
        let overlaps = report.overlaps.unwrap();
        assert_eq!(overlaps.documents, 10);
        // 10 n words have 10 n - 7 runs of 8, of 93 in all; some of those over the story's seam are new.
        let copied = report.dropped["copied"].documents;
        assert!((5..=6).contains(&copied), "{copied}");
        assert_eq!(report.kept.documents + copied, 10);
        assert!(overlaps.greatest > 0.7 && overlaps.greatest < 0.95, "{overlaps:?}");
        assert_eq!(overlaps.tenths.iter().sum::<u64>(), 10);
        assert!(overlaps.tenths[0] >= 2, "{overlaps:?}");
    }
}

#[test]
fn what_fails_while_making_is_told_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out");
    let broken = std::cell::Cell::new(true);
    let made = Made::new("made".into(), 50, |n| match n == 33 && broken.get() {
        true => Err(PrepareError::Making("no power".into())),
        false => Ok(format!("document {n}")),
    });
    let error = make(&made, &output, Choice::Bytes, None).unwrap_err().to_string();
    assert!(error.contains("no power"), "{error}");
    broken.set(false);
    assert_eq!(make(&made, &output, Choice::Bytes, None).unwrap().kept.documents, 50);
}
