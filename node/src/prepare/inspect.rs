//! Looking into a prepared folder: samples, statistics, how long documents are.

use super::error::PrepareError;
use super::manifest::{Manifest, SEPARATOR, Shard};
use super::report::{REPORT_JSON, Report, size};
use crate::data::Tokenizer;
use crate::data::rng::Rng;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Tokens that a sample is cut from.
const WINDOW_TOKENS: u64 = 4096;

/// A prepared folder, opened.
pub struct Inspection {
    folder: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// How it came about, if the report is there.
    pub report: Option<Report>,
    tokenizer: Tokenizer,
}

impl Inspection {
    /// Opens a folder. Its shards are not verified: see [`Manifest::verify`].
    ///
    /// # Errors
    /// No manifest, or no tokenizer.
    pub fn open(folder: &Path) -> Result<Inspection, PrepareError> {
        let manifest = Manifest::load(folder)?;
        let file = Tokenizer::prepared(folder);
        let tokenizer = file.map_or(Ok(Tokenizer::Bytes), |file| Tokenizer::from_file(&file))?;
        // A folder that came from a peer has no report; its manifest tells most.
        let report = std::fs::read(folder.join(REPORT_JSON)).ok();
        let report = report.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Inspection { folder: folder.to_owned(), manifest, report, tokenizer })
    }

    /// In words.
    pub fn text(&self) -> String {
        let Manifest { bytes, tokens, documents, shards, .. } = &self.manifest;
        let mut out = String::new();
        let tokenizer = match self.manifest.tokenizer_digest() {
            None => "bytes".into(),
            Some(digest) => format!("{} tokens, BLAKE3 {digest}", self.manifest.vocab()),
        };
        let mean = *tokens as f64 / (*documents).max(1) as f64;
        let _ = writeln!(out, "name        {}", self.manifest.digest());
        let _ = writeln!(out, "tokenizer   {tokenizer}");
        let _ = writeln!(out, "shards      {}, {}", shards.len(), size(*bytes));
        let _ = writeln!(out, "tokens      {tokens}");
        let _ = writeln!(out, "documents   {documents}, {mean:.0} tokens in the mean");
        if let Some(report) = &self.report {
            self.tell(report, &mut out);
        }
        out
    }

    fn tell(&self, report: &Report, out: &mut String) {
        let text = report.kept.bytes as f64 / self.manifest.tokens.max(1) as f64;
        let _ = writeln!(out, "text        {}, {text:.2} bytes a token", size(report.kept.bytes));
        let _ = writeln!(
            out,
            "read        {} documents, {}",
            report.read.documents,
            size(report.read.bytes)
        );
        for (name, cases) in report.bad.iter().chain(&report.dropped) {
            let _ = writeln!(out, "  dropped   {:>9}  {name}", cases.documents);
        }
        for (kind, count) in &report.masked {
            let _ = writeln!(out, "  masked    {count:>9}  {kind}");
        }
    }

    /// Documents by length, as the name and height of bars: from so many tokens, twice as many in each.
    pub fn lengths(&self) -> Vec<(String, u64)> {
        let lengths = self.report.as_ref().map_or(&[][..], |report| &report.lengths);
        let first = lengths.iter().position(|count| *count > 0).unwrap_or(0);
        let bars = lengths.iter().enumerate().skip(first);
        bars.map(|(place, count)| ((1u64 << place).to_string(), *count)).collect()
    }

    /// Pieces of at most `chars` characters from places that follow from `seed`, each from the beginning of a document or
    /// paragraph if there is one near.
    ///
    /// # Errors
    /// A shard cannot be read, or the tokenizer does not know what to do with it.
    pub fn samples(
        &self,
        count: u64,
        chars: usize,
        seed: u64,
    ) -> Result<Vec<String>, PrepareError> {
        let mut rng = Rng::new(seed);
        if self.manifest.tokens == 0 {
            return Ok(Vec::new());
        }
        (0..count).map(|_| self.sample(rng.below(self.manifest.tokens), chars)).collect()
    }

    fn sample(&self, mut token: u64, chars: usize) -> Result<String, PrepareError> {
        let mut shards = self.manifest.shards.iter();
        let is_in = |shard: &&Shard| {
            let found = token < shard.tokens;
            token -= if found { 0 } else { shard.tokens };
            found
        };
        let Some(shard) = shards.find(is_in) else { return Ok(String::new()) };
        let text = self.window(shard, token)?;
        let start = text.split_once(SEPARATOR).map_or("", |(_, rest)| rest);
        let start = if start.trim().is_empty() { &text } else { start };
        Ok(start.trim().chars().take(chars).collect())
    }

    fn window(&self, shard: &Shard, token: u64) -> Result<String, PrepareError> {
        let width = u64::from(self.manifest.width);
        let tokens = WINDOW_TOKENS.min(shard.tokens - token);
        let mut bytes = vec![0; (tokens * width) as usize];
        let path = self.folder.join(&shard.file);
        let file = File::open(&path).map_err(PrepareError::io("opening", &path))?;
        let read = file.read_exact_at(&mut bytes, token * width);
        read.map_err(PrepareError::io("reading", &path))?;
        let id = |bytes: &[u8]| bytes.iter().rev().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let ids: Vec<u32> = bytes.chunks_exact(width as usize).map(id).collect();
        Ok(self.tokenizer.decode(&ids)?)
    }
}
