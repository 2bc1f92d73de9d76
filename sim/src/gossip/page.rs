//! What a run by gossip leaves behind: its rounds as CSV, who did what when, and one page with all of it.

use super::report::{RoundSeen, Summary, csv};
use crate::markup::{self, escape, svg, table};
use crate::record::{Activity, SPANS_MAX};
use crate::report::{LEFT, ROWS_MAX, STYLE, TOP, WIDTH, axis, csv_rows, s, timeline};
use crate::save;
use shoal_protocol::time::Time;
use std::fmt::Write;
use std::path::Path;

/// Height of a picture of numbers over time.
const HEIGHT: f64 = 200.0;

/// What is kept while a run goes on, for its page.
#[derive(Debug, Default)]
pub struct Kept {
    pub rounds: Vec<RoundSeen>,
    pub end: Time,
    names: Vec<String>,
    /// By host; of those alone that are drawn.
    spans: Vec<Vec<(Time, Activity)>>,
}

impl Kept {
    /// Of hosts of these names.
    pub fn new(names: Vec<String>) -> Kept {
        let spans = vec![Vec::new(); names.len()];
        Kept { names, spans, ..Kept::default() }
    }

    /// A host does this from now on, in its machine's word; nothing if it does not live.
    pub fn does(&mut self, host: usize, now: Time, doing: Option<&'static str>) {
        let activity = match doing {
            None => Activity::Dead,
            Some("training") => Activity::Training,
            Some("averaging") => Activity::Sending,
            Some("fetching") => Activity::CatchingUp,
            Some(_) => Activity::Waiting,
        };
        let drawn = self.is_drawn(host);
        let spans = &mut self.spans[host];
        let news = spans.last().is_none_or(|(_, last)| *last != activity);
        if drawn && news && spans.len() < SPANS_MAX {
            spans.push((now, activity));
        }
    }

    /// Of more hosts than there are rows evenly chosen ones are drawn.
    fn is_drawn(&self, host: usize) -> bool {
        let (n, rows) = (self.names.len(), self.names.len().min(ROWS_MAX));
        let row = (host * rows).div_ceil(n);
        row < rows && row * n / rows == host
    }
}

/// Writes `rounds.csv`, `timeline.svg` and, with all of it in one page, `report.html` into a folder, which is made if it is not
/// there.
///
/// # Errors
/// The file, the reason and the mend.
pub fn write(dir: &Path, summary: &Summary, kept: &Kept) -> Result<(), String> {
    let timeline = timeline(&kept.names, &kept.spans, kept.end);
    let files = [
        ("rounds.csv", csv(&kept.rounds)),
        ("report.html", page(summary, kept, &timeline)),
        ("timeline.svg", timeline),
    ];
    save::folder(dir, &files)
}

fn page(summary: &Summary, kept: &Kept, timeline: &str) -> String {
    let numbers = summary.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let body = format!(
        "<h1>{}</h1>\n{}{}{}<h2>Who did what when</h2>\n{timeline}<h2>Rounds</h2>\n<div>{}</div>\n",
        escape(&summary.scenario),
        table("td", numbers),
        section("Held-out loss (mean of some peers)", kept, |seen| seen.loss),
        section("Consensus distance", kept, |seen| seen.distance),
        table("th", csv_rows(&csv(&kept.rounds))),
    );
    markup::page(&format!("{}, seed {}", summary.scenario, summary.seed), STYLE, &body)
}

/// A heading and one number of the rounds over time, from 0 to its most; nothing if there is none.
fn section(title: &str, kept: &Kept, number: fn(&RoundSeen) -> Option<f64>) -> String {
    let seen = kept.rounds.iter().filter_map(|seen| Some((seen.at_s, number(seen)?)));
    let seen: Vec<(f64, f64)> = seen.filter(|(_, x)| x.is_finite()).collect();
    let most = seen.iter().map(|(_, x)| *x).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let per_s = WIDTH / s(kept.end).max(1e-6);
    let mut out = svg(LEFT + WIDTH + 20.0, TOP + HEIGHT + 40.0, 11);
    for fourth in 0..=4 {
        let y = TOP + HEIGHT * (1.0 - f64::from(fourth) / 4.0);
        let label = most * f64::from(fourth) / 4.0;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#000\" stroke-opacity=\"0.15\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label:.4}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0
        );
    }
    axis(&mut out, kept.end, TOP + HEIGHT, per_s);
    let place = |(at, x): &(f64, f64)| {
        format!("{:.1},{:.1}", LEFT + at * per_s, TOP + HEIGHT * (1.0 - x / most))
    };
    let points: Vec<String> = seen.iter().map(place).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#0072b2\" stroke-width=\"1.5\"/>",
        points.join(" ")
    );
    format!("<h2>{}</h2>\n{out}</svg>\n", escape(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(n: usize) -> Kept {
        Kept::new((0..n).map(|p| format!("h{p}")).collect())
    }

    #[test]
    fn of_many_hosts_as_many_are_kept_as_are_drawn() {
        for n in [1, 59, 60, 61, 120, 1000] {
            let kept = kept(n);
            let rows = n.min(ROWS_MAX);
            let drawn: Vec<usize> = (0..n).filter(|host| kept.is_drawn(*host)).collect();
            assert_eq!(drawn, (0..rows).map(|row| row * n / rows).collect::<Vec<_>>(), "{n}");
        }
    }

    #[test]
    fn a_span_begins_when_something_else_does() {
        let mut kept = kept(1);
        for (at, doing) in
            [(0, Some("listening")), (1, Some("gathering")), (2, Some("training")), (3, None)]
        {
            kept.does(0, Time(at), doing);
        }
        let spans = [
            (Time(0), Activity::Waiting),
            (Time(2), Activity::Training),
            (Time(3), Activity::Dead),
        ];
        assert_eq!(kept.spans[0], spans);
    }

    #[test]
    fn numbers_lie_where_they_belong() {
        let mut kept = kept(1);
        kept.end = Time(10_000_000);
        assert_eq!(section("Loss", &kept, |seen| seen.loss), "");
        let seen = |round, at_s, loss| RoundSeen {
            round,
            at_s,
            loss: Some(loss),
            distance: None,
            loss_of_mean: None,
        };
        kept.rounds = vec![seen(1, 0.0, 4.0), seen(2, 10.0, 1.0)];
        let svg = section("Loss", &kept, |seen| seen.loss);
        assert!(svg.contains("points=\"150.0,40.0 1150.0,190.0\""), "{svg}");
        assert_eq!(section("Distance", &kept, |seen| seen.distance), "");
    }
}
