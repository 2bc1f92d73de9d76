//! One scenario under several values of one of its keys: a table, and a picture of bars.

use crate::cluster;
use crate::markup::{escape, svg};
use crate::report::Summary;
use crate::scenario::Scenario;
use std::fmt::Write;
use toml::{Table, Value};

/// A key of a scenario file and the values that it takes in turn, as TOML writes them; a bare word is a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vary {
    /// Names with dots between them; a group or a fault by its name or its number: `run.steps`, `group.slow.tokens_per_s`.
    pub key: String,
    /// At least one.
    pub values: Vec<String>,
}

impl std::str::FromStr for Vary {
    type Err = String;

    fn from_str(text: &str) -> Result<Vary, String> {
        let (key, values) =
            text.split_once('=').ok_or("write it as KEY=a,b,c, such as run.steps=10,20,40")?;
        let values: Vec<String> =
            split(values).iter().map(|value| value.trim().to_owned()).collect();
        if values.iter().any(String::is_empty) {
            return Err(format!("`{key}` lacks a value: write it as {key}=a,b,c"));
        }
        Ok(Vary { key: key.trim().to_owned(), values })
    }
}

/// At commas that are in no brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// The scenario of a file's text, with another value for one key.
///
/// # Errors
/// The key that is not there, or what the scenario's check says of the value.
pub fn with(text: &str, key: &str, value: &str) -> Result<Scenario, String> {
    let mut table: Table = text.parse().map_err(|why: toml::de::Error| why.to_string())?;
    let value = match format!("value = {value}").parse::<Table>() {
        Ok(mut parsed) => parsed.remove("value").expect("it has just been parsed"),
        Err(_) => Value::String(value.to_owned()),
    };
    let named = format!("with {key} = {value}");
    set(&mut table, key, value)?;
    // Lines are those of the text as it is written anew, and would mislead: the key says where to look.
    Scenario::parse(&table.to_string(), &named).map_err(|why| why.to_string())
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = table;
    let mut names = path.split('.').filter(|name| !name.is_empty());
    while let Some(name) = names.next() {
        let (found, name) = match at.get_mut(name) {
            Some(Value::Array(entries)) => {
                let which = names.next().unwrap_or_default();
                let mut numbered = entries.iter_mut().enumerate();
                let found = numbered.find(|(n, entry)| is_called(entry, *n, which));
                (found.map(|(_, entry)| entry), format!("{name}.{which}"))
            }
            found => (found, name.to_owned()),
        };
        at = found.and_then(Value::as_table_mut).ok_or_else(|| {
            format!("`{key}`: the scenario has no `{name}`; a group is named as group.NAME.KEY")
        })?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

fn is_called(entry: &Value, number: usize, which: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(which) || which == number.to_string()
}

/// Runs the scenario once for each value, with the same seed.
///
/// # Errors
/// As [`with`].
pub fn compare(text: &str, vary: &Vary, seed: u64, again: &str) -> Result<Vec<Summary>, String> {
    let scenarios: Result<Vec<Scenario>, String> =
        vary.values.iter().map(|value| with(text, &vary.key, value)).collect();
    let one = |(scenario, value): (Scenario, &String)| {
        let again = format!("{again} --vary {}={value}", vary.key);
        cluster::summary(&scenario, &cluster::run(&scenario, seed, &again, |_| true))
    };
    Ok(scenarios?.into_iter().zip(&vary.values).map(one).collect())
}

/// Name, unit, digits after the point, and the number, if there is one.
type Measure = (&'static str, &'static str, usize, fn(&Summary) -> Option<f64>);

/// What is compared.
const MEASURES: [Measure; 10] = [
    ("time", "s", 1, |run| Some(run.virtual_s)),
    ("rounds", "", 0, |run| Some(run.rounds as f64)),
    ("tokens/s", "", 1, |run| Some(run.tokens_per_s)),
    ("utilisation", "%", 1, |run| Some(100.0 * run.utilisation)),
    ("sent by a host", "MB", 1, |run| Some(run.sent.median as f64 / 1e6)),
    ("rounds lost", "", 0, |run| Some(run.rounds_lost as f64)),
    ("plans given up", "", 0, |run| Some(run.abandoned as f64)),
    ("final loss", "", 4, |run| run.loss.map(|loss| loss.last)),
    ("gap to optimum", "", 7, |run| run.loss.and_then(|loss| Some(loss.last - loss.optimum?))),
    ("time to target", "s", 1, |run| run.loss.and_then(|loss| loss.to_target_s)),
];

/// Those that some run has a number for.
fn measures(runs: &[Summary]) -> Vec<Measure> {
    let told = |measure: &Measure| runs.iter().any(|run| measure.3(run).is_some());
    MEASURES.into_iter().filter(told).collect()
}

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or("-".into(), |number| format!("{number:.digits$}"))
}

/// A line for each value.
pub fn table(vary: &Vary, runs: &[Summary]) -> String {
    let wide = vary.values.iter().map(String::len).chain([vary.key.len()]).max().unwrap_or(0);
    let mut out = format!("{:<wide$}", vary.key);
    let measures = measures(runs);
    for (name, unit, ..) in &measures {
        let _ = write!(out, "{:>20}", title(name, unit));
    }
    for (value, run) in vary.values.iter().zip(runs) {
        let _ = write!(out, "\n{value:<wide$}");
        for (.., digits, of) in &measures {
            let _ = write!(out, "{:>20}", number(of(run), *digits));
        }
    }
    out
}

fn title(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") }
}

const TOP: f64 = 30.0;
const BAR: f64 = 18.0;
const PANEL: f64 = 330.0;
const LABEL: f64 = 110.0;
const COLUMNS: usize = 3;

/// A panel for each measure, in it a bar for each value; bars begin at 0.
pub fn picture(vary: &Vary, runs: &[Summary]) -> String {
    let measures = measures(runs);
    let tall = 60.0 + runs.len() as f64 * BAR;
    let (width, height) =
        (PANEL * COLUMNS as f64 + 20.0, TOP + tall * measures.len().div_ceil(COLUMNS) as f64);
    let mut out = svg(width, height, 11);
    let key = escape(&vary.key);
    let _ = writeln!(out, "<text x=\"{LABEL}\" y=\"20\" font-size=\"14\">by {key}</text>");
    for (n, (name, unit, digits, of)) in measures.iter().enumerate() {
        let (x, y) =
            ((n % COLUMNS) as f64 * PANEL + 10.0, TOP + (n / COLUMNS) as f64 * tall + 25.0);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{y}\" font-weight=\"bold\">{}</text>",
            x + LABEL,
            title(name, unit)
        );
        let numbers: Vec<Option<f64>> = runs.iter().map(of).collect();
        bars(&mut out, &vary.values, (&numbers, *digits), (x, y + 8.0));
    }
    out + "</svg>\n"
}

fn bars(
    out: &mut String,
    labels: &[String],
    (numbers, digits): (&[Option<f64>], usize),
    (x, y): (f64, f64),
) {
    let most = numbers.iter().copied().flatten().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    for (row, (label, of)) in labels.iter().zip(numbers).enumerate() {
        let (top, text) = (y + row as f64 * BAR, y + row as f64 * BAR + 12.0);
        let wide = (of.unwrap_or(0.0) / most * (PANEL - LABEL - 70.0)).max(0.0);
        let number = number(*of, digits);
        let from = x + LABEL;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"#0072b2\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\">{number}</text>",
            from - 6.0,
            escape(label),
            BAR - 3.0,
            from + wide + 5.0,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRAGGLER: &str = include_str!("../../examples/clusters/one-straggler.toml");

    #[test]
    fn values_are_split_at_commas_outside_of_brackets() {
        let vary = |text: &str| text.parse::<Vary>().map(|vary| vary.values);
        assert_eq!(vary("run.steps=10, 20"), Ok(vec!["10".into(), "20".into()]));
        let draws = "group.slow.up_mbit={ uniform = [1, 2] },5";
        assert_eq!(vary(draws), Ok(vec!["{ uniform = [1, 2] }".into(), "5".into()]));
        assert!(vary("run.steps").unwrap_err().contains("KEY=a,b,c"));
        assert!(vary("run.steps=1,,2").unwrap_err().contains("lacks a value"));
    }

    #[test]
    fn a_key_is_found_by_name_or_number() {
        let speed = |scenario: Scenario| scenario.group[1].tokens_per_s.get_ref().least();
        assert_eq!(with(STRAGGLER, "group.slow.tokens_per_s", "7").map(speed), Ok(7.0));
        assert_eq!(with(STRAGGLER, "group.1.tokens_per_s", "8").map(speed), Ok(8.0));
        assert_eq!(
            with(STRAGGLER, "run.up", "f32").map(|s| s.run.up().to_string()),
            Ok("f32".into())
        );
        let wrong = |key, value| with(STRAGGLER, key, value).unwrap_err();
        assert!(wrong("group.fast.up_mbit", "1").contains("no `group.fast`"));
        assert!(wrong("run.stepz", "1").contains("stepz"));
        assert!(wrong("run.up", "zip").contains("with run.up = \"zip\""));
    }

    #[test]
    fn a_faster_straggler_trains_more() {
        let vary: Vary = "group.slow.tokens_per_s=40,200".parse().expect("it is well-formed");
        let runs = compare(STRAGGLER, &vary, 1, "again").expect("both are scenarios");
        assert!(runs[0].tokens_per_s < runs[1].tokens_per_s);
        assert_eq!(table(&vary, &runs).lines().count(), 3);
        assert_eq!(
            picture(&vary, &runs).matches("fill=\"#0072b2\"").count(),
            2 * measures(&runs).len()
        );
    }
}
