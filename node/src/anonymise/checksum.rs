//! Check digits and characters, each with the standard or authority that it comes from.

/// The check of a rule, over an item's letters and digits in upper case, without what separates them.
pub type Check = fn(&[u8]) -> bool;

/// The checks that a rules file can name.
pub const NAMED: [(&str, Check); 6] = [
    ("luhn", luhn),
    ("mod97", mod97),
    ("verhoeff", verhoeff),
    ("ean13", ean13),
    ("mod11_10", mod11_10),
    ("mod11", mod11_isbn10),
];

/// Letters and digits of `text` in upper case; what separates them is left out.
pub fn compact(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect()
}

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(10)
}

/// All as digits, if they are.
fn all_digits(code: &[u8]) -> Option<Vec<u32>> {
    code.iter().map(|byte| digit(*byte)).collect()
}

fn number(code: &[u8]) -> Option<u64> {
    std::str::from_utf8(code).ok()?.parse().ok()
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| d * w).sum()
}

/// ISO/IEC 7812-1, annex B.
pub fn luhn(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() > 1) else { return false };
    let doubled = |(i, d): (usize, &u32)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { *d };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

/// ISO 7064 mod 97-10 as in ISO 13616: the first four characters count last.
pub fn mod97(code: &[u8]) -> bool {
    let (Some(head), Some(rest)) = (code.get(..4), code.get(4..)) else { return false };
    let mut value = 0u32;
    for byte in rest.iter().chain(head) {
        let Some(next) = char::from(*byte).to_digit(36) else { return false };
        value = (value * if next > 9 { 100 } else { 10 } + next) % 97;
    }
    value == 1
}

/// EAN-13, and so ISBN-13 and Switzerland's AHV number.
pub fn ean13(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() == 13) else { return false };
    weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// ISO 7064 mod 11,10.
pub fn mod11_10(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code) else { return false };
    let Some((check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == *check
}

/// ISO 2108 of 1972: ISBN-10, whose last character may be X.
pub fn mod11_isbn10(code: &[u8]) -> bool {
    let Some((last, body)) = code.split_last().filter(|(_, body)| body.len() == 9) else {
        return false;
    };
    let Some(digits) = all_digits(body) else { return false };
    let check = if *last == b'X' { Some(10) } else { digit(*last) };
    check.is_some_and(|check| {
        (weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) + check).is_multiple_of(11)
    })
}

/// Verhoeff 1969: the dihedral group of ten elements, and its powers of a permutation.
pub fn verhoeff(code: &[u8]) -> bool {
    const PERMUTATION: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let Some(digits) = all_digits(code).filter(|digits| digits.len() > 1) else { return false };
    let mut check = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let turned = (0..place % 8).fold(*digit, |digit, _| PERMUTATION[digit as usize]);
        check = dihedral(check, turned);
    }
    check == 0
}

/// The product of two elements of D5: 0-4 turn, 5-9 turn and mirror.
fn dihedral(a: u32, b: u32) -> u32 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Bundeszentralamt für Steuern: mod 11,10; among the first ten digits exactly one stands twice or three times.
pub fn german_tax(code: &[u8]) -> bool {
    let mut counts = [0u8; 10];
    code.iter().take(10).filter_map(|byte| digit(*byte)).for_each(|d| counts[d as usize] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let most = counts.iter().max().copied().unwrap_or(0);
    code.first() != Some(&b'0') && repeated == 1 && most <= 3 && mod11_10(code)
}

/// Deutsche Rentenversicherung: the letter as two digits, weights 2 1 2 5 7 1 2 1 2 1 2 1, digit sums, mod 10.
pub fn german_pension(code: &[u8]) -> bool {
    let [head @ .., check] = code else { return false };
    if code.len() != 12 || !head[8].is_ascii_uppercase() {
        return false;
    }
    let letter = u32::from(head[8] - b'A') + 1;
    let mut digits: Vec<u32> = head[..8].iter().filter_map(|byte| digit(*byte)).collect();
    digits.extend([letter / 10, letter % 10]);
    digits.extend(head[9..].iter().filter_map(|byte| digit(*byte)));
    let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let sum: u32 = digits.iter().zip(weights).map(|(d, w)| d * w / 10 + d * w % 10).sum();
    digits.len() == 12 && Some(sum % 10) == digit(*check)
}

/// INSEE: thirteen characters and the key 97 - n mod 97; Corsica's 2A and 2B count as 19 and 18.
pub fn french_nir(code: &[u8]) -> bool {
    let text = String::from_utf8_lossy(code).replacen("2A", "19", 1).replacen("2B", "18", 1);
    let (Some(body), Some(key)) = (text.get(..13), text.get(13..15)) else { return false };
    let month = number(&text.as_bytes()[3..5]).unwrap_or(0);
    let (Ok(body), Ok(key)) = (body.parse::<u64>(), key.parse::<u64>()) else { return false };
    text.len() == 15 && key == 97 - body % 97 && matches!(month, 1..=12 | 20..=42 | 50..=99)
}

/// Ministerio del Interior: the number mod 23 picks the letter; X, Y and Z of a NIE count as 0, 1 and 2.
pub fn spanish_dni(code: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let [head @ .., letter] = code else { return false };
    let mut head = head.to_vec();
    if let Some(first @ b'X'..=b'Z') = head.first_mut() {
        *first = *first - b'X' + b'0';
    }
    head.len() == 8 && number(&head).is_some_and(|n| LETTERS[(n % 23) as usize] == *letter)
}

/// Decreto ministeriale 23 December 1976: odd places by a table, even ones by value, mod 26.
pub fn italian_cf(code: &[u8]) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let [head @ .., check] = code else { return false };
    let value = |byte: u8| digit(byte).unwrap_or(u32::from(byte.saturating_sub(b'A')).min(25));
    let sum: u32 = head
        .iter()
        .enumerate()
        .map(|(i, byte)| if i % 2 == 0 { ODD[value(*byte) as usize] } else { value(*byte) })
        .sum();
    head.len() == 15 && u32::from(*check) == u32::from(b'A') + sum % 26
}

/// Rijksregister: 97 - n mod 97, with a 2 before n for those born since 2000.
pub fn belgian_register(code: &[u8]) -> bool {
    let (Some(body), Some(check)) =
        (code.get(..9).and_then(number), code.get(9..).and_then(number))
    else {
        return false;
    };
    code.len() == 11 && [0, 2_000_000_000].iter().any(|century| 97 - (body + century) % 97 == check)
}

/// Burgerservicenummer: the eleven-test, weights 9 to 2 and -1.
pub fn dutch_bsn(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() == 9) else { return false };
    (weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) + 10 * digits[8]).is_multiple_of(11)
        && number(code) != Some(0)
}

/// PESEL: weights 1 3 7 9, and a date with the century in its month.
pub fn polish_pesel(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() == 11) else { return false };
    let month = (digits[2] * 10 + digits[3]) % 20;
    let day = digits[4] * 10 + digits[5];
    let sum = weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    sum.is_multiple_of(10) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Finland's henkilötunnus: the nine digits mod 31 pick the last character.
pub fn finnish_hetu(code: &[u8]) -> bool {
    let [head @ .., check] = code else { return false };
    // The sign of the century may be a letter.
    let digits: Vec<u8> = head.iter().copied().filter(u8::is_ascii_digit).collect();
    let Some(value) = number(&digits).filter(|_| digits.len() == 9) else { return false };
    b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(value % 31) as usize] == *check && is_date(&digits, 0, 2)
}

/// Sweden's personnummer: Luhn over ten digits, of which the first six are a date.
pub fn swedish_number(code: &[u8]) -> bool {
    let short = if code.len() == 12 { &code[2..] } else { code };
    short.len() == 10 && luhn(short) && is_date(short, 4, 2)
}

/// Denmark's CPR: a date and four digits; its check digit is not kept to since 2007.
pub fn danish_cpr(code: &[u8]) -> bool {
    code.len() == 10 && is_date(code, 0, 2)
}

/// Whether the two digits at `day` and at `month` are a day and a month.
fn is_date(code: &[u8], day: usize, month: usize) -> bool {
    let at = |place: usize| code.get(place..place + 2).and_then(number).unwrap_or(0);
    (1..=31).contains(&at(day)) && (1..=12).contains(&at(month))
}

/// Norway's fødselsnummer: two check digits mod 11.
pub fn norwegian_number(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() == 11) else { return false };
    weighted(&digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
        && is_date(&[code[0] & !4, code[1], code[2], code[3]], 0, 2)
}

/// Brazil's CPF: two check digits mod 11, and not one digit eleven times.
pub fn brazilian_cpf(code: &[u8]) -> bool {
    let Some(digits) = all_digits(code).filter(|digits| digits.len() == 11) else { return false };
    let check = |n: usize| {
        let sum: u32 = digits[..n].iter().enumerate().map(|(i, d)| d * (n + 1 - i) as u32).sum();
        digits[n] == sum * 10 % 11 % 10
    };
    check(9) && check(10) && digits.iter().any(|d| *d != digits[0])
}

/// Britain's NHS number: weights 10 to 2, mod 11.
pub fn british_nhs(code: &[u8]) -> bool {
    code.last() != Some(&b'X') && mod11_isbn10(code)
}

/// Ireland's PPS number: weights 8 to 2, a ninth for a second letter, mod 23.
pub fn irish_pps(code: &[u8]) -> bool {
    let Some(digits) = code.get(..7).and_then(all_digits) else { return false };
    let letter = |byte: Option<&u8>| byte.map_or(0, |b| u32::from(b.saturating_sub(b'@')) % 23);
    let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + 9 * letter(code.get(8));
    code.get(7).is_some() && sum % 23 == letter(code.get(7))
}

/// Social Security Administration: no area 000, 666 or 9xx, no group 00, no serial 0000.
pub fn american_ssn(code: &[u8]) -> bool {
    let part = |from: usize, to: usize| code.get(from..to).and_then(number).unwrap_or(0);
    let area = part(0, 3);
    code.len() == 9 && area > 0 && area != 666 && area < 900 && part(3, 5) > 0 && part(5, 9) > 0
}

/// HMRC (NIM39110): prefixes that are never given out.
pub fn british_nino(code: &[u8]) -> bool {
    let never: [&[u8]; 8] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ", b"OO"];
    code.len() >= 8 && !never.contains(&&code[..2])
}

/// Card numbers: Luhn, and an issuer's range with a length that it gives out.
pub fn card(code: &[u8]) -> bool {
    let head = |n: usize| code.get(..n).and_then(number).unwrap_or(0);
    let known = match (code.len(), head(1), head(2), head(4)) {
        (16 | 19, 4, _, _) => true,
        (16, _, 51..=55, _) | (16, _, _, 2221..=2720) => true,
        // Old Visa numbers are as long as article numbers, which have a check digit of their own.
        (13, 4, _, _) => !ean13(code),
        (15, _, 34 | 37, _) | (15, _, _, 2131 | 1800) => true,
        (14, _, 36 | 38 | 39, _) => true,
        (14, _, 30, _) => (300..=305).contains(&head(3)),
        (16..=19, _, 65, _) | (16..=19, _, 62, _) | (16..=19, _, _, 6011) => true,
        (16..=19, _, 64, _) => head(3) >= 644,
        (16..=19, _, _, 3528..=3589) | (16..=19, _, _, 2200..=2204) => true,
        (12..=19, _, _, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) => true,
        _ => false,
    };
    known && luhn(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_hold_and_break_with_one_digit() {
        let rows: [(&str, Check, &str); 22] = [
            ("luhn", luhn, "79927398713"),
            ("card", card, "4111 1111 1111 1111"),
            ("card", card, "3782 822463 10005"),
            ("mod97", mod97, "GB82 WEST 1234 5698 7654 32"),
            ("ean13", ean13, "756.9217.0769.85"),
            ("isbn10", mod11_isbn10, "0-306-40615-2"),
            ("verhoeff", verhoeff, "2363"),
            ("german tax", german_tax, "86095742719"),
            ("german pension", german_pension, "65 170839 J 003"),
            ("nir", french_nir, "2 55 08 14 168 025 38"),
            ("dni", spanish_dni, "12345678Z"),
            ("nie", spanish_dni, "X1234567L"),
            ("cf", italian_cf, "RSSMRA85T10A562S"),
            ("rijksregister", belgian_register, "85.07.30-033.28"),
            ("bsn", dutch_bsn, "111222333"),
            ("pesel", polish_pesel, "44051401359"),
            ("hetu", finnish_hetu, "131052-308T"),
            ("personnummer", swedish_number, "811218-9876"),
            ("cpf", brazilian_cpf, "529.982.247-25"),
            ("nhs", british_nhs, "943 476 5919"),
            ("pps", irish_pps, "1234567T"),
            ("norwegian", norwegian_number, "01010750160"),
        ];
        for (name, check, text) in rows {
            let code = compact(text);
            assert!(check(&code), "{name} {text}");
            let mut broken = code.clone();
            let place = code.iter().rposition(u8::is_ascii_digit).unwrap();
            broken[place] = if broken[place] == b'7' { b'4' } else { b'7' };
            assert!(!check(&broken), "{name} {text} with {}", char::from(broken[place]));
        }
    }

    #[test]
    fn no_text_whatever_breaks_a_check() {
        let all: [Check; 22] = [
            luhn,
            mod97,
            ean13,
            mod11_10,
            mod11_isbn10,
            verhoeff,
            german_tax,
            german_pension,
            french_nir,
            spanish_dni,
            italian_cf,
            belgian_register,
            dutch_bsn,
            polish_pesel,
            finnish_hetu,
            swedish_number,
            norwegian_number,
            brazilian_cpf,
            irish_pps,
            american_ssn,
            british_nino,
            card,
        ];
        for text in [
            "",
            "1",
            "A",
            "AB",
            "ABCDEFGHIJKLMNOPQRSTU",
            "00000000000",
            "99999999999999999999999999",
            "é1",
        ] {
            let code = text.as_bytes();
            for check in all {
                check(code);
                check(&compact(text));
            }
        }
    }
}
