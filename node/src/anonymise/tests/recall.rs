//! How much of a planted set is found, and how much else.

use super::planted::{Planted, Score, document};
use crate::anonymise::{Anonymiser, Kind, Rules};
use shoal_protocol::data::rng::Rng;
use std::time::SystemTime;

/// Documents of the set; about 3,000 items.
const DOCUMENTS: usize = 500;
const SENTENCES: usize = 12;

/// A new seed each run, or that of SHOAL_SEED.
fn seed() -> u64 {
    let given = std::env::var("SHOAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    given.unwrap_or(now.as_nanos() as u64 % 1_000_000)
}

fn set(seed: u64) -> Vec<Planted> {
    let mut rng = Rng::new(seed);
    (0..DOCUMENTS).map(|_| document(&mut rng, SENTENCES)).collect()
}

/// What patterned kinds must reach; names are found by lists, addresses by street words, and reach less.
fn wanted(kind: Kind) -> f64 {
    match kind {
        Kind::Name => 0.75,
        Kind::Address => 0.85,
        _ => 0.95,
    }
}

#[test]
fn planted_items_are_found_and_little_else() {
    let seed = seed();
    let documents = set(seed);
    let anonymiser = Anonymiser::new(&Rules::default(), None).unwrap();
    let mut scores = Kind::BUILT_IN.map(|kind| (kind, Score::default()));
    for planted in &documents {
        let cleaned = anonymiser.clean(&planted.text);
        for (kind, score) in &mut scores {
            score.add(planted, &cleaned.findings, *kind);
            if std::env::var_os("SHOAL_SHOW").is_some() {
                planted.show(&cleaned.findings, *kind);
            }
        }
    }
    if let Some(path) = std::env::var_os("SHOAL_PLANTED") {
        std::fs::write(path, documents.iter().map(Planted::json).collect::<String>()).unwrap();
    }
    assert!(scores.iter().map(|(_, score)| score.planted).sum::<usize>() >= 1000);
    println!("seed {seed}\nkind          items  recall  precision  F2");
    for (kind, score) in &scores {
        let (name, items) = (kind.name(), score.planted);
        println!(
            "{name:12} {items:6}  {:.3}   {:.3}      {:.3}",
            score.recall(),
            score.precision(),
            score.f2()
        );
    }
    for (kind, score) in &scores {
        assert!(score.f2() >= wanted(*kind), "SHOAL_SEED={seed}: {}: {score:?}", kind.name());
    }
}
