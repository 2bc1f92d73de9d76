//! Numbers and tables for people.

/// Bytes with a unit, in three digits: `3.81 MB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

/// A count with a unit, in three digits: `4.12M`.
pub fn count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let mut whole = true;
    // What would be rounded up to the next unit's 1.0 is told in that unit.
    while number.abs() >= step - 0.5 {
        let Some(next) = units.next() else { break };
        (number, unit, whole) = (number / step, next, false);
    }
    let decimals = match number.abs() {
        _ if whole => 0,
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}{unit}")
}

/// The first eight digits of a name.
pub fn short(name: &str) -> &str {
    name.get(..8).unwrap_or(name)
}

/// Rows as columns: the first is the heading, each as wide as its widest cell; text to the left.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let rows = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_950, "1.00 MB"),
            (123_456_789, "123 MB"),
        ];
        for (number, expected) in rows {
            assert_eq!(bytes(number), expected);
        }
        assert_eq!(
            (count(0.0), count(1234.5), count(2e15)),
            ("0".into(), "1.23k".into(), "2000T".into())
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [["A", "LONG"], ["longer", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), ["A       LONG", "longer  b"]);
    }
}
