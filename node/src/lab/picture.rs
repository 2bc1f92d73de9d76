//! Pictures of a lab: the loss gap against bytes per token, and the time to the target loss against the speed of links.

use super::fit::Fit;
use super::network::SPEEDS_MBIT;
use super::point::Measured;
use super::report::Row;
use std::fmt::Write;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 56.0;
/// Room for the legend.
const RIGHT: f64 = 320.0;
/// Okabe and Ito's colours, which most people can tell apart.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// Room for a name in the legend.
const NAME: f64 = 20.0;

const DASHED: &str = " stroke-dasharray=\"4 3\"";

/// One axis: where a value lies, in shares of its length.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    /// From tick to tick, if it is not by powers of ten.
    step: f64,
    logarithmic: bool,
}

impl Axis {
    /// From the least to the greatest, and on to whole ticks.
    fn over(values: impl Iterator<Item = f64>, logarithmic: bool) -> Axis {
        let told = |x: f64| if logarithmic { x.log10() } else { x };
        let all: Vec<f64> = values.map(told).filter(|x| x.is_finite()).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Axis { low: 0.0, high: 1.0, step: 0.2, logarithmic };
        }
        if logarithmic {
            let (low, high) = ((low - 0.05).floor(), (high + 0.05).ceil());
            return Axis { low, high, step: 1.0, logarithmic };
        }
        let step = step(high - low);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Axis { low, high: high.max(low + step), step, logarithmic }
    }

    fn share(&self, x: f64) -> f64 {
        let told = if self.logarithmic { x.max(f64::MIN_POSITIVE).log10() } else { x };
        ((told - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let powers = self.low as i32..=self.high as i32;
            return powers.map(|power| (10f64.powi(power), plain(power))).collect();
        }
        let places = (-self.step.log10().floor()).max(0.0) as usize;
        let first = (self.low / self.step).round();
        let count = ((self.high - self.low) / self.step).round() as i32;
        let value = |i: i32| (first + f64::from(i)) * self.step;
        (0..=count).map(|i| (value(i), format!("{:.places$}", value(i)))).collect()
    }
}

/// A round number that goes some five times into a span.
fn step(span: f64) -> f64 {
    let least = span.max(1e-3) / 5.0;
    let power = 10f64.powf(least.log10().floor());
    power * [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least).unwrap_or(10.0)
}

/// A power of ten as people write it.
fn plain(power: i32) -> String {
    match power {
        -3..=0 => format!("{:.*}", -power as usize, 10f64.powi(power)),
        1..=5 => format!("{:.0}", 10f64.powi(power)),
        _ => format!("1e{power}"),
    }
}

/// A picture under way.
struct Drawing {
    svg: String,
    x: Axis,
    y: Axis,
    names: Vec<String>,
}

impl Drawing {
    fn new(title: &str, (x, x_name): (Axis, &str), (y, y_name): (Axis, &str)) -> Drawing {
        let svg = format!(
            "<text x=\"{LEFT}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(18 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            escape(title),
            LEFT + WIDTH / 2.0,
            TOP + HEIGHT + 44.0,
            escape(x_name),
            TOP + HEIGHT / 2.0,
            escape(y_name)
        );
        let mut drawing = Drawing { svg, x, y, names: Vec::new() };
        drawing.grid();
        drawing
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (LEFT + WIDTH * self.x.share(x), TOP + HEIGHT * (1.0 - self.y.share(y)))
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let _ = writeln!(
            self.svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn grid(&mut self) {
        let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
        let pale = "stroke=\"#000\" stroke-opacity=\"0.15\"";
        for (value, label) in self.y.ticks() {
            let y = TOP + HEIGHT * (1.0 - self.y.share(value));
            self.line((LEFT, y), (right, y), pale);
            self.text((LEFT - 8.0, y + 4.0), "end", &label);
        }
        for (value, label) in self.x.ticks() {
            let x = LEFT + WIDTH * self.x.share(value);
            self.line((x, TOP), (x, bottom), pale);
            self.text((x, bottom + 18.0), "middle", &label);
        }
    }

    /// How a name is drawn, which the legend will tell.
    fn look(&mut self, name: &str) -> Look {
        let at = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Look(at)
    }

    fn mark(&mut self, at: (f64, f64), look: Look) {
        let _ = writeln!(self.svg, "{}", look.mark(at));
    }

    fn done(mut self) -> String {
        let x = LEFT + WIDTH + 20.0;
        for (n, name) in self.names.clone().iter().enumerate() {
            let y = TOP + 10.0 + NAME * n as f64;
            self.mark((x, y), Look(n));
            self.text((x + 12.0, y + 4.0), "start", name);
        }
        let width = LEFT + WIDTH + RIGHT;
        let height = TOP + HEIGHT.max(NAME * self.names.len() as f64) + 60.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n{}</svg>\n",
            self.svg
        )
    }
}

/// What tells one name from the others: each colour comes as a disc first, then in other shapes.
#[derive(Clone, Copy, Debug)]
struct Look(usize);

impl Look {
    fn colour(self) -> &'static str {
        COLOURS[self.0 % COLOURS.len()]
    }

    fn stroke(self) -> String {
        format!("stroke=\"{}\" stroke-width=\"2\"", self.colour())
    }

    fn mark(self, (x, y): (f64, f64)) -> String {
        let fill = format!("fill=\"{}\"", self.colour());
        let shape = match self.0 / COLOURS.len() {
            0 => return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" {fill}/>"),
            1 => "m-4.5 -4.5h9v9h-9z",
            2 => "m0 -6l6 10h-12z",
            3 => "m0 -6l6 6l-6 6l-6 -6z",
            _ => "m-5 -5h10l-5 10z",
        };
        format!("<path d=\"M{x:.1} {y:.1}{shape}\" {fill}/>")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn name(row: &Row) -> String {
    format!("{}, {} workers", row.method, row.workers)
}

/// Loss above the baseline's against bytes that a worker sends for a token, with 95 % intervals. The baseline lies at 0; what
/// sends nothing is left out.
pub fn gap(rows: &[Row]) -> String {
    let shown: Vec<(&Row, f64, f64)> = rows
        .iter()
        .filter(|row| row.sent_per_token > 0.0 && row.loss.is_some())
        .map(|row| {
            (
                row,
                row.gap.map_or(0.0, |gap| gap.mean),
                row.gap.and_then(|gap| gap.half).unwrap_or(0.0),
            )
        })
        .collect();
    let x = Axis::over(shown.iter().map(|(row, _, _)| row.sent_per_token), true);
    let ends = shown.iter().flat_map(|(_, mean, half)| [mean - half, mean + half]);
    let y = Axis::over(ends.chain([0.0]), false);
    let title = "Held-out loss above the baseline's, against bytes";
    let x_name = "bytes that a worker sends for each token it trains on";
    let mut drawing = Drawing::new(title, (x, x_name), (y, "nats per token"));
    for (row, mean, half) in shown {
        let look = drawing.look(&name(row));
        let bytes = row.sent_per_token;
        let (low, high) = (drawing.at(bytes, mean - half), drawing.at(bytes, mean + half));
        drawing.line(low, high, &look.stroke());
        let middle = drawing.at(bytes, mean);
        drawing.mark(middle, look);
    }
    drawing.done()
}

/// Time to the target loss against the speed of links, both by powers of ten. What never gets there is left out.
pub fn time(rows: &[Row], target: Option<f64>) -> String {
    let speeds = SPEEDS_MBIT;
    let x = Axis::over(speeds.into_iter(), true);
    let y = Axis::over(rows.iter().flat_map(|row| row.to_target_s).flatten(), true);
    let goal = target.map_or("no loss".into(), |target| format!("a held-out loss of {target:.4}"));
    let title = format!("Time to {goal}");
    let (x_name, y_name) = ("Mbit/s, up and down", "virtual seconds");
    let mut drawing = Drawing::new(&title, (x, x_name), (y, y_name));
    for row in rows.iter().filter(|row| row.to_target_s.iter().any(Option::is_some)) {
        let look = drawing.look(&name(row));
        let times = speeds.iter().zip(row.to_target_s);
        let points: Vec<(f64, f64)> =
            times.filter_map(|(mbit, s)| Some(drawing.at(*mbit, s?))).collect();
        for pair in points.windows(2) {
            drawing.line(pair[0], pair[1], &look.stroke());
        }
        points.into_iter().for_each(|point| drawing.mark(point, look));
    }
    drawing.done()
}

/// Held-out losses as lines, those of training sequences dashed, against tokens.
pub fn fit(fits: &[Fit]) -> String {
    let all = || fits.iter().flat_map(|fit| &fit.curve);
    // The beginning is the same for all, and far above.
    let trained = || all().filter(|at| at.tokens > 0);
    let x = Axis::over(all().map(|at| at.tokens as f64 / 1e6), false);
    let y = Axis::over(trained().flat_map(|at| [Some(at.loss), at.training]).flatten(), false);
    let title = "Held-out loss (lines) and training loss (dashed)";
    let mut drawing = Drawing::new(title, (x, "million tokens"), (y, "nats per token"));
    for fit in fits {
        let look = drawing.look(&fit.name);
        for (dashes, loss) in
            [("", (|at| Some(at.loss)) as fn(&Measured) -> _), (DASHED, |at| at.training)]
        {
            let trained = fit.curve.iter().filter(|at| at.tokens > 0);
            let points: Vec<(f64, f64)> = trained
                .filter_map(|at| Some(drawing.at(at.tokens as f64 / 1e6, loss(at)?)))
                .collect();
            for pair in points.windows(2) {
                drawing.line(pair[0], pair[1], &(look.stroke() + dashes));
            }
        }
    }
    drawing.done()
}

#[test]
fn axes_by_hand() {
    let by_tens = Axis::over([20.0, 3000.0].into_iter(), true);
    assert_eq!((by_tens.low, by_tens.high), (1.0, 4.0));
    assert!((by_tens.share(100.0) - 1.0 / 3.0).abs() < 1e-12);
    let ticks: Vec<String> = by_tens.ticks().into_iter().map(|tick| tick.1).collect();
    assert_eq!(ticks, ["10", "100", "1000", "10000"]);
    assert_eq!([-2, 0, 6].map(plain), ["0.01", "1", "1e6"]);
    let linear = Axis::over([0.96, 3.19].into_iter(), false);
    assert_eq!((linear.low, linear.high, linear.share(2.0)), (0.5, 3.5, 0.5));
    let ticks: Vec<String> = linear.ticks().into_iter().map(|tick| tick.1).collect();
    assert_eq!(ticks, ["0.5", "1.0", "1.5", "2.0", "2.5", "3.0", "3.5"]);
    assert_eq!(Axis::over([7.0].into_iter(), false).ticks().len(), 2);
    assert_eq!(Axis::over(std::iter::empty(), true).low, 0.0);
}

#[test]
fn every_name_has_a_look_of_its_own() {
    let axis = || Axis::over([0.0, 1.0].into_iter(), false);
    let mut drawing = Drawing::new("many", (axis(), "x"), (axis(), "y"));
    let names: Vec<String> = (0..40).map(|n| format!("method {n}")).collect();
    let looks: std::collections::BTreeSet<String> =
        names.iter().map(|name| drawing.look(name).mark((0.0, 0.0))).collect();
    assert_eq!(looks.len(), names.len());
    let svg = drawing.done();
    assert!(svg.contains("viewBox=\"0 0 1020 916\""), "{}", &svg[..200]);
    assert!(names.iter().all(|name| svg.contains(&format!(">{name}</text>"))));
}
