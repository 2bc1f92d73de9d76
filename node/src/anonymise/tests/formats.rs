//! Items as the world writes them, made from the formats' specifications: RFC 5322, E.164 and the national numbering plans,
//! ISO 13616, ISO/IEC 7812, and what each tax or health authority publishes.

use super::people;
use crate::anonymise::Kind;
use shoal_protocol::data::rng::Rng;

/// `n` random digits; the first is not zero.
pub fn digits(rng: &mut Rng, n: usize) -> String {
    let first = char::from(b'1' + rng.below(9) as u8);
    std::iter::once(first).chain((1..n).map(|_| char::from(b'0' + rng.below(10) as u8))).collect()
}

/// `n` characters of an alphabet.
pub fn letters(rng: &mut Rng, n: usize, alphabet: &str) -> String {
    let all: Vec<char> = alphabet.chars().collect();
    (0..n).map(|_| all[rng.below(all.len() as u64) as usize]).collect()
}

/// Fills a pattern: `#` a digit, `%` a digit from 1, `N` a digit from 2, `@` a capital, all else itself.
pub fn shaped(rng: &mut Rng, pattern: &str) -> String {
    pattern
        .chars()
        .map(|c| match c {
            '#' => char::from(b'0' + rng.below(10) as u8),
            '%' => char::from(b'1' + rng.below(9) as u8),
            'N' => char::from(b'2' + rng.below(8) as u8),
            '@' => char::from(b'A' + rng.below(26) as u8),
            other => other,
        })
        .collect()
}

/// An item of `kind`.
pub fn item(kind: Kind, rng: &mut Rng) -> String {
    match kind {
        Kind::Email => email(rng),
        Kind::Phone => phone(rng),
        Kind::Ip => ip(rng),
        Kind::Iban => iban(rng),
        Kind::Card => card(rng),
        Kind::National => super::national::number(rng),
        Kind::Secret => secret(rng),
        Kind::Credentials => credentials(rng),
        Kind::Address => super::places::address(rng),
        Kind::Name => people::full_name(rng),
        Kind::Custom(_) => unreachable!("only built-in kinds are planted"),
    }
}

fn email(rng: &mut Rng) -> String {
    let given = people::ascii(people::given(rng)).to_lowercase();
    let surname = people::ascii(people::surname(rng)).to_lowercase();
    let year = 60 + rng.below(40);
    let local = match rng.below(12) {
        0..=2 => format!("{given}.{surname}"),
        3 => format!("{}{surname}", &given[..1]),
        4 => format!("{given}_{surname}{year}"),
        5 => format!("{given}{year}"),
        6 => format!("{given}.{surname}+news"),
        7 => {
            rng.pick(&["info", "office", "support", "hello", "no-reply", "sales", "kontakt"]).into()
        }
        8 => format!("{}-{surname}", &given[..1]),
        9 => format!("{}.O'{surname}", &given[..1]),
        10 => letters(rng, 8, "abcdefghijkmnpqrstuvwxyz0123456789"),
        _ => format!("{}.{}", given.to_uppercase(), surname.to_uppercase()),
    };
    let host = letters(rng, 6, "abcdefghilmnoprstuvz");
    let domain = match rng.below(9) {
        0..=2 => rng
            .pick(&["gmail.com", "gmx.de", "outlook.com", "orange.fr", "yahoo.co.uk", "web.de"])
            .into(),
        3 => format!("{host}.com"),
        4 => format!("mail.{host}.co.uk"),
        5 => format!("{host}-{host}.org"),
        6 => format!("cs.{host}.edu"),
        7 => format!("{host}.photography"),
        _ => {
            rng.pick(&["müller-bau.de", "xn--mller-kva.de", "estúdio.com.br", "123mail.net"]).into()
        }
    };
    match rng.below(24) {
        0 => format!("{local} [at] {}", domain.replace('.', " [dot] ")),
        1 => format!("{local}(at){domain}"),
        _ => format!("{local}@{domain}"),
    }
}

/// Forms of telephone numbers in national use, from the plans' and the post offices' recommendations.
const PHONES: [&str; 52] = [
    "+1 N##-N##-####",
    "+1 (N##) N##-####",
    "+1N##N######",
    "(N##) N##-####",
    "N##-N##-####",
    "N##.N##.####",
    "1-800-N##-####",
    "+1-N##-N##-#### ext. ###",
    "+44 20 7### ####",
    "+44 (0)20 7### ####",
    "020 7### ####",
    "+44 7### ######",
    "07### ######",
    "07### ### ###",
    "0161 ### ####",
    "01### ######",
    "(01%##) ######",
    "+447#########",
    "+49 30 %#######",
    "+49 (0)30 %### ####",
    "030 %### ####",
    "030/%######",
    "089-%######",
    "0171 %######",
    "0171/%######",
    "+49 171 %######",
    "(040) %## ## ##",
    "0049 89 %######",
    "+49-221-%#######",
    "+33 1 ## ## ## ##",
    "01 ## ## ## ##",
    "06.##.##.##.##",
    "06-##-##-##-##",
    "+33 (0)6 ## ## ## ##",
    "0033 6 ## ## ## ##",
    "+336########",
    "+34 91# ### ###",
    "+34 6## ## ## ##",
    "6## ## ## ##",
    "+39 02 #### ####",
    "+39 3## #######",
    "+31 6 ########",
    "+31 20 ### ####",
    "+41 44 ### ## ##",
    "+43 1 %######",
    "+46 70-### ## ##",
    "+48 ### ### ###",
    "+91 9#### #####",
    "+55 11 9####-####",
    "+61 4## ### ###",
    "+81-3-####-####",
    "+86 138 #### ####",
];

fn phone(rng: &mut Rng) -> String {
    let form = rng.pick(&PHONES);
    shaped(rng, form)
}

fn ip(rng: &mut Rng) -> String {
    let mut octet = |low: u64| low + rng.below(256 - low);
    let (a, b, c, d) = (octet(1), octet(0), octet(0), octet(0));
    // Loopback and multicast identify nobody; they are among the negatives.
    let a = if a == 127 || a >= 224 { 86 } else { a };
    let group = |rng: &mut Rng| format!("{:x}", 1 + rng.below(0xfffe));
    match rng.below(8) {
        0..=4 => format!("{a}.{b}.{c}.{d}"),
        5 => {
            let groups: Vec<String> = (0..7).map(|_| group(rng)).collect();
            format!("2a02:{}", groups.join(":"))
        }
        6 => format!("2001:{}:{}::{}", group(rng), group(rng), group(rng)),
        _ => format!(
            "2003:{}:{}:{}::{:X}",
            group(rng),
            group(rng),
            group(rng),
            4096 + rng.below(9999)
        ),
    }
}

/// National forms of the BBAN, from the registry of ISO 13616: `#` digits, `@` capitals.
const BBANS: [(&str, &str); 14] = [
    ("DE", "##################"),
    ("GB", "@@@@##############"),
    ("FR", "####################@##"),
    ("ES", "####################"),
    ("IT", "@######################"),
    ("NL", "@@@@##########"),
    ("BE", "############"),
    ("CH", "#################"),
    ("AT", "################"),
    ("PL", "########################"),
    ("SE", "####################"),
    ("NO", "###########"),
    ("MT", "@@@@#####@##@#####@##@#####"),
    ("PT", "#####################"),
];

fn iban(rng: &mut Rng) -> String {
    let (country, pattern) = BBANS[rng.below(14) as usize];
    let bban = shaped(rng, pattern);
    // ISO 7064 mod 97-10, by long division over the letters' numbers.
    let rest = format!("{bban}{country}00").chars().fold(0u64, |rest, c| {
        let value = u64::from(c.to_digit(36).unwrap());
        (rest * if value > 9 { 100 } else { 10 } + value) % 97
    });
    let plain = format!("{country}{:02}{bban}", 98 - rest);
    match rng.below(4) {
        0 => plain,
        1 => grouped(&plain, 4, "-"),
        _ => grouped(&plain, 4, " "),
    }
}

/// Groups of `size` characters.
pub fn grouped(text: &str, size: usize, between: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(size).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join(between)
}

/// Issuers' prefixes and lengths (ISO/IEC 7812 registrations as published by the networks).
const ISSUERS: [(&str, usize); 12] = [
    ("4", 16),
    ("4", 16),
    ("51", 16),
    ("55", 16),
    ("2221", 16),
    ("2720", 16),
    ("34", 15),
    ("37", 15),
    ("6011", 16),
    ("3530", 16),
    ("36", 14),
    ("62", 16),
];

fn card(rng: &mut Rng) -> String {
    let (prefix, length) = ISSUERS[rng.below(12) as usize];
    let body = format!("{prefix}{}", digits(rng, length - 1 - prefix.len()));
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
            d / 10 + d % 10
        })
        .sum();
    let plain = format!("{body}{}", (10 - sum % 10) % 10);
    let between = rng.pick(&["", " ", " ", "-"]);
    match length {
        16 => grouped(&plain, 4, between),
        _ => {
            let tail = &plain[10..];
            format!("{}{between}{}{between}{tail}", &plain[..4], &plain[4..10])
        }
    }
}

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn secret(rng: &mut Rng) -> String {
    let mut code = |n: usize| letters(rng, n, BASE64);
    let (c16, c24, c36, c43) = (code(16), code(24), code(36), code(43));
    let hex = letters(rng, 32, "0123456789abcdef");
    let upper = letters(rng, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    match rng.below(13) {
        0 => format!("AKIA{upper}"),
        1 => format!("ghp_{c36}"),
        2 => format!("github_pat_{}_{c43}{c16}", &c36[..22]),
        3 => format!("xoxb-{}-{}-{c24}", digits(rng, 12), digits(rng, 12)),
        4 => format!("AIzaSy{}", &c36[..33]),
        5 => format!("sk_live_{c24}"),
        6 => format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{c36}.{c43}"),
        7 => pem(rng),
        8 => format!(
            "hf_{}",
            letters(rng, 34, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        ),
        9 => format!("glpat-{}", &c24[..20]),
        10 => format!("npm_{c36}"),
        // These two are secrets for what stands before them, which the templates of assignments bring.
        11 => hex,
        _ => format!("{c24}{c16}"),
    }
}

/// Whether a secret shows what it is without what stands before it.
pub fn tells_itself(secret: &str) -> bool {
    secret.contains(['_', '.', '-']) || secret.starts_with("AKIA") || secret.starts_with("AIza")
}

fn pem(rng: &mut Rng) -> String {
    let name = rng.pick(&["RSA ", "EC ", "", "OPENSSH "]);
    let body: Vec<String> = (0..4 + rng.below(20)).map(|_| letters(rng, 64, BASE64)).collect();
    format!(
        "-----BEGIN {name}PRIVATE KEY-----\n{}\n-----END {name}PRIVATE KEY-----",
        body.join("\n")
    )
}

/// Credentials as they stand within an address; [`super::prose`] writes the address around them.
fn credentials(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => {
            let user = people::ascii(people::given(rng)).to_lowercase();
            format!("{user}:{}", letters(rng, 10, "abcdefghijkmnpqrstuvwxyz0123456789!$_%"))
        }
        1 => format!("deploy:{}", letters(rng, 20, BASE64)),
        _ => letters(rng, 24, BASE64),
    }
}
