//! Rules files: what they do, and what is said of wrong ones.

use crate::anonymise::{Anonymiser, Kind, Rules};
use std::path::Path;

fn read(text: &str) -> Result<Rules, String> {
    Rules::parse(text, Path::new("rules.toml")).map_err(|error| error.to_string())
}

#[test]
fn a_file_sets_actions_and_adds_rules() {
    let text = r#"
        [kinds]
        email = "off"
        card = "drop"

        [[rule]]
        name = "patient"
        regex = 'PAT-(\d{11})'
        checksum = "luhn"

        [[rule]]
        name = "badge"
        regex = '\b[A-Z]\d{4}\b'
        context = ["Badge", "Ausweis"]

        [[rule]]
        name = "hotline"
        regex = '\+49 800 1234567'
        action = "off"
    "#;
    let anonymiser = Anonymiser::new(&read(text).unwrap(), None).unwrap();
    let rows = [
        (
            "a@b.org has PAT-79927398713 and PAT-79927398714",
            "a@b.org has PAT-<PATIENT> and PAT-79927398714",
        ),
        ("badge A1234, and B1234 is a road", "badge <BADGE>, and <BADGE> is a road"),
        ("A1234 is a road", "A1234 is a road"),
        ("+49 800 1234567 or +49 30 1234567", "+49 800 1234567 or <PHONE>"),
    ];
    for (text, expected) in rows {
        assert_eq!(anonymiser.clean(text).text, expected);
    }
    let found = anonymiser.clean("PAT-79927398713").findings[0].kind;
    assert_eq!((found, anonymiser.name(found)), (Kind::Custom(0), "patient"));
}

#[test]
fn a_wrong_file_is_told_by_line_key_and_what_is_right() {
    let rows = [
        (
            "[kinds]\nmail = \"mask\"",
            "rules.toml:2: `kinds.mail`: there is no such kind; right would be email, phone",
        ),
        (
            "[kinds]\nemail = \"hide\"",
            "rules.toml:2: `kinds.email`: \"hide\" is no action: right would be",
        ),
        ("[kinds]\nemail = 3", "rules.toml:2: `kinds.email`: must be text in quotation marks"),
        ("kinds = 3", "rules.toml:1: `kinds`: must be a table: write [kinds]"),
        ("rule = 3", "rules.toml:1: `rule`: must be a list of tables: write [[rule]]"),
        (
            "rules = 3",
            "rules.toml:1: `rules`: there is no such key; right would be [kinds] or [[rule]]",
        ),
        ("[[rule]]\nname = \"a\"", "rules.toml:1: `rule.regex`: is missing: give the expression"),
        (
            "\n[[rule]]\nregex = 'a'",
            "rules.toml:2: `rule.name`: is missing: give the rule a short name",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = '('",
            "rules.toml:3: `rule.regex`: is no expression of Rust's regex crate: unclosed group",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = 'x*'",
            "rules.toml:3: `rule.regex`: matches the empty text",
        ),
        (
            "[[rule]]\nname = \"A b\"\nregex = 'x'",
            "rules.toml:2: `rule.name`: \"A b\" is wrong here: small letters",
        ),
        (
            "[[rule]]\nname = \"email\"\nregex = 'x'",
            "rules.toml:2: `rule.name`: \"email\" is a built-in kind",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = 'x'\nchecksum = \"crc\"",
            "rules.toml:4: `rule.checksum`: \"crc\" is unknown: right would be luhn",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = 'x'\ncontext = \"b\"",
            "rules.toml:4: `rule.context`: must be a list of words",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = 'x'\nnear = []",
            "rules.toml:4: `rule.near`: there is no such key; right would be name",
        ),
        (
            "[[rule]]\nname = \"a\"\nregex = 'x'\n[[rule]]\nname = \"a\"\nregex = 'y'",
            "rules.toml:5: `rule.name`: two rules are called \"a\"",
        ),
        ("[kinds", "rules.toml:1: "),
    ];
    for (text, expected) in rows {
        let error = read(text).err().unwrap_or_default();
        assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn pseudonyms_need_a_key() {
    let rules = read("[kinds]\nname = \"pseudonym\"").unwrap();
    let error = Anonymiser::new(&rules, None).err().unwrap().to_string();
    assert_eq!(
        error,
        "`name` asks for pseudonyms, which are made under a secret key: give one, or take \"mask\""
    );
}
