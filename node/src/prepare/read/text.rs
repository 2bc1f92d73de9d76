//! Plain text: a file is cut into documents at empty lines.

use super::json::beginning;
use super::lines::{self, Line};
use super::{Record, Records};
use std::io::BufRead;

/// A document without an empty line is cut at a line end after this many times the wanted size.
const SLACK: usize = 4;
/// The longest line: longer ones are hardly text.
const LINE_BYTES_MAX: usize = 1 << 24;

/// Documents that end at the first empty line after `size` bytes, or at the file's end; 0 makes every paragraph a document.
pub(super) fn records(reader: Box<dyn BufRead>, name: String, size: usize) -> Records<'static> {
    let mut pieces = Pieces { reader, name, size, number: 0, done: false, fault: None };
    Box::new(std::iter::from_fn(move || pieces.next()))
}

struct Pieces {
    reader: Box<dyn BufRead>,
    name: String,
    size: usize,
    /// Lines read.
    number: u64,
    done: bool,
    /// To be told after the document before it.
    fault: Option<Record>,
}

impl Pieces {
    fn next(&mut self) -> Option<Record> {
        if let Some(fault) = self.fault.take() {
            return Some(fault);
        }
        if self.done {
            return None;
        }
        let (mut text, mut line, begin) = (Vec::new(), Vec::new(), self.number + 1);
        while !self.done && self.fault.is_none() {
            self.number += 1;
            let place = format!("{}:{}", self.name, self.number);
            match lines::next(&mut *self.reader, LINE_BYTES_MAX, &mut line) {
                // A document begins with something.
                Ok(Line::Whole) if text.is_empty() && is_blank(&line) => {}
                Ok(Line::Whole) => {
                    text.extend_from_slice(&line);
                    text.push(b'\n');
                    if self.ends(&text, &line) {
                        break;
                    }
                }
                Ok(Line::TooLong) => {
                    self.fault = Some(Record::bad("record too long", &place, beginning(&line)));
                }
                Ok(Line::End) => self.done = true,
                Err(error) => {
                    self.done = true;
                    self.fault = Some(Record::bad("file broken off", &place, error));
                }
            }
        }
        if text.is_empty() {
            return self.fault.take();
        }
        Some(match String::from_utf8(text) {
            Ok(text) => Record::Text(text),
            Err(error) => {
                let place = format!("{}:{begin}", self.name);
                Record::bad("not UTF-8", &place, beginning(error.as_bytes()))
            }
        })
    }

    fn ends(&self, text: &[u8], line: &[u8]) -> bool {
        (is_blank(line) && text.len() > self.size.max(1))
            || text.len() > SLACK * self.size.max(1 << 14)
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}
