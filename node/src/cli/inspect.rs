//! `shoal inspect`: what a checkpoint holds, every digest verified.

use super::show;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use libp2p::identity::Keypair;
use serde_json::Value;
use shoal_node::net::identity::NodeKeyring;
use shoal_node::store::best::pointed_at;
use shoal_node::store::checkpoint::rounds;
use shoal_node::store::manifest::{MANIFEST, Manifest};
use shoal_node::store::place::{Place, locate};
use shoal_node::store::{Checkpoint, StateBytes, committed, load};
use shoal_protocol::id::{Digest, Keyring, PeerId, Signature};
use shoal_protocol::ledger::{Record, state_root};
use shoal_protocol::run::{DataSpec, RunSpec, TokenizerSpec};
use shoal_protocol::wire;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The extra file that holds the ledger's record.
const RECORD: &str = "record";
/// The run's ledger: lines of JSON, those with a `signature` are endorsements.
const LEDGER: &str = "ledger.jsonl";

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
        let lines = ledger(&path, &mut load(&path)?)?;
        super::say(&lines);
        Ok(())
    }
}

/// Lists a folder's checkpoints with a verdict each; returns the newest intact one.
fn choose(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut newest = None;
    let mut listing = format!("checkpoints in {}\n", folder.display());
    let best = pointed_at(folder);
    for (round, path) in rounds(folder)? {
        let verdict = verify(&path);
        // A node that runs may have removed it meanwhile.
        if !path.exists() {
            continue;
        }
        listing += &match &verdict {
            Ok(()) if best.as_ref() == Some(&path) => {
                format!("  round {round:<10} intact, the best\n")
            }
            Ok(()) => format!("  round {round:<10} intact\n"),
            Err(error) => format!("  round {round:<10} NOT INTACT: {}\n", super::sentence(error)),
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
        TokenizerSpec::File { digest, .. } => format!("a file of BLAKE3 {digest}"),
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
fn ledger(path: &Path, checkpoint: &mut Checkpoint) -> anyhow::Result<String> {
    let Some(bytes) = checkpoint.extras.get(RECORD) else {
        return Ok(lines(&[vec!["record".into(), "none kept".into()]]));
    };
    let record: Record =
        wire::from_cbor(bytes).map_err(|error| anyhow!("the record cannot be read: {error}"))?;
    if record.digest() != checkpoint.digest || record.run != checkpoint.spec.id() {
        bail!("the record is not the one that the checkpoint names: take the checkpoint before it");
    }
    let state = state(checkpoint);
    if record.state != state {
        bail!(
            "the parameters and the momentum are not those that the record names: take the checkpoint before it"
        );
    }
    let (state, parent) = (state.short(), record.parent.short());
    let mut rows = vec![
        vec!["record".into(), summary(&record)],
        vec![String::new(), format!("state {state} is that of the files; parent {parent}")],
    ];
    // The run's folder holds that of the checkpoints.
    let kept = path.ancestors().nth(2).map(|run| run.join(LEDGER));
    if let Some(Ok(text)) = kept.map(std::fs::read_to_string) {
        rows.push(vec!["endorsed".into(), endorsed(&record, &text)?]);
    }
    Ok(lines(&rows))
}

/// The root over the state, which is taken out of the checkpoint; momentum that is not kept is zero.
fn state(checkpoint: &mut Checkpoint) -> Digest {
    let (params, momentum) = committed::take(checkpoint);
    state_root(&StateBytes::new(&params, &momentum).chunk_digests())
}

fn summary(record: &Record) -> String {
    let now: u64 = record.contributions.iter().map(|part| part.tokens).sum();
    let members = record.contributions.len();
    format!(
        "round {}: {now} tokens of {members} peers, {} tokens in all rounds",
        record.round, record.tokens
    )
}

/// How many peers have signed the record, by the run's ledger.
fn endorsed(record: &Record, ledger: &str) -> anyhow::Result<String> {
    let keyring =
        NodeKeyring::new(Keypair::generate_ed25519()).context("no ed25519 key can be made")?;
    let signed = Record::signed_bytes(&record.run, record.round, &record.digest());
    let (mut by, mut others) = (BTreeSet::new(), 0);
    for (peer, signature) in ledger.lines().filter_map(|line| endorsement(line, record.round)) {
        match keyring.verify(&peer, &signed, &signature) {
            true => drop(by.insert(peer)),
            false => others += 1,
        }
    }
    let verified = format!("by {} other peers, each signature verified", by.len());
    Ok(if others > 0 {
        format!("{verified}; {others} signatures do not fit this record")
    } else {
        verified
    })
}

/// Who signed, if this line of the ledger is an endorsement of `round`.
fn endorsement(line: &str, round: u64) -> Option<(PeerId, Signature)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let digits = line["signature"].as_str()?.as_bytes();
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    let signature = digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?;
    let peer = PeerId::from_hex(line["peer"].as_str()?)?;
    (line["round"] == round).then_some((peer, Signature(signature)))
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
    use shoal_protocol::id::RunId;

    fn record() -> Record {
        Record::genesis(RunId([1; 32]), Digest([2; 32]))
    }

    #[test]
    fn signatures_are_counted_and_checked() {
        let keyring = || NodeKeyring::new(Keypair::generate_ed25519()).unwrap();
        let (record, rings) = (record(), [keyring(), keyring()]);
        let signed = Record::signed_bytes(&record.run, record.round, &record.digest());
        let line = |ring: &NodeKeyring, round: u64, message: &[u8]| {
            let signature: String =
                ring.sign(message).0.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "round": round, "peer": ring.id().to_string(), "signature": signature }).to_string()
        };
        let both =
            [line(&rings[0], 0, &signed), line(&rings[1], 0, &signed), line(&rings[0], 0, &signed)];
        assert_eq!(
            endorsed(&record, &both.join("\n")).unwrap(),
            "by 2 other peers, each signature verified"
        );
        let mixed = [
            line(&rings[0], 0, &signed),
            line(&rings[1], 0, b"other"),
            line(&rings[1], 1, &signed),
        ];
        let told = endorsed(&record, &(mixed.join("\n") + "\n{\"round\":0}\nrubbish")).unwrap();
        assert!(
            told.starts_with("by 1 other peers") && told.contains("1 signatures do not fit"),
            "{told}"
        );
    }
}
