//! Lists of given names, surnames and common words; `names/README.md` tells where they come from.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What the lists know of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// A given name; `Some(false)` if it is a common word, a place or a month as well.
    pub given: Option<bool>,
    /// A surname; `Some(false)` if it is a common word as well.
    pub surname: Option<bool>,
    /// A common word, or one that begins sentences.
    pub common: bool,
    /// Behind a name it makes a place or an institution of it: `Street`, `University`.
    pub place: bool,
    /// Stands before names: `Mr`, `Frau`.
    pub title: bool,
}

const GIVEN: &str = include_str!("names/given.txt");
const SURNAMES: &str = include_str!("names/surnames.txt");
const COMMON: &str = include_str!("names/common.txt");

/// Titles, with the point that some have left out.
const TITLES: &str = "Mr Mrs Ms Miss Mister Dr Prof Professor Sir Dame Lord Lady Madam Captain Capt Colonel Col Major Sergeant \
    Sgt Lieutenant Lt Reverend Rev Father Sister Judge Justice Senator President Chancellor Herr Frau Fräulein Hr Fr Hrn \
    Monsieur Madame Mademoiselle Mme Mlle Maître Señor Señora Señorita Sr Sra Srta Don Doña Signor Signora Sig Dott Ing \
    Senhor Senhora Mevrouw Meneer Pan Pani Nurse Inspector Detective Officer Uncle Aunt";

const PLACES: &str = "Street St Avenue Ave Road Rd Boulevard Lane Drive Court Place Square Bridge River Lake Island Islands Mountain \
    Mountains Mount Valley County City Town Village Park Garden Gardens Forest Bay Beach Creek Canyon Desert Station Airport \
    University College School Academy Institute Library Museum Gallery Theatre Theater Hospital Clinic Church Cathedral \
    Castle Palace Tower Hall House Hotel Inn Center Centre Building Stadium Arena Foundation Society Company Corporation \
    Corp Inc Ltd LLC GmbH AG Bank Group Holdings Industries Press Post Times Journal Gazette Agreement Treaty Act Prize Award \
    Cup League Club Band Orchestra Festival Day Sea Ocean Coast Tech Platz Straße Allee Universität Stiftung Schule \
    Dynasty Empire Kingdom Republic States District Province Canal Cemetery Chapel Abbey Syndrome Disease Theorem Law Effect";

const OTHERS: &str = "January February March April May June July August September October November December Monday Tuesday Wednesday \
    Thursday Friday Saturday Sunday Christmas Easter English German French Spanish Italian Russian Chinese American British \
    European African Asian Roman Greek Latin Irish Scottish Dutch Turkish Polish Swedish The This That These Those There Then \
    However Although Because Since While When Where What Which Who Whose Why How Yes Please Dear Hello Hi Thanks Thank Tel Email \
    Phone Fax Mobile Address Contact Chapter Section Part Figure Table Version Title Note Notes Section Subject Re From To Date \
    Der Die Das Den Dem Des Ein Eine Einen Und Oder Aber Ich Du Er Sie Es Wir Ihr Mein Dein Sein Ihre Mit Von Zu Nach Bei Aus \
    Auf Für Gestern Heute Morgen Dann Nun Nur Noch Auch Wenn Als Wie Was Wer Wo Liebe Lieber Sehr Montag Dienstag Mittwoch \
    Donnerstag Freitag Samstag Sonntag Januar Februar März Mai Juni Juli Oktober Dezember Telefon Anschrift Adresse Kontakt \
    Le La Les Un Une Des Du Et Ou Mais Je Tu Il Elle Nous Vous Ils Elles On Ce Cette Ces Mon Ma Mes Son Sa Ses Hier Avec Pour \
    Dans Sur Par Chez Lundi Mardi Mercredi Jeudi Vendredi Samedi Dimanche Bonjour Merci Cher Chère El Los Las Una Yo Ella \
    Nosotros Ayer Hoy Con Para Por Pero Cuando Como Lunes Martes Miércoles Jueves Viernes Sábado Domingo Hola Gracias North South East \
    West New Old Great Grand Upper Lower Middle Saint San Santa Port Fort Mount Cape Las Los World War Internet API HTTP JSON XML";

static WORDS: LazyLock<HashMap<&str, Known>> = LazyLock::new(|| {
    let mut words: HashMap<&str, Known> = HashMap::new();
    for line in GIVEN.lines() {
        let (word, sure) = marked(line);
        words.entry(word).or_default().given = Some(sure);
    }
    for line in SURNAMES.lines() {
        let (word, sure) = marked(line);
        words.entry(word).or_default().surname = Some(sure);
    }
    TITLES.split_whitespace().for_each(|word| words.entry(word).or_default().title = true);
    PLACES.split_whitespace().for_each(|word| words.entry(word).or_default().place = true);
    OTHERS.split_whitespace().for_each(|word| words.entry(word).or_default().common = true);
    words
});

static SMALL: LazyLock<std::collections::HashSet<&str>> =
    LazyLock::new(|| COMMON.lines().collect());

fn marked(line: &str) -> (&str, bool) {
    line.strip_suffix('?').map_or((line, true), |word| (word, false))
}

/// What is known of `word`, which begins with a capital; the rest is small.
pub(super) fn known(word: &str) -> Known {
    let mut known = WORDS.get(word).copied().unwrap_or_default();
    known.common |= SMALL.contains(word.to_lowercase().as_str());
    known
}

/// A given name for the number `draw`.
pub(super) fn given(draw: u64) -> &'static str {
    nth(GIVEN, draw)
}

/// A surname for the number `draw`.
pub(super) fn surname(draw: u64) -> &'static str {
    nth(SURNAMES, draw)
}

/// The line around a place of the list that the number picks; words that may be others are passed over.
fn nth(list: &'static str, draw: u64) -> &'static str {
    static INDEX: LazyLock<[Vec<&str>; 2]> = LazyLock::new(|| [GIVEN, SURNAMES].map(plain));
    let names = &INDEX[usize::from(list == SURNAMES)];
    names[(draw % names.len() as u64) as usize]
}

fn plain(list: &'static str) -> Vec<&'static str> {
    list.lines()
        .filter(|word| word.len() > 2 && word.bytes().all(|b| b.is_ascii_alphabetic()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_know_names_and_common_words() {
        assert_eq!(known("Elizabeth").given, Some(true));
        assert_eq!(known("Grace").given, Some(false));
        assert_eq!(known("Schmidt").surname, Some(true));
        assert!(known("Went").common && known("Mr").title && known("University").place);
        assert!(given(7).len() > 2 && surname(u64::MAX).len() > 2);
    }
}
