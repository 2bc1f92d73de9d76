//! Text in one form: Unicode NFC, one kind of line end, nothing that is not seen.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// What the same text looks like always: line ends are `\n`, control characters but tabs are gone, as are soft hyphens, byte
/// order marks, zero-width spaces and marks of direction; rare spaces are plain ones; NFC; no spaces at the end of a line, at
/// most one empty line in a row, none at either end. The zero-width joiners stay: Persian, Hindi and emoji are spelt with them.
pub fn normalise(text: &str) -> String {
    let seen = visible(text);
    let composed: Cow<str> = match is_nfc_quick(seen.chars()) {
        IsNormalized::Yes => Cow::Borrowed(&seen),
        _ => Cow::Owned(seen.nfc().collect()),
    };
    tidy_lines(&composed)
}

fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        out.extend(kept(char));
    }
    out
}

/// What becomes of a character.
fn kept(char: char) -> Option<char> {
    match char {
        ' '..='~' | '\n' | '\t' => Some(char),
        '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' => Some(' '),
        '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => None,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        char if char.is_control() => None,
        char => Some(char),
    }
}

fn tidy_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_for_what_looks_the_same() {
        let rows = [
            ("a\r\nb\rc\u{2028}d\u{85}e", "a\nb\nc\nd\ne"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("co\u{ad}operate zero\u{200b}width\u{feff}", "cooperate zerowidth"),
            ("a\u{a0}b\u{2009}c", "a b c"),
            ("bell\u{7} tab\there\u{0}", "bell tab\there"),
            ("\u{202e}abc\u{202c}", "abc"),
            ("one  \n\n\n\n two \n", "one\n\n two"),
            ("\n\n\nx", "x"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(normalise(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "\\PC*|[ \\t\\r\\n\\x00-\\x1f\u{ad}\u{301}a-c]*") {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
