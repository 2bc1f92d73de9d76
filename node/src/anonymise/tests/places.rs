//! Postal addresses as post offices tell people to write them, and as people do.

use super::formats::shaped;
use super::people;
use shoal_protocol::data::rng::Rng;

const US_STREETS: [&str; 16] = [
    "Maple",
    "Oak Ridge",
    "Washington",
    "Lincoln",
    "Sunset",
    "N. Highland",
    "East 14th",
    "Martin Luther King",
    "Elm",
    "S Orange",
    "Peachtree",
    "Old Mill",
    "5th",
    "Jefferson",
    "West Lake",
    "Cedar Creek",
];
const US_TYPES: [&str; 16] = [
    "Street",
    "St",
    "St.",
    "Avenue",
    "Ave",
    "Ave.",
    "Road",
    "Rd",
    "Boulevard",
    "Blvd",
    "Lane",
    "Drive",
    "Dr",
    "Court",
    "Way",
    "Parkway",
];
const US_CITIES: [(&str, &str, &str); 8] = [
    ("Springfield", "IL", "627##"),
    ("San Francisco", "CA", "941##"),
    ("Austin", "TX", "787##"),
    ("Boston", "MA", "021##"),
    ("Fort Wayne", "IN", "468##"),
    ("St. Louis", "MO", "631##"),
    ("Albany", "NY", "122##-####"),
    ("Tampa", "FL", "336##"),
];
const UK_STREETS: [&str; 10] = [
    "High Street",
    "Station Road",
    "Victoria Road",
    "Church Lane",
    "King's Close",
    "Mill Lane",
    "The Crescent",
    "Queensway Gardens",
    "Albert Terrace",
    "St Mary's Grove",
];
const UK_TOWNS: [(&str, &str); 8] = [
    ("London", "SW1A 2@@"),
    ("Manchester", "M20 4@@"),
    ("Leeds", "LS6 3@@"),
    ("Bath", "BA1 5@@"),
    ("Edinburgh", "EH8 9@@"),
    ("Cardiff", "CF10 3@@"),
    ("London", "EC1V 9@@"),
    ("Truro", "TR1 2@@"),
];
const DE_STREETS: [&str; 14] = [
    "Hauptstraße",
    "Bahnhofstr.",
    "Lindenweg",
    "Schillerplatz",
    "Berliner Allee",
    "Goethestrasse",
    "Am Markt",
    "Gartenweg",
    "Kaiser-Wilhelm-Ring",
    "Lange Gasse",
    "Elbchaussee",
    "An der Kirche",
    "Rosa-Luxemburg-Straße",
    "Kurfürstendamm",
];
const DE_TOWNS: [&str; 8] = [
    "Berlin",
    "München",
    "Köln",
    "Frankfurt am Main",
    "Bad Homburg",
    "Leipzig",
    "Halle (Saale)",
    "Weimar",
];
const FR_STREETS: [&str; 12] = [
    "rue de la République",
    "avenue Victor Hugo",
    "boulevard Saint-Michel",
    "place de l'Église",
    "chemin des Vignes",
    "rue du Moulin",
    "impasse des Lilas",
    "Rue de Rivoli",
    "quai de la Loire",
    "allée des Tilleuls",
    "bd Voltaire",
    "cours Mirabeau",
];
const FR_TOWNS: [&str; 7] =
    ["Paris", "Lyon", "Aix-en-Provence", "Nantes", "Saint-Étienne", "Lille", "Le Mans"];
const ES_STREETS: [&str; 11] = [
    "Calle Mayor",
    "C/ Alcalá",
    "Avenida de la Constitución",
    "Avda. Diagonal",
    "Plaza de España",
    "Paseo de Gracia",
    "Calle de Serrano",
    "Ronda de Toledo",
    "Camino del Río",
    "Calle San Juan",
    "C/ del Pez",
];
const ES_TOWNS: [&str; 6] = ["Madrid", "Sevilla", "Bilbao", "Las Palmas", "Zaragoza", "A Coruña"];

/// A postal address in one of five countries' manners, with or without its town.
pub fn address(rng: &mut Rng) -> String {
    let house = (1 + rng.below(240)).to_string();
    match rng.below(9) {
        0..=2 => american(rng, &house),
        3 | 4 => british(rng, &house),
        5 | 6 => german(rng, &house),
        7 => french(rng, &house),
        _ => spanish(rng, &house),
    }
}

fn american(rng: &mut Rng, house: &str) -> String {
    let street = format!("{house} {} {}", rng.pick(&US_STREETS), rng.pick(&US_TYPES));
    let (city, state, zip) = US_CITIES[rng.below(8) as usize];
    let zip = shaped(rng, zip);
    match rng.below(6) {
        0 => street,
        1 => format!("{street}, Apt. {}, {city}, {state} {zip}", 1 + rng.below(40)),
        2 => format!("{street}\n{city}, {state} {zip}"),
        3 => format!("P.O. Box {}, {city}, {state} {zip}", 100 + rng.below(9000)),
        _ => format!("{street}, {city}, {state} {zip}"),
    }
}

fn british(rng: &mut Rng, house: &str) -> String {
    let street = rng.pick(&UK_STREETS);
    let (town, code) = UK_TOWNS[rng.below(8) as usize];
    let code = code.replace("@@", rng.pick(&["AB", "DH", "JN", "XY", "LS", "RT"]));
    match rng.below(5) {
        0 => format!("{house} {street}"),
        1 => format!("Flat {}, {house} {street}, {town} {code}", 1 + rng.below(20)),
        2 => format!("{house}A {street}, {town}, {code}"),
        3 => format!("{house} {street}\n{town}\n{code}"),
        _ => format!("{house} {street}, {town} {code}"),
    }
}

fn german(rng: &mut Rng, house: &str) -> String {
    let street = match rng.below(5) {
        0 => format!("{}straße", people::surname(rng).replace(' ', "-")),
        _ => rng.pick(&DE_STREETS).to_owned(),
    };
    let (town, code) = (rng.pick(&DE_TOWNS), shaped(rng, "%####"));
    match rng.below(4) {
        0 if street.starts_with("A") => format!("{street} {house}, {code} {town}"),
        0 => format!("{street} {house}"),
        1 => format!("{street} {house}a, D-{code} {town}"),
        2 => format!("{street} {house}\n{code} {town}"),
        _ => format!("{street} {house}, {code} {town}"),
    }
}

fn french(rng: &mut Rng, house: &str) -> String {
    let (street, town, code) = (rng.pick(&FR_STREETS), rng.pick(&FR_TOWNS), shaped(rng, "%#000"));
    match rng.below(4) {
        0 => format!("{house} {street}"),
        1 => format!("{house} bis, {street}, {code} {town}"),
        2 => format!("{house}, {street}\n{code} {town}"),
        _ => format!("{house} {street}, {code} {town}"),
    }
}

fn spanish(rng: &mut Rng, house: &str) -> String {
    let (street, town, code) = (rng.pick(&ES_STREETS), rng.pick(&ES_TOWNS), shaped(rng, "28###"));
    match rng.below(4) {
        0 => format!("{street}, {house}"),
        1 => format!("{street} {house}, 3º B, {code} {town}"),
        2 => format!("{street}, nº {house}, {code} {town}"),
        _ => format!("{street} {house}, {code} {town}"),
    }
}
