//! The run's files on this machine, piece by piece: what the person brought, and what peers have given.
//!
//! [`PieceStore`] is one file's pieces; [`Library`] all files of a run; [`PieceThread`] writes what came and reads what others ask for;
//! [`first`] what a node needs before it begins.

pub mod first;
mod library;
mod store;
mod thread;

pub use library::Library;
pub use store::PieceStore;
pub use thread::{Job, PieceThread};

/// Bytes as a flag says them: a number, with KB, MB, GB or TB for powers of 1000.
///
/// # Errors
/// What would be right.
pub fn size(text: &str) -> Result<u64, String> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match text[unit..].to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => 0.0,
    };
    let number: f64 = text[..unit].trim().parse().unwrap_or(0.0);
    let bytes = number * factor;
    if (1.0..1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("take a number of bytes, like 500MB or 2GB".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let rows =
            [("2GB", 2_000_000_000), ("1.5 mb", 1_500_000), ("7", 7), ("3TB", 3_000_000_000_000)];
        for (text, bytes) in rows {
            assert_eq!(size(text), Ok(bytes));
        }
        for wrong in ["", "GB", "-1GB", "2XB", "NaN", "inf", "0"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
