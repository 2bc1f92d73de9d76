//! What is on the screen: a table that is drawn over itself in a terminal, a line for each round and event elsewhere.

use super::cast::{Fate, Node};
use super::history::{Event, History, Row};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(250);
/// Rounds in the table.
const ROUNDS_SHOWN: usize = 14;
/// Columns when the terminal does not tell how many it has.
const WIDTH_GUESS: usize = 120;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// What is to be seen.
pub(super) struct Scene<'a> {
    pub headline: String,
    pub seconds: u64,
    pub rounds: u64,
    pub nodes: &'a [Node],
    pub history: &'a History,
}

/// Where it is shown.
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the last drawing.
    drawn: usize,
    when: Option<Instant>,
    told_round: u64,
    told_events: usize,
    told_headline: bool,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let terminal = std::io::stdout().is_terminal();
        Screen {
            terminal,
            drawn: 0,
            when: None,
            told_round: 0,
            told_events: 0,
            told_headline: false,
        }
    }

    /// Shows how things stand, if it is time to.
    pub(super) fn show(&mut self, scene: &Scene<'_>) {
        if self.when.is_some_and(|when| when.elapsed() < REDRAW) {
            return;
        }
        self.when = Some(Instant::now());
        match self.terminal {
            true => self.draw(scene),
            false => self.tell(scene, false),
        }
    }

    /// Shows how things ended.
    pub(super) fn finish(&mut self, scene: &Scene<'_>) {
        match self.terminal {
            true => self.draw(scene),
            false => self.tell(scene, true),
        }
    }

    fn draw(&mut self, scene: &Scene<'_>) {
        let lines = drawing(scene);
        let mut out = String::new();
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A", self.drawn); // writing to a string cannot fail
        }
        let width = terminal_width();
        for line in &lines {
            let _ = writeln!(out, "\r\x1b[2K{}", cut(line, width));
        }
        out.push_str("\x1b[J");
        self.drawn = lines.len();
        print(&out);
    }

    /// A line for each round and event that has not been told yet.
    fn tell(&mut self, scene: &Scene<'_>, all: bool) {
        if !self.told_headline {
            self.told_headline = true;
            print(&format!("{}\n", scene.headline));
        }
        let (last, told) = (scene.history.last(), self.told_round);
        // Losses come a little after the commit.
        let whole =
            |row: &Row| row.val_loss.is_some() && (row.train_loss.is_some() || row.tokens == 0);
        let ripe = |row: &Row| all || whole(row) || row.round < last;
        for row in scene.history.rows().skip_while(|row| row.round <= told).take_while(ripe) {
            self.tell_events(scene, row.round);
            self.told_round = row.round;
            print(&format!("{:>4} s  {}\n", scene.seconds, sentence(&row)));
        }
        self.tell_events(scene, if all { u64::MAX } else { self.told_round + 1 });
    }

    /// What happened up to a round: a kill belongs before the round's own line, a newcomer after it.
    fn tell_events(&mut self, scene: &Scene<'_>, round: u64) {
        let untold = scene.history.events.iter().skip(self.told_events);
        let due = |event: &&Event| event.round < round || (event.killed && event.round == round);
        for event in untold.take_while(due) {
            print(&format!("{:>4} s  {}\n", scene.seconds, event.line));
            self.told_events += 1;
        }
    }
}

/// A pipe that was closed at its other end is no reason to end the demo.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The whole table, line by line.
fn drawing(scene: &Scene<'_>) -> Vec<String> {
    let (minutes, seconds) = (scene.seconds / 60, scene.seconds % 60);
    let mut lines = vec![
        format!(
            "{BOLD}{}{PLAIN}  {DIM}round {} of {}, {minutes}:{seconds:02}{PLAIN}",
            scene.headline,
            scene.history.last(),
            scene.rounds
        ),
        String::new(),
        format!("{DIM}{}{PLAIN}", NODE_HEAD),
    ];
    lines.extend(scene.nodes.iter().map(node_line));
    let rows: Vec<Row> = scene.history.rows().collect();
    if !rows.is_empty() {
        lines.extend([String::new(), format!("{DIM}{ROUND_HEAD}{PLAIN}")]);
    }
    let hidden = rows.len().saturating_sub(ROUNDS_SHOWN);
    lines.extend(rows[hidden..].iter().map(|row| round_line(row, scene)));
    lines
}

const NODE_HEAD: &str =
    "node      state     round  digest    phase        tokens/s       sent   received  waiting for";
const ROUND_HEAD: &str =
    "round  members    tokens  train loss  held out  exchange    sent/peer  digest";

fn node_line(node: &Node) -> String {
    let (color, state) = match (node.fate, node.hello.is_some()) {
        (Fate::Killed, _) => (RED, "killed"),
        (_, false) => (DIM, "starting"),
        (Fate::Joined, true) => (GREEN, "joined"),
        (Fate::Survived, true) => (PLAIN, "alive"),
    };
    let status = &node.status;
    let phase = if node.is_live() { status.phase.as_str() } else { "" };
    format!(
        "{color}{:<9} {state:<9} {:>4}   {:<8}  {phase:<11} {:>9} {:>10} {:>10}{PLAIN}  {DIM}{}{PLAIN}",
        node.name,
        status.round,
        short(&status.digest),
        grouped(status.tokens_per_s.round() as u64),
        bytes(status.bytes_sent),
        bytes(status.bytes_received),
        status.waiting,
    )
}

fn round_line(row: &Row, scene: &Scene<'_>) -> String {
    let happened = scene.history.events.iter().filter(|event| event.round == row.round);
    let notes: Vec<String> = happened
        .map(|event| match event.killed {
            true => format!("{RED}{} killed{PLAIN}", event.node),
            false => format!("{GREEN}{} comes{PLAIN}", event.node),
        })
        .collect();
    format!(
        "{:>5}  {:>7}  {:>8}  {:>10}  {:>8}  {:>8}  {:>11}  {}{}  {}",
        row.round,
        row.members,
        grouped(row.tokens),
        loss(row.train_loss),
        loss(row.val_loss),
        row.exchange_s.map_or("-".into(), |s| format!("{s:.2} s")),
        bytes(row.bytes_sent_per_peer),
        short(&row.digest),
        if row.agreed { "" } else { " (not the same everywhere)" },
        notes.join(", "),
    )
}

/// A round in one line of plain text.
fn sentence(row: &Row) -> String {
    let exchange = row.exchange_s.map_or(String::new(), |s| format!(", exchange {s:.2} s"));
    format!(
        "round {:>3}: {} members, {} tokens, loss {} training, {} held out{exchange}, {} sent by each, digest {}",
        row.round,
        row.members,
        grouped(row.tokens),
        loss(row.train_loss),
        loss(row.val_loss),
        bytes(row.bytes_sent_per_peer),
        short(&row.digest),
    )
}

fn loss(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

/// The first eight digits of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

/// A number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let mut out = digits[..lead].to_owned();
    for group in digits.as_bytes()[lead..].chunks(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.extend(group.iter().map(|digit| char::from(*digit)));
    }
    out
}

/// A size in a fitting unit.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

fn terminal_width() -> usize {
    // SAFETY: the call fills the struct that it is given; zeroes are a valid start for it.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) == 0).then_some(size)
    };
    size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH_GUESS)
}

/// The first `width` visible characters, colours not counted.
fn cut(line: &str, width: usize) -> String {
    let (mut out, mut seen, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        if c == '\x1b' {
            escape = true;
        } else if !escape {
            seen += 1;
        }
        if escape || seen <= width {
            out.push(c);
        }
        escape = escape && c != 'm';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let rows = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        assert!(rows.iter().all(|(number, text)| grouped(*number) == *text));
        let rows =
            [(999, "999 B"), (1_500, "1.5 kB"), (2_340_000, "2.3 MB"), (7_000_000_000, "7.00 GB")];
        assert!(rows.iter().all(|(count, text)| bytes(*count) == *text));
    }

    #[test]
    fn lines_are_cut_but_colours_are_not() {
        assert_eq!(cut("\x1b[31mabcdef\x1b[0m!", 3), "\x1b[31mabc\x1b[0m");
        assert_eq!(cut("äöü", 2), "äö");
    }

    #[test]
    fn a_round_is_one_sentence() {
        let row =
            Row { round: 4, members: 3, tokens: 92_160, val_loss: Some(1.5), ..Row::default() };
        let text = sentence(&row);
        assert!(
            text.contains("round   4: 3 members, 92,160 tokens") && text.contains("1.500 held out"),
            "{text}"
        );
    }
}
