//! JSON Lines: one object a line, of which one field is the text.

use super::lines::{self, LINE_BYTES_MAX, Line};
use super::{Record, Records};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io::BufRead;

/// The records of a file; `name` and a line number tell where a fault is.
pub(super) fn records(
    mut reader: Box<dyn BufRead>,
    name: String,
    field: String,
) -> Records<'static> {
    let (mut line, mut number, mut broken) = (Vec::new(), 0u64, false);
    Box::new(std::iter::from_fn(move || {
        while !broken {
            number += 1;
            let place = format!("{name}:{number}");
            match lines::next(&mut *reader, LINE_BYTES_MAX, &mut line) {
                Ok(Line::End) => return None,
                Ok(Line::Whole) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Line::Whole) => return Some(record(&line, &field, &place)),
                Ok(Line::TooLong) => {
                    return Some(Record::bad("record too long", &place, beginning(&line)));
                }
                Err(error) => {
                    broken = true;
                    return Some(Record::bad("file broken off", &place, error));
                }
            }
        }
        None
    }))
}

fn record(line: &[u8], field: &str, place: &str) -> Record {
    let Ok(text) = std::str::from_utf8(line) else {
        return Record::bad("not UTF-8", place, beginning(line));
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let found = Field(field).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    match found {
        Ok(Some(text)) => Record::Text(text),
        Ok(None) => Record::bad(
            "field missing",
            place,
            format!("no text at {field:?} in {}", beginning(line)),
        ),
        Err(error) => Record::bad("broken JSON", place, format!("{error} in {}", beginning(line))),
    }
}

/// The first characters of what cannot be read.
pub(super) fn beginning(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(240)]);
    shown.chars().take(80).collect()
}

/// Reads one field of an object and passes over the others.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = match map.next_value::<serde_json::Value>()? {
                    serde_json::Value::String(text) => Some(text),
                    serde_json::Value::Null => None,
                    _ => return Err(A::Error::custom(format!("{key:?} is no text"))),
                };
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
