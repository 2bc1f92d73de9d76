//! `shoal inspect`: what a checkpoint holds, every digest verified.

use super::checkpoint::{Place, locate};
use super::show;
use anyhow::{Context, bail};
use clap::Args;
use libp2p::identity::Keypair;
use shoal_node::net::identity::NodeKeyring;
use shoal_node::store::checkpoint::rounds;
use shoal_node::store::manifest::{MANIFEST, Manifest};
use shoal_node::store::{Checkpoint, StateBytes, load};
use shoal_protocol::id::{Keyring, PeerId, Signature};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::run::{DataSpec, RunSpec, TokenizerSpec};
use shoal_protocol::wire;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The extra file that holds the ledger's record, and that of the signatures under it.
const RECORD: &str = "record";
const ENDORSEMENTS: &str = "endorsements";

/// Tells what a checkpoint holds and verifies every digest in it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Inspect {
    /// A checkpoint's folder, or a folder of them, a run's or a node's: then the newest intact one
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal inspect ~/.local/share/shoal
  shoal inspect checkpoints/round-00000100

The exit status is 0 if everything that is told of is intact, 1 if not.";

impl Inspect {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let path = match locate(&self.checkpoint)? {
            Place::One(path) => path,
            Place::Many(folder) => choose(&folder)?,
        };
        let manifest = Manifest::read(&path)?;
        let (files, torn) = verdicts(&path, &manifest);
        super::say(&(describe(&path, &manifest) + &files));
        if torn > 0 {
            bail!(
                "{torn} of the files of {} are not intact: take the checkpoint before it",
                path.display()
            );
        }
        let lines = ledger(&load(&path)?)?;
        super::say(&lines);
        Ok(())
    }
}

/// Lists a folder's checkpoints with a verdict each; returns the newest intact one.
fn choose(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut newest = None;
    let mut listing = format!("checkpoints in {}\n", folder.display());
    for (round, path) in rounds(folder)? {
        let verdict = verify(&path);
        listing += &match &verdict {
            Ok(()) => format!("  round {round:<10} intact\n"),
            Err(error) => format!("  round {round:<10} NOT INTACT: {error:#}\n"),
        };
        newest = if verdict.is_ok() { Some(path) } else { newest };
    }
    super::say(&format!("{listing}\n"));
    newest.with_context(|| format!("no checkpoint in {} is intact", folder.display()))
}

fn verify(path: &Path) -> anyhow::Result<()> {
    let manifest = Manifest::read(path)?;
    manifest.files.iter().try_for_each(|(name, entry)| Ok(entry.verify(&path.join(name))?))
}

/// A line for every file, and how many are not intact.
fn verdicts(path: &Path, manifest: &Manifest) -> (String, usize) {
    let mut rows = vec![["files".into(), MANIFEST.into(), String::new(), "intact".into()].to_vec()];
    let mut torn = 0;
    for (name, entry) in &manifest.files {
        let verdict = match entry.verify(&path.join(name)) {
            Ok(()) => format!("intact, BLAKE3 {}", show::short(&entry.blake3)),
            Err(error) => {
                torn += 1;
                format!("NOT INTACT: {error}")
            }
        };
        rows.push(vec![String::new(), name.clone(), show::bytes(entry.bytes), verdict]);
    }
    (lines(&rows), torn)
}

fn describe(path: &Path, manifest: &Manifest) -> String {
    let spec = &manifest.spec;
    let rows = [
        ("checkpoint", path.display().to_string()),
        ("run", format!("{} `{}`", manifest.run_id, spec.name)),
        ("round", format!("{} of {}", manifest.round, spec.rounds)),
        ("digest", manifest.digest.clone()),
        ("model", model(spec)),
        ("tokenizer", tokenizer(&spec.tokenizer)),
        ("data", data(&spec.data)),
        ("losses", losses(manifest)),
    ];
    lines(&rows.map(|(name, value)| vec![name.to_owned(), value]))
}

fn model(spec: &RunSpec) -> String {
    let model = &spec.model;
    format!(
        "{} parameters: {} layers of {}, {} heads ({} for keys and values), {} hidden, vocabulary {}, context {}{}",
        model.params(),
        model.layers,
        model.dim,
        model.heads,
        model.kv_heads,
        model.hidden,
        model.vocab,
        model.context,
        if model.tied { ", tied head" } else { "" }
    )
}

fn tokenizer(spec: &TokenizerSpec) -> String {
    match spec {
        TokenizerSpec::Bytes => "bytes".into(),
        TokenizerSpec::File { digest } => format!("a file of BLAKE3 {digest}"),
    }
}

fn data(spec: &DataSpec) -> String {
    match spec {
        DataSpec::Stories { seed, bytes, samples, .. } => {
            format!("stories of seed {seed}, {}, {samples} sequences", show::bytes(*bytes))
        }
        // What was imported brings no text.
        DataSpec::Text { bytes: 0, .. } => "none: the model was imported".into(),
        DataSpec::Text { digest, bytes, samples, .. } => {
            format!("a text of BLAKE3 {digest}, {}, {samples} sequences", show::bytes(*bytes))
        }
    }
}

fn losses(manifest: &Manifest) -> String {
    let told = |(round, loss): &(u64, f64)| format!("{loss:.4} after round {round}");
    match (manifest.losses.first(), manifest.losses.last()) {
        (Some(first), Some(last)) if first != last => format!("{}, {}", told(first), told(last)),
        (Some(only), _) => told(only),
        _ => "none measured".into(),
    }
}

/// What the ledger's record says, and whether it fits the state and its signatures.
fn ledger(checkpoint: &Checkpoint) -> anyhow::Result<String> {
    let Some(bytes) = checkpoint.extras.get(RECORD) else {
        return Ok(lines(&[vec!["record".into(), "none kept".into()]]));
    };
    let record: Record = wire::from_cbor(bytes)
        .map_err(|error| anyhow::anyhow!("the record cannot be read: {error}"))?;
    let state =
        state_root(&StateBytes::new(&checkpoint.params, &checkpoint.momentum).chunk_digests());
    if record.digest() != checkpoint.digest || record.run != checkpoint.spec.id() {
        bail!("the record is not the one that the checkpoint names: take the checkpoint before it");
    }
    if record.state != state {
        bail!(
            "the parameters and the momentum are not those that the record names: take the checkpoint before it"
        );
    }
    let mut rows = vec![vec!["record".into(), summary(&record)]];
    rows.push(vec![
        String::new(),
        format!("state {} is that of the files; parent {}", state.short(), record.parent.short()),
    ]);
    if let Some(bytes) = checkpoint.extras.get(ENDORSEMENTS) {
        rows.push(vec!["endorsed".into(), endorsed(&record, bytes)?]);
    }
    Ok(lines(&rows))
}

fn summary(record: &Record) -> String {
    let now: u64 = record.contributions.iter().map(|part| part.tokens).sum();
    let members = record.contributions.len();
    format!(
        "round {}: {now} tokens of {members} peers, {} tokens in all rounds",
        record.round, record.tokens
    )
}

/// How many peers have signed the record, each signature checked.
fn endorsed(record: &Record, bytes: &[u8]) -> anyhow::Result<String> {
    let by: BTreeMap<PeerId, Signature> = wire::from_cbor(bytes)
        .or_else(|_| wire::from_cbor::<Vec<(PeerId, Signature)>>(bytes).map(BTreeMap::from_iter))
        .map_err(|error| anyhow::anyhow!("the endorsements cannot be read: {error}"))?;
    let keyring =
        NodeKeyring::new(Keypair::generate_ed25519()).context("no ed25519 key can be made")?;
    let signed = Record::signed_bytes(&record.run, record.round, &record.digest());
    let wrong = by.iter().find(|(peer, signature)| !keyring.verify(peer, &signed, signature));
    match wrong {
        Some((peer, _)) => bail!("the signature of {peer} under the record is wrong"),
        None => Ok(format!("by {} peers, every signature verified", by.len())),
    }
}

fn lines(rows: &[Vec<String>]) -> String {
    // The first column is as wide in every block.
    let padded: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .enumerate()
                .map(|(i, cell)| if i == 0 { format!("{cell:<10}") } else { cell.clone() })
                .collect()
        })
        .collect();
    show::table(&padded).iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::id::{Digest, RunId};

    fn record() -> Record {
        Record::genesis(RunId([1; 32]), Digest([2; 32]))
    }

    #[test]
    fn signatures_are_counted_and_checked() {
        let keyring = || NodeKeyring::new(Keypair::generate_ed25519()).unwrap();
        let (record, rings) = (record(), [keyring(), keyring()]);
        let signed = Record::signed_bytes(&record.run, record.round, &record.digest());
        let mut by: Vec<(PeerId, Signature)> =
            rings.iter().map(|ring| (ring.id(), ring.sign(&signed))).collect();
        let map: BTreeMap<PeerId, Signature> = by.iter().cloned().collect();
        for bytes in [wire::to_cbor(&by), wire::to_cbor(&map)] {
            assert!(endorsed(&record, &bytes).unwrap().contains("by 2 peers"));
        }
        by[1].1 = rings[1].sign(b"something else");
        let error = endorsed(&record, &wire::to_cbor(&by)).unwrap_err().to_string();
        assert!(error.contains(&rings[1].id().to_string()), "{error}");
        assert!(endorsed(&record, b"rubbish").is_err());
    }
}
