//! Each rule by rows: a text, and whether it goes.

use super::*;

/// A text that no rule is against.
const GOOD: &str = "It was a bright cold day in April, and the clocks were striking thirteen. The old fisherman went down to \
the harbour with his nets, as he had done every morning for forty years. Nobody would have thought that the sea could be so \
quiet. He looked at the boats and counted them twice, because one of them seemed to be missing. Then he saw that the gulls \
had gathered far out, over the sandbank, and he knew at once what that meant.";

fn repeated(piece: &str, times: usize, with: &str) -> String {
    vec![piece; times].join(with)
}

/// The name of the rule that drops a text, or nothing.
fn dropped_by(rules: &Rules, text: &str) -> &'static str {
    rules.judge(text).err().map_or("", |dropped| dropped.rule.name())
}

/// All rules on, only `name` being asked for what it says.
fn only(name: &str) -> Rules {
    let mut rules = Rules::none();
    rules.switch(name, true).unwrap();
    rules
}

#[test]
fn each_rule_drops_what_it_is_against_and_nothing_else() {
    let words = |n: usize| repeated("word", n, " ");
    let nine_bullets = repeated("- one point", 19, "\n") + "\nno point";
    let ellipses = repeated("and then...", 4, "\n") + "\n" + &repeated("it ended.", 6, "\n");
    let lines = repeated("the same line", 4, "\n") + "\none\ntwo\nthree\nfour\nfive\nsix";
    let paragraphs = repeated("again", 4, "\n\n") + "\n\none\n\ntwo\n\nthree\n\nfour";
    let long_line = repeated("x y z", 2, "\n") + "\nanother\nand\nmore\nof\nit";
    let run = "seven small fish swam under the bridge";
    let runs = [run, "then came others:", run, "and", run].join(" ");
    let rows: [(&str, String, bool); 26] = [
        ("length", words(49), true),
        ("length", words(50), false),
        ("length", words(100_000), false),
        ("length", words(100_001), true),
        ("word-length", "ab cd ef".into(), true),
        ("word-length", "abc def".into(), false),
        ("word-length", "internationalisation of organisations".into(), true),
        ("symbols", words(19) + " # #", false),
        ("symbols", words(9) + " # #", true),
        ("symbols", words(9) + " a... b...", true),
        ("bullets", nine_bullets.clone(), true),
        ("bullets", nine_bullets.replace("- ", "-"), false),
        ("ellipses", ellipses.clone(), true),
        ("ellipses", ellipses.replacen("...", ".", 1), false),
        ("alphabetic", "a b c d 5".into(), false),
        ("alphabetic", "a b c 4 5".into(), true),
        ("stop-words", "The cat sat with us".into(), false),
        ("stop-words", "The cat sat on us".into(), true),
        ("duplicate-lines", lines.clone(), true),
        ("duplicate-lines", long_line, false),
        ("duplicate-paragraphs", paragraphs, true),
        ("duplicate-paragraphs", lines, false),
        ("top-ngrams", repeated("oh dear", 5, " and then ") + " it was over", true),
        ("top-ngrams", GOOD.into(), false),
        ("duplicate-ngrams", runs, true),
        ("duplicate-ngrams", GOOD.into(), false),
    ];
    for (rule, text, against) in rows {
        let got = dropped_by(&only(rule), &text);
        assert_eq!(got, if against { rule } else { "" }, "{rule}: {text:.120}");
        assert_eq!(dropped_by(&Rules::none(), &text), "", "no rule, nothing dropped");
    }
    assert_eq!(dropped_by(&Rules::default(), GOOD), "");
}

#[test]
fn c4_drops_documents_and_takes_lines() {
    let rows = [
        ("lorem-ipsum", "Well, Lorem Ipsum dolor", true),
        ("lorem-ipsum", "Well, lorem, ipsum", false),
        ("curly-braces", "fn main() {", true),
        ("curly-braces", "fn main()", false),
        ("sentences", "One. Two! \"Three?\"", false),
        ("sentences", "One. Two! Three", true),
        ("sentences", "Version 1.2.3 is out.", true),
    ];
    for (rule, text, against) in rows {
        assert_eq!(dropped_by(&only(rule), text), if against { rule } else { "" }, "{text}");
    }
    let page = "Home | About\nPlease enable JavaScript.\nA line that ends as it should.\n\nShort one.\nHe said: \"It is as good as any.\"\nand so on...";
    let rows = [
        ("javascript-lines", vec!["Please enable"]),
        ("terminal-lines", vec!["Home", "and so on"]),
        ("short-lines", vec!["Home", "Please", "Short", "and so"]),
    ];
    for (rule, gone) in rows {
        let edited = only(rule).edit(page).unwrap();
        for line in page.lines().filter(|line| !line.is_empty()) {
            let goes = gone.iter().any(|start| line.starts_with(start));
            assert_eq!(edited.text.contains(line), !goes, "{rule}: {line}");
        }
        let [(taken, count)] = edited.lines[..] else { panic!("{:?}", edited.lines) };
        assert_eq!((taken.name(), count), (rule, gone.len() as u64));
    }
    assert_eq!(only("javascript-lines").edit("Nothing of it.\n"), None);
}

#[test]
fn the_language_is_told_from_others() {
    let mut rules = only("language");
    let german = "Es war ein klarer, kalter Tag im April, und die Uhren schlugen gerade dreizehn, als er das Haus verließ.";
    assert_eq!(dropped_by(&rules, german), "", "any language will do");
    for (code, text, by) in [
        ("en", GOOD, ""),
        ("eng", GOOD, ""),
        ("de", GOOD, "language"),
        ("de", german, ""),
        ("en", german, "language"),
    ] {
        rules.language = Some(Language::parse(code).unwrap());
        assert_eq!(dropped_by(&rules, text), by, "{code}: {text}");
    }
    assert_eq!(dropped_by(&rules, "12 34"), "language", "nothing to go by");
    for code in
        ["ar", "de", "en", "es", "et", "fa", "fr", "hi", "hr", "ja", "la", "no", "pt", "ru", "zh"]
    {
        assert_eq!(Language::parse(code).unwrap().code(), code);
    }
    assert_eq!(Language::parse("xx"), None);
    assert_eq!(Language::parse("deu").unwrap().code(), "de");
}

#[test]
fn english_stop_words_are_not_asked_of_german() {
    let mut rules = only("stop-words");
    let text = "Der Hund und die Katze";
    assert_eq!(dropped_by(&rules, text), "stop-words");
    rules.language = Language::parse("de");
    assert_eq!(dropped_by(&rules, text), "");
}

#[test]
fn thresholds_and_switches_go_by_name_and_wrong_ones_are_told() {
    let mut rules = Rules::default();
    assert_eq!(dropped_by(&rules, "The cat sat with us"), "length");
    rules.set("words-min", 5.0).unwrap();
    assert_eq!(dropped_by(&rules, "The cat sat with us"), "");
    let told = |result: Result<(), crate::prepare::PrepareError>| result.unwrap_err().to_string();
    assert!(told(rules.set("words", 5.0)).contains("words-min, words-max"));
    assert!(told(rules.set("words-min", -1.0)).contains("from 0 up"));
    assert!(told(rules.switch("lenght", true)).contains("length, word-length"));
    let all: Vec<Rule> = Rule::all().collect();
    let names: std::collections::BTreeSet<&str> = Rule::names().collect();
    assert_eq!(names.len(), all.len());
    for rule in Rule::all() {
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, format!("{:?}", rule.name()), "one name everywhere");
    }
}
