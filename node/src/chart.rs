//! The loss curve as a picture: training and held-out loss against the round, with a mark where a node was killed or joined.
//!
//! The same drawing goes to SVG and to PNG. Letters come from a font that is compiled in, so that a machine without fonts draws
//! the same picture.

mod histogram;

pub use histogram::Histogram;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Width and height in points; the PNG has twice as many pixels each way.
const SIZE: (u32, u32) = (960, 540);
/// Pixels of the PNG for one point.
const PNG_SCALE: u32 = 2;
/// The PNG is drawn this much larger and averaged, which smooths its edges.
const OVERSAMPLE: u32 = 2;
const FONT: &str = "sans-serif";

const INK: RGBColor = RGBColor(0x26, 0x2b, 0x33);
const PALE: RGBColor = RGBColor(0x6b, 0x74, 0x80);
const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xee);
const HELD_OUT: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const TRAINING: RGBColor = RGBColor(0xe0, 0x8a, 0x2c);
const LOST: RGBColor = RGBColor(0xc0, 0x39, 0x2b);
const CAME: RGBColor = RGBColor(0x2e, 0x8b, 0x57);

type Cartesian<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What the picture shows. Losses are in nats per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossChart {
    /// The headline.
    pub title: String,
    /// A smaller line below it.
    pub subtitle: String,
    /// Mean training loss by round.
    pub train: Vec<(u64, f64)>,
    /// Held-out loss of the committed parameters by round.
    pub val: Vec<(u64, f64)>,
    /// What happened on the way.
    pub marks: Vec<Mark>,
}

/// Something that happened in a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The round.
    pub round: u64,
    /// What, in few words.
    pub label: String,
    /// Whether a node was lost (red) rather than won (green).
    pub loss: bool,
}

impl LossChart {
    /// The picture as SVG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self) -> anyhow::Result<String> {
        Picture::svg(self)
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        Picture::png(self)
    }

    /// Writes `loss.svg` and `loss.png` below `folder`; returns their paths.
    ///
    /// # Errors
    /// If they cannot be drawn or written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
        Picture::write(self, folder, "loss")
    }

    /// The horizontal range, with a little air on both sides.
    fn rounds(&self) -> Range<f64> {
        let points = self.train.iter().chain(&self.val).map(|(round, _)| *round);
        let marks = self.marks.iter().map(|mark| mark.round);
        let all: Vec<u64> = points.chain(marks).collect();
        let first = all.iter().min().copied().unwrap_or(0) as f64;
        let last = all.iter().max().copied().unwrap_or(1) as f64;
        let air = ((last - first) * 0.03).max(0.25);
        first - air..last + air
    }

    /// The vertical range: a tenth of the spread below, more above for the marks' names.
    fn losses(&self) -> Range<f64> {
        let all = || self.train.iter().chain(&self.val).map(|(_, loss)| *loss);
        let (low, high) = (all().fold(f64::NAN, f64::min), all().fold(f64::NAN, f64::max));
        if !(low.is_finite() && high.is_finite()) {
            return 0.0..1.0;
        }
        let spread = (high - low).max(0.1);
        (low - 0.1 * spread).max(0.0)..high + 0.2 * spread
    }
}

impl Picture for LossChart {
    fn draw<DB: DrawingBackend>(
        &self,
        area: DrawingArea<DB, Shift>,
        scale: u32,
    ) -> anyhow::Result<()> {
        load_fonts();
        let brush = Brush { scale };
        area.fill(&WHITE).map_err(drawing)?;
        brush.headline(&area, &self.title, &self.subtitle)?;
        let mut chart = brush.axes(&area, self.rounds(), self.losses())?;
        brush.mesh(&mut chart, self.rounds())?;
        for (lane, mark) in self.marks.iter().enumerate() {
            brush.mark(&mut chart, mark, lane, self.losses())?;
        }
        brush.line(&mut chart, &self.train, TRAINING, "training, before the exchange")?;
        brush.line(&mut chart, &self.val, HELD_OUT, "held out, after the exchange")?;
        brush.legend(&mut chart)?;
        drop(chart);
        area.present().map_err(drawing)
    }
}

/// What can be drawn, at any scale.
trait Picture {
    fn draw<DB: DrawingBackend>(
        &self,
        area: DrawingArea<DB, Shift>,
        scale: u32,
    ) -> anyhow::Result<()>;

    fn svg(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), 1)?;
        Ok(svg)
    }

    fn png(&self) -> anyhow::Result<Vec<u8>> {
        let scale = PNG_SCALE * OVERSAMPLE;
        let (width, height) = (SIZE.0 * scale, SIZE.1 * scale);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        self.draw(area, scale)?;
        encode_png(&smaller(&pixels, width as usize), SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE)
    }

    fn write(&self, folder: &Path, name: &str) -> anyhow::Result<[PathBuf; 2]> {
        let paths = [folder.join(format!("{name}.svg")), folder.join(format!("{name}.png"))];
        for (path, bytes) in paths.iter().zip([self.svg()?.into_bytes(), self.png()?]) {
            std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(paths)
    }
}

/// Draws at so many pixels a point.
#[derive(Clone, Copy)]
struct Brush {
    scale: u32,
}

impl Brush {
    fn points(self, points: u32) -> u32 {
        points * self.scale
    }

    fn at(self, x: u32, y: u32) -> (i32, i32) {
        (self.points(x) as i32, self.points(y) as i32)
    }

    fn text(self, size: u32, color: RGBColor) -> TextStyle<'static> {
        (FONT, self.points(size)).into_font().color(&color)
    }

    fn stroke(self, color: RGBColor, width: u32) -> ShapeStyle {
        color.stroke_width(self.points(width))
    }

    fn headline<DB: DrawingBackend>(
        self,
        area: &DrawingArea<DB, Shift>,
        title: &str,
        subtitle: &str,
    ) -> anyhow::Result<()> {
        let bold =
            FontDesc::new(FontFamily::SansSerif, f64::from(self.points(22)), FontStyle::Bold);
        let line = |text: &str, at: (i32, i32), style: TextStyle<'static>| {
            area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
        };
        line(title, self.at(24, 18), bold.color(&INK))?;
        line(subtitle, self.at(24, 48), self.text(15, PALE))
    }

    fn axes<'a, DB: DrawingBackend>(
        self,
        area: &'a DrawingArea<DB, Shift>,
        rounds: Range<f64>,
        losses: Range<f64>,
    ) -> anyhow::Result<Cartesian<'a, DB>> {
        ChartBuilder::on(area)
            .margin_top(self.points(76))
            .margin_right(self.points(28))
            .margin_bottom(self.points(10))
            .margin_left(self.points(12))
            .x_label_area_size(self.points(48))
            .y_label_area_size(self.points(66))
            .build_cartesian_2d(rounds, losses)
            .map_err(drawing)
    }

    fn mesh<'a, DB: DrawingBackend + 'a>(
        self,
        chart: &mut Cartesian<'a, DB>,
        rounds: Range<f64>,
    ) -> anyhow::Result<()> {
        let whole = |x: &f64| {
            let near = (x - x.round()).abs() < 1e-6;
            if near { format!("{x:.0}") } else { String::new() }
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(self.stroke(GRID, 1))
            .axis_style(self.stroke(PALE, 1))
            .x_labels(((rounds.end - rounds.start) as usize + 1).clamp(2, 16))
            .x_label_formatter(&whole)
            .y_labels(7)
            .y_label_formatter(&|y| format!("{y:.2}"))
            .label_style(self.text(15, INK))
            .axis_desc_style(self.text(16, INK))
            .set_all_tick_mark_size(self.points(5))
            .x_desc("round")
            .y_desc("loss, nats per token")
            .draw()
            .map_err(drawing)
    }

    fn line<'a, DB: DrawingBackend + 'a>(
        self,
        chart: &mut Cartesian<'a, DB>,
        points: &[(u64, f64)],
        color: RGBColor,
        name: &str,
    ) -> anyhow::Result<()> {
        let finite = points.iter().filter(|(_, loss)| loss.is_finite());
        let points: Vec<(f64, f64)> = finite.map(|(round, loss)| (*round as f64, *loss)).collect();
        if points.is_empty() {
            return Ok(());
        }
        let dots =
            points.clone().into_iter().map(|at| Circle::new(at, self.points(4), color.filled()));
        chart.draw_series(dots).map_err(drawing)?;
        let stroke = self.stroke(color, 2);
        let series = chart.draw_series(LineSeries::new(points, stroke)).map_err(drawing)?;
        let (length, _) = self.at(22, 0);
        series
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], stroke));
        Ok(())
    }

    fn mark<'a, DB: DrawingBackend + 'a>(
        self,
        chart: &mut Cartesian<'a, DB>,
        mark: &Mark,
        lane: usize,
        losses: Range<f64>,
    ) -> anyhow::Result<()> {
        let color = if mark.loss { LOST } else { CAME };
        let (x, height) = (mark.round as f64, losses.end - losses.start);
        let ends = [(x, losses.start), (x, losses.end)];
        let (dash, gap) = (self.points(5), self.points(4));
        let line = DashedLineSeries::new(ends, dash, gap, self.stroke(color, 1));
        chart.draw_series(line).map_err(drawing)?;
        // Names of marks that follow one another stand on lines of their own.
        let y = losses.end - height * (0.02 + 0.05 * (lane % 2) as f64);
        let style = self.text(14, color).pos(Pos::new(HPos::Left, VPos::Top));
        let shifted =
            EmptyElement::at((x, y)) + Text::new(mark.label.clone(), self.at(6, 0), style);
        chart.draw_series(std::iter::once(shifted)).map_err(drawing)?;
        Ok(())
    }

    fn legend<'a, DB: DrawingBackend + 'a>(
        self,
        chart: &mut Cartesian<'a, DB>,
    ) -> anyhow::Result<()> {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(self.points(36))
            .legend_area_size(self.points(30))
            .label_font(self.text(15, INK))
            .draw()
            .map_err(drawing)
    }
}

/// Registers the fonts, once.
fn load_fonts() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let fonts =
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
        for (style, bytes) in fonts {
            if register_font(FONT, style, bytes).is_err() {
                tracing::debug!("a font that is compiled in does not parse");
            }
        }
    });
}

/// Half as wide and half as high: each pixel the mean of four.
fn smaller(pixels: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let pair = |upper: &[u8], lower: &[u8]| -> Vec<u8> {
        let blocks = upper.chunks_exact(6).zip(lower.chunks_exact(6));
        blocks
            .flat_map(|(a, b)| [0, 1, 2].map(|c| mean([a[c], a[c + 3], b[c], b[c + 3]])))
            .collect()
    };
    pixels.chunks_exact(2 * row).flat_map(|rows| pair(&rows[..row], &rows[row..])).collect()
}

fn mean(four: [u8; 4]) -> u8 {
    (four.iter().map(|value| u16::from(*value)).sum::<u16>() / 4) as u8
}

fn encode_png(rgb: &[u8], width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().context("beginning a PNG")?;
    writer.write_image_data(rgb).context("writing a PNG")?;
    writer.finish().context("ending a PNG")?;
    Ok(bytes)
}

fn drawing<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("drawing a picture: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> LossChart {
        let loss = |round: u64| (round, 1.2 + 3.4 / (round as f64 + 0.4).sqrt());
        let mark = |round, label: &str, loss| Mark { round, label: label.into(), loss };
        LossChart {
            title: "Four nodes, one model".into(),
            subtitle: "1.06 M parameters, stories".into(),
            train: (1..=12).map(|round| (round, loss(round).1 + 0.2)).collect(),
            val: (1..=12).map(loss).collect(),
            marks: vec![mark(4, "node 3 killed", true), mark(6, "node 5 joins", false)],
        }
    }

    #[test]
    fn svg_tells_everything() {
        let svg = chart().svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "Four nodes, one model",
            "node 3 killed",
            "node 5 joins",
            "loss, nats per token",
            "held out",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn png_decodes_and_is_no_blank() {
        let bytes = chart().png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (1920, 1080));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let inked = pixels.iter().filter(|value| **value < 200).count();
        assert!(inked > 10_000, "{inked}");
    }

    #[test]
    fn nothing_to_show_is_no_fault() {
        let empty = LossChart::default();
        assert!(empty.svg().unwrap().contains("round"));
        let odd = LossChart { val: vec![(3, f64::NAN)], ..LossChart::default() };
        assert!(!odd.png().unwrap().is_empty());
    }
}
