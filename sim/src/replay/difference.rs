//! The first output that differs, told so that a person sees what.

use shoal_protocol::event::{Input, Output};
use shoal_protocol::recording::{Came, Played};
use shoal_protocol::wire::to_cbor;
use std::fmt::Debug;

/// Characters of a line before and after the first that differs.
const BEFORE: usize = 120;
const AFTER: usize = 240;

/// What was recorded and what comes now, if that is not the same.
pub fn between(recorded: &Came, played: &Played) -> Option<String> {
    let lines = match (recorded == &played.came, played.asked_alike) {
        (true, true) => return None,
        (true, false) => vec![KEYS.to_owned()],
        (false, true) => vec![outcomes(recorded, played)],
        (false, false) => vec![outcomes(recorded, played), KEYS.to_owned()],
    };
    Some(lines.join("\n"))
}

const KEYS: &str = "of its keys it asks something else than was recorded";

/// An input, cut where it grows long.
pub fn brief(input: &Input) -> String {
    window(&format!("{input:?}"), 0)
}

fn outcomes(recorded: &Came, played: &Played) -> String {
    match (recorded, recorded.outputs(), &played.came) {
        (Came::Panic, ..) => format!(
            "recorded: a panic of the machine\nreplayed: {} outputs and no panic",
            played.outputs.len()
        ),
        (_, _, Came::Panic) => "recorded: no panic\nreplayed: a panic of the machine".into(),
        (Came::Outputs(_), Some(before), _) => outputs(&before, &played.outputs),
        (Came::Outputs(bytes), None, _) => format!(
            "recorded: {} bytes, which are no outputs of this build's protocol\nreplayed: {} outputs",
            bytes.len(),
            played.outputs.len()
        ),
        (Came::Digest(digest), ..) => format!(
            "recorded: outputs too long to keep, of digest {digest}\nreplayed: {} outputs of another",
            played.outputs.len()
        ),
    }
}

fn outputs(before: &[Output], now: &[Output]) -> String {
    let same = before.iter().zip(now).take_while(|(a, b)| to_cbor(a) == to_cbor(b)).count();
    let (recorded, replayed) = told(before.get(same), now.get(same));
    format!(
        "{} outputs were recorded and {} come now; number {} is the first that differs:\n  recorded: {recorded}\n  replayed: {replayed}",
        before.len(),
        now.len(),
        same + 1
    )
}

/// Both in words, or in bytes if the words are the same: names are shortened in them.
fn told(before: Option<&Output>, now: Option<&Output>) -> (String, String) {
    let [a, b] = [before, now].map(words);
    if a != b {
        let place = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
        return (window(&a, place), window(&b, place));
    }
    let [a, b] = [before, now].map(|output| output.map(to_cbor).unwrap_or_default());
    let place = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let hex = |bytes: &[u8]| -> String {
        let digits: Vec<String> =
            bytes.iter().skip(place).take(32).map(|byte| format!("{byte:02x}")).collect();
        format!("{}, from its byte {place} on {}", window(&words(before), 0), digits.concat())
    };
    (hex(&a), hex(&b))
}

fn words(output: Option<&impl Debug>) -> String {
    output.map_or("nothing".into(), |output| format!("{output:?}"))
}

/// The text around a place.
fn window(text: &str, place: usize) -> String {
    let (start, end) = (place.saturating_sub(BEFORE), place + AFTER);
    let shown: String = text.chars().skip(start).take(end - start).collect();
    let ellipsis = |cut: bool| if cut { "…" } else { "" };
    format!("{}{shown}{}", ellipsis(start > 0), ellipsis(text.chars().count() > end))
}
