//! The planted set, whole documents in pieces, rules files, and rows of single texts.

mod formats;
mod national;
mod people;
mod places;
mod planted;
mod prose;
mod recall;
