//! Numbers that states give people, each with the form and check that its authority publishes.

use super::Kind;
use super::checksum::{self, Check, compact};
use super::numbers::{Form, Test};

/// Short before a number whose form alone could be anything.
const SSN: &[&str] = &["ssn", "social security", "soc. sec"];

/// All forms, country by country.
pub(super) const FORMS: [Form; 28] = [
    // United States: SSN, and ITIN for those without one.
    form(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", 9, Test::Code(checksum::american_ssn), &[]),
    form(r"\b[0-9]{3} ?[0-9]{2} ?[0-9]{4}\b", 9, Test::Code(checksum::american_ssn), SSN),
    form(r"\b9[0-9]{2}-(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])-[0-9]{4}\b", 9, Test::Form, &[]),
    // United Kingdom: national insurance, health service.
    form(
        r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-D]\b",
        6,
        Test::Code(checksum::british_nino),
        &[],
    ),
    form(
        r"\b[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}\b",
        10,
        Test::Code(checksum::british_nhs),
        &["nhs"],
    ),
    // Germany: tax, pension.
    form(r"\b[1-9][0-9](?:[ /]?[0-9]{3}){3}\b", 11, Test::Code(checksum::german_tax), &[]),
    form(
        r"\b[0-9]{2} ?[0-3][0-9][01][0-9]{3} ?[A-Z] ?[0-9]{3}\b",
        11,
        Test::Code(checksum::german_pension),
        &[],
    ),
    // France: social security; Corsica has a letter among its digits.
    form(
        r"\b[12][ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{2}\b",
        15,
        Test::Code(checksum::french_nir),
        &[],
    ),
    form(
        r"\b[12][ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?2[AB][ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{2}\b",
        14,
        Test::Code(checksum::french_nir),
        &[],
    ),
    // Spain: DNI of citizens, NIE of foreigners.
    form(
        r"\b[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}[ -]?[A-HJ-NP-TV-Z]\b",
        8,
        Test::Code(checksum::spanish_dni),
        &[],
    ),
    form(r"\b[XYZ][ -]?[0-9]{7}[ -]?[A-HJ-NP-TV-Z]\b", 7, Test::Code(checksum::spanish_dni), &[]),
    // Italy; letters stand for digits where two people would have the same number.
    Form {
        digits: 5..=7,
        ..form(
            r"(?i)\b[A-Z]{3} ?[A-Z]{3} ?[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2} ?[A-Z][0-9LMNP-V]{3}[A-Z]\b",
            7,
            Test::Code(checksum::italian_cf),
            &[],
        )
    },
    // Switzerland, Belgium, Netherlands.
    form(r"\b756[. ]?[0-9]{4}[. ]?[0-9]{4}[. ]?[0-9]{2}\b", 13, Test::Code(checksum::ean13), &[]),
    form(
        r"\b[0-9]{2}[. ][0-9]{2}[. ][0-9]{2}[- ][0-9]{3}[. ][0-9]{2}\b",
        11,
        Test::Code(checksum::belgian_register),
        &[],
    ),
    form(
        r"\b[0-9]{11}\b",
        11,
        Test::Code(checksum::belgian_register),
        &["rijksregister", "registre national", "insz", "niss"],
    ),
    form(
        r"\b[0-9]{9}\b|\b[0-9]{4}\.[0-9]{2}\.[0-9]{3}\b",
        9,
        Test::Code(checksum::dutch_bsn),
        &["bsn", "burgerservice", "sofi"],
    ),
    // Poland, Finland, Sweden, Denmark, Norway.
    form(r"\b[0-9]{11}\b", 11, Test::Code(checksum::polish_pesel), &[]),
    Form {
        digits: 9..=10,
        ..form(
            r"\b[0-3][0-9][01][0-9]{3}[+A-FU-Y-][0-9]{3}[0-9A-FHJ-NPR-Y]\b",
            9,
            Test::Code(checksum::finnish_hetu),
            &[],
        )
    },
    form(r"\b[0-9]{6}[-+][0-9]{4}\b", 10, Test::Code(checksum::swedish_number), &[]),
    form(r"\b(?:19|20)[0-9]{6}[-+]?[0-9]{4}\b", 12, Test::Code(checksum::swedish_number), &[]),
    form(r"\b[0-3][0-9][01][0-9]{3}-?[0-9]{4}\b", 10, Test::Code(checksum::danish_cpr), &["cpr"]),
    form(r"\b[0-7][0-9][01][0-9]{3} ?[0-9]{5}\b", 11, Test::Code(checksum::norwegian_number), &[]),
    // Brazil, Ireland, Canada, India.
    form(
        r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b",
        11,
        Test::Code(checksum::brazilian_cpf),
        &[],
    ),
    form(r"\b[0-9]{11}\b", 11, Test::Code(checksum::brazilian_cpf), &["cpf"]),
    form(r"\b[0-9]{7}[A-W][A-IW]?\b", 7, Test::Code(checksum::irish_pps), &[]),
    form(r"\b[1-9][0-9]{2}-[0-9]{3}-[0-9]{3}\b", 9, Test::Code(checksum::luhn), &[]),
    form(
        r"\b[1-9][0-9]{2} ?[0-9]{3} ?[0-9]{3}\b",
        9,
        Test::Code(checksum::luhn),
        &["social insurance", "assurance sociale", "sin:", "nas:"],
    ),
    form(r"\b[2-9][0-9]{3} [0-9]{4} [0-9]{4}\b", 12, Test::Code(checksum::verhoeff), &[]),
];

const fn form(
    pattern: &'static str,
    digits: usize,
    test: Test,
    near: &'static [&'static str],
) -> Form {
    Form { kind: Kind::National, pattern, digits: digits..=digits, test, near }
}

/// Countries of ISO 13616's registry, and how long their IBANs are.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 \
    DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 \
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 \
    OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 \
    UA29 VA22 VG24 XK20 YE30";

/// How many letters and digits an IBAN of this country has.
pub(super) fn iban_length(country: &str) -> Option<usize> {
    let at =
        IBAN_LENGTHS.split_whitespace().find(|entry| entry[..2].eq_ignore_ascii_case(country))?;
    at[2..].parse().ok()
}

/// The IBAN that begins at `start`, where two letters and two digits stand; it may be written in groups.
pub(super) fn iban_end(text: &str, start: usize) -> Option<usize> {
    let length = iban_length(text.get(start..start + 2)?)?;
    let (mut taken, mut separated) = (0, true);
    for (at, c) in text[start..].char_indices() {
        if c.is_ascii_alphanumeric() {
            (taken, separated) = (taken + 1, false);
            if taken == length {
                return Some(start + at + 1);
            }
        } else if separated || !" \u{a0}\u{202f}-.".contains(c) {
            return None;
        } else {
            separated = true;
        }
    }
    None
}

/// Whether the text is an IBAN with a right check number.
pub(super) fn is_iban(text: &str) -> bool {
    let code = compact(text);
    let check: Check = checksum::mod97;
    iban_end(text, 0) == Some(text.len()) && check(&code)
}
