//! Who and what a story is about, and the words that stand for them.

use crate::data::rng::Rng;

const GIRLS: &[&str] =
    &["Lily", "Mia", "Anna", "Rose", "Ella", "Nora", "Sara", "Zoe", "Ivy", "Lucy", "Ruth", "Tess"];
const BOYS: &[&str] =
    &["Tom", "Ben", "Max", "Sam", "Leo", "Tim", "Jack", "Finn", "Noah", "Owen", "Hugo", "Paul"];
const PEOPLE: [&str; 2] = ["girl", "boy"];
const ANIMALS: &[&str] = &[
    "fox", "bear", "rabbit", "mouse", "duck", "frog", "owl", "cat", "dog", "hedgehog", "squirrel",
    "goat",
];
const TRAITS: &[&str] =
    &["kind", "brave", "shy", "curious", "clever", "quiet", "cheerful", "patient"];
/// Each with the word for being there.
const PLACES: &[(&str, &str)] = &[
    ("in", "park"),
    ("in", "forest"),
    ("in", "garden"),
    ("at", "beach"),
    ("on", "farm"),
    ("in", "village"),
    ("in", "meadow"),
    ("at", "market"),
    ("at", "river"),
    ("on", "hill"),
];
const COLOURS: &[&str] = &["red", "blue", "green", "yellow", "white", "purple", "golden", "brown"];
const SIZES: &[&str] = &["big", "small", "tiny", "shiny", "soft", "old", "new", "round"];
const THINGS: &[&str] = &[
    "ball", "kite", "hat", "boat", "drum", "bell", "book", "box", "scarf", "basket", "cup",
    "toy car",
];
const FOODS: &[&str] = &[
    "apple pie",
    "warm bread",
    "honey cake",
    "berry soup",
    "sweet corn",
    "cherry jam",
    "carrot stew",
    "nut cookies",
];
const WEATHER: &[&str] = &["sunny", "windy", "rainy", "snowy", "cold", "warm", "cloudy"];
const ELDERS: &[&str] = &["mother", "father", "grandmother", "grandfather", "teacher"];
const GLAD: &[&str] = &["happy", "glad", "proud", "very happy", "full of joy"];
const SAD: &[&str] = &["sad", "very sad", "upset", "worried", "close to tears"];
const HIDING: &[&str] = &[
    "under a bush",
    "behind a tree",
    "in the tall grass",
    "under the bed",
    "near the well",
    "behind the barn",
    "between two stones",
];
const NUMBERS: &[&str] = &["two", "three", "four", "five"];

/// A girl, a boy or an animal with a name.
struct Figure {
    name: &'static str,
    kind: &'static str,
    female: bool,
}

impl Figure {
    /// Somebody whose name is not `other`'s.
    fn draw(rng: &mut Rng, other: &str) -> Figure {
        let female = rng.below(2) == 0;
        let person = rng.below(3) > 0;
        let name = loop {
            let name = rng.pick(if female { GIRLS } else { BOYS });
            if name != other {
                break name;
            }
        };
        let kind = if person { PEOPLE[usize::from(!female)] } else { rng.pick(ANIMALS) };
        Figure { name, kind, female }
    }

    fn pronoun(&self, form: usize) -> &'static str {
        [["he", "him", "his"], ["she", "her", "her"]][usize::from(self.female)][form]
    }
}

/// What stays the same through a story.
pub(super) struct Cast {
    hero: Figure,
    friend: Figure,
    elder: &'static str,
    quality: &'static str,
    place: (&'static str, &'static str),
    colour: &'static str,
    size: &'static str,
    thing: &'static str,
    food: &'static str,
    weather: &'static str,
    hiding: &'static str,
    number: &'static str,
}

impl Cast {
    pub fn draw(rng: &mut Rng) -> Cast {
        let hero = Figure::draw(rng, "");
        let friend = Figure::draw(rng, hero.name);
        Cast {
            hero,
            friend,
            elder: rng.pick(ELDERS),
            quality: rng.pick(TRAITS),
            place: PLACES[rng.below(PLACES.len() as u64) as usize],
            colour: rng.pick(COLOURS),
            size: rng.pick(SIZES),
            thing: rng.pick(THINGS),
            food: rng.pick(FOODS),
            weather: rng.pick(WEATHER),
            hiding: rng.pick(HIDING),
            number: rng.pick(NUMBERS),
        }
    }

    /// The word for a template's name: a lower-case name's own form, capitalised if the name is.
    pub fn word(&self, name: &str, rng: &mut Rng) -> String {
        let word = self.lower(&name.to_ascii_lowercase(), rng);
        if name.starts_with(|c: char| c.is_ascii_uppercase()) { capitalised(&word) } else { word }
    }

    /// `a` is the hero and `b` the friend; `a_he`, `b_him` and so on are their pronouns.
    fn lower(&self, name: &str, rng: &mut Rng) -> String {
        let fixed = match name {
            "a" => self.hero.name,
            "a_kind" => self.hero.kind,
            "a_he" => self.hero.pronoun(0),
            "a_him" => self.hero.pronoun(1),
            "a_his" => self.hero.pronoun(2),
            "b" => self.friend.name,
            "b_kind" => self.friend.kind,
            "b_he" => self.friend.pronoun(0),
            "b_him" => self.friend.pronoun(1),
            "b_his" => self.friend.pronoun(2),
            "elder" => self.elder,
            "quality" => self.quality,
            "place" => self.place.1,
            "colour" => self.colour,
            "thing" => self.thing,
            "food" => self.food,
            "weather" => self.weather,
            "hiding" => self.hiding,
            "number" => self.number,
            "glad" => rng.pick(GLAD),
            "sad" => rng.pick(SAD),
            "at_place" => return format!("{} the {}", self.place.0, self.place.1),
            "full_thing" => return format!("{} {} {}", self.size, self.colour, self.thing),
            "a_full_thing" => {
                return with_article(&format!("{} {} {}", self.size, self.colour, self.thing));
            }
            "an_a_kind" => return with_article(&format!("{} {}", self.quality, self.hero.kind)),
            "a_b_kind" => return with_article(self.friend.kind),
            _ => "#",
        };
        fixed.into()
    }
}

fn with_article(words: &str) -> String {
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {words}")
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
