//! A plan's picture: utilisation by local steps for each codec, and what each host does in a recommended round.

use super::{Plan, Prospect};
use crate::markup::{escape, svg};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 50.0;
const PLOT_WIDTH: f64 = 620.0;
const PLOT_HEIGHT: f64 = 240.0;
const ROW: f64 = 18.0;
const ROWS_MAX: usize = 40;

/// Colours that are told apart by the colour-blind too: Okabe and Ito, 2008.
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const TRAINING: &str = "#009e73";
const EXCHANGING: &str = "#0072b2";
const WAITING: &str = "#f0e442";

/// An SVG.
pub fn picture(plan: &Plan) -> String {
    let rows = plan.hosts.len().min(ROWS_MAX) as f64;
    let bars = TOP + PLOT_HEIGHT + 95.0;
    let height = bars + rows * ROW + 40.0;
    let mut out = svg(WIDTH, height, 12);
    curves(&mut out, plan);
    hosts(&mut out, plan, bars);
    out + "</svg>\n"
}

fn text(out: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escape(words));
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
    );
}

/// Where local steps and utilisation lie in the plot; steps on a logarithmic scale.
struct Axes {
    most: f64,
}

impl Axes {
    fn x(&self, steps: f64) -> f64 {
        LEFT + PLOT_WIDTH * (steps.max(1.0).ln() / self.most.ln()).min(1.0)
    }

    fn y(&self, utilisation: f64) -> f64 {
        TOP + PLOT_HEIGHT * (1.0 - utilisation)
    }
}

fn curves(out: &mut String, plan: &Plan) {
    let wanted = plan.prospects.iter().filter_map(|p| p.steps_wanted).max().unwrap_or(0);
    let most = (1.2 * wanted as f64).clamp(2.0 * f64::from(plan.steps_max), 20_000.0);
    let axes = Axes { most };
    text(
        out,
        (LEFT, 22.0),
        "font-size=\"15\"",
        "Share of the time in training, by local steps between two exchanges",
    );
    text(
        out,
        (LEFT, 38.0),
        "fill=\"#555\"",
        "Dots are simulated; lines follow from their exchange times. The ring is recommended.",
    );
    grid(out, plan, &axes);
    for (n, prospect) in plan.prospects.iter().enumerate() {
        curve(out, prospect, &axes, COLOURS[n % COLOURS.len()]);
        let y = TOP + 14.0 + n as f64 * 18.0;
        line(
            out,
            (LEFT + PLOT_WIDTH + 15.0, y - 4.0),
            (LEFT + PLOT_WIDTH + 40.0, y - 4.0),
            &stroke(prospect, COLOURS[n % COLOURS.len()]),
        );
        text(out, (LEFT + PLOT_WIDTH + 46.0, y), "", &legend(prospect));
    }
    let best = plan.best();
    let at = (axes.x(best.steps[2] as f64), axes.y(best.round.utilisation));
    let _ = writeln!(
        out,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"8\" fill=\"none\" stroke=\"#000\" stroke-width=\"2\"/>",
        at.0, at.1
    );
}

fn legend(prospect: &Prospect) -> String {
    let pace = match prospect.setting.pace {
        super::Pace::Steps => "same steps",
        super::Pace::Time => "same time",
    };
    format!("{}, {pace}", prospect.setting.codec)
}

fn stroke(prospect: &Prospect, colour: &str) -> String {
    let dashes = match prospect.setting.pace {
        super::Pace::Steps => " stroke-dasharray=\"5 4\"",
        super::Pace::Time => "",
    };
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}")
}

fn curve(out: &mut String, prospect: &Prospect, axes: &Axes, colour: &str) {
    let points = (0..=120).map(|i| axes.most.powf(f64::from(i) / 120.0)).map(|steps| {
        let utilisation = prospect.line.utilisation(steps / prospect.line.steps);
        format!("{:.1},{:.1}", axes.x(steps), axes.y(utilisation))
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = writeln!(out, "<polyline points=\"{points}\" {}/>", stroke(prospect, colour));
    for (steps, utilisation) in &prospect.simulated {
        let (x, y) = (axes.x(*steps as f64), axes.y(*utilisation));
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }
}

fn grid(out: &mut String, plan: &Plan, axes: &Axes) {
    let (right, bottom) = (LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT);
    let tested = axes.x(f64::from(plan.steps_max));
    let _ = writeln!(
        out,
        "<rect x=\"{tested:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{PLOT_HEIGHT}\" fill=\"#f2f2f2\"/>",
        right - tested
    );
    text(out, (tested + 4.0, bottom - 6.0), "fill=\"#555\" font-size=\"11\"", "more than allowed");
    for tenth in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = axes.y(tenth);
        line(out, (LEFT, y), (right, y), "stroke=\"#000\" stroke-opacity=\"0.15\"");
        text(out, (LEFT - 6.0, y + 4.0), "text-anchor=\"end\"", &format!("{:.0} %", 100.0 * tenth));
    }
    let wanted = axes.y(plan.utilisation);
    line(out, (LEFT, wanted), (right, wanted), "stroke=\"#000\" stroke-dasharray=\"2 3\"");
    let note = format!("wanted, {:.0} %", 100.0 * plan.utilisation);
    text(out, (LEFT + 4.0, wanted - 4.0), "fill=\"#555\" font-size=\"11\"", &note);
    let ticks = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];
    for steps in ticks.into_iter().filter(|steps| *steps <= axes.most) {
        let x = axes.x(steps);
        line(out, (x, TOP), (x, bottom + 4.0), "stroke=\"#000\" stroke-opacity=\"0.15\"");
        text(out, (x, bottom + 18.0), "text-anchor=\"middle\"", &steps.to_string());
    }
    text(
        out,
        (LEFT + PLOT_WIDTH / 2.0, bottom + 34.0),
        "text-anchor=\"middle\"",
        "local steps of the host that takes most",
    );
}

fn hosts(out: &mut String, plan: &Plan, top: f64) {
    text(out, (LEFT, top - 28.0), "font-size=\"15\"", "A round as recommended, by host");
    let legend = [
        (TRAINING, "training"),
        (WAITING, "waiting"),
        (EXCHANGING, "exchange, uplink busy"),
        ("#c6dbef", "exchange, uplink idle"),
    ];
    for (n, (colour, name)) in legend.into_iter().enumerate() {
        let x = LEFT + 300.0 + [0.0, 90.0, 180.0, 345.0][n];
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
            top - 38.0
        );
        text(out, (x + 16.0, top - 28.0), "", name);
    }
    for row in 0..plan.hosts.len().min(ROWS_MAX) {
        host(
            out,
            plan,
            row * plan.hosts.len() / plan.hosts.len().min(ROWS_MAX),
            top + row as f64 * ROW,
        );
    }
}

fn host(out: &mut String, plan: &Plan, i: usize, y: f64) {
    let (round, host) = (&plan.best().round, &plan.hosts[i]);
    let (from, wide) = (LEFT + 190.0, WIDTH - LEFT - 200.0);
    let label = format!("{}, {} Mbit/s up", host.name, super::render::mbit(host.up_bytes_per_s));
    text(out, (from - 8.0, y + 11.0), "text-anchor=\"end\"", &label);
    let trains = (round.hosts[i].trains_s / round.round_s).min(1.0);
    let busy = round.exchanging() * plan.uplink_busy(i);
    let idle = round.exchanging() - busy;
    let waits = (1.0 - trains - busy - idle).max(0.0);
    let mut x = from;
    for (share, colour) in
        [(trains, TRAINING), (waits, WAITING), (busy, EXCHANGING), (idle, "#c6dbef")]
    {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            share * wide,
            ROW - 4.0
        );
        x += share * wide;
    }
}
