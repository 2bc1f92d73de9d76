//! Documents in pieces: wherever they are cut, the result is that of the whole.

use super::planted::document;
use crate::anonymise::{Action, Anonymiser, Cleaned, Kind, Rules};
use shoal_protocol::data::rng::Rng;

fn anonymiser() -> Anonymiser {
    Anonymiser::new(&Rules::default(), None).unwrap()
}

fn in_pieces(anonymiser: &Anonymiser, text: &str, mut size: impl FnMut() -> usize) -> Cleaned {
    let mut stream = anonymiser.stream();
    let mut whole = Cleaned::default();
    let mut rest = text;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let mut end = size().clamp(1, rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        parts.push(stream.push(&rest[..end]));
        rest = &rest[end..];
    }
    parts.push(stream.finish());
    for part in parts {
        whole.text += &part.text;
        whole.counts.merge(&part.counts);
        whole.findings.extend(part.findings);
        whole.drop = part.drop;
    }
    whole
}

#[test]
fn cuts_change_nothing() {
    let mut rng = Rng::new(3);
    let anonymiser = anonymiser();
    let text: String = (0..20).map(|_| document(&mut rng, 20).text).collect();
    let whole = anonymiser.clean(&text);
    assert!(whole.counts.total() > 100);
    for most in [1, 7, 100, 5000] {
        assert_eq!(
            in_pieces(&anonymiser, &text, || 1 + rng.below(most) as usize),
            whole,
            "pieces of {most}"
        );
    }
}

#[test]
fn no_window_cuts_an_item() {
    let anonymiser = anonymiser();
    // Windows end at 256 KiB less 20: items are moved over that place byte by byte.
    for shift in 0..60 {
        let before = "word ".repeat((236 << 10) / 5 - 12) + &"x".repeat(shift);
        let text = format!("{before} jane.doe@example.net, {}", "word ".repeat(20_000));
        let cleaned = in_pieces(&anonymiser, &text, || 4096);
        let places: Vec<_> = cleaned.findings.iter().map(|one| &text[one.span.clone()]).collect();
        assert_eq!(places, ["jane.doe@example.net"], "shifted by {shift}");
        assert_eq!(cleaned.text, text.replace("jane.doe@example.net", "<EMAIL>"));
    }
}

#[test]
fn a_long_document_is_handed_out_as_it_comes() {
    let anonymiser = anonymiser();
    let mut stream = anonymiser.stream();
    let (mut given, mut taken) = (0, 0);
    for _ in 0..300 {
        let piece = "Nothing here needs to be hidden at all. ".repeat(200);
        taken += piece.len();
        given += stream.push(&piece).text.len();
        assert!(taken - given <= 276 << 10, "{taken} taken, {given} given out");
    }
    assert_eq!(given + stream.finish().text.len(), taken);
}

#[test]
fn a_document_to_drop_is_told_from_there_on() {
    let mut rules = Rules::default();
    rules.set(Kind::Card, Action::Drop);
    let anonymiser = Anonymiser::new(&rules, None).unwrap();
    assert!(anonymiser.clean("pay 4111 1111 1111 1111 now").drop);
    assert!(!anonymiser.clean("pay a@b.org now").drop);
}

#[test]
fn kinds_that_are_off_stay_and_are_not_taken_for_others() {
    let mut rules = Rules::default();
    rules.set(Kind::Iban, Action::Off);
    rules.set(Kind::Name, Action::Off);
    let anonymiser = Anonymiser::new(&rules, None).unwrap();
    let text = "Elizabeth Bennet pays to DE89 3704 0044 0532 0130 00.";
    let cleaned = anonymiser.clean(text);
    assert_eq!((cleaned.text.as_str(), cleaned.counts.total()), (text, 0));
}
