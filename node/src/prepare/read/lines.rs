//! Lines of bytes, none longer than memory should hold.

use std::io::{self, BufRead};

/// The longest line that is held: a guess, far beyond any document worth learning from.
pub(super) const LINE_BYTES_MAX: usize = 1 << 26;

/// What [`next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end, is in the buffer.
    Whole,
    /// A line was longer than `max` bytes: its beginning is in the buffer, the rest was read over.
    TooLong,
    /// There is none any more.
    End,
}

/// Reads a line into `line`, which is emptied before.
pub(super) fn next(reader: &mut dyn BufRead, max: usize, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let (mut any, mut long) = (false, false);
    loop {
        let ready = reader.fill_buf()?;
        if ready.is_empty() {
            return Ok(if any { whole(line, long) } else { Line::End });
        }
        any = true;
        let end = ready.iter().position(|byte| *byte == b'\n');
        let piece = &ready[..end.unwrap_or(ready.len())];
        let room = max - line.len().min(max);
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        long |= piece.len() > room;
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(whole(line, long));
        }
    }
}

fn whole(line: &mut Vec<u8>, long: bool) -> Line {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if long { Line::TooLong } else { Line::Whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_and_are_bounded() {
        let mut reader = io::BufReader::with_capacity(3, &b"ab\r\n\nlonger\nend"[..]);
        let mut line = Vec::new();
        let rows = [
            (Line::Whole, "ab"),
            (Line::Whole, ""),
            (Line::TooLong, "long"),
            (Line::Whole, "end"),
            (Line::End, ""),
        ];
        for (kind, text) in rows {
            let got = next(&mut reader, 4, &mut line).unwrap();
            assert_eq!((got, &line[..]), (kind, text.as_bytes()));
        }
    }
}
