//! Planted pairs of known similarity, and texts of which it is known which go.

use super::*;
use crate::data::rng::Rng;
use crate::prepare::sort::Sorter;

/// Texts of 1,000 words each whose sets of shingles have about the wanted similarity: the second has some words changed.
/// One changed word changes 5 of its shingles.
fn pair(rng: &mut Rng, similarity: f64) -> [String; 2] {
    let words: Vec<String> = (0..1000).map(|_| format!("w{}", rng.below(1 << 40))).collect();
    // s shared of n shingles: J = s / (2 n - s).
    let shared = 2.0 * similarity / (1.0 + similarity);
    let changes = (996.0 * (1.0 - shared) / 5.0).round() as usize;
    let mut other = words.clone();
    // Evenly spread, so that no two changes share a shingle while 5 x changes < 1000.
    (0..changes).for_each(|n| other[2 + n * 996 / changes.max(1)] = format!("x{}", rng.next()));
    [words.join(" "), other.join(" ")]
}

fn jaccard(a: &str, b: &str) -> f64 {
    let shingles = |text: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.windows(5).map(|run| run.join(" ")).collect::<std::collections::BTreeSet<_>>()
    };
    let (a, b) = (shingles(a), shingles(b));
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

fn mark(text: &str, at: u64) -> Mark {
    Mark { digest: *blake3::hash(text.as_bytes()).as_bytes(), at, signature: minhash(text) }
}

/// What goes of some texts.
fn search(texts: &[String], near: Option<f64>, memory: usize) -> Vec<(u64, Verdict)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("marks");
    let bytes: Vec<u8> = texts.iter().flat_map(|text| mark(text, 0).to_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    let marks = Marks::new(std::fs::File::open(&path).unwrap());
    let (count, mut gone) = (texts.len() as u64, Vec::new());
    let search = Search { exact: true, near, memory };
    let twins = Twins::new(search, &marks, &path, count);
    let mut tell = |document, verdict| {
        gone.push((document, verdict));
        Ok(())
    };
    twins.find(dir.path(), count, |_| Ok(()), &mut tell).unwrap();
    gone
}

#[test]
fn planted_pairs_are_found_as_the_curve_says() {
    let (mut rng, pairs) = (Rng::new(11), 200);
    println!("similarity | share a band (expected) | dropped at 0.8");
    for wanted in [0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95] {
        let planted: Vec<[String; 2]> = (0..pairs).map(|_| pair(&mut rng, wanted)).collect();
        let real = jaccard(&planted[0][0], &planted[0][1]);
        assert!((real - wanted).abs() < 0.01, "{real} for {wanted}");
        let bands = Bands::new(0.8);
        let meet = |[a, b]: &&[String; 2]| {
            let (a, b) = (minhash(a), minhash(b));
            bands.keys(&a).zip(bands.keys(&b)).any(|(a, b)| a == b)
        };
        let met = planted.iter().filter(meet).count() as f64 / f64::from(pairs);
        let texts = planted.concat();
        let gone = search(&texts, Some(0.8), 1 << 16);
        assert!(gone.iter().all(|(document, _)| document % 2 == 1), "only the later of a pair");
        let share = gone.len() as f64 / f64::from(pairs);
        println!("{wanted:.2} | {met:.3} ({:.3}) | {share:.3}", bands.chance(real));
        // Four standard deviations of a share of 200.
        assert!((met - bands.chance(real)).abs() < 0.14, "{met} at {wanted}");
        match wanted {
            0.5 | 0.7 => assert!(share <= 0.02, "{share} of {wanted}"),
            0.75 => assert!(share < 0.25, "{share}"),
            0.85 => assert!(share > 0.8, "{share}"),
            0.9.. => assert!(share > 0.98, "{share} of {wanted}"),
            _ => {}
        }
    }
}

#[test]
fn estimates_lie_by_the_similarity() {
    let mut rng = Rng::new(3);
    for wanted in [0.0, 0.3, 0.6, 0.8, 0.95, 1.0] {
        let mean: f64 = (0..50)
            .map(|_| {
                let [a, b] = pair(&mut rng, wanted);
                mark(&a, 0).similarity(&mark(&b, 0))
            })
            .sum::<f64>()
            / 50.0;
        // The changes of a pair below 0.5 run into one another a little.
        assert!((mean - wanted).abs() < 0.03 || wanted < 0.3, "{mean} for {wanted}");
    }
}

#[test]
fn the_first_of_the_same_stays_and_chains_do_not_drag() {
    let text = |n: u64| (0..60).map(|i| format!("a{n}b{i}")).collect::<Vec<_>>().join(" ");
    let texts = [text(1), text(2), text(1), text(3), text(2), text(1)];
    let exact = |document, of| (document, Verdict::Exact { of });
    let expected = [exact(2, 0), exact(4, 1), exact(5, 0)];
    // Room for one key: everything goes over the disk.
    for (near, memory) in [(None, 16), (Some(0.8), 16), (Some(0.8), 1 << 20)] {
        assert_eq!(search(&texts, near, memory), expected, "{near:?}");
    }
    // B is near A, C is near B and not near A: B goes, and C stays, since what it is near to is not there.
    let words: Vec<String> = (0..400).map(|i| format!("w{i}")).collect();
    let changed = |upto: usize| {
        let word = |(i, word): (usize, &String)| {
            if i % 33 == 7 && i < upto { format!("x{i}") } else { word.clone() }
        };
        words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
    };
    let texts = [changed(0), changed(200), changed(400)];
    let near = [jaccard(&texts[0], &texts[1]), jaccard(&texts[0], &texts[2])];
    assert!(near[0] > 0.85 && near[1] < 0.75, "{near:?}");
    let gone: Vec<u64> = search(&texts, Some(0.8), 1 << 20).into_iter().map(|(n, _)| n).collect();
    assert_eq!(gone, [1]);
}

#[test]
fn words_count_not_how_they_are_written() {
    let plain = "the quick brown fox jumps over the lazy dog and runs";
    assert_eq!(
        minhash(plain),
        minhash("The quick, brown fox\njumps over the lazy dog -- and runs!")
    );
    assert_ne!(minhash(plain), minhash("the quick brown fox jumps over the lazy cat and runs"));
    assert_eq!(minhash("two words"), minhash("Two words."));
    assert_ne!(minhash("two words"), minhash("three words"));
}

#[test]
fn marks_come_back() {
    let mark = mark("some text of a few words more", 77);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("marks");
    std::fs::write(&path, [mark.to_bytes(), mark.to_bytes()].concat()).unwrap();
    let marks = Marks::new(std::fs::File::open(&path).unwrap());
    assert_eq!(marks.get(1).unwrap(), mark);
    assert!(marks.get(2).is_err());
}

#[test]
fn bands_follow_the_threshold() {
    for (threshold, bands, rows) in [(0.8, 16, 8), (0.9, 9, 14), (0.5, 42, 3)] {
        let found = Bands::new(threshold);
        assert_eq!((found.bands, found.rows), (bands, rows), "{threshold}");
        assert!(found.chance(threshold) >= 0.9);
    }
    assert!(Sorter::new(std::path::Path::new("."), "x", 0).sorted().is_ok());
}
