//! Pseudonyms: under one secret key the same item always becomes the same other item of its shape.
//!
//! They are drawn from keyed BLAKE3, so that nobody without the key can tell what stood there by trying all numbers.

use super::checksum::{Check, compact};
use super::names::{given, known, surname};
use super::numbers::likeness;
use super::{Kind, name, national};
use std::net::Ipv6Addr;

/// So many texts of a shape are tried for one that holds a checksum: the rarest, Norway's, holds for one in 3,000.
const TRIES_MAX: usize = 40_000;

/// The secret that pseudonyms are made under.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// A key from a secret text, like the content of a file. It is as hard to guess as that.
    pub fn derive(secret: &[u8]) -> Key {
        Key(blake3::derive_key("shoal 2026 pseudonyms in training text", secret))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Key(..)")
    }
}

/// Makes pseudonyms.
pub(super) struct Pseudonyms {
    key: Key,
}

/// Bytes that follow from the key and an item.
struct Draw(blake3::OutputReader);

impl Draw {
    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A character of the same sort as `c`.
    fn like(&mut self, c: char) -> char {
        let from =
            |first: u8, count: u64, draw: &mut Draw| char::from(first + draw.below(count) as u8);
        match c {
            '0'..='9' => from(b'0', 10, self),
            c if c.is_uppercase() => from(b'A', 26, self),
            c if c.is_alphabetic() => from(b'a', 26, self),
            other => other,
        }
    }

    /// A text of the same shape, all but its first `keep` characters new.
    fn shape(&mut self, text: &str, keep: usize) -> String {
        text.chars().enumerate().map(|(i, c)| if i < keep { c } else { self.like(c) }).collect()
    }

    /// A text of the same shape for which `holds`.
    fn such(&mut self, text: &str, keep: usize, holds: impl Fn(&str) -> bool) -> Option<String> {
        (0..TRIES_MAX).map(|_| self.shape(text, keep)).find(|tried| holds(tried))
    }
}

impl Pseudonyms {
    pub(super) fn new(key: Key) -> Pseudonyms {
        Pseudonyms { key }
    }

    /// What `item` becomes; none if nothing of its shape was found that holds its checksum.
    pub(super) fn of(
        &self,
        kind: Kind,
        called: &str,
        item: &str,
        check: Option<Check>,
    ) -> Option<String> {
        let mut draw = self.draw(called, &plain(kind, item));
        match kind {
            Kind::Email => Some(email(&mut draw)),
            Kind::Phone => Some(phone(&mut draw, item)),
            Kind::Ip => Some(ip(&mut draw, item)),
            Kind::Iban => draw.such(item, 2, national::is_iban),
            Kind::Card => draw.such(item, 4, likeness(kind, item)?),
            Kind::National => draw.such(item, 1, likeness(kind, item)?),
            Kind::Secret => Some(secret(&mut draw, item)),
            Kind::Credentials => Some(draw.shape(item, 0)),
            Kind::Address => Some(self.address(&mut draw, item)),
            Kind::Name => Some(self.name(item)),
            Kind::Custom(_) => {
                draw.such(item, 0, |tried| check.is_none_or(|check| check(&compact(tried))))
            }
        }
    }

    fn draw(&self, called: &str, plain: &str) -> Draw {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(called.as_bytes()).update(&[0]).update(plain.as_bytes());
        Draw(hasher.finalize_xof())
    }

    /// Each word of a name on its own, so that `Anna Berg` and `Ms Berg` stay one person.
    fn name(&self, item: &str) -> String {
        let words: Vec<&str> = item.split_inclusive([' ', '-', '\u{a0}', '.']).collect();
        let last = words.len() - 1;
        words.iter().enumerate().map(|(i, word)| self.name_word(word, i == last)).collect()
    }

    fn name_word(&self, word: &str, last: bool) -> String {
        let stem = word.trim_end_matches([' ', '-', '\u{a0}', '.']);
        let tail = &word[stem.len()..];
        if stem.is_empty() || stem.starts_with(char::is_lowercase) {
            return word.to_owned();
        }
        let small = name::titled(stem);
        let mut draw = self.draw("name", &small);
        let upper = stem.chars().nth(1).is_some_and(char::is_uppercase);
        let new = match stem.chars().count() {
            1 => draw.like('A').to_string(),
            _ if !last && known(&small).given.is_some() => given(draw.next()).to_owned(),
            _ => surname(draw.next()).to_owned(),
        };
        (if upper && stem.chars().count() > 1 { new.to_uppercase() } else { new }) + tail
    }

    /// House number, names and codes new; the words for streets, states and small words as they were.
    fn address(&self, draw: &mut Draw, item: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for c in item.chars().chain(['\n']) {
            if c.is_alphanumeric() {
                word.push(c);
            } else {
                out.push_str(&self.address_word(draw, &word));
                word.clear();
                out.push(c);
            }
        }
        out.pop();
        out
    }

    fn address_word(&self, draw: &mut Draw, word: &str) -> String {
        let small = word.to_lowercase();
        let suffix = [
            "straße", "strasse", "weg", "platz", "allee", "gasse", "ring", "damm", "ufer",
            "chaussee",
        ];
        let suffix =
            suffix.into_iter().find(|suffix| small.ends_with(suffix) && small.len() > suffix.len());
        let street =
            super::address::words().any(|known| known.trim_matches([' ', '.', '/']) == word);
        let new = |text: &str| surname(self.draw("address", text).next()).to_owned();
        match suffix {
            _ if word.contains(|c: char| c.is_ascii_digit()) => {
                draw.shape(word, 0).replacen('0', "1", 1)
            }
            _ if street || word.len() <= 2 || word.starts_with(char::is_lowercase) => {
                word.to_owned()
            }
            Some(suffix) => new(&small) + suffix,
            None => new(&small),
        }
    }
}

/// An item without what may differ in how it is written.
fn plain(kind: Kind, item: &str) -> String {
    match kind {
        Kind::Phone => item.chars().filter(char::is_ascii_digit).collect(),
        Kind::Iban | Kind::Card | Kind::National => {
            item.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
        }
        Kind::Secret | Kind::Credentials | Kind::Custom(_) => item.to_owned(),
        _ => item.to_lowercase(),
    }
}

fn email(draw: &mut Draw) -> String {
    let (given, surname) = (given(draw.next()), surname(draw.next()));
    format!("{given}.{surname}{:02}@example.org", draw.below(100)).to_lowercase()
}

/// The country and area stay, the last seven digits are new; in North America they are of the range kept for fiction.
fn phone(draw: &mut Draw, item: &str) -> String {
    let all = item.bytes().filter(u8::is_ascii_digit).count();
    let american = item.starts_with(['(', '2', '3', '4', '5', '6', '7', '8', '9']) && all == 10
        || item.starts_with("+1") && all == 11;
    let new = match american {
        true => format!("55501{:02}", draw.below(100)),
        false => format!("{:07}", draw.below(10_000_000)),
    };
    let mut place = 0;
    let mut next = |c: char| {
        place += usize::from(c.is_ascii_digit());
        match (c.is_ascii_digit(), (place + 7).checked_sub(all + 1)) {
            (true, Some(at)) => char::from(new.as_bytes()[at.min(6)]),
            _ => c,
        }
    };
    item.chars().map(&mut next).collect()
}

/// An address of the ranges kept for documentation (RFC 5737, RFC 3849).
fn ip(draw: &mut Draw, item: &str) -> String {
    if item.contains(':') {
        let low = [(); 6].map(|()| draw.next() as u16);
        let groups = [0x2001, 0xdb8, low[0], low[1], low[2], low[3], low[4], low[5]];
        return Ipv6Addr::from(groups).to_string();
    }
    let nets = ["192.0.2", "198.51.100", "203.0.113"];
    format!("{}.{}", nets[draw.below(3) as usize], 1 + draw.below(254))
}

/// What the issuer's prefix is, and the first and last line of a private key, stays.
fn secret(draw: &mut Draw, item: &str) -> String {
    if item.starts_with("-----") {
        let lines = item.split_inclusive('\n');
        return lines
            .map(|line| if line.starts_with('-') { line.to_owned() } else { draw.shape(line, 0) })
            .collect();
    }
    let prefix = item.rfind(['_', '-']).filter(|at| *at < 12).map_or(4, |at| at + 1);
    draw.shape(item, prefix.min(item.len() / 2))
}
