//! Hugging Face folders: out so that `transformers` loads them as `LlamaForCausalLM`, and back.

pub mod config;
pub mod export;
pub mod import;
pub mod quantised;
pub mod tokenizer;

pub use export::{export, export_in};
pub use import::{Imported, import};
pub use quantised::Bits;
