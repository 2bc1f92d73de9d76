//! National numbers with their check characters, each made as its authority tells.

use super::formats::{digits, grouped, shaped};
use shoal_protocol::data::rng::Rng;

/// A national number of some country.
pub fn number(rng: &mut Rng) -> String {
    let makers = [
        ssn,
        nino,
        steuer_id,
        nir,
        dni,
        nie,
        codice_fiscale,
        ahv,
        rijksregister,
        cpf,
        pesel,
        hetu,
        personnummer,
        ssn,
        nino,
        steuer_id,
        nir,
        dni,
        codice_fiscale,
    ];
    makers[rng.below(makers.len() as u64) as usize](rng)
}

/// A birthday: year of the century, month, day.
fn birthday(rng: &mut Rng) -> (u64, u64, u64) {
    (30 + rng.below(70), 1 + rng.below(12), 1 + rng.below(28))
}

fn values(text: &str) -> Vec<u64> {
    text.chars().filter_map(|c| c.to_digit(10)).map(u64::from).collect()
}

/// Social Security Administration: no area 000, 666 or 9xx, no group 00, no serial 0000.
fn ssn(rng: &mut Rng) -> String {
    let area = match 1 + rng.below(899) {
        666 => 667,
        area => area,
    };
    format!("{area:03}-{:02}-{:04}", 1 + rng.below(99), 1 + rng.below(9999))
}

/// HMRC, NIM39110.
fn nino(rng: &mut Rng) -> String {
    let prefix = rng.pick(&["AB", "JC", "WE", "PX", "SM", "LR", "YZ", "HK"]);
    let suffix = rng.pick(&["A", "B", "C", "D"]);
    let plain = shaped(rng, "######");
    match rng.below(2) {
        0 => format!("{prefix}{plain}{suffix}"),
        _ => format!("{prefix} {} {suffix}", grouped(&plain, 2, " ")),
    }
}

/// Bundeszentralamt für Steuern: of the first ten digits one stands twice, one not at all; ISO 7064 mod 11,10.
fn steuer_id(rng: &mut Rng) -> String {
    let mut pool: Vec<u64> = (0..10).collect();
    for i in (1..10).rev() {
        pool.swap(i, rng.below(i as u64 + 1) as usize);
    }
    pool[9] = pool[rng.below(9) as usize];
    if pool[0] == 0 {
        let other = (1..10).find(|i| pool[*i] != 0).unwrap();
        pool.swap(0, other);
    }
    let product = pool.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    let check = (11 - product) % 10;
    let plain: String = pool.iter().chain([&check]).map(u64::to_string).collect();
    match rng.below(2) {
        0 => plain,
        _ => format!("{} {}", &plain[..2], grouped(&plain[2..], 3, " ")),
    }
}

/// INSEE: sex, year, month, département, commune, order, key 97 - n mod 97.
fn nir(rng: &mut Rng) -> String {
    let (year, month, _) = birthday(rng);
    let (sex, place) = (1 + rng.below(2), 1 + rng.below(95));
    let place = if place == 20 { 21 } else { place };
    let (commune, order) = (1 + rng.below(900), 1 + rng.below(998));
    let body = format!("{sex}{year:02}{month:02}{place:02}{commune:03}{order:03}");
    let key = 97 - body.parse::<u64>().unwrap() % 97;
    match rng.below(2) {
        0 => format!("{body}{key:02}"),
        _ => format!("{sex} {year:02} {month:02} {place:02} {commune:03} {order:03} {key:02}"),
    }
}

const DNI_LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// Ministerio del Interior: the number mod 23 picks the letter.
fn dni(rng: &mut Rng) -> String {
    let number = 10_000_000 + rng.below(89_999_999);
    let letter = char::from(DNI_LETTERS[(number % 23) as usize]);
    let text = number.to_string();
    match rng.below(3) {
        0 => format!("{text}{letter}"),
        1 => format!("{text}-{letter}"),
        _ => format!("{}.{}.{}-{letter}", &text[..2], &text[2..5], &text[5..]),
    }
}

fn nie(rng: &mut Rng) -> String {
    let (first, body) = (rng.below(3), rng.below(9_999_999));
    let letter = char::from(DNI_LETTERS[((first * 10_000_000 + body) % 23) as usize]);
    let initial = ["X", "Y", "Z"][first as usize];
    match rng.below(2) {
        0 => format!("{initial}{body:07}{letter}"),
        _ => format!("{initial}-{body:07}-{letter}"),
    }
}

/// Decreto ministeriale 23/12/1976: the values of characters at odd places, `0`-`9` and `A`-`Z` alike for the first ten.
const CF_ODD: [u64; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

fn codice_fiscale(rng: &mut Rng) -> String {
    let month = b"ABCDEHLMPRST"[rng.below(12) as usize] as char;
    let day = 1 + rng.below(28) + 40 * rng.below(2);
    let names = rng.pick(&["RSSMRA", "BNCLGU", "FRRNNA", "CNTGLI", "GLLPLA", "MRTFNC"]);
    let body = format!("{names}{:02}{month}{day:02}{}", rng.below(100), shaped(rng, "@###"));
    let sum: u64 = body
        .chars()
        .enumerate()
        .map(|(i, c)| {
            let value = c.to_digit(10).unwrap_or_else(|| c as u32 - 'A' as u32);
            if i % 2 == 0 { CF_ODD[value as usize] } else { u64::from(value) }
        })
        .sum();
    format!("{body}{}", char::from(b'A' + (sum % 26) as u8))
}

/// Zentrale Ausgleichsstelle: 756, nine digits, check digit of EAN-13.
fn ahv(rng: &mut Rng) -> String {
    let body = format!("756{}", digits(rng, 9));
    let sum: u64 =
        values(&body).iter().enumerate().map(|(i, d)| d * if i % 2 == 0 { 1 } else { 3 }).sum();
    let plain = format!("{body}{}", (10 - sum % 10) % 10);
    format!("{}.{}.{}.{}", &plain[..3], &plain[3..7], &plain[7..11], &plain[11..])
}

fn rijksregister(rng: &mut Rng) -> String {
    let (year, month, day) = birthday(rng);
    let order = 1 + rng.below(997);
    let check = 97 - (((year * 100 + month) * 100 + day) * 1000 + order) % 97;
    format!("{year:02}.{month:02}.{day:02}-{order:03}.{check:02}")
}

/// Receita Federal: two check digits mod 11.
fn cpf(rng: &mut Rng) -> String {
    let mut all = values(&digits(rng, 9));
    for _ in 0..2 {
        let top = all.len() as u64 + 1;
        let sum: u64 = all.iter().enumerate().map(|(i, d)| d * (top - i as u64)).sum();
        all.push(match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        });
    }
    let text: String = all.iter().map(u64::to_string).collect();
    format!("{}.{}.{}-{}", &text[..3], &text[3..6], &text[6..9], &text[9..])
}

fn pesel(rng: &mut Rng) -> String {
    let (year, month, day) = birthday(rng);
    let body = format!("{year:02}{month:02}{day:02}{}", digits(rng, 4));
    let weights = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3];
    let sum: u64 = values(&body).iter().zip(weights).map(|(d, w)| d * w).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn hetu(rng: &mut Rng) -> String {
    let (year, month, day) = birthday(rng);
    let order = 2 + rng.below(897);
    let number = ((day * 100 + month) * 100 + year) * 1000 + order;
    let check = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number % 31) as usize] as char;
    format!("{day:02}{month:02}{year:02}-{order:03}{check}")
}

/// Skatteverket: Luhn over the ten digits.
fn personnummer(rng: &mut Rng) -> String {
    let (year, month, day) = birthday(rng);
    let (birth, order) = (format!("{year:02}{month:02}{day:02}"), digits(rng, 3));
    let sum: u64 = values(&format!("{birth}{order}"))
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let d = d * if i % 2 == 0 { 2 } else { 1 };
            d / 10 + d % 10
        })
        .sum();
    format!("{birth}-{order}{}", (10 - sum % 10) % 10)
}
