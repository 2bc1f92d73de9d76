//! Postal addresses: streets with house numbers in English, German, French and Spanish, with the town where it follows,
//! and postcodes of the United Kingdom and the United States.

use super::numbers::{Stretch, around, expression, stands_alone};
use super::{Finding, Kind};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// How far before a street's word its address may begin, and how far behind it end.
const BEFORE_BYTES: usize = 72;
const AFTER_BYTES: usize = 112;

/// A capitalised word, and up to four of them.
macro_rules! cap {
    () => {
        r"[A-Z\x{c0}-\x{de}ŁŚŠŽČĆŞ][A-Za-z\x{c0}-\x{24f}'’.-]*"
    };
}
macro_rules! town {
    () => {
        r"[A-Z\x{c0}-\x{de}ŁŚŠŽČĆŞ][A-Za-z\x{c0}-\x{24f}'’.-]*(?:[ -](?:[A-Z\x{c0}-\x{de}ŁŚŠŽČĆŞ][A-Za-z\x{c0}-\x{24f}'’.-]+|(?:am|an|der|de|la|le|les|en|sur|del|los|las|bei|im|upon|on)\b|\([A-Za-z\x{c0}-\x{24f}]+\))){0,4}"
    };
}
macro_rules! uk_code {
    () => {
        r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}\b"
    };
}
macro_rules! us_tail {
    () => {
        concat!(town!(), r",? (?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]),? [0-9]{5}(?:-[0-9]{4})?\b")
    };
}
/// What stands between the lines of an address.
macro_rules! then {
    () => {
        r"(?:, ?\n?| ?\n ?)"
    };
}

/// A language's streets: the words that give them away, and the address around such a word.
struct Streets {
    words: &'static [&'static str],
    /// The word ends another, as in `Hauptstraße`.
    suffix: bool,
    pattern: &'static str,
}

const ENGLISH: Streets = Streets {
    words: &[
        "Street",
        "St",
        "Avenue",
        "Ave",
        "Road",
        "Rd",
        "Boulevard",
        "Blvd",
        "Lane",
        "Ln",
        "Drive",
        "Dr",
        "Court",
        "Ct",
        "Place",
        "Pl",
        "Square",
        "Sq",
        "Terrace",
        "Way",
        "Parkway",
        "Pkwy",
        "Circle",
        "Close",
        "Crescent",
        "Gardens",
        "Grove",
        "Mews",
        "Row",
        "Highway",
        "Hwy",
        "Trail",
        "Walk",
        "Box",
    ],
    suffix: false,
    pattern: concat!(
        r"(?:\b(?:Flat|Apt|Apartment|Unit|Suite) [0-9]{1,4}[A-Za-z]?, )?(?:\bP\.? ?O\.? Box [0-9]{1,6}|\b[0-9]{1,5}[A-Za-z]?(?:[-/][0-9]{1,4})? (?:(?:",
        cap!(),
        r"|[0-9]{1,3}(?:st|nd|rd|th)) ){1,4}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Parkway|Pkwy|Circle|Close|Crescent|Gardens|Grove|Mews|Row|Highway|Hwy|Trail|Walk)\b\.?(?: (?:N|S|E|W|NE|NW|SE|SW)\b)?|\b[0-9]{1,5}[A-Za-z]? The (?:Crescent|Close|Grove|Mews|Square|Terrace|Avenue|Drive|Row|Gardens))",
        r"(?:,? (?:Apt|Suite|Unit|Flat|Ste|Apartment)\.? ?[0-9]{1,5}[A-Za-z]?|,? ?#[0-9]{1,5})?",
        r"(?:",
        then!(),
        us_tail!(),
        r"|",
        then!(),
        town!(),
        r"(?:,? |, ?\n?|\n)",
        uk_code!(),
        r"|",
        then!(),
        uk_code!(),
        r")?",
    ),
};

const GERMAN: Streets = Streets {
    words: &[
        "straße",
        "strasse",
        "Straße",
        "Strasse",
        "str.",
        "Str.",
        "weg",
        "Weg",
        "platz",
        "Platz",
        "allee",
        "Allee",
        "gasse",
        "Gasse",
        "ring",
        "Ring",
        "damm",
        "ufer",
        "Ufer",
        "chaussee",
        "Am ",
        "An der ",
        "Im ",
        "Auf dem ",
        "Unter den ",
        "Zum ",
        "Zur ",
    ],
    suffix: true,
    pattern: concat!(
        r"(?:\b(?:",
        cap!(),
        r"[ -]){0,3}(?:",
        // Hauptstraße, van-den-Berg-Straße
        r"(?:[a-z]+-){0,2}",
        cap!(),
        r"(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee|-Stra(?:ß|ss)e|-Str\.|-Weg|-Platz|-Allee|-Ring|-Ufer)",
        // Lange Straße
        r"|",
        cap!(),
        r" (?:Stra(?:ß|ss)e|Str\.|Weg|Platz|Allee|Gasse|Ring|Damm|Ufer))",
        r" [0-9]{1,4}(?: ?[a-z]\b)?(?:-[0-9]{1,4})?(?:",
        then!(),
        r"(?:D-|A-|CH-)?[0-9]{4,5} ",
        town!(),
        r")?",
        r"|\b(?:Am|An der|Im|Auf dem|Unter den|Zum|Zur) ",
        cap!(),
        r" [0-9]{1,4}(?: ?[a-z]\b)?",
        then!(),
        r"(?:D-|A-|CH-)?[0-9]{4,5} ",
        town!(),
        r")",
    ),
};

const FRENCH: Streets = Streets {
    words: &[
        "rue",
        "Rue",
        "avenue",
        "Avenue",
        "av.",
        "boulevard",
        "Boulevard",
        "bd",
        "Bd",
        "place",
        "Place",
        "chemin",
        "Chemin",
        "impasse",
        "Impasse",
        "allée",
        "Allée",
        "quai",
        "Quai",
        "cours",
        "Cours",
        "route",
        "Route",
        "square",
        "passage",
    ],
    suffix: false,
    pattern: concat!(
        r"\b[0-9]{1,4}(?: ?(?:bis|ter|quater)\b)?,? (?i:rue|avenue|av\.|boulevard|bd|place|chemin|impasse|allée|quai|cours|route|square|passage) (?:(?:de la|de l['’]|des|du|de|d['’]|aux?) ?)?",
        cap!(),
        r"(?:[ -](?:(?:de|du|des|la|le|et)\b|",
        cap!(),
        r")){0,4}(?:",
        then!(),
        r"(?:F-)?[0-9]{5} ",
        town!(),
        r")?",
    ),
};

const SPANISH: Streets = Streets {
    words: &[
        "Calle",
        "calle",
        "C/",
        "Avenida",
        "avenida",
        "Avda",
        "Av.",
        "Plaza",
        "plaza",
        "Paseo",
        "paseo",
        "Camino",
        "Carretera",
        "Ronda",
        "Travesía",
        "Glorieta",
        "Callejón",
        "Pasaje",
        "Rambla",
        "Vía",
    ],
    suffix: false,
    pattern: concat!(
        r"(?:\b(?i:calle|avenida|avda\.?|av\.|plaza|paseo|camino|carretera|ronda|travesía|glorieta|callejón|pasaje|rambla|vía)|\bC/) ?(?:(?:de la|de los|de las|del|de) )?",
        cap!(),
        r"(?:[ -](?:(?:de|la|los|las|del|y)\b|",
        cap!(),
        r")){0,4},? (?:n[.º°]{1,2} ?)?[0-9]{1,4}\b(?:,? [0-9]{1,2}[.º°ª]{1,2} ?[A-Z]?\b|,? (?:Puerta|Piso|Apt\.|Esc\.|pta\.) ?[0-9]{1,3})?(?:",
        then!(),
        r"[0-9]{5} ",
        town!(),
        r")?",
    ),
};

const LANGUAGES: [Streets; 4] = [ENGLISH, GERMAN, FRENCH, SPANISH];

static PATTERNS: LazyLock<Vec<Regex>> =
    LazyLock::new(|| LANGUAGES.iter().map(|language| expression(language.pattern)).collect());
/// A house number, and whatever a street is called, on the line before a town with its postcode.
static US_WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r"\b[0-9]{1,6} (?:(?:",
        cap!(),
        r"|[0-9]{1,3}(?:st|nd|rd|th)) ){1,4}",
        cap!(),
        r"(?: (?:Apt|Suite|Unit|Ste)\.? ?[0-9]{1,5}[A-Z]?)?",
        then!(),
        us_tail!(),
    ))
});
static UK_WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        r"\b(?:(?:Flat|Studio|Unit) [0-9]{1,4}[A-Za-z]?(?:, ?\n?| ?\n))?(?:[0-9]{1,5}[A-Za-z]? )?(?:",
        cap!(),
        r" ){1,3}",
        cap!(),
        r"(?:, ?\n?| ?\n)",
        town!(),
        r"(?:,? |, ?\n?|\n)",
        uk_code!(),
    ))
});
static UK_CODE: LazyLock<Regex> = LazyLock::new(|| expression(concat!(r"\b", uk_code!())));
static US_TAIL: LazyLock<Regex> = LazyLock::new(|| expression(concat!(r"\b", us_tail!())));

/// The areas of British postcodes (Royal Mail).
const UK_AREAS: &str = " AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN \
    EX FK FY G GL GU HA HD HG HP HR HS HU HX IG IP IV KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW OL OX PA PE PH \
    PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE ";

/// The words of all streets.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    LANGUAGES.iter().flat_map(|language| language.words).copied()
}

/// Finds the address around the `index`-th of [`words`], which stands at `hit`.
pub(super) fn find(text: &str, index: usize, hit: Range<usize>, found: &mut Vec<Finding>) {
    let language = language_of(index);
    if !is_word(text, &hit, LANGUAGES[language].suffix) || !has_number(text, &hit) {
        return;
    }
    let within = around(text, &hit, BEFORE_BYTES, AFTER_BYTES);
    let mut from = within.start;
    while let Some(address) = PATTERNS[language].find_at(&text[..within.end], from) {
        let span = address.range();
        if span.start > hit.end {
            break;
        }
        from = span.end;
        if span.end >= hit.end && stands_alone(text, &span) && !is_year(text, &span) {
            found.push(Finding { kind: Kind::Address, span });
        }
    }
}

fn language_of(index: usize) -> usize {
    let mut left = index;
    for (at, language) in LANGUAGES.iter().enumerate() {
        match left.checked_sub(language.words.len()) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    unreachable!("the index is that of a word")
}

fn is_word(text: &str, hit: &Range<usize>, suffix: bool) -> bool {
    let letter = |c: char| c.is_alphanumeric();
    let ends = !text[hit.end..].starts_with(letter) || text[..hit.end].ends_with([' ', '/']);
    ends && (suffix || !text[..hit.start].ends_with(letter))
}

fn has_number(text: &str, hit: &Range<usize>) -> bool {
    text.as_bytes()[around(text, hit, BEFORE_BYTES, 48)].iter().any(u8::is_ascii_digit)
}

/// `In 1929 Wall Street fell`: a year with a preposition before it.
fn is_year(text: &str, span: &Range<usize>) -> bool {
    let number: String = text[span.clone()].chars().take_while(char::is_ascii_digit).collect();
    let year = number.parse().is_ok_and(|n: u32| (1500..2100).contains(&n));
    let before =
        text[..span.start].trim_end().rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    let words =
        ["in", "since", "by", "of", "until", "from", "after", "before", "during", "and", "year"];
    year && words.contains(&before.to_lowercase().as_str())
}

/// Finds postcodes in a stretch of digits, with the town and street before them.
pub(super) fn postcodes(text: &str, stretch: &Stretch, found: &mut Vec<Finding>) {
    let mut codes = Vec::new();
    if stretch.digits >= 5 {
        let within = around(text, &stretch.span, BEFORE_BYTES, 1);
        collect(&US_TAIL, text, within, &mut codes, |_| true);
    }
    let american = codes.len();
    let within = around(text, &stretch.span, 2, 3);
    collect(&UK_CODE, text, within, &mut codes, |code| {
        let area: String = code.chars().take_while(char::is_ascii_alphabetic).collect();
        UK_AREAS.contains(&format!(" {area} "))
    });
    for (index, code) in codes.iter().enumerate() {
        let whole = if index < american { &US_WHOLE } else { &UK_WHOLE };
        let within = around(text, &(code.span.end..code.span.end), 2 * BEFORE_BYTES, 0);
        collect(whole, text, within, found, |address| address.bytes().any(|b| b.is_ascii_digit()));
    }
    found.extend(codes);
}

fn collect(
    regex: &Regex,
    text: &str,
    within: Range<usize>,
    found: &mut Vec<Finding>,
    holds: impl Fn(&str) -> bool,
) {
    for hit in regex.find_iter(&text[within.clone()]) {
        let span = within.start + hit.start()..within.start + hit.end();
        if holds(hit.as_str()) && stands_alone(text, &span) {
            found.push(Finding { kind: Kind::Address, span });
        }
    }
}
