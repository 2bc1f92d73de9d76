//! HTML and SVG that need nothing beside them: how a page and a picture begin, tables, text as it stands in them.

use std::fmt::Write;

/// What all pages look like.
const STYLE: &str = "body{font:15px sans-serif;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse}\
    tr:nth-child(even){background:#f6f6f6}";

/// A page; `style` adds to what all pages look like, and `body` is HTML.
pub fn page(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}{style}</style></head>\
         <body>\n{body}</body></html>\n"
    )
}

/// The beginning of a picture on white; `</svg>` ends it. `font` is the size of its letters.
pub fn svg(width: f64, height: f64, font: u32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"{font}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    )
}

/// A table; `first` is the tag of the cells in its first row.
pub fn table(first: &str, rows: impl Iterator<Item = impl AsRef<[String]>>) -> String {
    let mut out = String::from("<table>\n");
    for (n, row) in rows.enumerate() {
        let tag = if n == 0 { first } else { "td" };
        let cells = row.as_ref().iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        let _ = writeln!(out, "<tr>{}</tr>", cells.collect::<String>());
    }
    out + "</table>\n"
}

/// Text as it stands in HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
