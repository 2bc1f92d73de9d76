//! Sentences for the planted texts: with a place for an item, and without one but with what resembles an item.

use super::formats::{digits, letters, shaped};
use crate::anonymise::Kind;
use shoal_protocol::data::rng::Rng;

/// Sentences with one item, written `{}`.
pub fn around(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Email => &[
            "Please write to {} before Friday.",
            "Contact: {}",
            "From: <{}>",
            "She never answered, so I tried {}, and that worked.",
            "Schreiben Sie bitte an {}.",
            "Vous pouvez m'écrire à {}, je réponds toujours.",
            "mi correo es {}",
            "[mail us](mailto:{})",
            "\"email\": \"{}\",",
            "Maintainer: A person <{}>",
            "user={};role=admin",
            "Scrivi a {}!",
        ],
        Kind::Phone => &[
            "Call me on {} after six.",
            "Tel.: {}",
            "Phone: {}",
            "Fax {}",
            "You can reach the office at {} or in person.",
            "Telefon: {}",
            "Rufen Sie mich an: {}.",
            "Tél. {}",
            "Mon numéro est le {}, appelle-moi.",
            "Llámame al {}.",
            "Teléfono: {}",
            "Mobile: {}",
            "Mobil {}",
            "Cell: {}",
            "My number is {}.",
            "WhatsApp {}",
            "Tel {}, Mon-Fri 9-17",
        ],
        Kind::Ip => &[
            "The request came from {} at night.",
            "ssh root@{} -p 2222",
            "Failed password for invalid user admin from {} port 52113 ssh2",
            "{} - - [12/Mar/2021:06:25:24 +0000] \"GET /index.html HTTP/1.1\" 200 5316",
            "client_ip={}",
            "Die Adresse war {}.",
            "nameserver {}",
            "blocked {}, again",
            "(last login from {})",
        ],
        Kind::Iban => &[
            "Please pay to {} within 14 days.",
            "IBAN: {}",
            "Bitte überweisen Sie auf das Konto {}.",
            "IBAN {} (BIC on request)",
            "Virement sur le compte {}, merci.",
            "Cuenta: {}",
            "account={};",
            "The refund went to {}.",
        ],
        Kind::Card => &[
            "He read the number aloud: {}, and the clerk typed it.",
            "Card: {} exp 09/27",
            "card_number: \"{}\"",
            "Kreditkarte {}",
            "Carte bancaire {}, merci.",
            "I paid with {} last week.",
            "PAN {} CVV 123",
            "Tarjeta {}",
        ],
        Kind::National => &[
            "His number on the form was {}.",
            "ID: {}",
            "Tax number {}",
            "The applicant ({}) did not appear.",
            "id={},status=open",
            "National insurance or social security: {}",
            "Identifiant: {}",
            "Documento {}",
            "Kennung {}.",
            "Codice: {}",
        ],
        Kind::Secret => &[
            "export API_KEY={}",
            "api_key: \"{}\"",
            "Authorization: Bearer {}",
            "\"access_token\": \"{}\",",
            "client_secret = '{}'",
            "AUTH_TOKEN={}",
            "secret_key => \"{}\"",
            "const apiKey = \"{}\";",
        ],
        Kind::Credentials => &[
            "git clone https://{}@git.example.net/team/app.git",
            "DATABASE_URL=postgres://{}@db.internal:5432/app",
            "see ftp://{}@files.test/pub",
            "amqp://{}@rabbit.internal/vhost",
        ],
        Kind::Address => &[
            "We moved to {} in the spring.",
            "Address: {}",
            "Ship to:\n{}\n",
            "The meeting is at {}.",
            "Anschrift: {}",
            "Sie wohnt in der Nähe, {}.",
            "Adresse : {}",
            "Dirección: {}",
            "He lives at {}, as far as I know.",
            "Deliver the parcel to {} please.",
        ],
        Kind::Name => &[
            "I met {} at the station.",
            "Yours sincerely,\n{}\n",
            "The report was written by {} last year.",
            "My name is {} and I live here.",
            "\"That is not true,\" said {}.",
            "Patient: {}",
            "According to {}, nothing was missing.",
            "{} opened the door and went in.",
            "Mit freundlichen Grüßen\n{}\n",
            "Gestern hat {} angerufen.",
            "Hier, {} est venu me voir.",
            "Ayer hablé con {} en la plaza.",
            "Contact person: {}",
            "Thanks to {} for the photographs.",
            "We asked {}, who declined to comment.",
            "Dr. {} will see you now.",
        ],
        Kind::Custom(_) => &[],
    }
}

/// Sentences for secrets that tell themselves, wherever they stand.
pub const OPEN_SECRETS: [&str; 4] = [
    "I found {} in the log.",
    "Never commit {} again.",
    "Der Schlüssel war {} gewesen.",
    "key pasted below\n{}\nend",
];

/// Sentences for a token that stands in an address.
pub const TOKEN_URLS: [&str; 3] = [
    "https://api.example.net/v1/items?access_token={}&page=2",
    "GET /feed?limit=10&api_key={} HTTP/1.1 to http://host.test/feed?api_key={}",
    "wss://stream.example.net/live?token={}",
];

/// Sentences without an item; words in braces are filled by [`likeness`].
pub const WITHOUT: [&str; 66] = [
    "The winter of {year} was long, and nobody in the valley expected the thaw before April.",
    "See chapter {small}, section {small}.{small}.{small}, for the proof.",
    "ISBN {isbn13}, second edition, {year}.",
    "The older printing has ISBN {isbn10} on its back.",
    "It cost ${thousands}.99, or about {thousands} euros.",
    "We upgraded from v{small}.{small}.{small} to {small}.{small}.{small}-rc.1 overnight.",
    "Version {small}.{small}.{small}.{small} fixes the crash.",
    "The train leaves at {hour}:{minute} and arrives at {hour}:{minute}:{minute}.",
    "Between {year} and {year} the population grew from {thousands} to {million}.",
    "On {iso_date} the committee met again.",
    "Le {eu_date}, le conseil a décidé.",
    "Am {eu_date} um {hour}.{minute} Uhr begann die Sitzung.",
    "2024-05-17T{hour}:{minute}:{minute}Z INFO started worker {small} in 0.{six}s",
    "pi is 3.14159265358979 and e is 2.718281828459045",
    "commit {hex40}",
    "sha256:{hex64}",
    "The id is {uuid} in the database.",
    "Genesis {small}:{small}, and Psalm 119:{small}.",
    "Order {order} shipped on {us_date}.",
    "doi:10.{four}/s{five}-021-{five}-x",
    "Ticket #{five} was closed as a duplicate of #{five}.",
    "The ratio was {small}:{small}, then {small}/{small}.",
    "let x = foo::bar::baz(a, b)?; // std::fmt::Display",
    "for (i = 0; i < {five}; i++) total += a[i] @ b;",
    "Use @dataclass and @property above the method.",
    "follow @someone on the platform",
    "127.0.0.1 and 0.0.0.0 are not anybody's; neither is 255.255.255.0.",
    "MAC 00:1a:2b:{hex2}:{hex2}:{hex2} on eth0",
    "The score was {small}-{small} after extra time, {small}-{small} on penalties.",
    "pp. {hundreds}-{hundreds}, vol. {small}, no. {small}",
    "The Grand Canyon, Lake Victoria and the Black Forest are all worth a journey.",
    "New York and San Francisco are far apart.",
    "On Monday Morning the Washington Post and the Financial Times disagreed.",
    "The Paris Agreement was signed by many states.",
    "Chapter One. The River",
    "Part Two: The Long Road Home",
    "The United Nations Security Council met on Thursday.",
    "In {year} Wall Street fell by {small} per cent.",
    "They walked down the street, {small} of them, past the old mill road.",
    "Die Straße war leer, {small} Laternen brannten.",
    "La rue était vide, {small} lampes brûlaient.",
    "Er kaufte {small} Brote und ging seines Weges.",
    "{small} people drove on the wrong side of the road.",
    "api_key = os.environ[\"API_KEY\"]",
    "password: required",
    "token = get_token(request)",
    "The bearer of this letter is to be trusted entirely.",
    "secret = None",
    "Your password must have at least {small} characters.",
    "https://example.org/articles/{year}/{five}?page={small}&sort=asc",
    "http://localhost:{four}/status",
    "image@2x.png is {small} KB",
    "lodash@4.{small}.{small} and react@18.2.0 were installed",
    "Mountain View is in California; Cape Town is not.",
    "The Second World War ended in {year}.",
    "He scored {hundreds} points in {small} games.",
    "1 000 000 people, 12,500,000 litres, 3.000.000 Euro",
    "Room {hundreds}, floor {small}, row {small}, seat {small}",
    "ISSN {four}-{four}",
    "GPS 48.{six}, 2.{six}",
    "EAN {ean13}",
    "The Old Man and the Sea is a short book.",
    "Holy Roman Empire, Middle Ages, Industrial Revolution",
    "rgb({hundreds}, {small}, {small}) is #{hex6}",
    "Area {small} km², {small} °C, {small} % humidity, {small}×{small} cm",
    "x = {six}; y = {six}; z = -{six}",
];

/// Fills a sentence of [`WITHOUT`].
pub fn without(rng: &mut Rng) -> String {
    let mut rest = rng.pick(&WITHOUT);
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((word, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&likeness(word, rng).unwrap_or_else(|| format!("{{{word}}}")));
        rest = tail;
    }
    out + rest
}

/// What resembles an item and is none.
fn likeness(word: &str, rng: &mut Rng) -> Option<String> {
    const HEX: &str = "0123456789abcdef";
    let hex = |rng: &mut Rng, n| letters(rng, n, HEX);
    Some(match word {
        "year" => (1500 + rng.below(530)).to_string(),
        "small" => (1 + rng.below(40)).to_string(),
        "hundreds" => (100 + rng.below(899)).to_string(),
        "thousands" => format!("{},{:03}", 1 + rng.below(99), rng.below(1000)),
        "million" => shaped(rng, "%,###,###"),
        "four" => digits(rng, 4),
        "five" => digits(rng, 5),
        "six" => digits(rng, 6),
        "order" => shaped(rng, "A-%####-%####"),
        "hour" => format!("{:02}", rng.below(24)),
        "minute" => format!("{:02}", rng.below(60)),
        "iso_date" => {
            format!("{}-{:02}-{:02}", 1900 + rng.below(130), 1 + rng.below(12), 1 + rng.below(28))
        }
        "eu_date" => {
            format!("{:02}.{:02}.{}", 1 + rng.below(28), 1 + rng.below(12), 1900 + rng.below(130))
        }
        "us_date" => {
            format!("{:02}/{:02}/{}", 1 + rng.below(12), 1 + rng.below(28), 1900 + rng.below(130))
        }
        "hex2" => hex(rng, 2),
        "hex6" => hex(rng, 6),
        "hex40" => hex(rng, 40),
        "hex64" => hex(rng, 64),
        "uuid" => [8, 4, 4, 4, 12].map(|n| hex(rng, n)).join("-"),
        "isbn13" => isbn13(rng, "978-0-"),
        "ean13" => isbn13(rng, "400").replace('-', ""),
        "isbn10" => isbn10(rng),
        _ => return None,
    })
}

fn isbn13(rng: &mut Rng, prefix: &str) -> String {
    let free = 12 - prefix.chars().filter(char::is_ascii_digit).count();
    let body = format!("{prefix}{}", digits(rng, free));
    let sum: u32 = body
        .chars()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(i, d)| d * if i % 2 == 0 { 1 } else { 3 })
        .sum();
    format!("{body}-{}", (10 - sum % 10) % 10)
}

fn isbn10(rng: &mut Rng) -> String {
    let (a, b) = (digits(rng, 3), digits(rng, 5));
    let sum: u32 = format!("0{a}{b}")
        .chars()
        .filter_map(|c| c.to_digit(10))
        .zip((2..=10).rev())
        .map(|(d, w)| d * w)
        .sum();
    let check = match (11 - sum % 11) % 11 {
        10 => "X".to_owned(),
        digit => digit.to_string(),
    };
    format!("0-{a}-{b}-{check}")
}
