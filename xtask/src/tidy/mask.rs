//! Blanks what is not code, so that rules can look for words without parsing. Blanking keeps every line break.

/// Blanks comments, strings and characters.
pub fn comments_and_literals(text: &str) -> String {
    let mut rest = text;
    let mut masked = String::with_capacity(text.len());
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        match skipped_length(rest, before) {
            Some(length) => {
                masked.push_str(&blank(&rest[..length]));
                rest = &rest[length..];
                before = ' ';
            }
            None => {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
                before = first;
            }
        }
    }
    masked
}

/// Blanks comments of a TOML file; a `#` in a string is taken for one too, which does no harm here.
pub fn toml_comments(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.split('#').next().unwrap_or_default())).collect()
}

/// Blanks every item under `#[cfg(test)]` in text that is masked already.
pub fn test_items(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(ATTRIBUTE) {
        let end = start + item_length(&rest[start..]);
        kept.push_str(&rest[..start]);
        // Not spaces: an indented or empty line would otherwise look as if it had been kept.
        kept.extend(
            rest[start..end]
                .split_inclusive('\n')
                .map(|line| if line.ends_with('\n') { "~\n" } else { "~" }),
        );
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// The length of an item: to its closing brace, or to its semicolon if that comes first.
fn item_length(code: &str) -> usize {
    match code.find(['{', ';']) {
        Some(at) if code.as_bytes()[at] == b'{' => at + braced_length(&code[at..]),
        Some(at) => at + 1,
        None => code.len(),
    }
}

/// The length of the block that the text begins with, both braces included.
pub fn braced_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The length of the comment or literal that the text begins with.
fn skipped_length(text: &str, before: char) -> Option<usize> {
    match text.as_bytes()[0] {
        b'/' if text.starts_with("//") => Some(text.find('\n').unwrap_or(text.len())),
        b'/' if text.starts_with("/*") => Some(block_comment_length(text)),
        b'"' => Some(string_length(text)),
        b'r' if !is_word(before) || "bc".contains(before) => raw_string_length(text),
        b'\'' => character_length(text),
        _ => None,
    }
}

/// Whether the character can be part of a name.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let (step, change) = match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (2, 1),
            Some(b"*/") => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = text.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(2 + hashes + length)
}

/// `None` for a lifetime, which begins like a character but has no closing quote.
fn character_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    let closing = if first == '\\' {
        characters.next()?;
        characters.find(|(_, character)| *character == '\'')
    } else {
        characters.next().filter(|(_, character)| *character == '\'')
    };
    closing.map(|(at, _)| at + 1)
}

fn blank(text: &str) -> String {
    text.chars().map(|character| if character == '\n' { '\n' } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_blanked() {
        let rows = [
            ("a // HashMap\nb", "a \nb"),
            ("a /* x /* y */ z */ b", "a  b"),
            (r#"f("a \" }", b)"#, "f(, b)"),
            (r##"f(r#"a " }"#)"##, "f()"),
            (r##"f(br#"}"#, var)"##, "f(b, var)"),
            ("match c { '{' => '\\'', '\\\\' => x::<'a>() }", "match c {  => ,  => x::<'a>() }"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ];
        let squeeze = |text: &str| text.replace(' ', "");
        for (text, expected) in rows {
            let masked = comments_and_literals(text);
            assert_eq!(squeeze(&masked), squeeze(expected), "{text}");
            assert_eq!(masked.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn only_what_is_under_the_attribute_is_a_test() {
        let code = "a\n#[cfg(test)]\nmod t {\n  { }\n}\nb\n#[cfg(test)]\nmod u;\nc\n";
        assert_eq!(test_items(code), "a\n~\n~\n~\n~\nb\n~\n~\nc\n");
    }
}
