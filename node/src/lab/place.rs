//! Where in a lab file a key was written.

/// The line, from 1, of `key` (with dots, as `inner.lr`): in the `method`-th `[[method]]` (from 0) if it is there, else outside
/// of methods, else the method's heading, else the first line.
pub(super) fn line_of(text: &str, method: Option<usize>, key: &str) -> usize {
    let (mut section, mut current, mut seen) = (String::new(), None, 0);
    let (mut heading, mut outside) = (None, None);
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if let Some(name) = section_name(content) {
            if content == "[[method]]" {
                (current, seen) = (Some(seen), seen + 1);
                heading = heading.or((current == method).then_some(line));
            } else if !name.starts_with("method.") {
                current = None;
            }
            section = own_name(name);
        }
        let Some((written, _)) = content.split_once('=').filter(|_| !content.starts_with('#'))
        else {
            continue;
        };
        if names(&section, written.trim(), key) {
            match (current, method) {
                (Some(at), Some(wanted)) if at == wanted => return line,
                (None, _) => outside = outside.or(Some(line)),
                _ => {}
            }
        }
    }
    outside.or(heading).unwrap_or(1)
}

fn section_name(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.split(']').next()?;
    Some(inner.trim_start_matches('['))
}

/// A section's name without the method that it is in.
fn own_name(name: &str) -> String {
    name.strip_prefix("method.").unwrap_or(if name == "method" { "" } else { name }).to_owned()
}

/// Whether `written` in `section` is the key, one of its tables, or a list of values for it.
fn names(section: &str, written: &str, key: &str) -> bool {
    let full = if section.is_empty() { written.to_owned() } else { format!("{section}.{written}") };
    let full = full.replace(['"', ' '], "");
    let full = full.strip_prefix("tune.").unwrap_or(&full);
    full == key || key.strip_prefix(full).is_some_and(|rest| rest.starts_with('.'))
}

#[test]
fn keys_are_found_where_they_were_written() {
    let text = "tokens = 1\n[inner]\nlr = 1\nbatch = 2\n\n[[method]]\nname = \"a\"\ninner.lr = 3\n\
                [method.outer]\nlr = 5\n[[method]]\nname = \"b\"\ntune.outer.lr = [1]\n[network]\nup_mbit = 1\n";
    let rows = [
        (None, "tokens", 1),
        (None, "inner.lr", 3),
        (Some(0), "inner.lr", 8),
        (Some(0), "outer.lr", 10),
        (Some(1), "outer.lr", 13),
        (Some(1), "inner.batch", 4),
        (Some(1), "exchange.up", 11),
        (None, "network.up_mbit", 15),
        (None, "nothing", 1),
    ];
    for (method, key, line) in rows {
        assert_eq!(line_of(text, method, key), line, "{key} of {method:?}");
    }
}
