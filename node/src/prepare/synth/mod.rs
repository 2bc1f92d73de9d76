//! New text: from the grammar of stories, or from whatever makes a document of a number; and how much of it was copied.

mod made;
mod overlap;

pub use made::{Made, stories};
pub use overlap::{Against, Overlaps};

#[cfg(test)]
mod tests;
