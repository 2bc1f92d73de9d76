//! Telephone numbers: E.164 in its written forms (ITU-T E.123), and national ones of plans whose shape gives them away.

use super::Kind;
use super::checksum::compact;
use super::numbers::{Form, Test};

/// One of these before a number says that it is a telephone's.
const WORDS: &[&str] = &[
    "tel",
    "tél",
    "phone",
    "fax",
    "mobil",
    "móvil",
    "movil",
    "handy",
    "cell",
    "call",
    "dial",
    "ring ",
    "reach",
    "whatsapp",
    "sms",
    "portable",
    "appel",
    "numéro",
    "llam",
    "my number",
    "ruf",
    "nummer ist",
    "text me",
    "numero è",
    "número",
    "contact:",
    "contact me",
    "contact us",
    "hotline",
    "☎",
    "📞",
];

/// What separates groups of digits; a point or slash only where a form names it.
macro_rules! gap {
    () => {
        r"[ \x{a0}\x{202f}\x{2011}\x{2013}-]"
    };
}

/// An extension behind the number.
macro_rules! extension {
    () => {
        r"(?:,? ?(?:ext|Ext|x|DW|poste|Durchwahl)\.? ?[0-9]{1,5}\b|\b)"
    };
}

/// All forms.
pub(super) const FORMS: [Form; 10] = [
    // +49 (0)30 1234-5678, +1 (212) 555-0100, +447911123456
    form(
        concat!(
            r"(?:\+|\b00)[1-9][0-9]{0,2}(?:",
            gap!(),
            r"?\(0?[0-9]{0,4}\))?(?:(?:",
            gap!(),
            r"|[./])?[0-9]{1,12}){1,6}",
            extension!()
        ),
        8..=20,
        Test::Text(international),
        &[],
    ),
    // +15551234567 without any gap is the form above; (212) 555-0100, 212-555-0100, 1-800-555-0100, 212.555.0100
    form(
        concat!(
            r"(?:\b1[-. ])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.\x{2011} ][0-9]{4}",
            extension!()
        ),
        10..=16,
        Test::Form,
        &[],
    ),
    // 020 7946 0958, 07700 900123, 030 1234567, 089-123456, 0171/1234567, (040) 78 22 11, (0131)4960936
    form(
        concat!(
            r"(?:\(0[1-9][0-9]{1,4}\)(?: ?/ ?|",
            gap!(),
            r")?|\b0[1-9][0-9]{1,4}(?: ?/ ?|",
            gap!(),
            r"))[0-9]{2,8}(?:",
            gap!(),
            r"[0-9]{2,8}){0,3}",
            extension!()
        ),
        9..=13,
        Test::Text(trunk),
        &[],
    ),
    // 08-735 85 87
    form(r"\b0[1-9]-[0-9]{2,3}(?: [0-9]{2}){2,3}\b", 8..=11, Test::Form, &[]),
    // 02 1234 5678, 06 1234 5678, the short area codes of Italy and Australia
    form(
        concat!(r"\b0[1-9]", gap!(), r"[0-9]{4}", gap!(), r"[0-9]{4}\b"),
        10..=10,
        Test::Form,
        &[],
    ),
    // 01 23 45 67 89, 06.12.34.56.78, 06-12-34-56-78
    form(
        r"\b0[1-9](?:(?: [0-9]{2}){4}|(?:\.[0-9]{2}){4}|(?:-[0-9]{2}){4}|(?:\x{a0}[0-9]{2}){4})\b",
        10..=10,
        Test::Form,
        &[],
    ),
    // 612 34 56 78
    form(r"\b[6789][0-9]{2}(?:[ .\x{a0}][0-9]{2}){3}\b", 9..=9, Test::Form, &[]),
    // 01632960123 and 0612345678: mobile and area codes without gaps
    form(r"\b0[1-9][0-9]{8,10}\b", 10..=12, Test::Form, WORDS),
    // Whatever has the length, where a word says what it is.
    form(
        r"(?:\([0-9]{2,5}\) ?|\b)[0-9]{2,5}(?:[ ./\x{a0}-][0-9]{2,6}){1,4}\b",
        7..=13,
        Test::Text(is_no_date),
        WORDS,
    ),
    form(r"\b[0-9]{7,12}\b", 7..=12, Test::Form, WORDS),
];

const fn form(
    pattern: &'static str,
    digits: std::ops::RangeInclusive<usize>,
    test: Test,
    near: &'static [&'static str],
) -> Form {
    Form { kind: Kind::Phone, pattern, digits, test, near }
}

/// Eight to fifteen digits, the zero in brackets and an extension aside (E.164).
fn international(text: &str) -> bool {
    let number = text.split(['x', 'D', 'p', 'E', 'e']).next().unwrap_or(text).replace("(0)", "");
    let digits = compact(&number);
    let digits = digits.strip_prefix(b"00").unwrap_or(&digits);
    (8..=15).contains(&digits.len()) && !text.starts_with("00") | (digits.len() >= 9)
}

/// No ISBN of ten digits, which begins with a zero as well.
fn trunk(text: &str) -> bool {
    !super::checksum::mod11_isbn10(&compact(text))
        || !text.contains('-')
        || text.matches('-').count() < 2
}

/// Not 12.05.2023, 2023-05-12, 12/05/2023, nor 1.234.567.
fn is_no_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split([' ', '.', '/', '-', '\u{a0}']).collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    !matches!(lengths.as_slice(), [2, 2, 4] | [4, 2, 2] | [1..=2, 2, 2])
}
