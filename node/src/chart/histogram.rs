//! How often each of some sizes occurs, as a picture of bars.

use super::{Brush, Cartesian, GRID, HELD_OUT, INK, PALE, Picture, drawing, load_fonts};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Bars side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The headline.
    pub title: String,
    /// A smaller line below it.
    pub subtitle: String,
    /// What the bars stand for.
    pub x_name: String,
    /// What their heights count.
    pub y_name: String,
    /// The name of each bar, and its height.
    pub bars: Vec<(String, u64)>,
}

impl Histogram {
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

    /// Writes `NAME.svg` and `NAME.png` below `folder`; returns their paths.
    ///
    /// # Errors
    /// If they cannot be drawn or written.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<[PathBuf; 2]> {
        Picture::write(self, folder, name)
    }

    fn mesh<'a, DB: DrawingBackend + 'a>(
        &self,
        brush: Brush,
        chart: &mut Cartesian<'a, DB>,
    ) -> anyhow::Result<()> {
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(brush.stroke(GRID, 1))
            .disable_x_mesh()
            .axis_style(brush.stroke(PALE, 1))
            .x_labels(self.bars.len().max(1))
            .x_label_formatter(&|x| self.name_at(*x))
            .y_labels(7)
            .y_label_formatter(&|y| format!("{y:.0}"))
            .label_style(brush.text(13, INK))
            .axis_desc_style(brush.text(16, INK))
            .set_all_tick_mark_size(brush.points(5))
            .x_desc(&self.x_name)
            .y_desc(&self.y_name)
            .draw()
            .map_err(drawing)
    }

    /// The name of the bar that stands at `x`, if one does.
    fn name_at(&self, x: f64) -> String {
        let near = (x - x.round()).abs() < 1e-6 && x >= 0.0;
        let bar = if near { self.bars.get(x.round() as usize) } else { None };
        bar.map_or(String::new(), |(name, _)| name.clone())
    }
}

impl Picture for Histogram {
    fn draw<DB: DrawingBackend>(
        &self,
        area: DrawingArea<DB, Shift>,
        scale: u32,
    ) -> anyhow::Result<()> {
        load_fonts();
        let brush = Brush { scale };
        area.fill(&WHITE).map_err(drawing)?;
        brush.headline(&area, &self.title, &self.subtitle)?;
        let most = self.bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1) as f64;
        let right = self.bars.len().max(1) as f64 - 0.5;
        let mut chart = brush.axes(&area, -0.5..right, 0.0..most * 1.08)?;
        self.mesh(brush, &mut chart)?;
        let bars = self.bars.iter().enumerate().map(|(place, (_, count))| {
            let (x, height) = (place as f64, *count as f64);
            Rectangle::new([(x - 0.42, 0.0), (x + 0.42, height)], HELD_OUT.filled())
        });
        chart.draw_series(bars).map_err(drawing)?;
        drop(chart);
        area.present().map_err(drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn svg_has_a_bar_and_a_name_for_each() {
        let bars = vec![("64".to_owned(), 3), ("128".to_owned(), 7), ("256".to_owned(), 0)];
        let (title, x_name) = ("Lengths".to_owned(), "tokens".to_owned());
        let picture = Histogram { title, x_name, bars, ..Histogram::default() };
        let svg = picture.svg().unwrap();
        for text in ["Lengths", "tokens", "64", "128", "256"] {
            assert!(svg.contains(text), "{text}");
        }
        let bar = format!("fill=\"#{:02X}{:02X}{:02X}\"", HELD_OUT.0, HELD_OUT.1, HELD_OUT.2);
        assert_eq!(svg.matches(&bar).count(), 3, "{svg}");
        assert!(Histogram::default().svg().is_ok(), "nothing to show is no fault");
    }
}
