//! `shoal data prepare`: files become shards to train on.

use super::flags::{BATCH_BYTES, Filters, Making, list_rules, told};
use super::personal::Personal;
use super::progress::Progress;
use anyhow::bail;
use clap::Args;
use shoal_node::prepare::filter::Rules;
use shoal_node::prepare::read::{Files, How};
use shoal_node::prepare::{Anonymise, Preparation};
use std::path::PathBuf;

/// Similarity from which documents are near-duplicates, as in MassiveText (Rae et al. 2021, section A.1.3).
const NEAR: f64 = 0.8;

/// Cleans, filters, deduplicates and tokenises text into shards to train on.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Prepare {
    /// Files or folders: .txt and .md, .jsonl (each also as .gz or .zst), .parquet
    #[arg(value_name = "INPUT", required_unless_present = "list_rules")]
    input: Vec<PathBuf>,
    /// The field of JSON Lines, or the column of Parquet, that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// Cut plain text into documents at the first empty line after so much; 0: at every empty line
    #[arg(long, value_name = "KIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=4096))]
    document_kib: u32,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    personal: Personal,
    #[command(flatten)]
    making: Option<Making>,
    /// List the rules and thresholds, and do nothing
    #[arg(long)]
    list_rules: bool,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal data prepare books/ crawl.jsonl.gz -o ready --bpe 8192
  shoal data prepare dump.parquet --field content --language en -o ready --without bullets --threshold words-min=20
  shoal data prepare novels/ -o ready --keep name,address

A record that cannot be read is counted, never fatal. Ctrl-C loses nothing: the same command goes on, to the same bytes.";

impl Prepare {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        if self.list_rules {
            crate::cli::say(&list_rules());
            return Ok(());
        }
        let Some(making) = self.making else { bail!("name the folder to write with -o") };
        let document_bytes = self.document_kib as usize * 1024;
        let files = Files::find(&self.input, How { field: self.field, document_bytes })?;
        let cleaning = self.personal.cleaning()?;
        let preparation = Preparation {
            passed_over: files.passed_over,
            source: &files,
            output: making.output.clone(),
            rules: self.filters.rules(Rules::default())?,
            search: making.search(Some(NEAR)),
            anonymise: cleaning.as_ref().map(|cleaning| cleaning as &dyn Anonymise),
            tokenizer: making.tokenizer(),
            shard_bytes: making.shard_bytes(),
            batch_bytes: BATCH_BYTES,
            against: None,
        };
        let prepared = preparation.run(&mut Progress::start())?;
        crate::cli::say(&told(&prepared, &making.output));
        Ok(())
    }
}
