//! Keys and tokens: what their issuers' prefixes give away, private keys, and what is assigned to a name like `api_key`.

use super::numbers::{around, expression};
use super::{Finding, Kind};
use regex::Regex;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

/// A private key is looked for no further than this behind its first line: RSA of 16,384 bits takes 12.7 KiB.
pub(super) const PEM_BYTES_MAX: usize = 16 << 10;
/// The longest token: a JWT with many claims.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far behind a name its value may begin and end.
const VALUE_BYTES_MAX: usize = 512;
/// The least entropy of a value that no prefix gives away, in bits a character: hex digits have up to 4, words about 3 (guess).
const ENTROPY_MIN: f64 = 2.8;

/// Prefixes with what follows them, as the issuers and their scanners for leaked keys publish them.
const ISSUED: [(&str, &str); 30] = [
    ("AKIA", r"AKIA[A-Z2-7]{16}\b"),
    ("ASIA", r"ASIA[A-Z2-7]{16}\b"),
    ("ghp_", r"ghp_[A-Za-z0-9]{36,}"),
    ("gho_", r"gho_[A-Za-z0-9]{36,}"),
    ("ghu_", r"ghu_[A-Za-z0-9]{36,}"),
    ("ghs_", r"ghs_[A-Za-z0-9]{36,}"),
    ("ghr_", r"ghr_[A-Za-z0-9]{36,}"),
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{22,}"),
    ("glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("xapp-", r"xapp-[A-Za-z0-9-]{10,}"),
    (
        "hooks.slack.com/services/",
        r"hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
    ),
    ("AIza", r"AIza[A-Za-z0-9_-]{35}"),
    ("ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("sk_", r"sk_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("rk_", r"rk_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("pk_", r"pk_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("whsec_", r"whsec_[A-Za-z0-9+/=]{24,}"),
    ("sk-", r"sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{24,}"),
    ("hf_", r"hf_[A-Za-z0-9]{30,}"),
    ("npm_", r"npm_[A-Za-z0-9]{36}"),
    ("pypi-", r"pypi-[A-Za-z0-9_-]{40,}"),
    ("SG.", r"SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{30,}"),
    ("dop_v1_", r"dop_v1_[a-f0-9]{64}"),
    ("shpat_", r"shpat_[a-fA-F0-9]{32}"),
    ("SK", r"SK[0-9a-f]{32}\b"),
    (":AA", r":AA[A-Za-z0-9_-]{33}\b"),
    ("eyJ", r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("cio", r"cio[A-Za-z0-9]{32}\b"),
];

/// Names whose values are secret, in lower case without `_` and `-` being told apart.
const NAMES: [&str; 12] = [
    "key",
    "token",
    "secret",
    "passwd",
    "password",
    "pwd",
    "bearer",
    "passwort",
    "contraseña",
    "mot de passe",
    "credential",
    "auth",
];

static ISSUED_FORMS: LazyLock<Vec<Regex>> =
    LazyLock::new(|| ISSUED.iter().map(|(_, form)| expression(&format!("^{form}"))).collect());

/// `="value"`, `: value`, ` => 'value'`, `Bearer value`, behind a name.
static VALUE: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r#"^[A-Za-z0-9_-]{0,24}["'`]?(?:\s{0,4}(?::=|=>|==?|:)\s{0,4}(?:(?:Bearer|Basic|Token)\s+)?|\s+)"#,
        r#"["'`]?([A-Za-z0-9+/=_.~!@#$%^&*?-]{8,})"#,
    ))
});

/// What begins a secret, to be looked for all at once: the issuers' prefixes, the first line of a private key, secret names.
pub(super) fn beginnings() -> impl Iterator<Item = &'static str> {
    ISSUED.iter().map(|(prefix, _)| *prefix).chain([PEM]).chain(NAMES)
}

const PEM: &str = "-----BEGIN ";

/// Finds the secret that begins with the `index`-th of [`beginnings`] at `hit`.
pub(super) fn find(text: &str, index: usize, hit: Range<usize>, found: &mut Vec<Finding>) {
    let span = match index.checked_sub(ISSUED.len()) {
        None => issued(text, index, hit),
        Some(0) => private_key(text, hit.start),
        Some(name) => assigned(text, NAMES[name - 1], hit),
    };
    found.extend(span.map(|span| Finding { kind: Kind::Secret, span }));
}

fn issued(text: &str, index: usize, hit: Range<usize>) -> Option<Range<usize>> {
    let before = text[..hit.start].chars().next_back();
    let prefix = ISSUED[index].0;
    if !text[hit.clone()].eq(prefix) || prefix != ":AA" && before.is_some_and(char::is_alphanumeric)
    {
        return None;
    }
    let end = around(text, &hit, 0, TOKEN_BYTES_MAX).end;
    let token = ISSUED_FORMS[index].find(&text[hit.start..end])?;
    Some(hit.start..hit.start + token.end())
}

/// From its first line to its last; where that is missing, as far as its lines go on.
fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    let end = around(text, &(start..start), 0, PEM_BYTES_MAX).end;
    let block = &text[start..end];
    let head = block.find("PRIVATE KEY").filter(|at| *at < 40)?;
    let body = head + block[head..].find("-----")? + 5;
    let length = match block
        .find("-----END ")
        .and_then(|at| Some(at + 9 + block[at + 9..].find("-----")? + 5))
    {
        Some(length) => length,
        None => body + block[body..].find(|c: char| !in_key(c)).unwrap_or(block.len() - body),
    };
    Some(start..start + length)
}

/// Base64, line ends, written out or escaped.
fn in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=\r\n\\".contains(c)
}

/// The value that is assigned to a secret name.
fn assigned(text: &str, name: &str, hit: Range<usize>) -> Option<Range<usize>> {
    let end = around(text, &hit, 0, VALUE_BYTES_MAX).end;
    let value = VALUE.captures(&text[hit.end..end])?.get(1)?;
    let said = &text[hit.end..hit.end + value.start()];
    // Behind a bare word only `Bearer` has its value at once.
    let assigns = said.contains(['=', ':']) || name == "bearer";
    let text = value.as_str().trim_end_matches(['.', '!', '?', '&']);
    let start = hit.end + value.start();
    let secret = match name {
        "passwd" | "password" | "pwd" | "passwort" | "contraseña" | "mot de passe" => {
            is_password(text)
        }
        _ => is_random(text),
    };
    (assigns && secret).then(|| start..start + text.len())
}

/// Long, with digits, and not made of words.
fn is_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let code = value.contains("::") || value.contains("env.") || value.contains("ENV");
    value.len() >= 16 && (digits >= 2 || mixed(value)) && !code && entropy(value) >= ENTROPY_MIN
}

/// Capitals among small letters more often than words have them.
fn mixed(value: &str) -> bool {
    let turns = value.as_bytes().windows(2);
    turns.filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count() >= 4
}

/// At least two sorts of characters beside small letters, or digits among letters.
fn is_password(value: &str) -> bool {
    let has = |sort: fn(&u8) -> bool| value.bytes().any(|byte| sort(&byte));
    let sorts = [
        has(u8::is_ascii_digit),
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase),
        has(|byte| b"!@#$%^&*?~+".contains(byte)),
    ];
    sorts.iter().filter(|sort| **sort).count() >= 2 && !value.starts_with(['$', '%', '*'])
}

/// Shannon's entropy of the characters, in bits a character.
fn entropy(text: &str) -> f64 {
    let bytes: BTreeSet<u8> = text.bytes().collect();
    let share = |byte: &u8| text.bytes().filter(|b| b == byte).count() as f64 / text.len() as f64;
    bytes.iter().map(share).map(|p| -p * p.log2()).sum()
}
