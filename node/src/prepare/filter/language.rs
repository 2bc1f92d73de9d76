//! The language of a text, guessed from its trigrams (the `whatlang` crate).

use super::Dropped;
use super::rule::{Rule, Rules};
use serde::{Deserialize, Serialize};

/// A language that can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Language(whatlang::Lang);

/// Languages of two letters (ISO 639-1) with the three (ISO 639-3) by which the library knows them.
const SHORT: [(&str, &str); 40] = [
    ("ar", "ara"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("nl", "nld"),
    ("no", "nob"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sv", "swe"),
    ("th", "tha"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("zh", "cmn"),
];

impl Language {
    /// The language of a code of two or three letters.
    pub fn parse(code: &str) -> Option<Language> {
        let long = SHORT.iter().find(|(short, _)| *short == code).map_or(code, |(_, long)| long);
        whatlang::Lang::from_code(long).map(Language)
    }

    /// Its code: of two letters where there is one, else of three.
    pub fn code(self) -> &'static str {
        let code = self.0.code();
        SHORT.iter().find(|(_, long)| *long == code).map_or(code, |(short, _)| short)
    }
}

impl TryFrom<String> for Language {
    type Error = String;
    fn try_from(code: String) -> Result<Language, String> {
        Language::parse(&code).ok_or_else(|| format!("{code:?} is no language's code"))
    }
}

impl From<Language> for String {
    fn from(language: Language) -> String {
        language.code().to_owned()
    }
}

pub(super) fn judge(rules: &Rules, text: &str) -> Result<(), Dropped> {
    let Some(wanted) = rules.language.filter(|_| rules.is_on(Rule::Language)) else {
        return Ok(());
    };
    let end = text.char_indices().nth(rules.at("language-chars") as usize);
    let start = &text[..end.map_or(text.len(), |(at, _)| at)];
    let Some(guess) = whatlang::detect(start) else {
        return rules.drop_if(Rule::Language, true, || "no language is known in it".into());
    };
    let (found, confidence) = (Language(guess.lang()), guess.confidence());
    let least = rules.at("language-confidence");
    let why = || format!("{} with confidence {confidence:.2}, not {}", found.code(), wanted.code());
    rules.drop_if(Rule::Language, found != wanted || confidence < least, why)
}
