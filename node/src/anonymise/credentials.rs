//! What a URL gives away: `user:password@`, and tokens among its parameters. The rest of the URL stays.

use super::numbers::{around, expression};
use super::{Finding, Kind};
use memchr::memmem;
use regex::Regex;
use std::sync::LazyLock;

/// How far a URL is read.
const URL_BYTES_MAX: usize = 4 << 10;

static USER: LazyLock<Regex> =
    LazyLock::new(|| expression(r#"^([^\s/?#@:"'<>]*:[^\s/?#@"'<>]+)@[^\s]"#));

static PARAMETER: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r"(?i)[?&;#](?:[a-z0-9_.-]{0,24}(?:token|api_?-?key|secret|password|passwd|signature|credential|session_?id)",
        r#"|key|sig|pwd|auth|sid|code|jwt|X-Amz-Signature)=([^\s&;#"'<>)\]}]{6,})"#,
    ))
});

/// Finds credentials in URLs.
pub(super) fn find(text: &str, found: &mut Vec<Finding>) {
    for at in memmem::find_iter(text.as_bytes(), "://") {
        let start = at + 3;
        let within = around(text, &(start..start), 0, URL_BYTES_MAX);
        let url = &text[within.clone()];
        let url = &url[..url.find([' ', '\n', '\t', '\r', '"', '<', '>']).unwrap_or(url.len())];
        let user = USER.captures(url).and_then(|user| user.get(1));
        let parameters = PARAMETER.captures_iter(url).filter_map(|one| one.get(1));
        let spans =
            user.into_iter().chain(parameters).map(|part| start + part.start()..start + part.end());
        found.extend(spans.map(|span| Finding { kind: Kind::Credentials, span }));
    }
    relative(text, found);
}

/// Paths without a host, as logs of servers have them: `GET /feed?api_key=...`.
fn relative(text: &str, found: &mut Vec<Finding>) {
    for at in memchr::memchr_iter(b'?', text.as_bytes()) {
        let glued = text[..at].ends_with(|c: char| c.is_alphanumeric() || "/_-.".contains(c));
        if !glued || !text[at + 1..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let query = &text[around(text, &(at..at), 0, URL_BYTES_MAX)];
        let query =
            &query[..query.find([' ', '\n', '\t', '\r', '"', '<', '>']).unwrap_or(query.len())];
        let values = PARAMETER.captures_iter(query).filter_map(|one| one.get(1));
        found.extend(values.map(|value| Finding {
            kind: Kind::Credentials,
            span: at + value.start()..at + value.end(),
        }));
    }
}
