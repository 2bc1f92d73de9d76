//! Pseudonyms: the same for the same item, of its shape, with its checksum.

use super::formats;
use crate::anonymise::{Action, Anonymiser, Key, Kind, Rules};
use shoal_protocol::data::rng::Rng;

fn anonymiser(secret: &[u8]) -> Anonymiser {
    let mut rules = Rules::default();
    Kind::BUILT_IN.into_iter().for_each(|kind| rules.set(kind, Action::Pseudonym));
    Anonymiser::new(&rules, Some(Key::derive(secret))).unwrap()
}

#[test]
fn the_same_item_has_the_same_pseudonym_under_one_key() {
    let (one, other) = (anonymiser(b"one"), anonymiser(b"other"));
    let text = "a@b.org and A@B.org, DE89 3704 0044 0532 0130 00 and DE89370400440532013000, +49 30 1234567";
    let cleaned = one.clean(text);
    assert_eq!(cleaned, one.clean(text));
    assert_ne!(cleaned.text, other.clean(text).text);
    let words: Vec<&str> = cleaned.text.split([' ', ',']).collect();
    assert_eq!(words[0], words[2], "{}", cleaned.text);
    let ibans: Vec<String> = cleaned
        .text
        .split(", ")
        .nth(1)
        .unwrap()
        .split(" and ")
        .map(|i| i.replace(' ', ""))
        .collect();
    assert_eq!(ibans[0], ibans[1], "{}", cleaned.text);
}

#[test]
fn a_name_stays_one_person_s() {
    let cleaned = anonymiser(b"k")
        .clean("Yesterday Elizabeth Bennet came. Miss Bennet and ELIZABETH BENNET smiled.")
        .text;
    let words: Vec<&str> = cleaned.split([' ', '.']).collect();
    assert_eq!((words[0], words[3]), ("Yesterday", "came"), "{cleaned}");
    assert_eq!(words[2], words[6], "{cleaned}");
    assert_eq!(words[8..10].join(" "), words[1..3].join(" ").to_uppercase(), "{cleaned}");
    assert!(!cleaned.contains("Bennet"));
}

#[test]
fn pseudonyms_are_of_their_kind_and_never_the_item() {
    let anonymiser = anonymiser(b"k");
    let mut rng = Rng::new(11);
    for kind in [Kind::Email, Kind::Ip, Kind::Iban, Kind::Card, Kind::National] {
        for _ in 0..40 {
            let item = formats::item(kind, &mut rng);
            let text = format!("It was {item}.");
            let cleaned = anonymiser.clean(&text).text;
            assert_ne!(cleaned, text);
            let again = anonymiser.clean(&cleaned);
            assert_eq!(again.findings.len(), 1, "{text} became {cleaned}");
            assert_eq!(again.findings[0].kind, kind, "{text} became {cleaned}");
            assert!(kind != Kind::Email || cleaned.ends_with("@example.org."), "{cleaned}");
        }
    }
}

#[test]
fn shapes_are_kept() {
    let anonymiser = anonymiser(b"k");
    let shape = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_digit() {
                    '9'
                } else if c.is_lowercase() {
                    'a'
                } else {
                    c
                }
            })
            .collect()
    };
    let rows = [
        "call 212-555-0147 now",
        "call +49 (0)30 1234-5678 now",
        "an ghp_16c7e42f292c6912e7710c838347ae178b4a",
    ];
    for row in rows {
        let cleaned = anonymiser.clean(row).text;
        assert!(cleaned != row && shape(&cleaned) == shape(row), "{row} became {cleaned}");
    }
    let cleaned = anonymiser.clean("at Hauptstraße 12, 10115 Berlin and 12 High Street today").text;
    assert!(cleaned.contains("straße ") && cleaned.contains(" Street today"), "{cleaned}");
}
