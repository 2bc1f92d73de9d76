//! The planted set, whole documents in pieces, rules files, and rows of single texts.

mod files;
mod formats;
mod national;
mod people;
mod pieces;
mod places;
mod planted;
mod prose;
mod pseudonyms;
mod recall;
mod rows;
