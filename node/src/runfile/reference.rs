//! The reference of run files: every key that reading one asks for, as the reader itself tells it, with what a person wants to know beside that.

use super::document::{Asked, Document};
use super::notes::{TOLD, Told};
use super::read;
use shoal_protocol::run::Strategy;
use std::fmt::Write;
use std::path::Path;

/// The least that a run file holds.
const LEAST: &str = "name = \"x\"\n[model]\npreset = \"1m\"\n[data]\nstories_bytes = 1000000\n";

/// What else has to stand in a file so that all keys are asked for or their defaults told: by what, and the lines.
fn variants() -> Vec<(String, String)> {
    let named = |table: &str, key: &str, value: &str| {
        let (by, lines) = (format!("`{value}`"), format!("[{table}]\n{key} = \"{value}\"\n"));
        (by, lines)
    };
    let strategies =
        Strategy::ALL.iter().map(|strategy| named("strategy", "name", strategy.name()));
    let optimizers = super::inner::OPTIMIZERS.iter().map(|name| named("inner", "optimizer", name));
    let schedules = super::inner::SCHEDULES.iter().map(|name| named("inner", "schedule", name));
    let overlaps = std::iter::once(named("strategy", "overlap", "delayed"));
    let gossip = super::strategy::GOSSIP.iter().map(|name| named("strategy", "name", name));
    strategies.chain(gossip).chain(optimizers).chain(schedules).chain(overlaps).collect()
}

/// The keys that reading a file of these lines asks for.
fn asked(lines: &str) -> Vec<Asked> {
    // Codecs of large blocks want larger chunks than the smallest model needs.
    let text = format!("{LEAST}{lines}");
    let path = Path::new("run.toml");
    let document = Document::parse(&text, path);
    let document = document.unwrap_or_else(|error| unreachable!("it is TOML: {error}"));
    if let Err(error) = read::read(&document, path) {
        unreachable!("it is a run file: {error}");
    }
    document.into_asked()
}

/// A key as all files tell it: what it takes, and its default where nothing else is said, or with what.
struct Key {
    asked: Asked,
    /// By what it is another.
    others: Vec<(String, String)>,
}

fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> =
        asked("").into_iter().map(|asked| Key { asked, others: Vec::new() }).collect();
    for (by, lines) in variants() {
        let mut last = 0;
        for asked in asked(&lines) {
            match keys.iter().position(|key| key.asked.key == asked.key) {
                Some(at) => {
                    last = at;
                    keys[at].differs(&by, asked.default);
                }
                None => {
                    let mut key =
                        Key { asked: Asked { default: None, ..asked.clone() }, others: Vec::new() };
                    key.differs(&by, asked.default);
                    last += 1;
                    keys.insert(last, key);
                }
            }
        }
    }
    keys
}

impl Key {
    fn differs(&mut self, by: &str, default: Option<String>) {
        match default {
            Some(value) if Some(&value) != self.asked.default.as_ref() => {
                self.others.push((by.to_owned(), value));
            }
            _ => {}
        }
    }

    fn default(&self, told: &Told) -> String {
        let usual = Some(told.default).filter(|default| !default.is_empty());
        let usual = usual.map(str::to_owned).or(self.asked.default.clone());
        let others = self.others.iter().map(|(by, value)| format!("{value} with {by}"));
        usual.into_iter().chain(others).collect::<Vec<_>>().join("; ")
    }
}

/// The whole reference, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Run files, key by key\n\n\
         Printed by `shoal new --reference` from what the reader of run files asks for. `name`, a model and a text are needed; every other\n\
         key may be left out. \"The strategy\": the value follows from `strategy.name`; those of \"diloco\" stand first. Model sizes are those of \"1m\".\n",
    );
    let mut table = None;
    for key in keys() {
        let (section, name) = key.asked.key.split_once('.').unwrap_or(("", &key.asked.key));
        if table.as_deref() != Some(section) {
            let title = if section.is_empty() {
                "Outside of all tables".into()
            } else {
                format!("[{section}]")
            };
            let _ = write!(
                text,
                "\n## {title}\n\n| key | takes | unit | default | what it is | where the default comes from |\n|---|---|---|---|---|---|\n"
            );
            table = Some(section.to_owned());
        }
        let told = TOLD.iter().find(|told| told.key == key.asked.key);
        let told = told.unwrap_or_else(|| unreachable!("a test sees to it: {}", key.asked.key));
        let (takes, default) = (&key.asked.takes, key.default(told));
        let (unit, what, from) = (told.unit, told.what, told.from);
        let _ = writeln!(text, "| `{name}` | {takes} | {unit} | {default} | {what} | {from} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told_of_once_and_none_that_is_not() {
        let mut asked: Vec<String> = keys().into_iter().map(|key| key.asked.key).collect();
        let mut told: Vec<String> = TOLD.iter().map(|told| told.key.to_owned()).collect();
        asked.sort();
        told.sort();
        assert_eq!(asked, told);
    }

    #[test]
    fn the_file_in_the_docs_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RUNFILE.md");
        let kept = std::fs::read_to_string(path).expect("docs/RUNFILE.md is there");
        assert_eq!(kept, reference(), "write it anew: shoal new --reference > docs/RUNFILE.md");
    }
}
