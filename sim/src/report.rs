//! What a run leaves behind: a table for the terminal, CSV files, and a picture of who did what when.

use crate::curve;
use crate::losses::Outcome;
use crate::markup::{self, escape, svg, table};
use crate::record::{Activity, Recorder};
use crate::save;
use shoal_protocol::time::Time;
use std::fmt::Write;
use std::path::Path;

/// Rows of the timeline; of more hosts, evenly chosen ones are drawn.
pub const ROWS_MAX: usize = 60;

/// Least, middle and most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub least: u64,
    pub median: u64,
    pub most: u64,
}

/// A run in some numbers.
#[derive(Clone, Debug)]
pub struct Summary {
    pub scenario: String,
    pub seed: u64,
    pub hosts: usize,
    pub virtual_s: f64,
    pub rounds: u64,
    pub tokens: u64,
    pub tokens_per_s: f64,
    /// Time in training over time alive.
    pub utilisation: f64,
    /// Bytes by host.
    pub sent: Spread,
    pub received: Spread,
    /// Exchanges that were begun and that nobody carried through.
    pub rounds_lost: u64,
    /// What was learned, if that is real.
    pub loss: Option<Outcome>,
    /// Plans that a peer gave up, counted at each peer.
    pub abandoned: u64,
    pub joins: u64,
    pub deaths: u64,
    /// Inputs to sessions.
    pub inputs: u64,
    pub trace: String,
}

impl Spread {
    /// Of any numbers.
    pub fn of(all: impl Iterator<Item = u64>) -> Spread {
        let mut all: Vec<u64> = all.collect();
        all.sort_unstable();
        let at = |i: usize| all.get(i).copied().unwrap_or(0);
        Spread { least: at(0), median: at(all.len() / 2), most: at(all.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let (least, median, most) = (mb(self.least), mb(self.median), mb(self.most));
        write!(f, "{median:.1} MB (of {least:.1} to {most:.1})")
    }
}

impl Summary {
    /// One line for each number.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for (name, value) in self.rows() {
            let _ = writeln!(out, "{name:<20}{value}");
        }
        out
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let loss = |tell: fn(&Outcome) -> String| self.loss.as_ref().map_or("-".into(), tell);
        vec![
            ("scenario", format!("{}, seed {}, {} hosts", self.scenario, self.seed, self.hosts)),
            ("virtual time", format!("{:.1} s", self.virtual_s)),
            ("committed rounds", self.rounds.to_string()),
            ("tokens", format!("{} ({:.0} a second)", self.tokens, self.tokens_per_s)),
            ("utilisation", format!("{:.1} % of time alive in training", 100.0 * self.utilisation)),
            ("final loss", loss(Outcome::final_loss)),
            ("time to target", loss(Outcome::time_to_target)),
            ("sent by a host", self.sent.to_string()),
            ("received by a host", self.received.to_string()),
            ("rounds lost", self.rounds_lost.to_string()),
            ("plans given up", self.abandoned.to_string()),
            ("starts, deaths", format!("{}, {}", self.joins, self.deaths)),
            ("inputs handled", self.inputs.to_string()),
            ("trace", self.trace.clone()),
        ]
    }
}

/// Writes `rounds.csv`, `events.csv`, `timeline.svg` and, with all of it in one page, `report.html` into a folder, which is made
/// if it is not there.
///
/// # Errors
/// The file, the reason and the mend.
pub fn write(dir: &Path, summary: &Summary, recorder: &Recorder, end: Time) -> Result<(), String> {
    let timeline = timeline(&recorder.names, &recorder.spans, end);
    let files = [
        ("rounds.csv", rounds_csv(recorder)),
        ("events.csv", events_csv(recorder)),
        ("report.html", page(summary, recorder, &timeline, end)),
        ("timeline.svg", timeline),
    ];
    save::folder(dir, &files)
}

/// How a run's page looks.
pub const STYLE: &str = "body{max-width:1200px}table{margin:1em 0}td,th{padding:2px 12px 2px 0;text-align:left}\
    div{max-height:30em;overflow:auto}";

/// One page that needs nothing beside it.
fn page(summary: &Summary, recorder: &Recorder, timeline: &str, end: Time) -> String {
    let numbers = summary.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let body = format!(
        "<h1>{}</h1>\n{}{}<h2>Who did what when</h2>\n{timeline}\
         <h2>Rounds</h2>\n<div>{}</div>\n<h2>Events</h2>\n<div>{}</div>\n",
        escape(&summary.scenario),
        table("td", numbers),
        curve::section(recorder, end),
        table("th", csv_rows(&rounds_csv(recorder))),
        table("th", csv_rows(&events_csv(recorder))),
    );
    markup::page(&format!("{}, seed {}", summary.scenario, summary.seed), STYLE, &body)
}

/// The cells of what `rounds_csv` and `events_csv` write: a quoted cell is the last of its line.
pub fn csv_rows(csv: &str) -> impl Iterator<Item = Vec<String>> {
    csv.lines().map(|line| {
        let (plain, quoted) = line.split_once(",\"").unwrap_or((line, ""));
        let last = quoted.strip_suffix('"').map(|cell| cell.replace("\"\"", "\""));
        plain.split(',').map(str::to_owned).chain(last).collect()
    })
}

/// Seconds.
pub fn s(at: Time) -> f64 {
    at.0 as f64 / 1e6
}

fn rounds_csv(recorder: &Recorder) -> String {
    let mut out = String::from("run,round,at_s,members,tokens,exchange_s,sent_bytes,digest,loss\n");
    for row in &recorder.rounds {
        let (at, exchange) = (s(row.at), row.exchange_us as f64 / 1e6);
        let (run, round, members, tokens) = (row.run, row.round, row.members, row.tokens);
        let sent = row.sent_by_host;
        let (digest, loss) = (&row.digest, row.loss.map_or(String::new(), |loss| loss.to_string()));
        let _ = writeln!(
            out,
            "{run},{round},{at:.6},{members},{tokens},{exchange:.6},{sent},{digest},{loss}"
        );
    }
    out
}

fn events_csv(recorder: &Recorder) -> String {
    let mut out = String::from("at_s,host,event,detail\n");
    for row in &recorder.events {
        let detail = row.detail.replace('"', "\"\"");
        let name = &recorder.names[row.host];
        let _ = writeln!(out, "{:.6},{name},{},\"{detail}\"", s(row.at), row.kind);
    }
    out
}

/// Colours that are told apart by the colour-blind too: Okabe and Ito, 2008.
fn colour(activity: Activity) -> &'static str {
    match activity {
        Activity::Dead => "#f2f2f2",
        Activity::Training => "#009e73",
        Activity::Waiting => "#f0e442",
        Activity::Sending => "#0072b2",
        Activity::CatchingUp => "#d55e00",
    }
}

const LEGEND: [(Activity, &str); 5] = [
    (Activity::Training, "training"),
    (Activity::Sending, "exchanging"),
    (Activity::Waiting, "waiting"),
    (Activity::CatchingUp, "catching up"),
    (Activity::Dead, "dead"),
];

/// Where time begins in a picture, and how long it is there.
pub const LEFT: f64 = 150.0;
pub const WIDTH: f64 = 1000.0;
const ROW: f64 = 16.0;
pub const TOP: f64 = 40.0;

/// One row for each host, by name, and its activities over time.
pub fn timeline(names: &[String], all: &[Vec<(Time, Activity)>], end: Time) -> String {
    let n = names.len();
    let rows = n.min(ROWS_MAX);
    let height = TOP + rows as f64 * ROW + 40.0;
    let total = LEFT + WIDTH + 20.0;
    let mut out = svg(total, height, 11);
    for (i, (activity, name)) in LEGEND.iter().enumerate() {
        let x = LEFT + i as f64 * 110.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{}\" stroke=\"#888\" stroke-width=\"0.5\"/><text x=\"{}\" y=\"20\">{name}</text>",
            colour(*activity),
            x + 17.0
        );
    }
    let scale = WIDTH / s(end).max(1e-6);
    for row in 0..rows {
        let host = row * n / rows;
        let y = TOP + row as f64 * ROW;
        let name = escape(&names[host]);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            y + 11.0
        );
        spans(&mut out, &all[host], end, y, scale);
    }
    axis(&mut out, end, TOP + rows as f64 * ROW, scale);
    out.push_str("</svg>\n");
    out
}

fn spans(out: &mut String, spans: &[(Time, Activity)], end: Time, y: f64, scale: f64) {
    for (i, (from, activity)) in spans.iter().enumerate() {
        let to = spans.get(i + 1).map_or(end, |next| next.0);
        let (x, width) = (LEFT + s(*from) * scale, (s(to) - s(*from)) * scale);
        if width > 0.02 {
            let _ = writeln!(
                out,
                "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{:.1}\" fill=\"{}\"/>",
                ROW - 3.0,
                colour(*activity)
            );
        }
    }
}

/// Ticks at round numbers of a fitting unit.
pub fn axis(out: &mut String, end: Time, y: f64, scale: f64) {
    let (unit, name) = [(3600.0, "h"), (60.0, "min"), (1.0, "s")]
        .into_iter()
        .find(|(unit, _)| s(end) / unit >= 3.0)
        .unwrap_or((1.0, "s"));
    let span = s(end) / unit;
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        .into_iter()
        .find(|step| span / step <= 12.0)
        .unwrap_or(span);
    let mut tick = 0.0;
    while tick <= span {
        let x = LEFT + tick * unit * scale;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#000\" stroke-opacity=\"0.2\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick} {name}</text>",
            y + 4.0,
            y + 18.0
        );
        tick += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_draws_each_span_where_it_belongs() {
        let mut recorder = Recorder::new(vec!["a<b".into()], 1, 9);
        recorder.started(Time(0), 0);
        recorder.died(Time(2_500_000), 0);
        let svg = timeline(&recorder.names, &recorder.spans, Time(10_000_000));
        assert!(svg.contains("a&lt;b"));
        assert!(
            svg.contains(
                "x=\"150.00\" y=\"40.0\" width=\"250.00\" height=\"13.0\" fill=\"#f0e442\""
            ),
            "{svg}"
        );
        assert!(
            svg.contains(
                "x=\"400.00\" y=\"40.0\" width=\"750.00\" height=\"13.0\" fill=\"#f2f2f2\""
            ),
            "{svg}"
        );
    }

    #[test]
    fn details_are_quoted() {
        let mut recorder = Recorder::new(vec!["a".into()], 1, 9);
        recorder.started(Time(1_500_000), 0);
        recorder.events[0].detail = "says \"no\", twice".into();
        assert_eq!(
            events_csv(&recorder),
            "at_s,host,event,detail\n1.500000,a,starts,\"says \"\"no\"\", twice\"\n"
        );
    }

    #[test]
    fn a_page_shows_cells_as_they_are() {
        let rows: Vec<Vec<String>> = csv_rows("a,b\n1,\"<2>, \"\"3\"\"\"\n").collect();
        assert_eq!(rows, [["a", "b"], ["1", "<2>, \"3\""]]);
        assert_eq!(
            table("th", rows.into_iter()),
            "<table>\n<tr><th>a</th><th>b</th></tr>\n\
             <tr><td>1</td><td>&lt;2&gt;, &quot;3&quot;</td></tr>\n</table>\n"
        );
    }

    #[test]
    fn a_spread_is_its_ends_and_its_middle() {
        assert_eq!(Spread::of([5, 1, 9].into_iter()), Spread { least: 1, median: 5, most: 9 });
    }
}
