//! What names a mailbox or a host: addresses of mail, IPv4, IPv6.

use super::numbers::{Stretch, around, expression, stands_alone};
use super::{Finding, Kind};
use memchr::memchr_iter;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

/// RFC 5321: 64 bytes before the `@`, 255 behind it.
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;
/// The longest text of an IPv6 address.
const IPV6_BYTES_MAX: usize = 45;

/// A mailbox as it is written on the net: no spaces, no quotes, a domain with a top level of letters.
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r"[\p{L}\p{N}_](?:[\p{L}\p{N}._%+&'’~$!#*-]*[\p{L}\p{N}_+-])?@",
        r"(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+(?:xn--[A-Za-z0-9-]+|\p{L}\p{L}+)",
    ))
});

/// The same with its signs spelt out, as people do to hide it.
static HIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r"(?i)[\p{L}\p{N}_][\p{L}\p{N}._%+&'-]* ?[\[({<] ?(?:at|@|ät) ?[\])}>] ?",
        r"(?:[\p{L}\p{N}][\p{L}\p{N}-]*(?: ?[\[({<] ?(?:dot|punkt|point|\.) ?[\])}>] ?|\.))+\p{L}\p{L}+",
    ))
});

static IPV4: LazyLock<Regex> =
    LazyLock::new(|| expression(r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b"));

/// Endings of files, which are no top-level domains: `icon@2x.png`.
const FILES: [&str; 12] =
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "html", "json", "tsx", "scss"];

/// Before four numbers with points these say that they count something else.
const COUNTED: [&str; 18] = [
    "version",
    "ver",
    "v",
    "release",
    "build",
    "section",
    "chapter",
    "firmware",
    "fig",
    "figure",
    "table",
    "clause",
    "article",
    "update",
    "kapitel",
    "abschnitt",
    "chapitre",
    "sección",
];

/// Finds addresses of mail.
pub(super) fn emails(text: &str, found: &mut Vec<Finding>) {
    for at in memchr_iter(b'@', text.as_bytes()) {
        let within = around(text, &(at..at + 1), LOCAL_BYTES_MAX + 1, DOMAIN_BYTES_MAX);
        let mut from = within.start;
        while let Some(hit) =
            EMAIL.find_at(&text[..within.end], from).filter(|hit| hit.start() < at)
        {
            if hit.range().contains(&at) && is_mailbox(text, hit.as_str(), hit.end()) {
                found.push(Finding { kind: Kind::Email, span: hit.range() });
            }
            from = hit.end();
        }
    }
}

/// Finds the mailbox whose spelt-out `@` stands at `at`, as `[at]`.
pub(super) fn hidden_email(text: &str, at: &Range<usize>, found: &mut Vec<Finding>) {
    let within = around(text, at, LOCAL_BYTES_MAX + 2, DOMAIN_BYTES_MAX);
    let hits = HIDDEN.find_iter(&text[within.clone()]);
    let mut spans = hits.map(|hit| within.start + hit.start()..within.start + hit.end());
    let span = spans.find(|span| span.start < at.start && at.end < span.end);
    found.extend(span.map(|span| Finding { kind: Kind::Email, span }));
}

fn is_mailbox(text: &str, mailbox: &str, end: usize) -> bool {
    let (local, domain) = mailbox.split_once('@').unwrap_or(("", ""));
    let (labels, top) = domain.rsplit_once('.').unwrap_or(("", ""));
    // A version behind a package's name: `react@18.2.0-rc.next`.
    let is_version = labels.contains('.') && labels.split('.').next().is_some_and(is_number);
    // `git@host:path` names a program's account and a repository.
    let is_remote = local == "git" && text[end..].starts_with(':');
    !FILES.contains(&top) && !is_version && !is_remote
}

fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Finds IPv4 addresses within a stretch of digits.
pub(super) fn ipv4(text: &str, stretch: &Stretch, found: &mut Vec<Finding>) {
    let within = around(text, &stretch.span, 0, 1);
    for hit in IPV4.find_iter(&text[within.clone()]) {
        let span = within.start + hit.start()..within.start + hit.end();
        if hit.as_str().parse().is_ok_and(is_somebodys) && stands_free(text, &span) {
            found.push(Finding { kind: Kind::Ip, span });
        }
    }
}

/// Loopback, unspecified, multicast and masks are nobody's.
fn is_somebodys(ip: Ipv4Addr) -> bool {
    !ip.is_loopback() && (1..224).contains(&ip.octets()[0])
}

/// Not part of a longer number or name, nor counted by a word; a port or a mask may follow.
fn stands_free(text: &str, span: &Range<usize>) -> bool {
    let before = &text[..span.start];
    let mut after = text[span.end..].chars();
    let (next, second) = (after.next(), after.next());
    let follows = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let goes_on = follows(next)
        || matches!(next, Some('.' | '_')) && follows(second)
        || next == Some('-') && second.is_some_and(char::is_alphabetic);
    let comes_from = before.ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
    !goes_on && !comes_from && !is_counted(before)
}

fn is_counted(before: &str) -> bool {
    let word = before.trim_end_matches([' ', '.', ':', '\u{a0}', '#']);
    let word = word.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    word.len() < 12 && COUNTED.contains(&word.to_lowercase().as_str()) || before.ends_with("§ ")
}

/// Finds IPv6 addresses.
pub(super) fn ipv6(text: &str, found: &mut Vec<Finding>) {
    let bytes = text.as_bytes();
    let belongs =
        |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_hexdigit() || b":.".contains(b));
    let mut done = 0;
    for colon in memchr_iter(b':', bytes) {
        if colon < done || !belongs(colon + 1) {
            continue;
        }
        let low = colon.saturating_sub(IPV6_BYTES_MAX);
        let start =
            (low.max(done)..colon).rev().take_while(|at| belongs(*at)).last().unwrap_or(colon);
        let end = (colon..colon + IPV6_BYTES_MAX)
            .take_while(|at| belongs(*at))
            .last()
            .map_or(colon, |at| at + 1);
        done = end;
        let trimmed = text[start..end].trim_end_matches(['.', ':']).len() + start;
        let end = if text[start..end].ends_with("::") { trimmed + 2 } else { trimmed };
        if is_ipv6(&text[start..end.min(done)]) && stands_alone(text, &(start..end)) {
            found.push(Finding { kind: Kind::Ip, span: start..end });
        }
    }
}

/// An address of somebody's, long enough to be no path of a program (`a::b`).
fn is_ipv6(text: &str) -> bool {
    let wide = text.bytes().filter(|byte| *byte == b':').count() >= 3 || text.len() >= 8;
    let numeric = text.bytes().any(|byte| byte.is_ascii_digit());
    wide && numeric
        && text.parse().is_ok_and(|ip: Ipv6Addr| !ip.is_loopback() && !ip.is_unspecified())
}
