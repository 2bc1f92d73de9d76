//! The loss of the committed states over time, as a picture: with a known optimum the gap to it, by powers of ten.

use crate::losses::Losses;
use crate::markup::svg;
use crate::record::Recorder;
use crate::report::{LEFT, TOP, WIDTH, axis, s};
use shoal_protocol::time::Time;
use std::fmt::Write;

const HEIGHT: f64 = 240.0;
/// Runs that are drawn.
const RUNS_MAX: usize = 20;
/// A gap that is drawn as none.
const GAP_LEAST: f64 = 1e-9;

/// From losses to heights in the picture.
struct Scale {
    /// What is told of a loss: itself, or the logarithm of its gap.
    optimum: Option<f64>,
    low: f64,
    high: f64,
}

/// A heading and the picture; nothing if nothing was learned.
pub fn section(recorder: &Recorder, end: Time) -> String {
    let Some(losses) = &recorder.losses else { return String::new() };
    let title = match losses.optimum {
        Some(_) => "Held-out loss above the optimum",
        None => "Held-out loss",
    };
    format!("<h2>{title}</h2>\n{}", picture(recorder, losses, end))
}

/// One line for each run.
fn picture(recorder: &Recorder, losses: &Losses, end: Time) -> String {
    let curves = curves(recorder, losses);
    let all = curves.iter().flatten().map(|(_, loss)| *loss).chain(losses.target);
    let scale = Scale::of(losses.optimum, all);
    let (total, height) = (LEFT + WIDTH + 20.0, TOP + HEIGHT + 40.0);
    let mut out = svg(total, height, 11);
    let per_s = WIDTH / s(end).max(1e-6);
    scale.grid(&mut out);
    axis(&mut out, end, TOP + HEIGHT, per_s);
    losses.target.iter().for_each(|target| dashed(&mut out, scale.y(*target), *target));
    curves.iter().for_each(|curve| line(&mut out, curve, &scale, per_s));
    out + "</svg>\n"
}

/// By run: when a state was committed, and its loss.
fn curves(recorder: &Recorder, losses: &Losses) -> Vec<Vec<(Time, f64)>> {
    let begins = losses.begins.iter().take(RUNS_MAX);
    let mut curves: Vec<Vec<(Time, f64)>> = begins.map(|loss| vec![(Time::ZERO, *loss)]).collect();
    for row in &recorder.rounds {
        if let (Some(curve), Some(loss)) = (curves.get_mut(row.run), row.loss) {
            curve.push((row.at, loss));
        }
    }
    curves
}

impl Scale {
    fn of(optimum: Option<f64>, all: impl Iterator<Item = f64>) -> Scale {
        let mut scale = Scale { optimum, low: f64::INFINITY, high: f64::NEG_INFINITY };
        for loss in
            all.map(|loss| scale.told(loss)).filter(|loss| loss.is_finite()).collect::<Vec<_>>()
        {
            (scale.low, scale.high) = (scale.low.min(loss), scale.high.max(loss));
        }
        if optimum.is_some() {
            // A hair's breadth beyond a power of ten is rounding.
            (scale.low, scale.high) = ((scale.low + 1e-6).floor(), (scale.high - 1e-6).ceil());
        }
        scale
    }

    fn told(&self, loss: f64) -> f64 {
        self.optimum.map_or(loss, |least| (loss - least).max(GAP_LEAST).log10())
    }

    fn y(&self, loss: f64) -> f64 {
        self.height(self.told(loss))
    }

    fn height(&self, told: f64) -> f64 {
        let span = (self.high - self.low).max(1e-9);
        TOP + HEIGHT * (1.0 - ((told - self.low) / span).clamp(0.0, 1.0))
    }

    /// A line and a number for each fourth of the height, or each power of ten.
    fn grid(&self, out: &mut String) {
        let steps = if self.optimum.is_some() { (self.high - self.low).max(1.0) as u32 } else { 4 };
        for i in 0..=steps {
            let told = self.low + (self.high - self.low) * f64::from(i) / f64::from(steps);
            let label =
                if self.optimum.is_some() { format!("1e{told:.0}") } else { format!("{told:.3}") };
            let (y, right, left) = (self.height(told), LEFT + WIDTH, LEFT - 8.0);
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#000\" stroke-opacity=\"0.15\"/>\
                 <text x=\"{left}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                y + 4.0
            );
        }
    }
}

/// The target.
fn dashed(out: &mut String, y: f64, target: f64) {
    let right = LEFT + WIDTH;
    let _ = writeln!(
        out,
        "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d55e00\" stroke-dasharray=\"6 4\"/>\
         <text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#d55e00\">target {target}</text>",
        y - 4.0
    );
}

fn line(out: &mut String, curve: &[(Time, f64)], scale: &Scale, per_s: f64) {
    let at = |(at, loss): &(Time, f64)| (LEFT + s(*at) * per_s, scale.y(*loss));
    let points = curve.iter().filter(|point| point.1.is_finite()).map(at);
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#0072b2\" stroke-width=\"1.5\"/>",
        points.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_lie_where_they_belong() {
        let linear = Scale::of(None, [1.0, 3.0, f64::NAN].into_iter());
        assert_eq!((linear.y(3.0), linear.y(2.0), linear.y(1.0)), (40.0, 160.0, 280.0));
        let by_tens = Scale::of(Some(1.0), [2.0, 1.02].into_iter());
        assert_eq!((by_tens.low, by_tens.high), (-2.0, 0.0));
        assert_eq!(Scale::of(Some(1.0), [2.000_000_1, 1.02].into_iter()).high, 0.0);
        assert!((by_tens.y(1.1) - 160.0).abs() < 1e-6);
    }

    #[test]
    fn a_run_is_a_line_from_its_beginning() {
        let mut recorder = Recorder::new(vec!["a".into()], 1, 9);
        assert_eq!(section(&recorder, Time(1)), "");
        recorder.losses = Some(Losses::new(vec![4.0], None, Some(2.0)));
        let svg = section(&recorder, Time(10_000_000));
        assert!(svg.contains("points=\"150.0,40.0\""), "{svg}");
        assert!(svg.contains("target 2") && svg.contains("y1=\"280.0\""), "{svg}");
    }
}
