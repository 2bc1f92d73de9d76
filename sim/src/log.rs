//! What is printed when a promise is broken: the last events, where everybody stands, and how to repeat it.

use crate::world::World;
use shoal_protocol::event::{Input, Output};
use shoal_protocol::time::Time;
use shoal_protocol::wire::Message;
use std::collections::VecDeque;
use std::fmt::{Debug, Write};

/// Events that are kept for the report.
const KEPT: usize = 400;
/// Events that are printed.
const PRINTED: usize = 40;
/// Turns of the story that are printed, of its beginning and of its end.
const TURNS: usize = 6000;
/// Characters of one event.
const WIDTH: usize = 240;

enum Line {
    In(Input),
    Out(Output),
    Text(String),
}

/// The last events.
#[derive(Default)]
pub struct Log {
    lines: VecDeque<(Time, usize, Line)>,
    /// Plans, commits, repairs, faults: the whole run in few words.
    story: Vec<String>,
}

impl Log {
    pub fn input(&mut self, now: Time, p: usize, input: &Input) {
        if !is_small_talk(input) {
            self.push(now, p, Line::In(input.clone()));
        }
    }

    pub fn output(&mut self, now: Time, p: usize, output: &Output) {
        if !matches!(output, Output::Broadcast { .. }) {
            self.push(now, p, Line::Out(output.clone()));
        }
        if let Some(turn) = turn(output) {
            self.tell(now, p, &turn);
        }
    }

    fn tell(&mut self, now: Time, p: usize, turn: &str) {
        self.story.push(format!("{:>11.6} p{p} {turn}", now.0 as f64 / 1e6));
    }

    pub fn text(&mut self, now: Time, p: usize, text: &str) {
        self.push(now, p, Line::Text(text.to_owned()));
        self.tell(now, p, text);
    }

    fn push(&mut self, now: Time, p: usize, line: Line) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((now, p, line));
    }
}

fn is_small_talk(input: &Input) -> bool {
    let beacon = matches!(input, Input::Received { message: Message::Beacon(_), .. });
    beacon || matches!(input, Input::Wake | Input::Sent { .. } | Input::PieceSent { .. })
}

/// A number for each kind of input, and one that tells it from others of its kind.
pub fn mark(input: &Input) -> (u8, u64) {
    let head = |bytes: &[u8; 32]| u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    match input {
        Input::Wake => (0, 0),
        Input::Connected { peer } => (1, head(&peer.0)),
        Input::Disconnected { peer } => (2, head(&peer.0)),
        Input::Received { from, .. } => (3, head(&from.0)),
        Input::Malformed { from, .. } => (4, head(&from.0)),
        Input::Arrived { digest, .. } => (5, head(&digest.0)),
        Input::Sent { to } => (6, head(&to.0)),
        Input::LocalWorkReady { tokens, .. } => (7, *tokens),
        Input::Evaluated(heldout) => (13, u64::from(heldout.loss.0)),
        Input::Reduced { digest, .. } => (8, head(&digest.0)),
        Input::Unsound { member, .. } => (9, u64::from(*member)),
        Input::Applied { chunks, .. } => (10, chunks.first().map_or(0, |chunk| head(&chunk.0))),
        Input::Loaded { round, .. } => (11, *round),
        Input::Measured { tokens_per_s, .. } => (12, *tokens_per_s),
        Input::PieceSent { to } => (13, head(&to.0)),
        Input::Holds { pieces, .. } => (14, pieces.len() as u64),
    }
}

/// What an output means for the story, if anything.
fn turn(output: &Output) -> Option<String> {
    match output {
        Output::Commit { record, settle } => Some(format!(
            "commits {} {} of plan {} by {} of {} tokens, settles {}",
            record.round,
            record.digest().short(),
            record.plan.short(),
            record.contributions.len(),
            record.tokens,
            settle.len()
        )),
        Output::LoadState { record } => {
            Some(format!("loads {} {}", record.round, record.digest().short()))
        }
        Output::Abandon { plan } => Some(format!("drops plan {}", plan.short())),
        Output::Refuse { .. } | Output::Note(_) => Some(brief(output)),
        _ => None,
    }
}

/// The whole report.
pub fn report(world: &World) -> String {
    let mut out = String::new();
    for (n, turn) in world.log.story.iter().enumerate() {
        if n < TURNS || n + TURNS >= world.log.story.len() {
            let _ = writeln!(out, "{turn}");
        }
    }
    out.push_str("the last events:\n");
    let lines = &world.log.lines;
    for (now, p, line) in lines.iter().skip(lines.len().saturating_sub(PRINTED)) {
        let line = match line {
            Line::In(input) => format!("<- {}", brief(input)),
            Line::Out(output) => format!("   -> {}", brief(output)),
            Line::Text(text) => format!("** {text}"),
        };
        let _ = writeln!(out, "{:>11.6} p{p} {line}", now.0 as f64 / 1e6);
    }
    let _ =
        writeln!(out, "at {:.6}, {} records:", world.now.0 as f64 / 1e6, world.book.records.len());
    (0..world.peers.len()).for_each(|p| out.push_str(&stand(world, p)));
    let _ = writeln!(out, "{}", world.again);
    out
}

/// Where one peer stands, what it waits for, and how it sees the others.
fn stand(world: &World, p: usize) -> String {
    let peer = &world.peers[p];
    let Some(running) = &peer.running else {
        return format!("  p{p} (life {}) is not running\n", peer.life);
    };
    let (store, session) = (&running.store, &running.session);
    let waiting = session.waiting();
    let until = waiting.until.map_or("-".into(), |at| format!("{:.3}", at.0 as f64 / 1e6));
    let views = session.peers(peer.clock.reads(world.now)).into_iter().map(|view| {
        let dead = if view.alive { "" } else { " (dead)" };
        format!("{} at {} {}{dead}", brief(&view.peer), view.round, view.digest.short())
    });
    let views: Vec<String> = views.collect();
    let wake = session.next_wake().map_or("-".into(), |at| format!("{:.3}", at.0 as f64 / 1e6));
    format!(
        "  p{p} (life {}) round {} {} {:?} on {} since {:.3} until {until} wake {wake} training {:?}\n       sees {}\n",
        peer.life,
        store.record().round,
        store.head().short(),
        waiting.phase,
        brief(&waiting.on),
        waiting.since.0 as f64 / 1e6,
        running.training,
        views.join(", ")
    )
}

/// The debug form with short names for peers, cut where it grows long.
pub fn brief(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    let tag = "PeerId(";
    while let Some(start) = text.find(tag) {
        let end = (start + tag.len() + 8).min(text.len());
        let number = u32::from_str_radix(&text[start + tag.len()..end], 16).unwrap_or(u32::MAX);
        text.replace_range(start..(end + 1).min(text.len()), &format!("p{number}"));
    }
    if text.chars().count() > WIDTH {
        text = text.chars().take(WIDTH).chain("…".chars()).collect();
    }
    text
}

#[test]
fn peers_have_short_names() {
    let input = Input::Connected { peer: crate::keys::peer_id(12) };
    assert_eq!(brief(&input), "Connected { peer: p12 }");
}
