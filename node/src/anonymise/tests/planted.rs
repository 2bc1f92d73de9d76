//! Documents of which it is known what is in them, and how well findings agree with that.

use super::{formats, prose};
use crate::anonymise::{Finding, Kind};
use shoal_protocol::data::rng::Rng;
use std::ops::Range;

/// A text with the places of its items.
pub struct Planted {
    /// The text.
    pub text: String,
    /// What was planted, in order.
    pub items: Vec<(Kind, Range<usize>)>,
}

/// A document of `sentences` sentences, about half of them with an item.
pub fn document(rng: &mut Rng, sentences: usize) -> Planted {
    let mut planted = Planted { text: String::new(), items: Vec::new() };
    for _ in 0..sentences {
        match rng.below(2) {
            0 => planted.text.push_str(&prose::without(rng)),
            _ => planted.plant(Kind::BUILT_IN[rng.below(10) as usize], rng),
        }
        planted.text.push_str(rng.pick(&[" ", " ", "\n", "\n\n"]));
    }
    planted
}

impl Planted {
    fn plant(&mut self, kind: Kind, rng: &mut Rng) {
        let item = formats::item(kind, rng);
        let templates: &[&'static str] = match kind {
            Kind::Secret if formats::tells_itself(&item) && rng.below(2) == 0 => {
                &prose::OPEN_SECRETS
            }
            Kind::Credentials if !item.contains(':') => &prose::TOKEN_URLS,
            _ => prose::around(kind),
        };
        let mut rest = rng.pick(templates);
        while let Some((before, after)) = rest.split_once("{}") {
            self.text.push_str(before);
            let start = self.text.len();
            self.text.push_str(&item);
            self.items.push((kind, start..self.text.len()));
            rest = after;
        }
        self.text.push_str(rest);
    }
}

/// Findings of one kind against what was planted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Items of which every letter and digit was found.
    pub found: usize,
    /// Items.
    pub planted: usize,
    /// Findings that touch an item of their kind.
    pub right: usize,
    /// Findings.
    pub findings: usize,
}

impl Score {
    /// Share of items found.
    pub fn recall(&self) -> f64 {
        self.found as f64 / self.planted.max(1) as f64
    }

    /// Share of findings that are right.
    pub fn precision(&self) -> f64 {
        self.right as f64 / self.findings.max(1) as f64
    }

    /// The mean that weighs recall twice (van Rijsbergen 1979, with beta 2).
    pub fn f2(&self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if p + r == 0.0 { 0.0 } else { 5.0 * p * r / (4.0 * p + r) }
    }

    /// Counts one document's findings of `kind` in.
    pub fn add(&mut self, planted: &Planted, findings: &[Finding], kind: Kind) {
        let items: Vec<_> =
            planted.items.iter().filter(|(k, _)| *k == kind).map(|(_, r)| r).collect();
        let spans: Vec<_> = findings.iter().filter(|f| f.kind == kind).map(|f| &f.span).collect();
        self.planted += items.len();
        self.findings += spans.len();
        self.found += items.iter().filter(|item| covered(&planted.text, item, &spans)).count();
        let touches = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        self.right +=
            spans.iter().filter(|span| items.iter().any(|item| touches(item, span))).count();
    }
}

fn covered(text: &str, item: &Range<usize>, spans: &[&Range<usize>]) -> bool {
    text[item.clone()]
        .char_indices()
        .filter(|(_, c)| c.is_alphanumeric())
        .all(|(at, _)| spans.iter().any(|span| span.contains(&(item.start + at))))
}

impl Planted {
    /// One line of JSON: the text, and the items with their places in characters.
    pub fn json(&self) -> String {
        let chars = |at: usize| self.text[..at].chars().count();
        let items = self.items.iter().map(|(kind, span)| {
            serde_json::json!({ "kind": kind.name(), "start": chars(span.start), "end": chars(span.end) })
        });
        let items: Vec<_> = items.collect();
        format!("{}\n", serde_json::json!({ "text": self.text, "items": items }))
    }

    /// Prints what was missed and what was found beside it.
    pub fn show(&self, findings: &[Finding], kind: Kind) {
        let near = |span: &Range<usize>| {
            let from = (0..=span.start.saturating_sub(25))
                .rev()
                .find(|at| self.text.is_char_boundary(*at))
                .unwrap();
            format!("{:?} behind {:?}", &self.text[span.clone()], &self.text[from..span.start])
        };
        let spans: Vec<_> = findings.iter().filter(|f| f.kind == kind).map(|f| &f.span).collect();
        let items: Vec<_> =
            self.items.iter().filter(|(k, _)| *k == kind).map(|(_, span)| span).collect();
        for item in items.iter().filter(|item| !covered(&self.text, item, &spans)) {
            println!("MISSED {} {}", kind.name(), near(item));
        }
        let touches = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        for span in spans.iter().filter(|span| !items.iter().any(|item| touches(item, span))) {
            println!("EXTRA {} {}", kind.name(), near(span));
        }
    }
}
