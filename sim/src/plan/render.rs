//! Headings, paragraphs and tables as text for a terminal, or as HTML; quantities in units that people read.

use crate::markup::{self, escape};
use std::fmt::Write;

/// Characters in a line of text.
const WIDTH: usize = 108;

/// A piece of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The page's title.
    Title(String),
    /// A section begins.
    Heading(&'static str),
    /// Some sentences.
    Text(String),
    /// Lines that a file is to hold, as they are.
    Code(String),
    /// The first row is the head. Of each row the first cell is a name, the others are set to the right.
    Table(Vec<Vec<String>>),
}

/// For a terminal.
pub fn text(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Title(title) => {
                out += &format!("{title}\n{}\n", "=".repeat(title.chars().count()))
            }
            Block::Heading(heading) => out += &format!("\n{}\n", heading.to_uppercase()),
            Block::Text(text) => out += &wrap(text),
            Block::Code(code) => code.lines().for_each(|line| out += &format!("      {line}\n")),
            Block::Table(rows) => out += &columns(rows),
        }
    }
    out.trim_end().to_owned()
}

/// Lines of a paragraph, the first of which sticks out.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        let long = line.chars().count() + 1 + word.chars().count() > WIDTH - 2;
        match line.is_empty() {
            false if long => lines.push(word.to_owned()),
            false => *line += &format!(" {word}"),
            true => word.clone_into(line),
        }
    }
    let indent =
        |(n, line): (usize, &String)| format!("{}{line}\n", if n == 0 { "  " } else { "    " });
    lines.iter().enumerate().map(indent).collect()
}

fn columns(rows: &[Vec<String>]) -> String {
    let n = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |c: usize| rows.iter().filter_map(|row| Some(row.get(c)?.chars().count())).max();
    let widths: Vec<usize> = (0..n).map(|c| wide(c).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (c, (cell, wide)) in row.iter().zip(&widths).enumerate() {
            let _ = if c == 0 {
                write!(line, " {cell:<wide$}")
            } else {
                write!(line, "  {cell:>wide$}")
            };
        }
        out += &format!("{}\n", line.trim_end());
    }
    out
}

const STYLE: &str = "body{line-height:1.45;max-width:1000px}\
    table{margin:.6em 0;font-size:14px}td,th{padding:2px 14px 2px 0;text-align:right;white-space:nowrap}\
    td:first-child,th:first-child{text-align:left}h2{margin:1.4em 0 .3em}\
    p{margin:.35em 0}pre{background:#f6f6f6;padding:.6em 1em}";

/// One page that needs nothing beside it; `picture` is an SVG and stands after the first section.
pub fn html(blocks: &[Block], picture: &str) -> String {
    let mut body = String::new();
    let mut headings = 0;
    for block in blocks {
        if let Block::Heading(_) = block {
            headings += 1;
            body += if headings == 2 { picture } else { "" };
        }
        body += &element(block);
    }
    let title = match &blocks[0] {
        Block::Title(title) => title,
        _ => "",
    };
    markup::page(title, STYLE, &body)
}

fn element(block: &Block) -> String {
    match block {
        Block::Title(title) => format!("<h1>{}</h1>\n", escape(title)),
        Block::Heading(heading) => format!("<h2>{}</h2>\n", escape(heading)),
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::Code(code) => format!("<pre>{}</pre>\n", escape(code)),
        Block::Table(rows) => markup::table("th", rows.iter()),
    }
}

/// With K, M, B or T.
pub fn count(number: f64) -> String {
    scaled(number, &[(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")], "").replace(".0", "")
}

/// With kB, MB, GB or TB.
pub fn bytes(number: f64) -> String {
    scaled(number, &[(1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB")], " B")
}

fn scaled(number: f64, units: &[(f64, &str)], least: &str) -> String {
    // What would be written as 1000 of a unit is 1 of the next.
    let (unit, name) =
        units.iter().find(|(unit, _)| number >= 0.9995 * unit).copied().unwrap_or((1.0, least));
    let number = number / unit;
    let digits = usize::from(unit > 1.0 && number < 99.95);
    format!("{number:.digits$}{name}")
}

/// In seconds, minutes, hours or days, with at least two digits.
pub fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "days"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= 2.0 * unit);
    let (unit, name) = unit.unwrap_or((1.0, "s"));
    let number = seconds / unit;
    let digits = usize::from(number < 99.95);
    format!("{number:.digits$} {name}")
}

/// In hundredths.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// In Mbit/s.
pub fn mbit(bytes_per_s: f64) -> String {
    let mbit = bytes_per_s / 125_000.0;
    if mbit < 9.95 { format!("{mbit:.1}") } else { format!("{mbit:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_fitting_units() {
        assert_eq!(
            [1.0, 950.0, 999.9e3, 1.5e9, 20e9].map(count),
            ["1", "950", "1M", "1.5B", "20B"]
        );
        assert_eq!([512.0, 1.0e6, 150e9].map(bytes), ["512 B", "1.0 MB", "150 GB"]);
        let spans = [5.0, 119.0, 120.0, 7200.0, 864_000.0].map(duration);
        assert_eq!(spans, ["5.0 s", "119 s", "2.0 min", "2.0 h", "10.0 days"]);
        assert_eq!([125e3, 12.5e6].map(mbit), ["1.0", "100"]);
    }

    #[test]
    fn tables_are_aligned_and_long_lines_are_wrapped() {
        let rows = [["a", "bb"], ["long", "1"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(text(&[Block::Table(rows.to_vec())]), "  a     bb\n  long   1");
        let long = text(&[Block::Text("word ".repeat(60).trim().into())]);
        assert!(
            long.lines().count() == 3 && long.lines().all(|line| line.len() <= WIDTH + 2),
            "{long}"
        );
        let page = html(&[Block::Title("a<b".into()), Block::Code("x & y".into())], "");
        assert!(page.contains("<h1>a&lt;b</h1>") && page.contains("<pre>x &amp; y</pre>"));
    }
}
