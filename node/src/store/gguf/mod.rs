//! GGUF files: one file that llama.cpp, and what is built on it, loads as a Llama.

pub mod blocks;
pub mod export;
mod file;
mod k_quant;
mod tokenizer;

pub use blocks::Encoding;
pub use export::{Exported, as_read, export};
