//! Sequences of a run's text: which are for training, which are held out, and in which order.
//!
//! The text's last `heldout_permille` thousandths are never trained on. The rest is cut into sequences of `context` tokens
//! that do not overlap but for the one token that the last target needs. A *position* counts sequences over all epochs:
//! epoch `position / samples`, and within it the place in that epoch's seeded [`Order`].

use super::corpus::Corpus;
use super::error::DataError;
use super::stories::stories;
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use super::told::Told;
use crate::blob::{Library, PieceStore};
use shoal_protocol::data::{Order, WINDOW_PIECES};
use shoal_protocol::run::{Blob, DataSpec, RunSpec, TokenizerSpec};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run's data on this machine.
pub struct Dataset {
    tokens: Tokens,
    tokenizer: Tokenizer,
    context: usize,
    order: Order,
    /// Tokens before the held-out part.
    training: u64,
    samples: u64,
    vocab: u32,
}

/// Sequences with their targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[rows, context + 1]`: inputs are all but the last of a row, targets all but the first.
    pub tokens: Vec<i64>,
    /// Sequences.
    pub rows: usize,
    /// Where each is in the run's data; empty for held-out ones.
    pub positions: Vec<u64>,
    /// What a teacher that others hold says of them, if it was asked.
    pub told: Option<Told>,
}

impl Dataset {
    /// Opens the data that a run asks for. `text` is where the person keeps the run's text, `tokenizer` likewise (both only if
    /// the spec names them by digest); a prepared folder has its tokenizer with it. `cache` is a folder for token files.
    ///
    /// # Errors
    /// Something is missing, unreadable, or not what the run was made with.
    pub fn open(
        spec: &RunSpec,
        text: Option<&Path>,
        tokenizer: Option<&Path>,
        cache: &Path,
    ) -> Result<Dataset, DataError> {
        let prepared = text.and_then(Tokenizer::prepared);
        let tokenizer = Tokenizer::open(&spec.tokenizer, tokenizer.or(prepared.as_deref()))?;
        let corpus = Arc::new(open_corpus(&spec.data, text)?);
        Dataset::of(spec, Tokens::new(corpus, &tokenizer, cache)?, tokenizer)
    }

    /// Opens data that peers give, as far as it is not brought. Where a token is so many bytes nothing of it need be here yet; a text that is to
    /// be tokenised first must be here whole.
    ///
    /// # Errors
    /// As [`Dataset::open`], and if something that must be here is not.
    pub fn fetched(
        spec: &RunSpec,
        library: &Library,
        (text, tokenizer): (Option<&Path>, Option<&Path>),
        cache: &Path,
    ) -> Result<Dataset, DataError> {
        let store = |blob: Option<Blob>| blob.and_then(|blob| library.store(&blob.root));
        let file = match (&spec.tokenizer, tokenizer) {
            (TokenizerSpec::File { pieces, digest }, None) => match store(*pieces) {
                Some(store) => Some(whole(store, cache, &format!("{digest}.json"))?),
                None => None,
            },
            (_, given) => given.map(Path::to_owned),
        };
        let tokenizer = Tokenizer::open(&spec.tokenizer, file.as_deref())?;
        let path = match (text, store(spec.text())) {
            (None, Some(store)) => match spec.token_bytes() {
                Some(width) => {
                    let tokens = Tokens::of_pieces(store.clone(), width as usize);
                    return Dataset::of(spec, tokens, tokenizer);
                }
                None => Some(whole(store, cache, &format!("{}.text", store.blob().root))?),
            },
            (given, _) => given.map(Path::to_owned),
        };
        let corpus = Arc::new(open_corpus(&spec.data, path.as_deref())?);
        Dataset::of(spec, Tokens::new(corpus, &tokenizer, cache)?, tokenizer)
    }

    fn of(spec: &RunSpec, tokens: Tokens, tokenizer: Tokenizer) -> Result<Dataset, DataError> {
        let dataset = Dataset {
            tokens,
            tokenizer,
            context: spec.model.context as usize,
            order: Order::of(spec),
            training: 0,
            samples: spec.data.samples(),
            vocab: spec.model.vocab,
        };
        dataset.split(spec.data.heldout_permille())
    }

    /// Describes a text for a new run's spec. Peers can fetch it from each other, unless it is too long for that, or several files
    /// that a tokenizer other than bytes takes one by one: where they meet cannot be told from the bytes.
    ///
    /// # Errors
    /// The text is unreadable, or shorter than one sequence.
    pub fn describe_text(
        corpus: &Arc<Corpus>,
        tokenizer: &Tokenizer,
        context: u32,
        heldout_permille: u16,
        cache: &Path,
    ) -> Result<DataSpec, DataError> {
        let tokens = Tokens::new(corpus.clone(), tokenizer, cache)?.len();
        let samples = samples(tokens, context, heldout_permille)?;
        let (digest, bytes) = (corpus.digest(), corpus.len());
        let id_bytes = corpus.manifest().map(|(_, manifest)| manifest.width as u8);
        let whole =
            matches!(tokenizer, Tokenizer::Bytes) || id_bytes.is_some() || corpus.is_one_file();
        let pieces = corpus.blob().filter(|_| whole).map(|blob| blob.root);
        let window = pieces.map(|_| WINDOW_PIECES);
        Ok(DataSpec::Text { digest, bytes, samples, heldout_permille, pieces, id_bytes, window })
    }

    /// Describes stories of `bytes` bytes, as byte tokens, for a new run's spec.
    ///
    /// # Errors
    /// They are shorter than one sequence.
    pub fn describe_stories(
        seed: u64,
        bytes: u64,
        context: u32,
        heldout_permille: u16,
    ) -> Result<DataSpec, DataError> {
        let samples = samples(bytes, context, heldout_permille)?;
        Ok(DataSpec::Stories { seed, bytes, samples, heldout_permille })
    }

    /// Sequences in an epoch.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Tokens in a sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The run's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Sequences in the held-out part.
    pub fn heldout(&self) -> u64 {
        (self.tokens.len() - self.training).saturating_sub(1) / self.context as u64
    }

    /// The training sequences at `positions`.
    ///
    /// # Errors
    /// A token is outside the model's vocabulary.
    pub fn batch(&self, positions: impl IntoIterator<Item = u64>) -> Result<Batch, DataError> {
        let mut batch = Batch::default();
        let mut order = self.order.clone();
        for position in positions {
            batch.positions.push(position);
            self.push(order.sequence(position) * self.context as u64, &mut batch)?;
        }
        Ok(batch)
    }

    /// The training sequences at the positions of `ranges`, in batches of `size` (the last may be smaller).
    pub fn batches<'a>(
        &'a self,
        ranges: &'a [Range<u64>],
        size: u32,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + 'a {
        let mut positions = ranges.iter().cloned().flatten().peekable();
        std::iter::from_fn(move || {
            positions.peek()?;
            Some(self.batch(positions.by_ref().take(size as usize)))
        })
    }

    /// `count` held-out sequences spread evenly over the held-out part, or all if there are fewer; the same on every peer.
    ///
    /// # Errors
    /// A token is outside the model's vocabulary.
    pub fn heldout_batch(&self, count: u64) -> Result<Batch, DataError> {
        let all = self.heldout();
        let count = count.min(all);
        let mut batch = Batch::default();
        for index in 0..count {
            let sequence = (u128::from(index) * u128::from(all) / u128::from(count)) as u64;
            self.push(self.training + sequence * self.context as u64, &mut batch)?;
        }
        Ok(batch)
    }

    fn push(&self, start: u64, batch: &mut Batch) -> Result<(), DataError> {
        let before = batch.tokens.len();
        self.tokens.extend(start, self.context + 1, &mut batch.tokens)?;
        batch.rows += 1;
        let outside = batch.tokens[before..].iter().find(|t| **t >= i64::from(self.vocab));
        match outside {
            Some(token) => Err(DataError::Vocab { token: *token as u32, vocab: self.vocab }),
            None => Ok(()),
        }
    }

    /// Finds where the held-out part begins and checks the number of samples against the spec's.
    fn split(self, heldout_permille: u16) -> Result<Dataset, DataError> {
        let len = self.tokens.len();
        let got = samples(len, self.context as u32, heldout_permille)?;
        if got != self.samples {
            return Err(DataError::Samples { got, expected: self.samples });
        }
        Ok(Dataset { training: training(len, heldout_permille), ..self })
    }
}

/// A file that peers have given, as one file in the folder `cache`.
fn whole(store: &PieceStore, cache: &Path, name: &str) -> Result<PathBuf, DataError> {
    std::fs::create_dir_all(cache).map_err(DataError::io("making", cache))?;
    let path = cache.join(name);
    store.assemble(&path)?;
    Ok(path)
}

fn open_corpus(spec: &DataSpec, text: Option<&Path>) -> Result<Corpus, DataError> {
    match spec {
        DataSpec::Stories { seed, bytes, .. } => Ok(Corpus::from_bytes(stories(*seed, *bytes))),
        DataSpec::Text { digest, bytes, .. } => {
            let corpus = Corpus::open(text.ok_or(DataError::Missing { bytes: *bytes })?)?;
            let got = corpus.digest();
            if got != *digest {
                let (got, expected) = (got.to_string(), digest.to_string());
                return Err(DataError::Other { what: "the text", got, expected });
            }
            Ok(corpus)
        }
    }
}

/// Tokens before the held-out part.
fn training(tokens: u64, heldout_permille: u16) -> u64 {
    tokens - (u128::from(tokens) * u128::from(heldout_permille) / 1000) as u64
}

/// Sequences in an epoch.
fn samples(tokens: u64, context: u32, heldout_permille: u16) -> Result<u64, DataError> {
    let training = training(tokens, heldout_permille);
    match training.saturating_sub(1) / u64::from(context) {
        0 => Err(DataError::Short { tokens: training, context }),
        samples => Ok(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::test_spec;

    fn dataset(text: &[u8], context: u32, heldout_permille: u16) -> Dataset {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, text).unwrap();
        let corpus = Arc::new(Corpus::open(&path).unwrap());
        let data = Dataset::describe_text(
            &corpus,
            &Tokenizer::Bytes,
            context,
            heldout_permille,
            dir.path(),
        );
        let mut spec = test_spec();
        spec.data = data.unwrap();
        spec.model.context = context;
        Dataset::open(&spec, Some(&path), None, dir.path()).unwrap()
    }

    #[test]
    fn an_epoch_holds_every_training_sequence_once() {
        let text: Vec<u8> = (0..=100).collect();
        let dataset = dataset(&text, 10, 200);
        // 101 tokens, 20 held out: 81 to train on make 8 sequences and a last target.
        assert_eq!((dataset.samples(), dataset.heldout()), (8, 1));
        for epoch in [0, 1, 7] {
            let batch = dataset.batch(8 * epoch..8 * (epoch + 1)).unwrap();
            let mut rows: Vec<&[i64]> = batch.tokens.chunks(11).collect();
            rows.sort_unstable();
            let expected: Vec<Vec<i64>> =
                (0..8).map(|row| (10 * row..10 * row + 11).collect()).collect();
            assert_eq!(rows, expected);
        }
        assert_ne!(dataset.batch(0..8).unwrap(), dataset.batch(8..16).unwrap());
    }

    #[test]
    fn the_held_out_part_is_never_trained_on() {
        let text: Vec<u8> = (0..=200).collect();
        let dataset = dataset(&text, 7, 300);
        let trained = dataset.batch(0..dataset.samples()).unwrap();
        let held = dataset.heldout_batch(1000).unwrap();
        assert!(trained.tokens.iter().max() < held.tokens.iter().min());
        assert_eq!(held.rows as u64, dataset.heldout());
        assert_eq!(dataset.heldout_batch(3).unwrap().rows, 3);
    }

    #[test]
    fn batches_cross_ranges_and_epochs() {
        let text: Vec<u8> = (0..=100).collect();
        let dataset = dataset(&text, 10, 200);
        let batches: Vec<Batch> = dataset.batches(&[6..9, 20..22], 2).map(Result::unwrap).collect();
        let rows: Vec<usize> = batches.iter().map(|batch| batch.rows).collect();
        assert_eq!(rows, [2, 2, 1]);
        assert_eq!(batches[1], dataset.batch([8, 20]).unwrap());
    }

    #[test]
    fn a_text_from_peers_gives_the_sequences_of_the_brought_one_as_far_as_it_is_here() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let text: Vec<u8> = (0..2_500_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &text).unwrap();
        let corpus = Arc::new(Corpus::open(&path).unwrap());
        let mut spec = test_spec();
        let context = spec.model.context;
        spec.data =
            Dataset::describe_text(&corpus, &Tokenizer::Bytes, context, 20, dir.path()).unwrap();
        let brought = Dataset::open(&spec, Some(&path), None, dir.path()).unwrap();
        let library = Library::open(&spec, None, None, &dir.path().join("data")).unwrap();
        let fetched = Dataset::fetched(&spec, &library, (None, None), dir.path()).unwrap();
        let lease = Order::of(&spec).window(0).positions;
        assert!(matches!(fetched.batch(lease.clone()), Err(DataError::Absent { .. })));
        let store = library.store(&spec.text().unwrap().root).unwrap();
        store.keep_list(corpus.piece_digests()).unwrap();
        for (index, bytes) in (0..).zip(text.chunks(shoal_protocol::wire::PIECE_BYTES)) {
            store.keep(index, bytes.to_vec().into());
        }
        assert_eq!(fetched.batch(lease.clone()).unwrap(), brought.batch(lease).unwrap());
        assert_eq!(fetched.heldout_batch(9).unwrap(), brought.heldout_batch(9).unwrap());
    }

    #[test]
    fn what_does_not_fit_the_spec_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, vec![b'a'; 500]).unwrap();
        let mut spec = test_spec();
        let open = |spec: &RunSpec, text: Option<&Path>| {
            Dataset::open(spec, text, None, dir.path()).err().unwrap().to_string()
        };
        let digest = shoal_protocol::id::Digest::of(b"another text");
        spec.data = DataSpec::Text {
            digest,
            bytes: 9,
            samples: 3,
            heldout_permille: 0,
            pieces: None,
            id_bytes: None,
            window: None,
        };
        assert!(open(&spec, None).contains("--data"));
        assert!(open(&spec, Some(&path)).contains("not the one that the run was made with"));
        spec.data = DataSpec::Stories { seed: 1, bytes: 5000, samples: 3, heldout_permille: 0 };
        assert!(open(&spec, None).contains("spec says 3"));
        spec.data = DataSpec::Stories { seed: 1, bytes: 5, samples: 3, heldout_permille: 0 };
        assert!(open(&spec, None).contains("bring more text"));
    }
}
