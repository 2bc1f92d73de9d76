//! How long functions are.

use super::mask::{braced_length, is_word};

/// The length in lines of every function with a body, from `fn` to its closing brace, in masked code.
pub fn lengths(code: &str) -> Vec<usize> {
    code.match_indices("fn ")
        .filter(|(at, _)| !code[..*at].ends_with(is_word))
        .filter_map(|(at, _)| length(&code[at..]))
        .collect()
}

/// The value below which that share of the sorted values lies; 0 if there are none.
pub fn percentile(sorted: &[usize], percent: usize) -> usize {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

/// `None` where the text is no function with a body: a declaration in a trait.
fn length(code: &str) -> Option<usize> {
    let body = body_start(code)?;
    let end = body + braced_length(&code[body..]);
    Some(code[..end].lines().count())
}

/// Where the body's brace is; a semicolon before it, outside of brackets (`[u8; 4]`), means that there is no body.
fn body_start(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_name_to_brace() {
        let rows = [
            ("fn a() {}", vec![1]),
            ("fn a(x: [u8; 4])\nwhere T: X {\n  if x { }\n}\n", vec![4]),
            ("trait T { fn a(&self); fn b(&self) {\n} }", vec![2]),
            ("struct S { f: fn(u8) -> u8 }", vec![]),
            ("fn a() {\n  fn b() {}\n}", vec![3, 1]),
        ];
        for (code, expected) in rows {
            assert_eq!(lengths(code), expected, "{code}");
        }
    }

    #[test]
    fn percentiles_of_few_and_none() {
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[3, 5, 9], 50), 5);
        assert_eq!(percentile(&[3, 5, 9, 11], 90), 9);
    }
}
